//! Rounding modes, and truncation by them.

use ylb_source::quantizer::Rounding;

use super::*;

/// Numbers of a quarter's width round zero, and what each mode makes of them.
const NUMBERS: [f64; 12] = [-2.5, -1.75, -1.5, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 1.5, 1.75, 2.5];
const MODES: [(&str, [i32; 12]); 9] = [
    ("ROUND", [-2, -2, -2, -1, 0, 0, 0, 0, 0, 2, 2, 2]),
    ("HALF_EVEN", [-2, -2, -2, -1, 0, 0, 0, 0, 0, 2, 2, 2]),
    ("FLOOR", [-3, -2, -2, -1, -1, -1, 0, 0, 0, 1, 1, 2]),
    ("CEIL", [-2, -1, -1, 0, 0, 0, 0, 1, 1, 2, 2, 3]),
    ("UP", [-3, -2, -2, -1, -1, -1, 0, 1, 1, 2, 2, 3]),
    ("DOWN", [-2, -1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 2]),
    ("ROUND_TO_ZERO", [-2, -1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 2]),
    ("HALF_UP", [-3, -2, -2, -1, -1, 0, 0, 0, 1, 2, 2, 3]),
    ("HALF_DOWN", [-2, -2, -1, -1, 0, 0, 0, 0, 0, 1, 2, 2]),
];

fn mode_of(name: &str) -> (&'static str, Attribute) {
    ("rounding_mode", Attribute::Text(name.into()))
}

/// By the table, in the converter and in the reference interpreter; in lower case too.
#[test]
fn every_mode_rounds_as_defined() {
    for (name, expected) in MODES {
        for name in [name.to_owned(), name.to_lowercase()] {
            let mode = Rounding::named(&name).unwrap();
            assert_eq!(NUMBERS.map(|x| mode.round(x) as i32), expected, "{name}");
            let mut builder = Builder::picture(1, 1).0;
            let numbers = builder.floats(&[12], &NUMBERS.map(|x| x as f32 * 0.5));
            let parameters = [0.5, 0.0, 4.0].map(|number| builder.float(number));
            let inputs = [numbers, parameters[0], parameters[1], parameters[2]];
            let output = builder.node("qonnx::Quant", &inputs, &[mode_of(&name)]);
            builder.graph.outputs = vec![output];
            let interpreter = interpret::Interpreter::of_graph(builder.graph.clone(), [1, 1]).unwrap();
            let interpreted = interpreter.run(&[0; 3], &Default::default(), &mut |_, _| {}).unwrap();
            let reals = expected.map(|code| f64::from(code) * 0.5);
            assert_eq!(interpreted.outputs[0].data, reals, "{name}");
            // The same of a constant in 32 bits.
            passes::constants::run(&mut builder.graph, None).unwrap();
            let constant = builder.graph.tensor(output).quantized.clone().unwrap();
            assert_eq!(constant.codes, expected, "{name}");
        }
    }
}

/// Bounds of a number give bounds of the integer: staircases are found by that.
#[test]
fn every_mode_is_monotone() {
    for (name, _) in MODES {
        let mode = Rounding::named(name).unwrap();
        let codes: Vec<f64> = (-4000..4000).map(|k| mode.round(f64::from(k) / 1024.0)).collect();
        assert!(codes.is_sorted(), "{name}");
    }
}

/// Weights and activations by each mode, a number of ties among them: a step of the activations is a
/// multiple of what the accumulator counts.
#[test]
fn quantizers_of_every_mode_are_exact() {
    for (name, _) in MODES {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let numbers = net.numbers(4 * 27);
        let floats = net.builder.floats(&[4, 3, 3, 3], &numbers);
        let quantized = |net: &mut Net, x: TensorId, scale: f32, zero: f32, signed: i64| {
            let [scale, zero, bits] = [scale, zero, 4.0].map(|number| net.builder.float(number));
            let attributes = [("signed", Attribute::Int(signed)), mode_of(name)];
            net.builder.node("qonnx::Quant", &[x, scale, zero, bits], &attributes)
        };
        let weights = quantized(&mut net, floats, 0.125, 0.0, 1);
        let conv = net.conv(input, weights);
        let first = quantized(&mut net, conv, 0.5 * 255.0 / 256.0, 3.0, 0);
        let doubled = net.builder.node("Add", &[first, first], &[]);
        let second = quantized(&mut net, doubled, 0.75, 0.0, 1);
        net.check_interpreted(second, 4);
    }
}

