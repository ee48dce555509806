//! What is refused, and what is warned of.

use super::*;

#[test]
fn floats_between_convolutions_are_refused() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let error = net.refused(conv, 4);
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("Conv")));
    assert!(error.message().contains("expected a quantizer"), "{error}");
}

#[test]
fn unknown_operators_and_wide_codes_are_refused() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let odd = net.builder.node("Erf", &[a], &[]);
    let error = net.refused(odd, 4);
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("Erf")));

    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let wide = net.builder.quant(conv, 0.001, 0.0, 9.0, false);
    let error = net.refused(wide, 4);
    assert!(error.message().contains("at most 8 bits"), "{error}");
}

#[test]
fn relu_before_bipolar_is_warned_of() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let relu = net.builder.node("Relu", &[conv], &[]);
    let scale = net.builder.float(0.7);
    let bipolar = net.builder.node("qonnx::BipolarQuant", &[relu, scale], &[]);
    let head = net.conv(bipolar, [18, 4, 1]);
    let mut graph = net.builder.graph;
    graph.outputs = vec![head];
    passes::constants::run(&mut graph, None).unwrap();
    quantizers::run(&mut graph).unwrap();
    let heads = crate::heads::run(&mut graph, Hints { classes: Some(1), ..Hints::default() }).unwrap();
    passes::prune::run(&mut graph);
    let lowered = run(&graph, &heads, PictureRange::Unit, (None, false), &mut |_, _| {}).unwrap();
    assert_eq!(lowered.warnings.len(), 1);
}

/// A head keeps one accumulator: of several scales their sum in about 30 bits, or on request one of one scale.
#[test]
fn heads_over_several_scales_are_summed() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let head = net.conv(sum, [18, 4, 1]);
    net.builder.graph.outputs = vec![head];
    let convert = |bits: Option<u8>| {
        let class_names = vec!["a".into()];
        let options = crate::Options { class_names, requantize_joins: bits, ..Default::default() };
        crate::pipeline::convert_graph(net.builder.graph.clone(), Metadata::default(), &options, &mut |_| {})
    };
    for bits in [None, Some(16)] {
        assert_eq!(terms(&convert(bits).unwrap().model), [1, 1, 2]);
    }
    assert_eq!(terms(&convert(Some(8)).unwrap().model), [1; 3]);
}
