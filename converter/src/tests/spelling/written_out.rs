//! Round and clamp in every order, and other spellings of rounding.

use super::*;

type Spelling = fn(&mut Net, TensorId) -> TensorId;

/// What follows a rounding in `spell` until the real number, for codes from 0 to 15, or from −3 to 12 round a zero point.
const CLAMPED: [(&str, Spelling); 8] = [
    ("round, clip", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.one("Round", x);
        let x = net.clip(x, 0.0, 15.0);
        net.with("Mul", x, 0.37)
    }),
    ("round, max, min", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.one("Round", x);
        let x = net.with("Max", x, 0.0);
        let x = net.with("Min", x, 15.0);
        net.with("Mul", x, 0.37)
    }),
    ("round, relu, min", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.one("Round", x);
        let x = net.one("Relu", x);
        let x = net.with("Min", x, 15.0);
        net.with("Mul", x, 0.37)
    }),
    ("zero point before round", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.with("Add", x, 3.0);
        let x = net.one("Round", x);
        let x = net.clip(x, 0.0, 15.0);
        let x = net.with("Sub", x, 3.0);
        net.with("Mul", x, 0.37)
    }),
    ("zero point before clip", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.one("Round", x);
        let x = net.with("Add", x, 3.0);
        let x = net.clip(x, 0.0, 15.0);
        let x = net.with("Sub", x, 3.0);
        net.with("Mul", x, 0.37)
    }),
    ("casts between", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.one("Round", x);
        let x = net.builder.node("Cast", &[x], &[("to", Attribute::Int(6))]);
        let x = net.builder.node("Cast", &[x], &[("to", Attribute::Int(1))]);
        let x = net.clip(x, -8.0, 7.0);
        net.with("Mul", x, 0.37)
    }),
    ("clip, round", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.clip(x, -8.0, 7.0);
        let x = net.one("Round", x);
        net.with("Mul", x, 0.37)
    }),
    ("a scale that is a power of two", |net, x| {
        let x = net.with("Mul", x, 4.0);
        let x = net.one("Round", x);
        let x = net.clip(x, -8.0, 7.0);
        net.with("Mul", x, 0.25)
    }),
];

/// Spellings that compute no quotient by the scale, or round by other operators.
const OTHERS: [(&str, Spelling); 9] = [
    ("factor, round, clip", |net, x| {
        let x = net.with("Mul", x, 2.7);
        let x = net.one("Round", x);
        let x = net.clip(x, 0.0, 15.0);
        net.with("Mul", x, 0.37)
    }),
    ("factor, round, clip, quotient", |net, x| {
        let x = net.with("Mul", x, 2.7);
        let x = net.one("Round", x);
        let x = net.clip(x, 0.0, 15.0);
        net.with("Div", x, 2.7)
    }),
    ("floor, clip", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.with("Add", x, 0.5);
        let x = net.one("Floor", x);
        let x = net.clip(x, 0.0, 15.0);
        net.with("Mul", x, 0.37)
    }),
    ("clip, floor", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.clip(x, 0.0, 15.0);
        let x = net.with("Add", x, 0.5);
        let x = net.one("Floor", x);
        net.with("Mul", x, 0.37)
    }),
    ("ceil, clip", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.with("Sub", x, 0.5);
        let x = net.one("Ceil", x);
        let x = net.clip(x, -8.0, 7.0);
        net.with("Mul", x, 0.37)
    }),
    ("half away from zero, clip", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = by_magnitude(net, x, "Floor", 0.5);
        let x = net.clip(x, -7.0, 7.0);
        net.with("Mul", x, 0.37)
    }),
    ("clip, half away from zero", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.clip(x, -7.0, 7.0);
        let x = by_magnitude(net, x, "Floor", 0.5);
        net.with("Mul", x, 0.37)
    }),
    ("clip, half to zero", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.clip(x, -7.0, 7.0);
        let x = by_magnitude(net, x, "Ceil", -0.5);
        net.with("Mul", x, 0.37)
    }),
    ("half, cast, clip", |net, x| {
        let x = net.with("Div", x, 0.37);
        let x = net.with("Add", x, 0.5);
        let x = net.builder.node("Cast", &[x], &[("to", Attribute::Int(7))]);
        let x = net.builder.node("Cast", &[x], &[("to", Attribute::Int(1))]);
        let x = net.clip(x, 0.0, 15.0);
        net.with("Mul", x, 0.37)
    }),
];

/// `Sign(x) · op(Abs(x) + half)`.
fn by_magnitude(net: &mut Net, x: TensorId, rounding: &str, half: f32) -> TensorId {
    let (sign, magnitude) = (net.one("Sign", x), net.one("Abs", x));
    let shifted = net.with("Add", magnitude, half);
    let rounded = net.one(rounding, shifted);
    net.builder.node("Mul", &[sign, rounded], &[])
}

