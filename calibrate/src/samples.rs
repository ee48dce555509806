//! A small float detector for tests, with what float exports have: normalizations, SiLU, sums, concats, poolings, dilations.

use ylb_source::ir::{Attribute, Builder, Graph, Tensor, TensorId};

/// Height and width of its pictures.
pub const SIZE: [usize; 2] = [24, 16];

/// Builds the network node by node.
pub struct Sample {
    /// What was built so far.
    pub builder: Builder,
    state: u32,
}

impl Sample {
    fn numbers(&mut self, len: usize, scale: f32) -> Vec<f32> {
        let state = &mut self.state;
        let mut next = || {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..len).map(|_| 2.0 * scale * next()).collect()
    }

    fn ints(values: &[i64]) -> Attribute {
        Attribute::Ints(values.to_vec())
    }

    /// A convolution of `[outputs, inputs of a group, kernel]` with a stride, a dilation and groups, padded to keep the size.
    pub fn conv(
        &mut self,
        x: TensorId,
        shape: [usize; 3],
        [stride, dilation, groups]: [i64; 3],
        bias: bool,
    ) -> TensorId {
        let [outputs, inputs, kernel] = shape;
        let depth = inputs * kernel * kernel;
        let weights = self.numbers(outputs * depth, 1.5 / (depth as f32).sqrt());
        let weights = self.builder.floats(&[outputs, inputs, kernel, kernel], &weights);
        let mut operands = vec![x, weights];
        if bias {
            let bias = self.numbers(outputs, 0.2);
            operands.push(self.builder.floats(&[outputs], &bias));
        }
        let pad = (kernel as i64 - 1) * dilation / 2;
        let attributes = [
            ("strides", Self::ints(&[stride; 2])),
            ("dilations", Self::ints(&[dilation; 2])),
            ("pads", Self::ints(&[pad; 4])),
            ("group", Attribute::Int(groups)),
        ];
        self.builder.node("Conv", &operands, &attributes)
    }

    fn silu(&mut self, x: TensorId) -> TensorId {
        let sigmoid = self.builder.node("Sigmoid", &[x], &[]);
        self.builder.node("Mul", &[x, sigmoid], &[])
    }

    fn normalized(&mut self, x: TensorId, channels: usize) -> TensorId {
        let mut operands = vec![x];
        for (middle, scale) in [(1.0, 0.3), (0.0, 0.2), (0.0, 0.1), (0.8, 0.2)] {
            let numbers: Vec<f32> = self.numbers(channels, scale).iter().map(|x| x + middle).collect();
            operands.push(self.builder.floats(&[channels], &numbers));
        }
        self.builder.node("BatchNormalization", &operands, &[])
    }
}

/// The network: a stem, a normalized layer, a bottleneck with a sum, a pyramid with a concat, a head of 6 channels.
pub fn network() -> Graph {
    let (builder, picture) = Builder::picture(SIZE[0], SIZE[1]);
    let mut net = Sample { builder, state: 5 };
    let stem = net.conv(picture, [8, 3, 3], [2, 1, 1], true);
    let stem = net.silu(stem);
    let before = net.conv(stem, [8, 8, 1], [1, 1, 1], false);
    let before = net.normalized(before, 8);
    let before = net.silu(before);
    let inner = net.conv(before, [8, 8, 3], [1, 1, 1], true);
    let inner = net.silu(inner);
    let sum = net.builder.node("Add", &[before, inner], &[]);
    let grouped = net.conv(sum, [8, 4, 3], [1, 2, 2], true);
    let slope = [("alpha", Attribute::Float(0.1))];
    let grouped = net.builder.node("LeakyRelu", &[grouped], &slope);
    let window = [("kernel_shape", Sample::ints(&[3, 3])), ("pads", Sample::ints(&[1; 4]))];
    let pooled = net.builder.node("MaxPool", &[grouped], &window);
    let down = net.conv(pooled, [8, 8, 3], [2, 1, 1], true);
    let down = net.builder.node("Relu", &[down], &[]);
    let none = net.builder.floats(&[0], &[]);
    let scales = net.builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let nearest = [
        ("coordinate_transformation_mode", Attribute::Text("asymmetric".into())),
        ("nearest_mode", Attribute::Text("floor".into())),
    ];
    let up = net.builder.node("Resize", &[down, none, scales], &nearest);
    let joined = net.builder.node("Concat", &[up, pooled], &[("axis", Attribute::Int(1))]);
    let head = net.conv(joined, [6, 16, 1], [1, 1, 1], true);
    // What is behind the head is no part of it.
    let decoded = net.builder.node("Sigmoid", &[head], &[]);
    net.builder.graph.outputs.push(decoded);
    net.builder.graph
}

