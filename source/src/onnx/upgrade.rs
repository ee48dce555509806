//! Operators of old operator sets as newer ones have them.
//!
//! | operator | before | after |
//! |---|---|---|
//! | `Upsample` | opsets 7 and 8: attribute `scales` | an input |
//! | `Slice` | before opset 10: attributes `starts`, `ends`, `axes` | inputs |

use std::sync::Arc;

use crate::error::SourceError;
use crate::ir::{Attribute, Graph, Node, Tensor, TensorId, TensorInfo};

/// Rewrites a node of an old operator set.
///
/// # Errors
/// If it has an attribute whose meaning is gone.
pub fn node(graph: &mut Graph, node: &mut Node) -> Result<(), SourceError> {
    if node.is("Upsample")
        && node.inputs.len() == 1
        && let Some(Attribute::Floats(scales)) = node.attributes.remove("scales")
    {
        let scales = Tensor::f32(&[scales.len()], scales)?;
        node.inputs.push(Some(constant(graph, scales)));
    }
    let bounds = ["starts", "ends"].iter().all(|name| node.ints(name).is_some());
    if node.is("Slice") && node.inputs.len() == 1 && bounds {
        for name in ["starts", "ends", "axes"] {
            if let Some(Attribute::Ints(values)) = node.attributes.remove(name) {
                node.inputs.push(Some(constant(graph, Tensor::indices(&values))));
            }
        }
    }
    if node.is("BatchNormalization") && node.int("spatial", 1) == 0 {
        return Err(SourceError::unsupported("spatial = 0; expected one mean and variance a channel"));
    }
    let arithmetic = ["Add", "Sub", "Mul", "Div", "Pow"].iter().any(|op| node.is(op));
    if arithmetic && node.int("broadcast", 0) != 0 {
        return Err(SourceError::unsupported(
            "broadcasts by attribute, as before operator set 7; expected a later one",
        ));
    }
    Ok(())
}

fn constant(graph: &mut Graph, tensor: Tensor) -> TensorId {
    let (shape, constant) = (Some(tensor.shape().to_vec()), Some(Arc::new(tensor)));
    graph.add_tensor(TensorInfo { shape, constant, ..TensorInfo::default() })
}

#[cfg(test)]
mod tests;
