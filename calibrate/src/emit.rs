//! The float graph with quantizers: what a training with quantizers would have exported.
//!
//! ```text
//! weights   codes (int8) ─ [Clip] ─ DequantizeLinear ─► Conv, …          one scale for each output channel
//! a site    QuantizeLinear (uint8) ─ [Clip] ─ DequantizeLinear ─► all that read it
//! ```
//!
//! `Clip` stands where codes have less than 8 bits. Powers of two, which no quantizer makes, are found by comparison:
//!
//! ```text
//! a site    y = −2·s;  y = Where(x > −1.5·s, −s, y);  y = Where(x > −0.5·s, 0, y);  …
//! ```
//! Everything else is as it was: functions, joins, and the decode of the boxes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ylb_source::SourceError;
use ylb_source::ir::{Attribute, Domain, ElementType, Graph, Node, Tensor, TensorId, TensorInfo};

use crate::grid::Grid;
use crate::structure::is_quantizer;
use crate::weights::Weights;

/// The operator set from which on `DequantizeLinear` has scales for each channel; before it, the same operator of
/// `com.microsoft` has.
const BY_CHANNEL_SINCE: i64 = 13;

/// Builds the graph. Weights and biases, of those that get new ones, are by the tensor that a convolution writes, grids by the tensor
/// that is quantized.
///
/// # Errors
/// If numbers do not fit their shapes.
pub fn graph(
    source: &Graph,
    weights: &BTreeMap<TensorId, Weights>,
    biases: &BTreeMap<TensorId, Vec<f32>>,
    grids: &BTreeMap<TensorId, Grid>,
) -> Result<Graph, SourceError> {
    let names = source.tensors.iter().chain([&TensorInfo::default()]).map(|info| info.name.clone()).collect();
    let mut emitter = Emitter { graph: source.clone(), names, quantized: BTreeMap::new() };
    let nodes = std::mem::take(&mut emitter.graph.nodes);
    let is_free = |id: &&TensorId| {
        source.nodes.iter().any(|node| node.inputs.contains(&Some(**id)) && !is_quantizer(node))
    };
    for &input in source.inputs.iter().filter(|id| grids.contains_key(id)).filter(is_free) {
        emitter.site(input, grids[&input])?;
    }
    for node in nodes {
        let mut node = emitter.rewired(node);
        if let Some(own) = node.outputs.first().and_then(|output| weights.get(output)) {
            emitter.weights(&mut node, own)?;
        }
        let own = node.outputs.first().and_then(|output| weights.get(output)?.bias.as_ref());
        if let Some(bias) = own.or_else(|| biases.get(node.outputs.first()?)) {
            emitter.bias(&mut node, bias)?;
        }
        let sites: Vec<TensorId> = node.outputs.iter().copied().filter(|id| grids.contains_key(id)).collect();
        emitter.graph.nodes.push(node);
        for site in sites {
            emitter.site(site, grids[&site])?;
        }
    }
    Ok(emitter.graph)
}

struct Emitter {
    graph: Graph,
    names: BTreeSet<String>,
    /// What stands for a tensor from its quantizer on.
    quantized: BTreeMap<TensorId, TensorId>,
}

impl Emitter {
    /// A node that reads codes. Quantizers of the file's own read what they read.
    fn rewired(&self, mut node: Node) -> Node {
        if is_quantizer(&node) {
            return node;
        }
        for input in node.inputs.iter_mut().flatten() {
            *input = self.quantized.get(input).copied().unwrap_or(*input);
        }
        node
    }

    fn weights(&mut self, node: &mut Node, weights: &Weights) -> Result<(), SourceError> {
        let Some(float) = node.input(1) else { return Ok(()) };
        let channels = weights.scales.len();
        let name = self.graph.tensor(float).name.clone();
        let name = if name.is_empty() { format!("{}.weight", node.name) } else { name };
        let signed = ElementType::Signed(8);
        let codes = Tensor::integers(&weights.shape, signed, weights.codes.iter().map(|&code| code.into()))?;
        let codes = self.constant(&format!("{name}/codes"), codes);
        let codes = match weights.most {
            127 => codes,
            most => self.clip(&name, codes, signed, [-most, most])?,
        };
        let scales =
            self.constant(&format!("{name}/scale"), Tensor::f32(&[channels], weights.scales.clone())?);
        let zeros = Tensor::integers(&[channels], signed, vec![0; channels].into_iter())?;
        let zeros = self.constant(&format!("{name}/zero_point"), zeros);
        let axis = [("axis".to_owned(), Attribute::Int(weights.axis as i64))].into();
        let quantized =
            self.linear("DequantizeLinear", &format!("{name}/dequantized"), [codes, scales, zeros], axis);
        node.inputs[1] = Some(quantized);
        Ok(())
    }

