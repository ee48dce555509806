//! Slices, splits and shuffles of channels, however they are written: through the whole converter, beside the interpreter.

use ylb_source::ir::TensorInfo;

use super::*;
use crate::compare::Verdict;

impl Net {
    fn put_together(&mut self, parts: &[TensorId]) -> TensorId {
        self.builder.node("Concat", parts, &[("axis", Attribute::Int(1))])
    }

    fn slice(&mut self, input: TensorId, [start, end, step]: [i64; 3]) -> TensorId {
        let bounds = [start, end, 1, step].map(|bound| self.builder.constant(Tensor::indices(&[bound])));
        self.builder.node("Slice", &[input, bounds[0], bounds[1], bounds[2], bounds[3]], &[])
    }

    /// A channel shuffle in groups.
    fn shuffled(&mut self, input: TensorId, [groups, channels]: [i64; 2]) -> TensorId {
        let size = SIZE as i64;
        let grouped = Tensor::indices(&[1, groups, channels / groups, size, size]);
        let grouped = self.builder.constant(grouped);
        let reshaped = self.builder.node("Reshape", &[input, grouped], &[]);
        let turned = self.builder.node("Transpose", &[reshaped], &[("perm", ints(&[0, 2, 1, 3, 4]))]);
        let whole = self.builder.constant(Tensor::indices(&[1, channels, size, size]));
        self.builder.node("Reshape", &[turned, whole], &[])
    }

    /// A depthwise convolution with a batch normalization and a quantizer.
    fn depthwise(&mut self, input: TensorId, channels: usize, scale: f32) -> TensorId {
        let weights = self.weights([channels, 1, 3, 3]);
        let window = [("pads", ints(&[1; 4])), ("group", Attribute::Int(channels as i64))];
        let conv = self.builder.node("Conv", &[input, weights], &window);
        let factors = self.numbers(channels);
        let factors = self.builder.floats(&[1, channels, 1, 1], &factors);
        let product = self.builder.node("Mul", &[conv, factors], &[]);
        self.builder.quant(product, scale, 0.0, 4.0, true)
    }
}

fn count(converted: &Converted, name: &str) -> usize {
    converted.model.nodes.iter().filter(|node| node.operator.name() == name).count()
}

/// Outputs and codes are what the interpreter finds.
fn check_all(mut net: Net, last: TensorId, channels: usize) -> Converted {
    let converted = net.check_interpreted(last, channels);
    assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
    converted
}

/// C2f of YOLOv8: halves of a quantized convolution, one of which goes through a bottleneck; all are joined.
#[test]
fn halves_of_a_bottleneck() {
    for by_split in [true, false] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let whole = net.layer(input, [8, 3, 3, 3], 0.21);
        let [a, b] = if by_split {
            let sizes = net.builder.constant(Tensor::indices(&[4, 4]));
            let first = net.builder.node("Split", &[whole, sizes], &[("axis", Attribute::Int(1))]);
            let info = TensorInfo { name: "second half".into(), ..TensorInfo::default() };
            let second = net.builder.graph.add_tensor(info);
            net.builder.graph.nodes.last_mut().unwrap().outputs.push(second);
            [first, second]
        } else {
            [net.slice(whole, [0, 4, 1]), net.slice(whole, [4, i64::MAX, 1])]
        };
        let first = net.layer(b, [4, 4, 3, 3], 0.27);
        let sum = net.builder.node("Add", &[b, first], &[]);
        let sum = net.builder.quant(sum, 0.33, 0.0, 4.0, false);
        let joined = net.put_together(&[a, b, sum]);
        let joined = net.builder.quant(joined, 0.37, 0.0, 4.0, false);
        let last = net.layer(joined, [5, 12, 1, 1], 0.3);
        let converted = check_all(net, last, 5);
        assert_eq!(count(&converted, "Slice"), 2);
    }
}

/// Without a quantizer behind the concat both halves are the whole again.
#[test]
fn halves_that_are_joined_are_the_whole() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let whole = net.layer(input, [8, 3, 3, 3], 0.21);
    let [a, b] = [net.slice(whole, [0, 4, 1]), net.slice(whole, [4, 8, 1])];
    let first = net.layer(b, [4, 4, 3, 3], 0.27);
    let joined = net.put_together(&[a, b, first]);
    let last = net.layer(joined, [5, 12, 1, 1], 0.3);
    let converted = check_all(net, last, 5);
    assert_eq!(count(&converted, "Slice"), 1);
}

