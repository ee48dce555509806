//! Quantizers as people's exports spell them, beside the interpreter of the export.

use super::*;

mod integers;
mod straight_through;
mod tools;
mod written_out;

/// A convolution and a ReLU: what activation quantizers stand behind.
fn activation(net: &mut Net) -> TensorId {
    let (weights, image) = (net.weights([4, 3, 3, 3]), net.builder.graph.inputs[0]);
    let input = net.input(image);
    let conv = net.conv(input, weights);
    net.builder.node("Relu", &[conv], &[])
}

impl Net {
    /// An operator of a tensor and a number.
    fn with(&mut self, op_type: &str, x: TensorId, number: f32) -> TensorId {
        let number = self.builder.float(number);
        self.builder.node(op_type, &[x, number], &[])
    }

    fn clip(&mut self, x: TensorId, low: f32, high: f32) -> TensorId {
        let (low, high) = (self.builder.float(low), self.builder.float(high));
        self.builder.node("Clip", &[x, low, high], &[])
    }

    fn one(&mut self, op_type: &str, x: TensorId) -> TensorId {
        self.builder.node(op_type, &[x], &[])
    }
}
