//! Small networks through the whole converter, run and compared with their float graphs.

use ylb_format::model::{MapPart, Metadata, Model, Operator};
use ylb_source::ir::{Attribute, Builder, Graph, Tensor, TensorId};
use ylb_source::picture::PictureRange;
use ylb_source::{Source, interpret};

use crate::pipeline::{convert_graph, run_passes};
use crate::{ConvertError, Converted, ErrorKind, Options, Report, advice, emit, lower, passes, reference};

mod answers;
mod arranged;
mod attention;
mod averages;
mod by_channel;
mod calibrated;
mod channels;
mod conv_sums;
mod curves;
mod damage;
mod dilations;
mod exports;
mod families;
mod few_numbers;
mod float;
mod float_heads;
mod function_sums;
mod gates;
mod gates_and_joins;
mod group_scales;
mod guards;
mod heads;
mod messages;
mod one_accumulator;
mod pad;
mod picture_orders;
mod pictures;
mod placement;
mod rounding;
mod selection;
mod spelling;
mod stems;
mod transposed;
mod weights;

/// Rows and columns of the picture.
const SIZE: usize = 16;

/// A network under construction.
struct Net {
    builder: Builder,
    state: u64,
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

impl Net {
    fn new() -> (Self, TensorId) {
        let (builder, image) = Builder::picture(SIZE, SIZE);
        (Self { builder, state: 5 }, image)
    }

    /// Numbers that look random, from −1 to 1.
    fn numbers(&mut self, len: usize) -> Vec<f32> {
        let mut next = || {
            self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Integers of a range as floats.
    fn integers(&mut self, len: usize, low: i32, high: i32) -> Vec<f32> {
        let count = (high - low + 1) as f32;
        self.numbers(len).into_iter().map(|x| low as f32 + ((x + 1.0) / 2.0 * count).floor()).collect()
    }

    /// The picture in 8 bits.
    fn input(&mut self, image: TensorId) -> TensorId {
        self.builder.quant(image, 1.0 / 255.0, 0.0, 8.0, false)
    }

    /// Weights of 4 bits behind a QONNX quantizer. Their scale is none that makes exact ties.
    fn weights(&mut self, shape: [usize; 4]) -> TensorId {
        let floats = self.numbers(shape.iter().product());
        let floats = self.builder.floats(&shape, &floats);
        self.builder.quant(floats, 0.143_7, 0.0, 4.0, true)
    }

    fn conv(&mut self, input: TensorId, weights: TensorId) -> TensorId {
        let kernel = self.builder.graph.tensor(weights).shape.clone();
        let kernel = kernel.map_or(self.kernel_of(weights), |shape| shape[2]);
        self.builder.node("Conv", &[input, weights], &[("pads", ints(&[(kernel / 2) as i64; 4]))])
    }

    /// Extent of weights that a node makes of an initializer.
    fn kernel_of(&self, weights: TensorId) -> usize {
        let source = self.builder.producer(weights).input(0).unwrap();
        self.builder.graph.tensor(source).shape.as_ref().map_or_else(|| self.kernel_of(source), |s| s[2])
    }

    /// Convolution, ReLU and a 4-bit quantizer.
    fn layer(&mut self, input: TensorId, shape: [usize; 4], scale: f32) -> TensorId {
        let weights = self.weights(shape);
        let conv = self.conv(input, weights);
        let relu = self.builder.node("Relu", &[conv], &[]);
        self.builder.quant(relu, scale, 0.0, 4.0, false)
    }

    /// Adds a head of one class and converts.
    fn convert(&mut self, last: TensorId, channels: usize) -> Result<Converted, ConvertError> {
        let weights = self.weights([18, channels, 1, 1]);
        let head = self.conv(last, weights);
        self.builder.graph.outputs = vec![head];
        let options = Options { class_names: vec!["thing".into()], ..Options::default() };
        convert_graph(self.builder.graph.clone(), Metadata::default(), &options, &mut |_| {})
    }

    /// Converts and compares the head with that of the reference interpreter, which reads the graph as it is.
    fn check_interpreted(&mut self, last: TensorId, channels: usize) -> Converted {
        let converted = self.convert(last, channels).unwrap();
        let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * index * 37 % 251) as u8).collect();
        let found = reference::execute(&converted.model, &pixels).logits(MapPart::default()).to_vec();
        let interpreter = interpret::Interpreter::of_graph(self.builder.graph.clone(), [SIZE; 2]).unwrap();
        let interpreted = interpreter.run(&pixels, &Default::default(), &mut |_, _| {}).unwrap();
        let expected = &interpreted.outputs[0].data;
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        converted
    }

    /// Converts and compares the head with that of the float graph.
    fn check(&mut self, last: TensorId, channels: usize) -> Converted {
        let converted = self.convert(last, channels).unwrap();
        let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * index * 37 % 251) as u8).collect();
        let found = reference::execute(&converted.model, &pixels).logits(MapPart::default()).to_vec();
        let expected = float::output(self.builder.graph.clone(), &pixels);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        converted
    }
}

/// The windows of a model's convolutions as kernel and stride.
fn windows(model: &Model) -> Vec<[u32; 2]> {
    let window = |node: &ylb_format::model::Node| match &node.operator {
        Operator::Conv(conv) => Some([conv.window.kernel[0], conv.window.stride[0]]),
        _ => None,
    };
    model.nodes.iter().filter_map(window).collect()
}
