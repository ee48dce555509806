//! Sums and concats, quantized or not.

use super::*;

#[test]
fn requantized_sums_concats_and_pools() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.2);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let sum = net.builder.quant(sum, 0.27, 0.0, 4.0, false);
    let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
    let joined = net.builder.quant(joined, 0.29, 0.0, 4.0, false);
    let pool = [("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))];
    let pooled = net.builder.node("MaxPool", &[joined], &pool);
    let both = net.builder.node("Concat", &[joined, pooled], &[("axis", Attribute::Int(1))]);
    let small = net.layer(both, [4, 16, 1], 0.4);
    net.check(small, 4);
}

/// Ties of a sum of equal scales alternate between even codes: only thresholds can do that.
#[test]
fn sums_with_ties_become_staircases() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.25);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let sum = net.builder.quant(sum, 0.5, 0.0, 4.0, false);
    let model = net.check(sum, 4);
    let staircase = |node: &model::Node| {
        matches!(&node.operator, Operator::Add { requantize: model::Requantize::ScaledStaircase { .. }, .. })
    };
    assert!(model.nodes.iter().any(staircase));
}

#[test]
fn sums_of_one_scale_need_no_quantizer() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.25);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let last = net.layer(sum, [4, 4, 3], 0.3);
    let model = net.check(last, 4);
    let wide = model.values.iter().filter_map(|value| value.encoding()).any(|e| e.max_level == 30);
    assert!(wide);
}

/// Operands of different scales without a quantizer behind their sum: a convolution of several terms,
/// whose every code is proven.
#[test]
fn sums_and_concats_of_different_scales() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let c = net.layer(sum, [4, 4, 3], 0.187);
    let sum = net.builder.node("Add", &[sum, c], &[]);
    let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
    let last = net.layer(joined, [5, 8, 1], 0.3);
    let model = net.check(last, 5);
    assert_eq!(terms(&model), [1, 1, 2, 3, 1]);
}

/// Requantized joins: eight bits in the place of each sum and concat of different scales.
#[test]
fn joins_are_requantized_on_request() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let c = net.layer(sum, [4, 4, 3], 0.187);
    let joined = net.builder.node("Concat", &[sum, c], &[("axis", Attribute::Int(1))]);
    let last = net.layer(joined, [5, 8, 1], 0.3);
    let head = net.conv(last, [18, 5, 1]);
    let mut graph = net.builder.graph;
    graph.outputs = vec![head];
    passes::constants::run(&mut graph, None).unwrap();
    quantizers::run(&mut graph).unwrap();
    let heads = crate::heads::run(&mut graph, Hints { classes: Some(1), ..Hints::default() }).unwrap();
    passes::prune::run(&mut graph);
    let lowered = run(&graph, &heads, PictureRange::Unit, (Some(8), false), &mut |_, _| {}).unwrap();
    let warnings: Vec<&str> = lowered.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|message| message.contains("requantized to 8 bits")));
    let (model, _) =
        crate::emit::model(lowered, heads, ("images", PictureRange::Unit), Metadata::default()).unwrap();
    assert_eq!(terms(&model), [1; 5]);
    // Eight bits lie close to what they stand for.
    let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
    let execution = reference::execute(&model, &pixels);
    let real = |value: &model::Value, index: usize, element: usize| {
        let code = execution.codes(ValueId(index as u32)).unwrap()[element];
        let encoding = value.encoding().unwrap();
        f64::from(code - encoding.zero_point) * encoding.scale
    };
    let node = |node: &&model::Node| matches!(&node.operator, Operator::Add { .. });
    let add = model.nodes.iter().find(node).unwrap();
    let (output, inputs) = (add.output.0 as usize, add.operator.inputs());
    for element in 0..4 * SIZE * SIZE {
        let addend = |id: &ValueId| real(model.value(*id), id.0 as usize, element);
        let sum: f64 = inputs.iter().map(addend).sum();
        let found = real(&model.values[output], output, element);
        assert!((sum - found).abs() <= 0.51 * model.values[output].encoding().unwrap().scale);
    }
}

/// Activations that are no clamped line need one staircase for all channels.
#[test]
fn silu_behind_different_scales() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let conv = net.conv(sum, [6, 4, 3]);
    let x = net.normalized(conv, 6);
    let sigmoid = net.builder.node("Sigmoid", &[x], &[]);
    let active = net.builder.node("Mul", &[x, sigmoid], &[]);
    let quantized = net.builder.quant(active, 0.05, 0.0, 6.0, true);
    let model = net.check(quantized, 6);
    let shared = |node: &model::Node| match &node.operator {
        Operator::Conv(conv) => {
            conv.terms.len() == 2
                && matches!(conv.requantize, Some(model::Requantize::ScaledStaircase { .. }))
        }
        _ => false,
    };
    assert!(model.nodes.iter().any(shared));
}

