//! Activations of few numbers that no quantizer of equal steps makes: powers of two, thresholds.

use super::*;
use crate::compare::Verdict;

impl Net {
    fn of_number(&mut self, op_type: &str, x: TensorId, number: f32) -> TensorId {
        let number = self.builder.float(number);
        self.builder.node(op_type, &[x, number], &[])
    }

    /// `2^k · scale` with `k` from −`deepest` to 0.
    fn log2(&mut self, x: TensorId, scale: f32, deepest: f32, by_exp: bool) -> TensorId {
        let x = self.of_number("Div", x, scale);
        let x = self.of_number("Max", x, 1e-9);
        let log = self.builder.node("Log", &[x], &[]);
        let log = self.of_number("Div", log, std::f32::consts::LN_2);
        let rounded = self.builder.node("Round", &[log], &[]);
        let bounds = [-deepest, 0.0].map(|bound| self.builder.float(bound));
        let exponent = self.builder.node("Clip", &[rounded, bounds[0], bounds[1]], &[]);
        let power = if by_exp {
            let exponent = self.of_number("Mul", exponent, std::f32::consts::LN_2);
            self.builder.node("Exp", &[exponent], &[])
        } else {
            let two = self.builder.float(2.0);
            self.builder.node("Pow", &[two, exponent], &[])
        };
        self.of_number("Mul", power, scale)
    }

    fn active(&mut self, input: TensorId, shape: [usize; 4]) -> TensorId {
        let weights = self.weights(shape);
        let conv = self.conv(input, weights);
        self.builder.node("Relu", &[conv], &[])
    }
}

/// Convolutions, poolings, sums and concats read them as integers.
#[test]
fn powers_of_two_are_a_table() {
    for (deepest, by_exp) in [(7.0, false), (3.0, false), (6.0, true)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let first = net.active(input, [4, 3, 3, 3]);
        let a = net.log2(first, 2.7, deepest, by_exp);
        let second = net.active(a, [4, 4, 3, 3]);
        let b = net.log2(second, 3.1, deepest, by_exp);
        let window = [("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))];
        let pooled = net.builder.node("MaxPool", &[b], &window);
        let sum = net.builder.node("Add", &[a, pooled], &[]);
        let sum = net.log2(sum, 4.3, deepest, by_exp);
        let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
        let last = net.active(joined, [4, 8, 1, 1]);
        let last = net.log2(last, 3.7, deepest, by_exp);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
        let powers: Vec<f64> = (0..=deepest as i32).map(|k| f64::from(k).exp2()).collect();
        let tables = converted.model.nodes.iter().filter_map(|node| match &node.operator {
            Operator::Map { table, .. } => {
                Some(table.iter().map(|&level| f64::from(level)).collect::<Vec<_>>())
            }
            _ => None,
        });
        assert!(tables.into_iter().any(|table| table == powers), "{deepest}");
    }
}

/// A level for 0 beside the powers, and powers of both signs: what was cut apart is one function of one accumulator.
#[test]
fn powers_with_zero_and_with_signs() {
    for signed in [false, true] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let x = net.conv(input, weights);
        let magnitude = net.builder.node("Abs", &[x], &[]);
        let power = net.log2(magnitude, 2.7, 5.0, false);
        let codes = if signed {
            let sign = net.builder.node("Sign", &[x], &[]);
            net.builder.node("Mul", &[sign, power], &[])
        } else {
            let above = net.of_number("Greater", x, 0.07);
            let zero = net.builder.float(0.0);
            net.builder.node("Where", &[above, power, zero], &[])
        };
        let second = net.active(codes, [4, 4, 3, 3]);
        let last = net.log2(second, 3.1, 5.0, false);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal, "{signed}");
    }
}

