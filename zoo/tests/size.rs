//! How small a file is, and how fast it is read.

use std::time::Instant;

use ylb_format::model::Operator;
use ylb_format::{read, write};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

#[test]
fn a_two_bit_yolov5n_takes_less_than_750_000_bytes() {
    let mut model = synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: [640; 2],
        weight_bits: 2,
        activation_bits: 2,
        edge_weight_bits: 8,
        classes: 80,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    });
    // Names are as long as those of an export.
    for (index, value) in model.values.iter_mut().enumerate() {
        value.name = format!("/model/model.{index}/conv/Conv_output_0_quantized");
    }
    for (index, node) in model.nodes.iter_mut().enumerate() {
        node.name = format!("/model/model.{index}/conv/Conv");
    }
    model.metadata.class_names = (0..80).map(|class| format!("class number {class}")).collect();
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