/// Halves of what is not quantized are convolutions of half the outputs, also behind an activation function.
#[test]
fn halves_of_convolutions() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([8, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let sigmoid = net.builder.node("Sigmoid", &[conv], &[]);
    let silu = net.builder.node("Mul", &[conv, sigmoid], &[]);
    let [a, b] = [net.slice(silu, [0, 3, 1]), net.slice(silu, [3, 8, 1])];
    let a = net.builder.quant(a, 0.21, 0.0, 4.0, true);
    let b = net.builder.quant(b, 0.13, 0.0, 5.0, true);
    let joined = net.put_together(&[b, a]);
    let last = net.layer(joined, [5, 8, 1, 1], 0.3);
    let converted = check_all(net, last, 5);
    assert_eq!(count(&converted, "Slice"), 0);
    assert_eq!(count(&converted, "Conv"), 4);
}

/// Two units of ShuffleNetV2: half of the channels goes through, half through a branch, and the joined ones are shuffled.
#[test]
fn shuffled_halves() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let mut map = net.layer(input, [8, 3, 3, 3], 0.21);
    for unit in 0..3 {
        let [a, b] = [net.slice(map, [0, 4, 1]), net.slice(map, [4, 8, 1])];
        let first = net.layer(b, [4, 4, 1, 1], 0.27 + 0.01 * unit as f32);
        let deep = net.depthwise(first, 4, 0.12);
        let second = net.layer(deep, [4, 4, 1, 1], 0.21);
        let joined = net.put_together(&[a, second]);
        map = net.shuffled(joined, [2, 8]);
    }
    let deep = net.depthwise(map, 8, 0.09);
    let pooled =
        net.builder.node("MaxPool", &[deep], &[("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))]);
    let last = net.layer(pooled, [5, 8, 3, 3], 0.3);
    check_all(net, last, 5);
}

/// Functions by channel, and sums of tensors in the same order and in different ones.
#[test]
fn shuffles_before_functions_by_channel() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let shuffled = net.shuffled(map, [3, 6]);
    let other = net.shuffled(map, [3, 6]);
    let slopes = net.numbers(6);
    let slopes = net.builder.floats(&[6, 1, 1], &slopes);
    let sum = net.builder.node("Add", &[shuffled, other], &[]);
    let scaled = net.builder.node("Mul", &[sum, slopes], &[]);
    let quantized = net.builder.quant(scaled, 0.13, 0.0, 4.0, true);
    let both = net.builder.node("Add", &[quantized, map], &[]);
    let both = net.builder.quant(both, 0.19, 0.0, 4.0, true);
    let last = net.layer(both, [5, 6, 3, 3], 0.3);
    check_all(net, last, 5);
}

/// Channels in any order, by `Gather` and by steps.
#[test]
fn channels_in_any_order() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let order = net.builder.constant(Tensor::indices(&[4, 1, 5, 0]));
    let gathered = net.builder.node("Gather", &[map, order], &[("axis", Attribute::Int(1))]);
    let every_second = net.slice(map, [1, 6, 2]);
    let joined = net.put_together(&[gathered, every_second]);
    let last = net.layer(joined, [5, 7, 3, 3], 0.3);
    check_all(net, last, 5);
}

/// Convolutions in groups read channels in their own order only.
#[test]
fn shuffles_before_groups_take_single_channels() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [8, 3, 3, 3], 0.21);
    let shuffled = net.shuffled(map, [2, 8]);
    let weights = net.weights([4, 4, 3, 3]);
    let window = [("pads", ints(&[1; 4])), ("group", Attribute::Int(2))];
    let conv = net.builder.node("Conv", &[shuffled, weights], &window);
    let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    check_all(net, last, 4);
}

/// Of many channels one value is made, in their order.
#[test]
fn shuffles_of_many_channels_before_groups() {
    for parts in [1, 2] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let mut map = net.layer(input, [80 / parts, 3, 1, 1], 0.21);
        if parts == 2 {
            let other = net.layer(input, [40, 3, 1, 1], 0.21);
            map = net.builder.node("Concat", &[map, other], &[("axis", Attribute::Int(1))]);
        }
        let shuffled = net.shuffled(map, [2, 80]);
        let weights = net.weights([4, 40, 3, 3]);
        let window = [("pads", ints(&[1; 4])), ("group", Attribute::Int(2))];
        let conv = net.builder.node("Conv", &[shuffled, weights], &window);
        let last = net.builder.quant(conv, 0.9, 0.0, 4.0, true);
        check_all(net, last, 4);
    }
}

/// A channel that is taken twice is no channel of the same map.
#[test]
fn repeated_channels_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [4, 3, 3, 3], 0.21);
    let order = net.builder.constant(Tensor::indices(&[1, 1, 2]));
    let gathered = net.builder.node("Gather", &[map, order], &[("axis", Attribute::Int(1))]);
    let last = net.layer(gathered, [4, 3, 1, 1], 0.3);
    let error = net.convert(last, 4).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("Gather")), "{error}");
}

/// PyTorch's `view`, `expand`, `view` in place of an enlargement.
#[test]
fn repeated_pixels_are_an_enlargement() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let half = {
        let weights = net.weights([4, 3, 2, 2]);
        let conv = net.builder.node("Conv", &[input, weights], &[("strides", ints(&[2, 2]))]);
        net.builder.quant(conv, 0.21, 3.0, 4.0, false)
    };
    let half_size = SIZE as i64 / 2;
    let shape = |net: &mut Net, extents: &[i64]| net.builder.constant(Tensor::indices(extents));
    let apart = shape(&mut net, &[1, 4, half_size, 1, half_size, 1]);
    let apart = net.builder.node("Reshape", &[half, apart], &[]);
    let extents = shape(&mut net, &[1, 4, half_size, 2, half_size, 2]);
    let repeated = net.builder.node("Expand", &[apart, extents], &[]);
    let whole = shape(&mut net, &[1, 4, SIZE as i64, SIZE as i64]);
    let whole = net.builder.node("Reshape", &[repeated, whole], &[]);
    let last = net.layer(whole, [5, 4, 3, 3], 0.3);
    let converted = net.check_interpreted(last, 5);
    let enlarges = |node: &ylb_format::model::Node| matches!(node.operator, Operator::Upsample { .. });
    assert!(converted.model.nodes.iter().any(enlarges));
}
