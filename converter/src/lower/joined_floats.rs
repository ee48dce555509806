//! Whom to blame where a quantizer stands behind a join of activations that are not quantized: the node that joins
//! them.

use std::rc::Rc;

use ylb_source::ir::{Node, TensorId};

use super::Lowering;
use crate::error::{ConvertError, ErrorKind};
use crate::expr::Expr;

impl Lowering<'_> {
    /// The error of a quantizer behind a join of which a part is not quantized. The first of several joins is the
    /// one to
    /// begin with.
    pub(super) fn joined_floats(&self, quantizer: &Node) -> ConvertError {
        let mut tensor = quantizer.input(0);
        // Each step goes to an earlier node.
        while let Some(node) = tensor.and_then(|id| self.producer(id)) {
            let mut operands = node.inputs.iter().flatten().copied();
            tensor = operands.find(|&id| self.is_join(id));
            if tensor.is_none() {
                return node.blame(self.join_error(node));
            }
        }
        let message = "quantizes a convolution's output joined with other tensors; expected a quantizer behind the \
                       convolution";
        ConvertError::new(ErrorKind::NotQuantized, message)
    }

    fn join_error(&self, node: &Node) -> ConvertError {
        let what = match node.op_type.as_str() {
            "Add" => "the sum",
            "Sub" => "the difference",
            "Mul" => "the product",
            _ => "a function",
        };
        let floats = node.inputs.iter().flatten().filter(|id| self.reads_convolutions(**id)).count();
        let of = if floats > 1 { "that are not quantized" } else { "of which one is not quantized" };
        let message = format!("{what} of two activations {of}; train with a quantizer on both operands");
        ConvertError::new(ErrorKind::NotQuantized, message)
    }

    fn producer(&self, tensor: TensorId) -> Option<&Node> {
        self.graph.nodes.iter().find(|node| node.outputs.contains(&tensor))
    }

    fn any_segment(&self, tensor: TensorId, test: impl Fn(&Rc<Expr>) -> bool) -> bool {
        self.features[tensor.0]
            .iter()
            .flat_map(|feature| &feature.segments)
            .any(|segment| test(&segment.expr))
    }

    /// Whether some channels are no function of one accumulator or of values alone.
    fn is_join(&self, tensor: TensorId) -> bool {
        self.any_segment(tensor, |expr| {
            let leaves = expr.leaves();
            let single = leaves.convs.is_empty() || (leaves.convs.len() == 1 && leaves.values.is_empty());
            !single && self.of_one_accumulator(expr).is_none()
        })
    }

    fn reads_convolutions(&self, tensor: TensorId) -> bool {
        self.any_segment(tensor, |expr| !expr.leaves().convs.is_empty())
    }
}
