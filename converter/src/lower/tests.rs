//! Small networks lowered and run, against their float graph computed with plain loops.

use ylb_format::model::{MapPart, Metadata, Model, Operator};

use super::*;
use crate::error::ErrorKind;
use crate::heads::Hints;
use crate::passes;
use crate::reference;

mod float;
mod joins;
mod layers;
mod products;
mod refusals;
mod scales;
mod slices;

use float::float_codes;
use ylb_source::ir::Builder;
use ylb_source::ir::{Attribute, Graph, Tensor};
use ylb_source::quantizer::Quantizer;

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

const SIZE: usize = 8;

/// The usual parts of a network, in a graph under construction.
struct Net {
    builder: Builder,
    random: Random,
}

impl Net {
    fn new() -> (Self, TensorId) {
        let (builder, image) = Builder::picture(SIZE, SIZE);
        let mut net = Self { builder, random: Random(3) };
        let input = net.builder.quant(image, 1.0 / 255.0, 0.0, 8.0, false);
        (net, input)
    }

    /// A convolution of 4-bit weights with one scale a channel.
    fn conv(&mut self, input: TensorId, [outputs, inputs, kernel]: [usize; 3]) -> TensorId {
        let shape = [outputs, inputs, kernel, kernel];
        let weights = self.random.numbers(shape.iter().product());
        let weights = self.builder.floats(&shape, &weights);
        let scales: Vec<f32> = self.random.numbers(outputs).into_iter().map(|x| 0.15 + 0.05 * x).collect();
        let scale = self.builder.floats(&[outputs, 1, 1, 1], &scales);
        let (zero, bits) = (self.builder.float(0.0), self.builder.float(4.0));
        let weights = self.builder.node("qonnx::Quant", &[weights, scale, zero, bits], &[]);
        self.conv_of(input, weights, kernel)
    }

    fn conv_of(&mut self, input: TensorId, weights: TensorId, kernel: usize) -> TensorId {
        let pads = ints(&[(kernel / 2) as i64; 4]);
        self.builder.node("Conv", &[input, weights], &[("pads", pads)])
    }

    /// Batch normalization, some gammas negative and the last one zero.
    fn normalized(&mut self, input: TensorId, channels: usize) -> TensorId {
        let mut gamma = self.random.numbers(channels);
        gamma[channels - 1] = 0.0;
        let beta = self.random.numbers(channels);
        let mean = self.random.numbers(channels);
        let variance: Vec<f32> = self.random.numbers(channels).into_iter().map(|x| 1.2 + x).collect();
        let parameters =
            [gamma, beta, mean, variance].map(|numbers| self.builder.floats(&[channels], &numbers));
        let inputs = [&[input][..], &parameters].concat();
        self.builder.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Float(1e-3))])
    }

    fn layer(&mut self, input: TensorId, shape: [usize; 3], scale: f32) -> TensorId {
        let conv = self.conv(input, shape);
        let normalized = self.normalized(conv, shape[0]);
        let relu = self.builder.node("Relu", &[normalized], &[]);
        self.builder.quant(relu, scale, 0.0, 4.0, false)
    }

    /// Lowers the network with a raw head behind `last` and compares every code with the float graph.
    fn check(mut self, last: TensorId, channels: usize) -> Model {
        let head = self.conv(last, [18, channels, 1]);
        self.builder.graph.outputs = vec![head];
        let (model, graph) = converted(self.builder.graph).unwrap();
        let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
        let execution = reference::execute(&model, &pixels);
        let expected = float_codes(&graph, &pixels);
        let mut compared = 0;
        for (index, value) in model.values.iter().enumerate().filter(|(_, v)| !v.name.is_empty()) {
            let codes = execution.codes(ValueId(index as u32)).unwrap();
            let (name, expected) = (&value.name, &expected.codes[&value.name]);
            let codes: Vec<f64> = codes.into_iter().map(f64::from).collect();
            assert_eq!(&codes, expected, "{name}");
            compared += 1;
        }
        assert_eq!(compared, expected.codes.len(), "all quantizers");
        for (found, expected) in execution.logits(MapPart::default()).iter().zip(&expected.output) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        model
    }

    /// Messages of what the user should know.
    fn warnings(mut self, last: TensorId, channels: usize) -> Vec<String> {
        let head = self.conv(last, [18, channels, 1]);
        let mut graph = self.builder.graph;
        graph.outputs = vec![head];
        passes::constants::run(&mut graph, None).unwrap();
        quantizers::run(&mut graph).unwrap();
        let heads = crate::heads::run(&mut graph, Hints { classes: Some(1), ..Hints::default() }).unwrap();
        passes::prune::run(&mut graph);
        let lowered = run(&graph, &heads, PictureRange::Unit, (None, false), &mut |_, _| {}).unwrap();
        lowered.warnings.into_iter().map(|warning| warning.message).collect()
    }

    fn refused(mut self, last: TensorId, channels: usize) -> ConvertError {
        let head = self.conv(last, [18, channels, 1]);
        self.builder.graph.outputs = vec![head];
        converted(self.builder.graph).unwrap_err()
    }
}

fn converted(mut graph: Graph) -> Result<(Model, Graph), ConvertError> {
    passes::constants::run(&mut graph, None)?;
    quantizers::run(&mut graph)?;
    let heads = crate::heads::run(&mut graph, Hints { classes: Some(1), ..Hints::default() })?;
    passes::prune::run(&mut graph);
    let lowered = run(&graph, &heads, PictureRange::Unit, (None, false), &mut |_, _| {})?;
    let (model, rows) =
        crate::emit::model(lowered, heads, ("images", PictureRange::Unit), Metadata::default())?;
    assert_eq!(rows.len(), model.nodes.len());
    Ok((model, graph))
}

/// The number of terms of each convolution.
fn terms(model: &Model) -> Vec<usize> {
    let of_node = |node: &model::Node| match &node.operator {
        Operator::Conv(conv) => Some(conv.terms.len()),
        _ => None,
    };
    model.nodes.iter().filter_map(of_node).collect()
}
