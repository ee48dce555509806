//! Gates through the whole converter, beside the interpreter, which knows nothing of it.

use super::*;

impl Net {
    fn named(&mut self, op_type: &str, inputs: &[TensorId]) -> TensorId {
        self.builder.node(op_type, inputs, &[])
    }
}

fn count(model: &Model, name: &str) -> usize {
    model.nodes.iter().filter(|node| node.operator.name() == name).count()
}

/// A squeeze-and-excitation block, with the largest values in the place of means.
#[test]
fn gates_are_interpreted_alike() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let pooled = net.builder.node("MaxPool", &[map], &[("kernel_shape", ints(&[SIZE as i64; 2]))]);
    let squeezed = net.layer(pooled, [3, 6, 1, 1], 0.27);
    let weights = net.weights([6, 3, 1, 1]);
    let excited = net.conv(squeezed, weights);
    let sigmoid = net.named("Sigmoid", &[excited]);
    let gate = net.builder.quant(sigmoid, 1.0 / 31.0, 0.0, 5.0, false);
    let product = net.named("Mul", &[map, gate]);
    let gated = net.builder.quant(product, 0.19, 0.0, 4.0, false);
    let last = net.layer(gated, [4, 6, 3, 3], 0.3);
    let converted = net.check_interpreted(last, 4);
    assert_eq!(count(&converted.model, "Mul"), 1);
}
