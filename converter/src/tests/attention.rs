//! Self-attention: through the whole converter, beside the interpreter.

use ylb_format::model::{Node, Operator};
use ylb_source::ir::TensorInfo;

use super::*;
use crate::compare::Verdict;

/// Positions of a map of 4×4.
const POSITIONS: i64 = 16;

impl Net {
    /// A map of 4×4 positions, quantized with signs.
    fn tokens(&mut self, input: TensorId, shape: [usize; 4], scale: f32) -> TensorId {
        let weights = self.weights(shape);
        let conv = self.conv(input, weights);
        self.builder.quant(conv, scale, 0.0, 4.0, true)
    }

    fn small(&mut self, image: TensorId, channels: usize) -> TensorId {
        let input = self.input(image);
        let map = self.layer(input, [channels, 3, 3, 3], 0.21);
        let window = [("kernel_shape", ints(&[4, 4])), ("strides", ints(&[4, 4]))];
        self.builder.node("MaxPool", &[map], &window)
    }

    fn in_extents(&mut self, input: TensorId, shape: &[i64]) -> TensorId {
        let shape = self.builder.constant(Tensor::indices(shape));
        self.builder.node("Reshape", &[input, shape], &[])
    }

    fn turned(&mut self, input: TensorId, order: &[i64]) -> TensorId {
        self.builder.node("Transpose", &[input], &[("perm", ints(order))])
    }

    fn split(&mut self, input: TensorId, sizes: &[i64], axis: i64) -> Vec<TensorId> {
        let sizes_tensor = self.builder.constant(Tensor::indices(sizes));
        let first = self.builder.node("Split", &[input, sizes_tensor], &[("axis", Attribute::Int(axis))]);
        let mut parts = vec![first];
        for part in 1..sizes.len() {
            let info = TensorInfo { name: format!("part {part} of {}", first.0), ..TensorInfo::default() };
            let id = self.builder.graph.add_tensor(info);
            self.builder.graph.nodes.last_mut().unwrap().outputs.push(id);
            parts.push(id);
        }
        parts
    }

    fn product(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.builder.node("MatMul", &[a, b], &[])
    }

    /// Shares of logits in 8 bits.
    fn shares(&mut self, logits: TensorId) -> TensorId {
        let factor = self.builder.float(0.577);
        let scaled = self.builder.node("Mul", &[logits, factor], &[]);
        let codes = self.builder.quant(scaled, 0.043, 0.0, 8.0, true);
        let softmax = self.builder.node("Softmax", &[codes], &[("axis", Attribute::Int(-1))]);
        self.builder.quant(softmax, 1.0 / 255.0, 0.0, 8.0, false)
    }

    /// What comes out, beside what went in, as the head of a detector.
    fn finished(mut self, attended: TensorId, map: TensorId, channels: usize) -> Converted {
        let codes = self.builder.quant(attended, 0.037, 0.0, 5.0, true);
        let sum = self.builder.node("Add", &[codes, map], &[]);
        let last = self.builder.quant(sum, 0.2, 0.0, 4.0, false);
        let converted = self.check_interpreted(last, channels);
        assert_eq!(pictures::verdict(&self, &converted.model), Verdict::Equal);
        converted
    }
}

fn count(converted: &Converted, name: &str) -> usize {
    converted.model.nodes.iter().filter(|node| node.operator.name() == name).count()
}

/// YOLO11: heads that hold their queries, keys and values one after another, and a convolution of the values.
#[test]
fn queries_keys_and_values() {
    for scaled_first in [false, true] {
        let (mut net, image) = Net::new();
        let map = net.small(image, 6);
        let qkv = net.tokens(map, [12, 6, 1, 1], 0.11);
        let heads = net.in_extents(qkv, &[1, 2, 6, POSITIONS]);
        let parts = net.split(heads, &[1, 2, 3], 2);
        let [query, key, value] = [parts[0], parts[1], parts[2]];
        let key = {
            let first = net.split(key, &[1, 1], 2);
            first[1]
        };
        let mut query = net.turned(query, &[0, 1, 3, 2]);
        if scaled_first {
            let factor = net.builder.float(0.5);
            query = net.builder.node("Mul", &[query, factor], &[]);
        }
        let logits = net.product(query, key);
        let shares = net.shares(logits);
        let shares = net.turned(shares, &[0, 1, 3, 2]);
        let attended = net.product(value, shares);
        let attended = net.in_extents(attended, &[1, 6, 4, 4]);
        let value = net.in_extents(value, &[1, 6, 4, 4]);
        let weights = net.weights([6, 1, 3, 3]);
        let window = [("pads", ints(&[1; 4])), ("group", Attribute::Int(6))];
        let place = net.builder.node("Conv", &[value, weights], &window);
        let place = net.builder.quant(place, 0.09, 0.0, 4.0, true);
        let codes = net.builder.quant(attended, 0.041, 0.0, 6.0, true);
        let sum = net.builder.node("Add", &[codes, place], &[]);
        let converted = net.finished(sum, map, 6);
        assert_eq!((count(&converted, "MatMul"), count(&converted, "Softmax")), (2, 1));
    }
}

