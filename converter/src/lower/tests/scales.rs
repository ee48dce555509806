//! Scales by channel, groups over several scales, and offsets off the grid.

use super::*;

impl Net {
    /// A quantizer with a scale for each channel.
    fn quant_by_channel(&mut self, input: TensorId, scales: &[f32]) -> TensorId {
        let scale = self.builder.floats(&[1, scales.len(), 1, 1], scales);
        let (zero, bits) = (self.builder.float(0.0), self.builder.float(4.0));
        let unsigned = [("signed", Attribute::Int(0))];
        self.builder.node("qonnx::Quant", &[input, scale, zero, bits], &unsigned)
    }

    /// A convolution in groups.
    pub(super) fn grouped(
        &mut self,
        input: TensorId,
        [outputs, inputs, kernel]: [usize; 3],
        groups: usize,
    ) -> TensorId {
        let shape = [outputs, inputs / groups, kernel, kernel];
        let weights = self.random.numbers(shape.iter().product());
        let weights = self.builder.floats(&shape, &weights);
        let weights = self.builder.quant(weights, 0.137, 0.0, 4.0, true);
        let pads = ints(&[(kernel / 2) as i64; 4]);
        let attributes = [("pads", pads), ("group", Attribute::Int(groups as i64))];
        self.builder.node("Conv", &[input, weights], &attributes)
    }

    /// LSQ+: `round(clamp((x − offset) / step, 0, 15)) · step + offset`.
    pub(super) fn lsq_plus(&mut self, input: TensorId, step: f32, offset: f32) -> TensorId {
        let [step, offset, low, high] = [step, offset, 0.0, 15.0].map(|x| self.builder.float(x));
        let shifted = self.builder.node("Sub", &[input, offset], &[]);
        let divided = self.builder.node("Div", &[shifted, step], &[]);
        let clipped = self.builder.node("Clip", &[divided, low, high], &[]);
        let rounded = self.builder.node("Round", &[clipped], &[]);
        let real = self.builder.node("Mul", &[rounded, step], &[]);
        self.builder.node("Add", &[real, offset], &[])
    }

    pub(super) fn concat(&mut self, parts: &[TensorId]) -> TensorId {
        self.builder.node("Concat", parts, &[("axis", Attribute::Int(1))])
    }
}

/// Scales by channel before a depthwise convolution become part of the weights' scales.
#[test]
fn scales_by_channel_before_depthwise_convolutions() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let quantized = net.quant_by_channel(conv, &[0.2, 0.31, 0.12, 0.4]);
    let depthwise = net.grouped(quantized, [8, 4, 3], 4);
    let last = net.builder.quant(depthwise, 0.3, 0.0, 4.0, true);
    let model = net.check(last, 8);
    assert_eq!(terms(&model), [1; 3]);
}

/// Before any other convolution there is an accumulator for each of them.
#[test]
fn scales_by_channel_are_terms() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [5, 3, 3]);
    let quantized = net.quant_by_channel(conv, &[0.2, 0.31, 0.2, 0.17, 0.31]);
    let pool = [("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))];
    let pooled = net.builder.node("MaxPool", &[quantized], &pool);
    let last = net.layer(pooled, [6, 5, 3], 0.3);
    let model = net.check(last, 6);
    assert_eq!(terms(&model), [1, 3, 1]);

    // Up to 64, after which they are refused.
    let by_channel = |channels: usize| {
        let (mut net, input) = Net::new();
        let conv = net.conv(input, [channels, 3, 1]);
        let scales: Vec<f32> = (0..channels).map(|channel| 0.2 + 0.003 * channel as f32).collect();
        let quantized = net.quant_by_channel(conv, &scales);
        (net, quantized)
    };
    for channels in [17, 64] {
        let (mut net, quantized) = by_channel(channels);
        let last = net.layer(quantized, [4, channels, 1], 0.3);
        let model = net.check(last, 4);
        assert_eq!(terms(&model), [1, channels, 1]);
    }
    let (net, quantized) = by_channel(65);
    let error = net.refused(quantized, 65);
    assert_eq!(error.op_type(), Some("Conv"));
    assert!(error.message().contains("65 different scales or ranges; expected at most 64"), "{error}");

    // Weights of −1 and 1 cannot leave a channel out.
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [2, 3, 1]);
    let quantized = net.quant_by_channel(conv, &[0.2, 0.3]);
    let weights = net.random.numbers(3 * 2);
    let weights = net.builder.floats(&[3, 2, 1, 1], &weights);
    let scale = net.builder.float(0.7);
    let weights = net.builder.node("qonnx::BipolarQuant", &[weights, scale], &[]);
    let conv = net.conv_of(quantized, weights, 1);
    let last = net.builder.quant(conv, 0.9, 0.0, 3.0, true);
    let error = net.refused(last, 3);
    assert!(error.message().contains("no code for 0"), "{error}");
}

