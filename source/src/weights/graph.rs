//! From layers and arrays to the graph that an export of the same network would be.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ylb_zoo::PICTURE;

use super::arrays::{Arrays, Parameters, Reals};
use super::network::{Activation, Kind, Layer, MAX_EXTENT, Network, Op};
use crate::error::{Blame as _, ErrorKind, SourceError};
use crate::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo, element_count};

/// Slope of [`Activation::LeakyRelu`], as YOLOv5 has it.
const SLOPE: f32 = 0.1;

/// Builds the graph: its outputs are the raw heads.
///
/// # Errors
/// If an array is missing or is not what the network needs, or layers do not fit each other.
pub fn build(network: &Network, arrays: &mut dyn Arrays) -> Result<Graph, SourceError> {
    let mut builder = Builder {
        network,
        parameters: Parameters { network, arrays },
        graph: Graph { opset: 17, ..Graph::default() },
        written: HashMap::new(),
    };
    builder.picture()?;
    for layer in network.layers() {
        builder.layer(layer).map_err(|error| error.at(&layer.name, &format!("{:?}", layer.op)))?;
    }
    Ok(builder.graph)
}

/// What a layer writes.
#[derive(Clone, Copy, Debug)]
struct Written {
    tensor: TensorId,
    /// Channels, height, width.
    shape: [usize; 3],
}

struct Builder<'n> {
    network: &'n Network,
    parameters: Parameters<'n>,
    graph: Graph,
    written: HashMap<String, Written>,
}

