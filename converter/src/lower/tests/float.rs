//! The float graph, in 64 bits and plain loops.

use super::*;

pub struct FloatRun {
    pub codes: std::collections::BTreeMap<String, Vec<f64>>,
    pub output: Vec<f64>,
}

/// The graph in 64-bit floats, with the codes of every activation quantizer.
pub fn float_codes(graph: &Graph, pixels: &[u8]) -> FloatRun {
    let picture = pixels.iter().map(|&byte| f64::from(f32::from(byte) / 255.0)).collect();
    let picture = Tensor::f64(&[1, 3, SIZE, SIZE], picture).unwrap();
    let mut values: HashMap<TensorId, Tensor> = HashMap::from([(graph.inputs[0], picture)]);
    let mut codes = std::collections::BTreeMap::new();
    for node in &graph.nodes {
        let get = |position: usize| {
            let id = node.input(position).unwrap();
            values.get(&id).or_else(|| graph.constant(id).map(AsRef::as_ref)).unwrap().clone()
        };
        let result = match (node.op_type.as_str(), &node.quantizer) {
            (_, Some(quantizer)) => {
                let (own, real) = quantize(quantizer, &get(0));
                codes.insert(quantizer.codes_name.clone(), own);
                real
            }
            ("Conv", _) => float_conv(node, &get(0), &get(1)),
            ("BatchNormalization", _) => {
                let x = get(0);
                let parameters = [1, 2, 3, 4].map(|position| get(position).to_f64());
                let [gamma, beta, mean, variance] = parameters;
                let plane = x.shape()[2] * x.shape()[3];
                let value = |index: usize| {
                    let c = index / plane;
                    let deviation = (variance[c] + f64::from(1e-3f32)).sqrt();
                    (x.get(index) - mean[c]) / deviation * gamma[c] + beta[c]
                };
                Tensor::f64(x.shape(), (0..x.len()).map(value).collect()).unwrap()
            }
            ("MaxPool", _) => float_pool(node, &get(0)),
            _ => {
                let inputs: Vec<Tensor> = (0..node.inputs.len()).map(get).collect();
                let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Some).collect();
                ylb_source::eval::evaluate(node, &inputs, 17).unwrap().unwrap().remove(0)
            }
        };
        if node.op_type == "Round" {
            codes.insert(graph.tensor(node.outputs[0]).name.clone(), result.to_f64());
        }
        values.insert(node.outputs[0], result);
    }
    FloatRun { codes, output: values[&graph.outputs[0]].to_f64() }
}

fn quantize(quantizer: &Quantizer, x: &Tensor) -> (Vec<f64>, Tensor) {
    let zero_point = f64::from(quantizer.zero_point.values[0]);
    let scale = |index: usize| f64::from(quantizer.scale.at(x.shape(), index));
    let code = |index: usize| quantizer.code_f64(x.get(index), scale(index), zero_point);
    let codes: Vec<f64> = (0..x.len()).map(code).collect();
    let real = codes.iter().enumerate().map(|(index, code)| (code - zero_point) * scale(index)).collect();
    (codes, Tensor::f64(x.shape(), real).unwrap())
}

fn float_conv(node: &Node, x: &Tensor, weights: &Tensor) -> Tensor {
    let [_, channels, height, width] = x.shape()[..] else { panic!() };
    let [outputs, inputs, kernel, _] = weights.shape()[..] else { panic!() };
    let group_outputs = outputs * inputs / channels;
    let pad = node.ints("pads").map_or(0, |pads| pads[0] as usize);
    let mut result = Vec::new();
    for o in 0..outputs {
        for (y, x0) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let mut sum = 0.0;
            for i in 0..inputs {
                for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                    let (sy, sx) = ((y + ky).wrapping_sub(pad), (x0 + kx).wrapping_sub(pad));
                    if sy < height && sx < width {
                        let channel = o / group_outputs * inputs + i;
                        sum += x.get((channel * height + sy) * width + sx)
                            * weights.get(((o * inputs + i) * kernel + ky) * kernel + kx);
                    }
                }
            }
            result.push(sum);
        }
    }
    Tensor::f64(&[1, outputs, height, width], result).unwrap()
}

/// Stride 1.
fn float_pool(node: &Node, x: &Tensor) -> Tensor {
    let [_, channels, height, width] = x.shape()[..] else { panic!() };
    let kernel = node.ints("kernel_shape").unwrap()[0] as usize;
    let pad = node.ints("pads").map_or(0, |pads| pads[0] as usize);
    let [rows, columns] = [height, width].map(|extent| extent + 2 * pad + 1 - kernel);
    let mut result = Vec::new();
    for c in 0..channels {
        for (y, x0) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let mut most = f64::NEG_INFINITY;
            for sy in y.saturating_sub(pad)..(y + kernel - pad).min(height) {
                for sx in x0.saturating_sub(pad)..(x0 + kernel - pad).min(width) {
                    most = most.max(x.get((c * height + sy) * width + sx));
                }
            }
            result.push(most);
        }
    }
    Tensor::f64(&[1, channels, rows, columns], result).unwrap()
}
