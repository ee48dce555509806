//! Writes dilated convolutions as such with zeros between their weights.
//!
//! ```text
//! Conv(a 0 b 0 c at distance 2)  ─►  Conv(a b c with a zero between each two)
//! ```
//!
//! The same sums, exactly; a window of 3 becomes one of 5. The zero is the code of the weights' zero point, which
//! binary
//! weights do not have.

use std::sync::Arc;

use ylb_source::ir::{Graph, Node, Tensor, TensorInfo};
use ylb_source::quantizer::QuantizedConstant;
use ylb_source::window;

use crate::error::ConvertError;

/// Runs the pass, behind `grids`: weights have codes. Returns how many convolutions were rewritten.
///
/// # Errors
/// If weights have no code for 0, or the window becomes too large.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut count = 0;
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        if !node.is("Conv") {
            continue;
        }
        let dilations = window::dilations(&node).map_err(|error| node.blame(ConvertError::from(error)))?;
        if dilations != [1, 1]
            && let Some(weights) = spread(graph, &node, dilations).map_err(|error| node.blame(error))?
        {
            let weights = graph.add_tensor(weights);
            let node = &mut graph.nodes[index];
            node.inputs[1] = Some(weights);
            node.attributes.remove("dilations");
            node.attributes.remove("kernel_shape");
            count += 1;
        }
    }
    Ok(count)
}

/// The weights with zeros between them; `None` if lowering will refuse them.
fn spread(graph: &Graph, node: &Node, dilations: [usize; 2]) -> Result<Option<TensorInfo>, ConvertError> {
    let info = graph.tensor(node.required_input(1)?);
    let (Some(quantized), Some(&[outputs, inputs, rows, columns])) =
        (info.quantized.as_ref(), info.shape.as_deref())
    else {
        return Ok(None);
    };
    let [tall, wide] = [(rows, dilations[0]), (columns, dilations[1])].map(|(n, by)| (n.max(1) - 1) * by + 1);
    let per_output = inputs * tall * wide;
    let mut codes = Vec::with_capacity(outputs * per_output);
    for output in 0..outputs {
        let zero = zero_code(quantized, output)?;
        codes.extend(std::iter::repeat_n(zero, per_output));
        for (position, (plane, row, column)) in
            (0..inputs * rows * columns).map(|k| (k, (k / columns / rows, k / columns % rows, k % columns)))
        {
            let at = ((output * inputs + plane) * tall + row * dilations[0]) * wide + column * dilations[1];
            codes[at] = quantized.codes[output * inputs * rows * columns + position];
        }
    }
    let shape = [outputs, inputs, tall, wide];
    let real = |(index, &code): (usize, &i32)| {
        let output = index / per_output.max(1);
        (f64::from(code) - quantized.zero_point_at(output)) * quantized.scale_at(output)
    };
    let reals = codes.iter().enumerate().map(real).collect();
    Ok(Some(TensorInfo {
        name: info.name.clone(),
        shape: Some(shape.to_vec()),
        constant: Some(Arc::new(Tensor::f64(&shape, reals)?)),
        quantized: Some(Arc::new(QuantizedConstant { codes, ..quantized.as_ref().clone() })),
    }))
}

pub(super) fn zero_code(quantized: &QuantizedConstant, output: usize) -> Result<i32, ConvertError> {
    let zero = quantized.zero_point_at(output);
    let held = quantized.step == 1
        && zero.fract() == 0.0
        && (quantized.low..=quantized.high).contains(&(zero as i64));
    if !held {
        return Err(ConvertError::unsupported(
            "a dilated or transposed convolution whose weights have no code for 0, which lies between them; expected \
             weights of 2 bits or more with a zero, or no dilation",
        ));
    }
    Ok(zero as i32)
}