    fn bias(&mut self, node: &mut Node, bias: &[f32]) -> Result<(), SourceError> {
        let name = self.graph.tensor(node.output()?).name.clone();
        let bias = self.constant(&format!("{name}/bias"), Tensor::f32(&[bias.len()], bias.to_vec())?);
        node.inputs.resize(3, None);
        node.inputs[2] = Some(bias);
        Ok(())
    }

    fn site(&mut self, site: TensorId, grid: Grid) -> Result<(), SourceError> {
        let name = self.graph.tensor(site).name.clone();
        if grid.is_powers {
            return self.powers(site, &name, grid);
        }
        let unsigned = ElementType::Unsigned(8);
        let scale = self.constant(&format!("{name}/scale"), Tensor::f32(&[], vec![grid.scale])?);
        let zero = Tensor::integers(&[], unsigned, [i64::from(grid.zero_point)].into_iter())?;
        let zero = self.constant(&format!("{name}/zero_point"), zero);
        let none = BTreeMap::new;
        let codes = self.linear("QuantizeLinear", &format!("{name}/codes"), [site, scale, zero], none());
        let codes = match grid.top {
            255 => codes,
            top => self.clip(&name, codes, unsigned, [0, top.into()])?,
        };
        let real =
            self.linear("DequantizeLinear", &format!("{name}/quantized"), [codes, scale, zero], none());
        self.quantized.insert(site, real);
        Ok(())
    }

    fn powers(&mut self, site: TensorId, name: &str, grid: Grid) -> Result<(), SourceError> {
        let mut real = None;
        for (threshold, number) in grid.thresholds() {
            let number = self.constant(&format!("{name}/power"), Tensor::f32(&[], vec![number])?);
            let Some(below) = real else {
                real = Some(number);
                continue;
            };
            let threshold = self.constant(&format!("{name}/threshold"), Tensor::f32(&[], vec![threshold])?);
            let node = |emitter: &mut Self, op_type: &str, inputs: &[TensorId]| {
                let name = format!("{name}/{}", op_type.to_lowercase());
                emitter.node(Domain::Onnx, op_type, &name, inputs, BTreeMap::new())
            };
            let above = node(self, "Greater", &[site, threshold]);
            real = Some(node(self, "Where", &[above, number, below]));
        }
        self.quantized.extend(real.map(|real| (site, real)));
        Ok(())
    }

    fn clip(
        &mut self,
        name: &str,
        codes: TensorId,
        element: ElementType,
        bounds: [i32; 2],
    ) -> Result<TensorId, SourceError> {
        let mut inputs = vec![codes];
        for (bound, end) in bounds.into_iter().zip(["low", "high"]) {
            let bound = Tensor::integers(&[], element, [i64::from(bound)].into_iter())?;
            inputs.push(self.constant(&format!("{name}/{end}"), bound));
        }
        Ok(self.node(Domain::Onnx, "Clip", &format!("{name}/clipped"), &inputs, BTreeMap::new()))
    }

    fn linear(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: [TensorId; 3],
        attributes: BTreeMap<String, Attribute>,
    ) -> TensorId {
        let domain = if self.graph.opset < BY_CHANNEL_SINCE { Domain::Microsoft } else { Domain::Onnx };
        self.node(domain, op_type, name, &inputs, attributes)
    }

    fn node(
        &mut self,
        domain: Domain,
        op_type: &str,
        name: &str,
        inputs: &[TensorId],
        attributes: BTreeMap<String, Attribute>,
    ) -> TensorId {
        let name = self.new_name(name);
        let output = self.graph.add_tensor(TensorInfo { name: name.clone(), ..TensorInfo::default() });
        self.graph.nodes.push(Node {
            name,
            domain,
            op_type: op_type.into(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            attributes,
            quantizer: None,
        });
        output
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> TensorId {
        let (name, shape) = (self.new_name(name), Some(tensor.shape().to_vec()));
        self.graph.add_tensor(TensorInfo { name, shape, constant: Some(Arc::new(tensor)), quantized: None })
    }

    /// A name that no tensor has: weights may be read by several convolutions.
    fn new_name(&mut self, name: &str) -> String {
        let mut own = name.to_owned();
        let mut count = 1;
        while !self.names.insert(own.clone()) {
            count += 1;
            own = format!("{name}.{count}");
        }
        own
    }
}