/// Enlarged by a transposed convolution, and gated by two linear layers, with weights `[outputs, inputs]` and the other way round.
pub fn linear() -> Graph {
    let (builder, picture) = Builder::picture(SIZE[0], SIZE[1]);
    let mut net = Sample { builder, state: 7 };
    let stem = net.conv(picture, [8, 3, 3], [2, 1, 1], true);
    let stem = net.silu(stem);
    let down = net.conv(stem, [8, 8, 3], [2, 1, 1], true);
    let down = net.builder.node("Relu", &[down], &[]);
    let weights = net.numbers(8 * 6 * 4, 0.4);
    let weights = net.builder.floats(&[8, 6, 2, 2], &weights);
    let twice = [("kernel_shape", Sample::ints(&[2, 2])), ("strides", Sample::ints(&[2, 2]))];
    let up = net.builder.node("ConvTranspose", &[down, weights], &twice);
    let up = net.builder.node("Relu", &[up], &[]);
    let mean = net.builder.node("GlobalAveragePool", &[up], &[]);
    let flat = net.builder.node("Flatten", &[mean], &[]);
    let (first, second) = (net.numbers(4 * 6, 1.0), net.numbers(4 * 6, 1.0));
    let first = net.builder.floats(&[4, 6], &first);
    let squeezed = net.builder.node("Gemm", &[flat, first], &[("transB", Attribute::Int(1))]);
    let squeezed = net.builder.node("Relu", &[squeezed], &[]);
    let second = net.builder.floats(&[4, 6], &second);
    let gate = net.builder.node("MatMul", &[squeezed, second], &[]);
    let gate = net.builder.node("Sigmoid", &[gate], &[]);
    let shape = net.builder.constant(Tensor::indices(&[1, 6, 1, 1]));
    let gate = net.builder.node("Reshape", &[gate, shape], &[]);
    let gated = net.builder.node("Mul", &[up, gate], &[]);
    let head = net.conv(gated, [6, 6, 1], [1, 1, 1], true);
    net.builder.graph.outputs.push(head);
    net.builder.graph
}

/// Five convolutions of 3×3 over 32 channels between a stem and a head: fewer bits are faster there.
pub fn stack() -> Graph {
    let (builder, picture) = Builder::picture(SIZE[0], SIZE[1]);
    let mut net = Sample { builder, state: 11 };
    let stem = net.conv(picture, [32, 3, 3], [2, 1, 1], true);
    let mut last = net.silu(stem);
    for _ in 0..5 {
        last = net.conv(last, [32, 32, 3], [1, 1, 1], true);
        last = net.silu(last);
    }
    let head = net.conv(last, [6, 32, 1], [1, 1, 1], true);
    net.builder.graph.outputs.push(head);
    net.builder.graph
}

/// Pictures with shapes in them.
pub fn pictures(count: usize) -> Vec<Vec<u8>> {
    let [height, width] = SIZE;
    let pixel = |picture: usize, index: usize| {
        let (y, x) = (index / width % height, index % width);
        let wave = (x * (picture + 1) + y * 3 + index / (width * height) * 40) % 61;
        (wave * 4 + (x / 4 + y / 5 + picture) % 2 * 15) as u8
    };
    (0..count).map(|picture| (0..3 * height * width).map(|index| pixel(picture, index)).collect()).collect()
}

/// The graph with another tensor where a constant was.
pub fn with_constant(graph: &mut Graph, id: TensorId, tensor: Tensor) {
    graph.tensors[id.0].constant = Some(tensor.into());
}