/// Fifteen bits of powers are more than the format has.
#[test]
fn powers_beyond_8_bits_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let first = net.active(input, [4, 3, 3, 3]);
    let wide = net.log2(first, 2.7, 15.0, false);
    let error = net.convert(wide, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotQuantized);
    assert!(
        error.to_string().contains("(Conv): its input is not quantized: expected a quantizer behind Pow"),
        "{error}"
    );
}

/// Thresholds of a number, and what they make of it.
type Spelling = fn(&mut Net, TensorId, [f32; 3]) -> TensorId;

/// Thresholds that were learned one by one, in two spellings and with equal and other steps.
#[test]
fn thresholds_are_a_staircase() {
    let thresholds = [0.21, 0.55, 1.3];
    let spellings: [Spelling; 4] = [
        |net, x, thresholds| {
            let above = thresholds.map(|threshold| {
                let above = net.of_number("Greater", x, threshold);
                net.builder.node("Cast", &[above], &[("to", Attribute::Int(1))])
            });
            let sum = net.builder.node("Add", &[above[0], above[1]], &[]);
            let sum = net.builder.node("Add", &[sum, above[2]], &[]);
            net.of_number("Mul", sum, 0.43)
        },
        |net, x, thresholds| {
            let mut y = net.builder.float(0.0);
            for (step, threshold) in (1..).zip(thresholds) {
                let above = net.of_number("Greater", x, threshold);
                let level = net.builder.float(step as f32 * 0.5);
                y = net.builder.node("Where", &[above, level, y], &[]);
            }
            y
        },
        // Steps of 1, 3 and 7 units.
        |net, x, thresholds| {
            let mut y = net.builder.float(0.7);
            for (number, threshold) in [0.3, 0.1, 0.0].into_iter().zip(thresholds.into_iter().rev()) {
                let threshold = net.builder.float(threshold);
                let below = net.builder.node("Less", &[x, threshold], &[]);
                let number = net.builder.float(number);
                y = net.builder.node("Where", &[below, number, y], &[]);
            }
            y
        },
        // A straight-through estimator round it.
        |net, x, thresholds| {
            let mut y = net.builder.float(0.0);
            for (step, threshold) in (1..).zip(thresholds) {
                let threshold = net.builder.float(threshold);
                let below = net.builder.node("LessOrEqual", &[x, threshold], &[]);
                let above = net.builder.node("Not", &[below], &[]);
                let level = net.builder.float(step as f32 * 0.5);
                y = net.builder.node("Where", &[above, level, y], &[]);
            }
            let backward = net.of_number("Mul", x, 0.8);
            let sum = net.builder.node("Add", &[y, backward], &[]);
            net.builder.node("Sub", &[sum, backward], &[])
        },
    ];
    for (index, spelling) in spellings.into_iter().enumerate() {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let first = net.active(input, [4, 3, 3, 3]);
        let a = spelling(&mut net, first, thresholds);
        let second = net.active(a, [4, 4, 3, 3]);
        let b = spelling(&mut net, second, thresholds);
        let sum = net.builder.node("Add", &[a, b], &[]);
        let last = spelling(&mut net, sum, [0.35, 0.85, 1.15]);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal, "{index}");
        let bits = converted
            .report
            .rows
            .iter()
            .filter(|row| row.operator == "Conv")
            .filter_map(|row| row.output_bits);
        let expected = if index == 2 { 3 } else { 2 };
        assert!(bits.into_iter().all(|bits| bits == expected), "{index}");
    }
}

/// Numbers that are multiples of no step stay floats, and are refused by who reads them.
#[test]
fn numbers_on_no_grid_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let first = net.active(input, [4, 3, 3, 3]);
    let mut y = net.builder.float(0.0);
    for (number, threshold) in [(0.2973, 0.2), (0.6111, 0.5), (1.3333, 1.0)] {
        let above = net.of_number("Greater", first, threshold);
        let number = net.builder.float(number);
        y = net.builder.node("Where", &[above, number, y], &[]);
    }
    let error = net.convert(y, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotQuantized);
}