/// As many scales as YOLOv5x joins, in sums and concats: exact, and warned of.
#[test]
fn many_scales_are_warned_of() {
    let many = || {
        let (mut net, input) = Net::new();
        let mut last = net.layer(input, [3, 3, 3], 0.25);
        let mut parts = vec![last];
        for part in 0..13 {
            let previous = last;
            last = net.layer(last, [3, 3, 1], 0.11 + 0.017 * part as f32);
            // Every third part is a sum.
            let sum = net.builder.node("Add", &[previous, last], &[]);
            parts.push(if part % 3 == 0 { sum } else { last });
        }
        let joined = net.concat(&parts);
        let channels = 3 * parts.len();
        let last = net.layer(joined, [5, channels, 3], 0.3);
        (net, last)
    };
    let (net, last) = many();
    let model = net.check(last, 5);
    assert!(terms(&model).contains(&14), "{:?}", terms(&model));
    let (net, last) = many();
    let warnings = net.warnings(last, 5);
    let warned =
        |warning: &String| warning.contains("14 different scales or ranges: it is computed once for each");
    assert_eq!(warnings.iter().filter(|warning| warned(warning)).count(), 1, "{warnings:?}");
}

/// Groups over a sum of two scales, and over concats whose border lies within a group.
#[test]
fn groups_over_several_scales() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let conv = net.grouped(sum, [6, 4, 3], 2);
    let c = net.builder.quant(conv, 0.3, 0.0, 4.0, false);
    let joined = net.concat(&[c, b]);
    let conv = net.grouped(joined, [4, 10, 3], 2);
    let d = net.builder.quant(conv, 0.27, 0.0, 4.0, false);
    let joined = net.concat(&[d, a, c]);
    let conv = net.grouped(joined, [14, 14, 3], 14);
    let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    let model = net.check(last, 14);
    assert_eq!(terms(&model), [1, 1, 2, 2, 1, 1]);

    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let conv = net.conv(a, [4, 4, 3]);
    let signed = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    let joined = net.concat(&[a, signed]);
    let conv = net.grouped(joined, [4, 8, 3], 2);
    let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    let error = net.refused(last, 4);
    assert_eq!(error.op_type(), Some("Conv"));
    assert!(error.message().contains("different ranges, in 2 groups"), "{error}");
}

/// Offsets that are no whole number of steps: a term over ones says where the picture ends.
#[test]
fn offsets_off_the_grid() {
    for offset in [-1.3, 0.071, -0.02] {
        let (mut net, input) = Net::new();
        let conv = net.conv(input, [4, 3, 3]);
        let a = net.lsq_plus(conv, 0.25, offset);
        let conv = net.conv(a, [5, 4, 3]);
        let b = net.lsq_plus(conv, 0.3, offset / 3.0);
        // Without padding the offset is part of the bias.
        let conv = net.conv(b, [4, 5, 1]);
        let c = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
        let model = net.check(c, 4);
        assert_eq!(terms(&model), [1, 2, 1, 1], "{offset}");
    }
}

#[test]
fn offsets_in_joins_pools_and_groups() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let a = net.lsq_plus(conv, 0.25, -0.9);
    let pool = [("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))];
    let pooled = net.builder.node("MaxPool", &[a], &pool);
    let b = net.layer(pooled, [4, 4, 3], 0.31);
    let joined = net.concat(&[b, pooled]);
    let conv = net.conv(joined, [4, 8, 3]);
    let c = net.lsq_plus(conv, 0.4, -1.7);
    let conv = net.grouped(c, [4, 4, 3], 2);
    let d = net.lsq_plus(conv, 0.2, -0.33);
    let sum = net.builder.node("Add", &[c, d], &[]);
    let conv = net.grouped(sum, [8, 4, 1], 4);
    let last = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    let model = net.check(last, 8);
    assert_eq!(terms(&model), [1, 2, 3, 2, 2, 1]);
}
