//! A float graph in 64 bits, with plain loops.

use std::collections::HashMap;

use ylb_source::ir::Node;
use ylb_source::{eval, window};

use super::*;

/// The only output for a picture.
pub fn output(mut graph: Graph, pixels: &[u8]) -> Vec<f64> {
    passes::qoperator::run(&mut graph).unwrap();
    passes::constants::run(&mut graph, None).unwrap();
    passes::quantizers::run(&mut graph).unwrap();
    let picture = pixels.iter().map(|&byte| f64::from(f32::from(byte) / 255.0)).collect();
    let picture = Tensor::f64(&[1, 3, SIZE, SIZE], picture).unwrap();
    let mut values: HashMap<TensorId, Tensor> = HashMap::from([(graph.inputs[0], picture)]);
    for node in graph.nodes.iter().filter(|node| graph.constant(node.outputs[0]).is_none()) {
        let get = |id: &Option<TensorId>| {
            let id = id.unwrap();
            values.get(&id).or_else(|| graph.constant(id).map(AsRef::as_ref)).unwrap().clone()
        };
        let inputs: Vec<Tensor> = node.inputs.iter().map(get).collect();
        let result = match (node.op_type.as_str(), &node.quantizer) {
            (_, Some(quantizer)) => {
                let [scale, zero_point] =
                    [&quantizer.scale, &quantizer.zero_point].map(|n| f64::from(n.values[0]));
                let real = |x: f64| (quantizer.code_f64(x, scale, zero_point) - zero_point) * scale;
                let reals = inputs[0].to_f64().into_iter().map(real).collect();
                Tensor::f64(inputs[0].shape(), reals).unwrap()
            }
            ("Conv" | "MaxPool", _) => windowed(node, &inputs),
            _ => {
                let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Some).collect();
                eval::evaluate(node, &inputs, 17).unwrap().unwrap().remove(0)
            }
        };
        values.insert(node.outputs[0], result);
    }
    values[&graph.outputs[0]].to_f64()
}

/// A convolution of one group, or a pooling.
fn windowed(node: &Node, inputs: &[Tensor]) -> Tensor {
    let x = &inputs[0];
    let [_, channels, height, width] = x.shape()[..] else { panic!() };
    let weights = inputs.get(1);
    let extent = weights.map(|w| [w.shape()[2], w.shape()[3]]);
    let window = window::of_node(node, x.shape(), extent).unwrap();
    let [rows, columns] = window.output_size([height, width]).unwrap();
    let (kernel, stride) = (window.kernel, window.stride);
    let [top, left, ..] = window.padding;
    let outputs = weights.map_or(channels, |w| w.shape()[0]);
    let mut result = Vec::new();
    for (o, y, x0) in
        (0..outputs * rows * columns).map(|k| (k / columns / rows, k / columns % rows, k % columns))
    {
        let mut sum = inputs.get(2).map_or(0.0, |bias| bias.get(o));
        let mut most = f64::NEG_INFINITY;
        for (ky, kx) in (0..kernel[0] * kernel[1]).map(|k| (k / kernel[1], k % kernel[1])) {
            let sy = (y * stride[0] + ky).wrapping_sub(top);
            let sx = (x0 * stride[1] + kx).wrapping_sub(left);
            if sy >= height || sx >= width {
                continue;
            }
            match weights {
                None => most = most.max(x.get((o * height + sy) * width + sx)),
                Some(w) => {
                    for i in 0..channels {
                        let weight = w.get(((o * channels + i) * kernel[0] + ky) * kernel[1] + kx);
                        sum += x.get((i * height + sy) * width + sx) * weight;
                    }
                }
            }
        }
        result.push(if weights.is_some() { sum } else { most });
    }
    Tensor::f64(&[1, outputs, rows, columns], result).unwrap()
}
