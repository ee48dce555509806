//! End-to-end exports: boxes are selected in the graph, and cut off in front of that.

use ylb_format::model::OutputKind;

use super::families::{Decode, Rows, anchor_free, flat, parts};
use super::pictures::verdict;
use super::*;
use crate::compare::Verdict;

fn convert(net: &Net) -> Result<Converted, ConvertError> {
    convert_graph(net.builder.graph.clone(), Metadata::default(), &Options::default(), &mut |_| {})
}

fn count(net: &mut Net) -> TensorId {
    net.builder.constant(Tensor::indices(&[300]))
}

/// What YOLOv10 and YOLO26 do: the largest score of each row, the rows of the largest of these.
#[test]
fn rows_of_the_largest_scores_are_all_rows() {
    for bins in [1, 16] {
        let mut net = anchor_free(Decode::Distances { bins }, Rows::Corners, true, false);
        let plain = convert(&net).unwrap();
        let rows = net.builder.graph.outputs[0];
        let number = |net: &mut Net, value: i64| net.builder.constant(Tensor::indices(&[value]));
        let (four, all, axis) = (number(&mut net, 4), number(&mut net, 100), number(&mut net, 2));
        let scores = net.builder.node("Slice", &[rows, four, all, axis], &[]);
        let largest = net.builder.node(
            "ReduceMax",
            &[scores],
            &[("axes", ints(&[2])), ("keepdims", Attribute::Int(0))],
        );
        let count = count(&mut net);
        let selected = net.builder.node("TopK", &[largest, count], &[]);
        let gathered = net.builder.node("GatherElements", &[rows, selected], &[]);
        net.builder.graph.outputs = vec![gathered, selected];
        let converted = convert(&net).unwrap();
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal);
        let kinds = |converted: &Converted| -> Vec<OutputKind> {
            converted.model.outputs.iter().map(|output| output.kind).collect()
        };
        assert_eq!(kinds(&converted), kinds(&plain));
        let said = converted.report.passes.iter().find(|pass| pass.starts_with("selection: ")).unwrap();
        assert!(said.contains("(TopK)"), "{said}");
    }
}

/// Where no known head gives what is selected from, the refusal names the selection, and how heads are taken in place.
#[test]
fn selections_of_something_else_are_refused() {
    let (mut net, maps) = parts(&[4, 3]);
    let flat = [(0, 4), (1, 3)].map(|(index, channels)| flat(&mut net, &maps, index, channels));
    let rows = net.builder.node("Concat", &flat, &[("axis", Attribute::Int(1))]);
    let squares = net.builder.node("Mul", &[rows, rows], &[]);
    let count = count(&mut net);
    let selected = net.builder.node("TopK", &[squares, count], &[]);
    net.builder.graph.outputs = vec![selected];
    let error = convert(&net).unwrap_err().to_string();
    assert!(error.contains("export without it (nms, end2end), or cut it off (--outputs "), "{error}");
    assert!(!error.contains("--anchors"), "{error}");
}