#[test]
fn other_modes_are_refused_by_name() {
    for name in ["STOCHASTIC_ROUND", ""] {
        let (mut net, image) = Net::new();
        let parameters = [1.0 / 255.0, 0.0, 8.0].map(|number| net.builder.float(number));
        let inputs = [image, parameters[0], parameters[1], parameters[2]];
        let input = net.builder.node("qonnx::Quant", &inputs, &[mode_of(name)]);
        let layer = net.layer(input, [4, 3, 3, 3], 0.25);
        let error = net.convert(layer, 4).unwrap_err();
        assert!(error.op_type().unwrap().ends_with("Quant"), "{error}");
        assert!(error.to_string().contains(&format!("rounding mode {name}; expected ROUND")), "{error}");
    }
}

/// QONNX's formula gives codes -1 and 0, its own executor -1 and +1.
#[test]
fn signed_quantizers_of_1_bit_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let parameters = [0.25, 0.0, 1.0].map(|number| net.builder.float(number));
    let inputs = [weights, parameters[0], parameters[1], parameters[2]];
    let weights = net.builder.node("qonnx::Quant", &inputs, &[]);
    let conv = net.conv(input, weights);
    let error = net.convert(conv, 4).unwrap_err();
    assert!(error.op_type().unwrap().ends_with("Quant"), "{error}");
    assert!(error.to_string().contains("write BipolarQuant for -1 and +1"), "{error}");
}

fn truncated(net: &mut Net, x: TensorId, numbers: &[f32], attributes: &[(&str, Attribute)]) -> TensorId {
    let mut inputs = vec![x];
    inputs.extend(numbers.iter().map(|&number| net.builder.float(number)));
    net.builder.node("qonnx::Trunc", &inputs, attributes)
}

/// Behind a quantizer of 8 bits, as tools write it: a table from its codes to those of 4 bits.
#[test]
fn truncations_of_codes_are_tables() {
    for (name, _) in MODES {
        for (zero, numbers) in [
            (0.0, &[0.03, 0.0, 8.0, 4.0][..]),
            (16.0, &[0.03, 16.0, 8.0, 4.0]),
            (0.0, &[0.03, 0.0, 8.0, 0.24, 4.0]),
            (40.0, &[0.03, 40.0, 8.0, 0.48, 4.0]),
        ] {
            let (mut net, image) = Net::new();
            let input = net.input(image);
            let weights = net.weights([4, 3, 3, 3]);
            let conv = net.conv(input, weights);
            let codes = net.builder.quant(conv, 0.03, zero, 8.0, false);
            let attributes = [mode_of(name), ("signed", Attribute::Int(0))];
            let truncated = truncated(&mut net, codes, numbers, &attributes);
            let rows = net.check_interpreted(truncated, 4).report.rows;
            let table = rows.iter().find(|row| row.operator == "Map").unwrap();
            // Rounding upwards the first version's codes may reach 16, which takes a bit more.
            assert!((4..=5).contains(&table.output_bits.unwrap()), "{name}: {table:?}");
        }
    }
}

/// Of an accumulator: two roundings, one staircase.
#[test]
fn truncations_of_convolutions_are_staircases() {
    for (name, _) in MODES {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let numbers = [0.011, 0.0, 12.0, 0.35, 4.0];
        let truncated = truncated(&mut net, conv, &numbers, &[mode_of(name)]);
        let rows = net.check_interpreted(truncated, 4).report.rows;
        assert!(rows.iter().all(|row| row.operator == "Conv"), "{name}: {rows:?}");
    }
}

/// Without a clamp the codes of a convolution are as wide as its accumulator.
#[test]
fn truncations_to_more_than_8_bits_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let truncated = truncated(&mut net, conv, &[0.0001, 0.0, 16.0, 15.0], &[]);
    let error = net.convert(truncated, 4).unwrap_err();
    assert_eq!(error.op_type(), Some("qonnx.custom_op.general::Trunc"), "{error}");
    assert!(error.to_string().contains("expected at most 8 bits"), "{error}");
}