/// A layer whose output is spelled so, a bit off zero so that sums of floats make no ties.
fn layer(spell: Spelling) -> Converted {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let shifted = net.with("Add", conv, 0.0137);
    let real = spell(&mut net, shifted);
    let converted = net.check_interpreted(real, 4);
    check_codes(&net, &converted);
    converted
}

/// Values that bear the name of a tensor of the export hold its codes.
fn check_codes(net: &Net, converted: &Converted) {
    let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * index * 37 % 251) as u8).collect();
    let execution = reference::execute(&converted.model, &pixels);
    let named = || converted.model.values.iter().filter(|v| !v.name.is_empty() && v.encoding().is_some());
    let names = named().map(|value| value.name.as_str()).collect();
    let interpreter = interpret::Interpreter::of_graph(net.builder.graph.clone(), [SIZE; 2]).unwrap();
    let expected = interpreter.run(&pixels, &names, &mut |_, _| {}).unwrap();
    let mut compared = 0;
    for (index, value) in converted.model.values.iter().enumerate() {
        let Some(expected) = expected.codes.get(&value.name) else { continue };
        let codes = execution.codes(ylb_format::model::ValueId(index as u32)).unwrap();
        assert!(codes.into_iter().map(i32::from).eq(expected.iter().copied()), "{}", value.name);
        compared += 1;
    }
    assert!(compared >= 1, "no value has a name");
}

fn quantizers(converted: &Converted) -> bool {
    converted.report.passes.iter().any(|pass| pass.starts_with("written_out: 1 "))
}

#[test]
fn round_and_clamp_in_any_order_are_one_quantizer() {
    for (what, spell) in CLAMPED {
        let converted = layer(spell);
        assert!(quantizers(&converted), "{what}: {:?}", converted.report.passes);
    }
}

#[test]
fn other_arithmetic_and_roundings_are_exact() {
    for (what, spell) in OTHERS {
        let converted = layer(spell);
        let operators = converted.report.rows.iter().map(|row| row.operator);
        assert!(operators.eq(["Conv", "Conv"]), "{what}: {:?}", converted.report.rows);
    }
}

/// No clamp of integers at all, one to halves, and one of signs that leaves none.
#[test]
fn codes_without_a_clamp_are_refused() {
    let refused: [(&str, Spelling); 3] = [
        ("none", |net, x| {
            let x = net.with("Div", x, 0.001);
            let x = net.one("Round", x);
            net.with("Mul", x, 0.001)
        }),
        ("halves", |net, x| {
            let x = net.with("Div", x, 0.001);
            let x = net.one("Round", x);
            let x = net.clip(x, 0.0, 14.5);
            net.with("Mul", x, 0.001)
        }),
        ("9 bits", |net, x| {
            let x = net.with("Div", x, 0.001);
            let x = net.one("Round", x);
            let x = net.clip(x, 0.0, 511.0);
            net.with("Mul", x, 0.001)
        }),
    ];
    for (what, spell) in refused {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let real = spell(&mut net, conv);
        let error = net.convert(real, 4).unwrap_err().to_string();
        assert!(error.contains("expected at most 8 bits, from a Clip to integers"), "{what}: {error}");
    }
}

#[test]
fn weights_in_every_spelling_are_exact() {
    for (what, spell) in CLAMPED.into_iter().chain(OTHERS) {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let numbers = net.numbers(4 * 27);
        let floats =
            net.builder.floats(&[4, 3, 3, 3], &numbers.iter().map(|x| 2.0 * x).collect::<Vec<f32>>());
        let weights = spell(&mut net, floats);
        let conv = net.builder.node("Conv", &[input, weights], &[("pads", ints(&[1; 4]))]);
        let shifted = net.with("Add", conv, 0.0137);
        let quantized = net.builder.quant(shifted, 0.5, 0.0, 4.0, true);
        let converted = net.check_interpreted(quantized, 4);
        assert!(converted.report.rows[0].weight_bits.is_some_and(|bits| bits <= 5), "{what}");
    }
}

/// A cast to an integer cuts off what is behind the point, it is no copy; one to fewer bits than the codes need is
/// refused.
#[test]
fn casts_to_integers_truncate() {
    for (high, to, fits) in [(15.0, 3, true), (15.0, 6, true), (200.0, 2, true), (200.0, 3, false)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let shifted = net.with("Add", conv, 0.0137);
        let divided = net.with("Div", shifted, 0.037);
        let clipped = net.clip(divided, 0.0, high);
        let cast = net.builder.node("Cast", &[clipped], &[("to", Attribute::Int(to))]);
        let float = net.builder.node("Cast", &[cast], &[("to", Attribute::Int(1))]);
        let real = net.with("Mul", float, 0.037);
        if fits {
            net.check_interpreted(real, 4);
        } else {
            let error = net.convert(real, 4).unwrap_err().to_string();
            assert!(error.contains("to int8, which holds -128 to 127"), "{error}");
        }
    }
}
