//! How small a file is, and how fast it is read.

use std::time::Instant;

use ylb_format::model::Operator;
use ylb_format::{read, write};

#[path = "support/models.rs"]
#[allow(dead_code)]
mod models;
#[path = "support/yolov5n.rs"]
mod yolov5n;

#[test]
fn a_two_bit_yolov5n_takes_less_than_750_000_bytes() {
    let model = yolov5n::yolov5n(80);
    let weights = model.nodes.iter().filter_map(|node| match &node.operator {
        Operator::Conv(conv) => Some(conv.terms.iter().map(|term| term.weights.len()).sum::<usize>()),
        _ => None,
    });
    let weights: Vec<usize> = weights.collect();
    assert_eq!(weights.len(), 60, "convolutions");
    let total: usize = weights.iter().sum();
    // The published 1 872 157 parameters less biases and batch normalization.
    assert!((1_850_000..1_872_157).contains(&total), "{total} weights");

    let bytes = write(&model).unwrap();
    assert!(bytes.len() < 750_000, "{} bytes", bytes.len());

    let start = Instant::now();
    let same = read(&bytes).unwrap();
    eprintln!("{total} weights, {} bytes, read in {:?}", bytes.len(), start.elapsed());
    assert_eq!(same, model);
}