/// Scales in small ratios are multiples of one unit: thresholds are as exact as those of one scale.
#[test]
fn scales_of_small_ratios() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.125);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let last = net.layer(sum, [4, 4, 1], 0.5);
    let model = net.check(last, 4);
    assert_eq!(terms(&model), [1, 1, 2, 1]);
}

/// Bipolar codes and their sums: −1, 1 and −2, 0, 2 of one scale, padded with 0.
#[test]
fn bipolar_codes_beside_their_sums() {
    let (mut net, input) = Net::new();
    let scale = net.builder.float(1.0);
    let sign = |net: &mut Net, input: TensorId, shape: [usize; 3]| {
        let conv = net.conv(input, shape);
        let normalized = net.normalized(conv, shape[0]);
        net.builder.node("qonnx::BipolarQuant", &[normalized, scale], &[])
    };
    let a = sign(&mut net, input, [4, 3, 3]);
    let b = sign(&mut net, a, [4, 4, 3]);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
    let last = sign(&mut net, joined, [5, 8, 3]);
    let model = net.check(last, 5);
    assert_eq!(terms(&model), [1, 1, 2, 1]);
}

/// Many scales, and values that range over hundreds of thousands of steps: what the multipliers leave open
/// is told.
#[test]
fn coarse_multipliers_are_told() {
    let (mut net, input) = Net::new();
    let mut sum = net.layer(input, [4, 3, 3], 0.25);
    for scale in [0.31, 0.187, 0.0713] {
        let other = net.layer(input, [4, 3, 3], scale);
        sum = net.builder.node("Add", &[sum, other], &[]);
    }
    let last = net.layer(sum, [4, 4, 3], 0.001);
    let head = net.conv(last, [18, 4, 1]);
    net.builder.graph.outputs = vec![head];
    let options = crate::Options { class_names: vec!["a".into()], ..Default::default() };
    let origin = Metadata::default();
    let report =
        crate::pipeline::convert_graph(net.builder.graph, origin, &options, &mut |_| {}).unwrap().report;
    let told: Vec<&Warning> =
        report.warnings.iter().filter(|w| w.message.contains("31-bit multipliers are coarse")).collect();
    assert_eq!(told.len(), 1, "{:?}", report.warnings);
    let row = report.rows.iter().find(|row| row.node == told[0].node).unwrap();
    assert!(row.tie_bound > 1e-6, "{}", row.tie_bound);
}

/// In 16 bits a join is two values, and a convolution over it has two terms, however many it joins.
#[test]
fn joins_in_16_bits_are_two_bytes() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let conv = net.conv(a, [4, 4, 3]);
    let b = net.builder.quant(conv, 0.31, 0.0, 4.0, true);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let c = net.layer(sum, [4, 4, 3], 0.187);
    let sum = net.builder.node("Add", &[sum, c], &[]);
    let d = net.layer(sum, [4, 4, 3], 0.0913);
    let joined = net.builder.node("Concat", &[sum, d], &[("axis", Attribute::Int(1))]);
    let last = net.layer(joined, [5, 8, 1], 0.3);
    let head = net.conv(last, [18, 5, 1]);
    net.builder.graph.outputs = vec![head];
    let options =
        crate::Options { class_names: vec!["a".into()], requantize_joins: Some(16), ..Default::default() };
    let converted =
        crate::pipeline::convert_graph(net.builder.graph, Metadata::default(), &options, &mut |_| {})
            .unwrap();
    let told = |warning: &&Warning| warning.message.contains("requantized to 16 bits");
    assert_eq!(converted.report.warnings.iter().filter(told).count(), 3);
    let model = converted.model;
    assert_eq!(terms(&model), [1, 1, 2, 2, 2, 1]);
    let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
    let execution = reference::execute(&model, &pixels);
    let real = |id: ValueId, element: usize| {
        let encoding = model.encoding(id);
        f64::from(execution.codes(id).unwrap()[element] - encoding.zero_point) * encoding.scale
    };
    let adds: Vec<&model::Node> =
        model.nodes.iter().filter(|node| matches!(node.operator, Operator::Add { .. })).collect();
    assert_eq!(adds.len() % 2, 0);
    let mut used = std::collections::BTreeSet::new();
    for pair in adds.chunks(2) {
        let (high, low) = (pair[0].output, pair[1].output);
        let step = model.encoding(low).scale;
        for element in (0..4 * SIZE * SIZE).step_by(7) {
            let sum: f64 = pair[0].operator.inputs().into_iter().map(|id| real(id, element)).sum();
            let found = real(high, element) + real(low, element);
            assert!((sum - found).abs() <= 0.51 * step, "{sum} {found} {step}");
            used.insert(execution.codes(low).unwrap()[element]);
        }
    }
    assert!(used.len() > 30, "the lower byte takes {} codes", used.len());
}