impl Builder<'_> {
    fn picture(&mut self) -> Result<(), SourceError> {
        let [height, width] = self.network.image_size;
        let shape = Some(vec![1, 3, height, width]);
        let info = TensorInfo { name: "images".into(), shape, ..TensorInfo::default() };
        let tensor = self.graph.add_tensor(info);
        self.graph.inputs.push(tensor);
        let tensor = self.quantizer(PICTURE, tensor, false)?;
        self.written.insert(PICTURE.into(), Written { tensor, shape: [3, height, width] });
        Ok(())
    }

    fn layer(&mut self, layer: &Layer) -> Result<(), SourceError> {
        let mut inputs = Vec::with_capacity(layer.from.len());
        for name in &layer.from {
            // The network was checked: what is read was written, unless it is a head.
            let input = self.written.get(name).copied();
            inputs.push(input.ok_or_else(|| {
                SourceError::malformed(format!("reads \"{name}\", which is not a feature map"))
            })?);
        }
        let (tensor, shape) = match layer.op {
            Op::Detect => return self.detect(layer, &inputs),
            Op::Conv => self.conv(layer, inputs[0])?,
            Op::Add => self.add(layer, &inputs)?,
            Op::Concat => self.concat(layer, &inputs)?,
            Op::MaxPool => self.max_pool(layer, inputs[0])?,
            Op::Upsample => self.upsample(layer, inputs[0])?,
        };
        if let Some(extent) = shape.into_iter().find(|&extent| extent > MAX_EXTENT) {
            let message = format!("a shape of {shape:?}: {extent} is more than {MAX_EXTENT}");
            return Err(SourceError::new(ErrorKind::TooLarge, message));
        }
        let tensor = self.quantizer(&layer.name, tensor, layer.op == Op::Conv)?;
        self.written.insert(layer.name.clone(), Written { tensor, shape });
        Ok(())
    }

    /// Appends the quantizer of a layer's output, if it has one.
    fn quantizer(&mut self, name: &str, input: TensorId, required: bool) -> Result<TensorId, SourceError> {
        let Some((scale, zero_point)) = self.parameters.activations(name, required)? else {
            return Ok(input);
        };
        let codes = self.network.activations(name);
        let scale = self.constant(Tensor::f32(&[], vec![scale])?);
        let mut inputs = vec![input, scale];
        let mut attributes = Vec::new();
        let op_type = match codes.kind {
            Kind::Bipolar => "BipolarQuant",
            Kind::Signed | Kind::Unsigned => {
                for number in [zero_point, codes.bits as f32] {
                    inputs.push(self.constant(Tensor::f32(&[], vec![number])?));
                }
                attributes.push(("signed", Attribute::Int((codes.kind == Kind::Signed).into())));
                "Quant"
            }
        };
        // The tensor of the codes has the layer's name.
        Ok(self.node(name, name, (Domain::Qonnx, op_type), &inputs, attributes))
    }

    fn conv(&mut self, layer: &Layer, input: Written) -> Result<(TensorId, [usize; 3]), SourceError> {
        let (channels, kernel) = (layer.channels.unwrap_or(1), layer.kernel.unwrap_or(1));
        let groups = layer.groups.unwrap_or(1);
        if !channels.is_multiple_of(groups) || !input.shape[0].is_multiple_of(groups) {
            return Err(SourceError::malformed(format!(
                "{groups} groups of {} input and {channels} output channels; expected a divisor of both",
                input.shape[0]
            )));
        }
        let weights = self.weights(&layer.name, [channels, input.shape[0] / groups, kernel, kernel])?;
        let shape = window(layer, input.shape, channels)?;
        let mut inputs = vec![input.tensor, weights];
        let name = layer.name.as_str();
        let multiplier = self.parameters.reals(name, "multiplier", channels)?;
        let bias = self.parameters.reals(name, "bias", channels)?;
        let by_channel = |reals: Reals| reals.into_tensor(&[1, channels, 1, 1]);
        let (mut after, mut normalization) = (Vec::new(), Vec::new());
        match (multiplier, bias) {
            (Some(multiplier), bias) => {
                after.push(("Mul", by_channel(multiplier)?));
                if let Some(bias) = bias {
                    after.push(("Add", by_channel(bias)?));
                }
            }
            (None, Some(bias)) => inputs.push(self.constant(bias.into_tensor(&[channels])?)),
            (None, None) => {}
        }
        for parameter in self.parameters.normalization(name, channels)?.into_iter().flatten() {
            normalization.push(self.constant(parameter.into_tensor(&[channels])?));
        }
        if !after.is_empty() && !normalization.is_empty() {
            return Err(SourceError::malformed(format!(
                "{name}.multiplier.npy and {name}.bn_gamma.npy: expected one of them"
            )));
        }
        let mut attributes = window_attributes(layer);
        attributes.push(("group", Attribute::Int(groups as i64)));
        let mut last = self.node(name, &format!("{name}/conv"), (Domain::Onnx, "Conv"), &inputs, attributes);
        for (op_type, constant) in after {
            let constant = self.constant(constant);
            last = self.simple(name, op_type, &[last, constant]);
        }
        if !normalization.is_empty() {
            let inputs = [&[last][..], &normalization].concat();
            let epsilon = vec![("epsilon", Attribute::Float(self.network.bn_epsilon))];
            let output = format!("{name}/bn");
            last = self.node(name, &output, (Domain::Onnx, "BatchNormalization"), &inputs, epsilon);
        }
        Ok((self.activation(name, last)?, shape))
    }

    fn activation(&mut self, name: &str, x: TensorId) -> Result<TensorId, SourceError> {
        Ok(match self.network.activation(name) {
            Activation::None => x,
            Activation::Relu => self.simple(name, "Relu", &[x]),
            Activation::Relu6 => {
                let low = self.constant(Tensor::f32(&[], vec![0.0])?);
                let high = self.constant(Tensor::f32(&[], vec![6.0])?);
                self.simple(name, "Clip", &[x, low, high])
            }
            Activation::LeakyRelu => {
                let slope = vec![("alpha", Attribute::Float(SLOPE))];
                self.node(name, &format!("{name}/act"), (Domain::Onnx, "LeakyRelu"), &[x], slope)
            }
            Activation::Silu => {
                let sigmoid = self.simple(name, "Sigmoid", &[x]);
                self.simple(name, "Mul", &[x, sigmoid])
            }
            Activation::Hardswish => self.simple(name, "HardSwish", &[x]),
            Activation::Mish => self.simple(name, "Mish", &[x]),
        })
    }

    fn add(&mut self, layer: &Layer, inputs: &[Written]) -> Result<(TensorId, [usize; 3]), SourceError> {
        if let Some(other) = inputs.iter().find(|input| input.shape != inputs[0].shape) {
            return Err(SourceError::malformed(format!(
                "adds shapes {:?} and {:?}; expected equal shapes",
                inputs[0].shape, other.shape
            )));
        }
        let mut sum = inputs[0].tensor;
        for input in &inputs[1..] {
            sum = self.simple(&layer.name, "Add", &[sum, input.tensor]);
        }
        Ok((sum, inputs[0].shape))
    }

    fn concat(&mut self, layer: &Layer, inputs: &[Written]) -> Result<(TensorId, [usize; 3]), SourceError> {
        let [_, height, width] = inputs[0].shape;
        if let Some(other) = inputs.iter().find(|input| input.shape[1..] != [height, width]) {
            return Err(SourceError::malformed(format!(
                "joins shapes {:?} and {:?}; expected equal heights and widths",
                inputs[0].shape, other.shape
            )));
        }
        let tensors: Vec<TensorId> = inputs.iter().map(|input| input.tensor).collect();
        let channels = inputs.iter().map(|input| input.shape[0]).sum();
        let axis = vec![("axis", Attribute::Int(1))];
        let name = layer.name.as_str();
        let joined = self.node(name, &format!("{name}/concat"), (Domain::Onnx, "Concat"), &tensors, axis);
        Ok((joined, [channels, height, width]))
    }

    fn max_pool(&mut self, layer: &Layer, input: Written) -> Result<(TensorId, [usize; 3]), SourceError> {
        let shape = window(layer, input.shape, input.shape[0])?;
        let (name, kernel) = (layer.name.as_str(), layer.kernel.unwrap_or(1) as i64);
        let mut attributes = window_attributes(layer);
        attributes.push(("kernel_shape", Attribute::Ints(vec![kernel; 2])));
        let output = format!("{name}/pool");
        Ok((self.node(name, &output, (Domain::Onnx, "MaxPool"), &[input.tensor], attributes), shape))
    }

    fn upsample(&mut self, layer: &Layer, input: Written) -> Result<(TensorId, [usize; 3]), SourceError> {
        let (name, factor) = (layer.name.as_str(), layer.factor.unwrap_or(1));
        let [channels, height, width] = input.shape;
        let no_roi = self.constant(Tensor::f32(&[0], Vec::new())?);
        let repeated = factor as f32;
        let scales = self.constant(Tensor::f32(&[4], vec![1.0, 1.0, repeated, repeated])?);
        let text = |text: &str| Attribute::Text(text.into());
        let attributes =
            vec![("coordinate_transformation_mode", text("asymmetric")), ("nearest_mode", text("floor"))];
        let inputs = [input.tensor, no_roi, scales];
        let output =
            self.node(name, &format!("{name}/resize"), (Domain::Onnx, "Resize"), &inputs, attributes);
        Ok((output, [channels, height * factor, width * factor]))
    }

    fn detect(&mut self, layer: &Layer, inputs: &[Written]) -> Result<(), SourceError> {
        for (index, (input, anchors)) in inputs.iter().zip(&self.network.anchors).enumerate() {
            let name = format!("{}.{index}", layer.name);
            let channels = anchors.len() * (5 + self.network.names.len());
            let weights = self.weights(&name, [channels, input.shape[0], 1, 1])?;
            let mut operands = vec![input.tensor, weights];
            if let Some(bias) = self.parameters.reals(&name, "bias", channels)? {
                operands.push(self.constant(bias.into_tensor(&[channels])?));
            }
            let conv = format!("{name}/conv");
            let head = self.node(&name, &conv, (Domain::Onnx, "Conv"), &operands, Vec::new());
            let output = self.quantizer(&name, head, false)?;
            self.graph.outputs.push(output);
        }
        Ok(())
    }

    fn weights(&mut self, name: &str, shape: [usize; 4]) -> Result<TensorId, SourceError> {
        element_count(&shape)?;
        let (constant, quantized) = self.parameters.weights(name, shape)?;
        let info = TensorInfo {
            name: format!("{name}.weight"),
            shape: Some(shape.to_vec()),
            constant: Some(Arc::new(constant)),
            quantized: Some(Arc::new(quantized)),
        };
        Ok(self.graph.add_tensor(info))
    }

    fn constant(&mut self, tensor: Tensor) -> TensorId {
        let (shape, constant) = (Some(tensor.shape().to_vec()), Some(Arc::new(tensor)));
        self.graph.add_tensor(TensorInfo { name: String::new(), shape, constant, quantized: None })
    }

    fn simple(&mut self, layer: &str, op_type: &str, inputs: &[TensorId]) -> TensorId {
        let output = format!("{layer}/{op_type}{}", self.graph.nodes.len());
        self.node(layer, &output, (Domain::Onnx, op_type), inputs, Vec::new())
    }

    fn node(
        &mut self,
        name: &str,
        output: &str,
        (domain, op_type): (Domain, &str),
        inputs: &[TensorId],
        attributes: Vec<(&str, Attribute)>,
    ) -> TensorId {
        let output = self.graph.add_tensor(TensorInfo { name: output.into(), ..TensorInfo::default() });
        let attributes: BTreeMap<String, Attribute> =
            attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.graph.nodes.push(Node {
            name: name.to_owned(),
            domain,
            op_type: op_type.to_owned(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            attributes,
            quantizer: None,
        });
        output
    }
}

fn padding(layer: &Layer) -> usize {
    layer.padding.unwrap_or(layer.kernel.unwrap_or(1) / 2)
}

fn window_attributes(layer: &Layer) -> Vec<(&'static str, Attribute)> {
    let stride = layer.stride.unwrap_or(1) as i64;
    let padding = padding(layer) as i64;
    vec![("strides", Attribute::Ints(vec![stride; 2])), ("pads", Attribute::Ints(vec![padding; 4]))]
}

/// What a window makes of a shape.
fn window(layer: &Layer, [_, height, width]: [usize; 3], channels: usize) -> Result<[usize; 3], SourceError> {
    let (kernel, stride, padding) = (layer.kernel.unwrap_or(1), layer.stride.unwrap_or(1), padding(layer));
    if padding >= kernel || height + 2 * padding < kernel || width + 2 * padding < kernel {
        return Err(SourceError::malformed(format!(
            "a window of {kernel} with padding {padding} over {height}x{width}; expected less padding than \
             window, and a padded input that is no smaller"
        )));
    }
    let steps = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
    Ok([channels, steps(height), steps(width)])
}