/// YOLO12's area attention: positions in two areas of 8, before the two heads.
fn by_area(areas: [i64; 2]) -> (Net, TensorId, TensorId) {
    let (mut net, image) = Net::new();
    let map = net.small(image, 6);
    let qkv = net.tokens(map, [12, 6, 1, 1], 0.11);
    let flat = net.in_extents(qkv, &[1, 12, POSITIONS]);
    let tokens = net.turned(flat, &[0, 2, 1]);
    let [count, each] = areas;
    let tokens = net.in_extents(tokens, &[count, each, 2, 6]);
    let heads = net.turned(tokens, &[0, 2, 3, 1]);
    let parts = net.split(heads, &[2, 2, 2], 2);
    let query = net.turned(parts[0], &[0, 1, 3, 2]);
    let logits = net.product(query, parts[1]);
    let shares = net.shares(logits);
    let shares = net.turned(shares, &[0, 1, 3, 2]);
    let attended = net.product(parts[2], shares);
    let attended = net.turned(attended, &[0, 3, 1, 2]);
    let attended = net.in_extents(attended, &[1, 4, 4, 4]);
    let attended = net.turned(attended, &[0, 3, 1, 2]);
    (net, attended, map)
}

#[test]
fn areas_attend_to_themselves() {
    for count in [1, 2, 4, 8] {
        let (mut net, attended, map) = by_area([count, POSITIONS / count]);
        let codes = net.builder.quant(attended, 0.041, 0.0, 6.0, true);
        let weights = net.weights([6, 4, 1, 1]);
        let out = net.conv(codes, weights);
        let converted = net.finished(out, map, 6);
        assert_eq!(areas_of(&converted), [count as u32; 2]);
    }
}

/// Of each product of matrices.
fn areas_of(converted: &Converted) -> Vec<u32> {
    let areas = |node: &Node| match node.operator {
        Operator::MatMul { areas, .. } => Some(areas),
        _ => None,
    };
    converted.model.nodes.iter().filter_map(areas).collect()
}

/// Tokens as rows, as transformers have them: queries and keys of layers of their own, shares times values.
#[test]
fn one_head_of_rows() {
    let (mut net, image) = Net::new();
    let map = net.small(image, 6);
    let [query, key, value] = [0.13, 0.11, 0.12].map(|scale| {
        let tokens = net.tokens(map, [6, 6, 1, 1], scale);
        let flat = net.in_extents(tokens, &[1, 6, POSITIONS]);
        net.turned(flat, &[0, 2, 1])
    });
    let key = net.turned(key, &[0, 2, 1]);
    let logits = net.product(query, key);
    let shares = net.shares(logits);
    let attended = net.product(shares, value);
    let attended = net.turned(attended, &[0, 2, 1]);
    let attended = net.in_extents(attended, &[1, 6, 4, 4]);
    let converted = net.finished(attended, map, 6);
    assert_eq!((count(&converted, "MatMul"), count(&converted, "Softmax")), (2, 1));
}

/// Logits of two tokens, and what is done with them before the next product.
fn with_shares(between: fn(&mut Net, TensorId) -> TensorId) -> ConvertError {
    let (mut net, image) = Net::new();
    let map = net.small(image, 6);
    let tokens = net.tokens(map, [6, 6, 1, 1], 0.11);
    let columns = net.in_extents(tokens, &[1, 6, POSITIONS]);
    let rows = net.turned(columns, &[0, 2, 1]);
    let logits = net.product(rows, columns);
    let shares = between(&mut net, logits);
    let attended = net.product(shares, rows);
    let attended = net.turned(attended, &[0, 2, 1]);
    let attended = net.in_extents(attended, &[1, 6, 4, 4]);
    let last = net.builder.quant(attended, 0.037, 0.0, 5.0, true);
    net.convert(last, 6).unwrap_err()
}

#[test]
fn shares_without_a_quantizer_are_refused() {
    let error = with_shares(|net, logits| {
        let codes = net.builder.quant(logits, 0.043, 0.0, 8.0, true);
        net.builder.node("Softmax", &[codes], &[("axis", Attribute::Int(-1))])
    });
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("MatMul")), "{error}");
    let error =
        with_shares(|net, logits| net.builder.node("Softmax", &[logits], &[("axis", Attribute::Int(-1))]));
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("Softmax")), "{error}");
}

/// A number for each position that is looked at has no place in a table for all.
#[test]
fn functions_by_channel_of_products_are_refused() {
    let error = with_shares(|net, logits| {
        let numbers = net.numbers(POSITIONS as usize);
        let numbers = net.builder.floats(&[1, 1, POSITIONS as usize], &numbers);
        let sum = net.builder.node("Add", &[logits, numbers], &[]);
        net.shares(sum)
    });
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
