//! Blocks of pixels as channels, and back.

use super::movement::{strided, strides};
use crate::error::SourceError;
use crate::ir::{Node, Tensor};

/// `DepthToSpace` in both of its modes, or `SpaceToDepth`.
pub(super) fn evaluate(node: &Node, input: &Tensor) -> Result<Tensor, SourceError> {
    let &[batch, channels, height, width] = input.shape() else {
        return Err(SourceError::malformed(format!("blocks of a tensor of shape {:?}", input.shape())));
    };
    let block = usize::try_from(node.int("blocksize", 0)).unwrap_or(0);
    let to_space = node.op_type == "DepthToSpace";
    let fits = match block.checked_mul(block) {
        Some(square @ 1..) if to_space => channels % square == 0,
        Some(1..) => height % block == 0 && width % block == 0,
        _ => false,
    };
    if !fits {
        return Err(SourceError::malformed(format!(
            "blocks of {block} of a tensor of shape {:?}",
            input.shape()
        )));
    }
    // Extents of the input cut into blocks, and the order of these axes in the output.
    let (cut, order, shape) = if to_space {
        let rest = channels / (block * block);
        let shape = [batch, rest, height * block, width * block];
        match node.text("mode", "DCR") {
            "CRD" => ([batch, rest, block, block, height, width], [0, 1, 4, 2, 5, 3], shape),
            "DCR" => ([batch, block, block, rest, height, width], [0, 3, 4, 1, 5, 2], shape),
            mode => return Err(SourceError::unsupported(format!("a mode of {mode}; expected DCR or CRD"))),
        }
    } else {
        let shape = [batch, channels * block * block, height / block, width / block];
        ([batch, channels, height / block, block, width / block, block], [0, 3, 5, 1, 2, 4], shape)
    };
    let own = strides(&cut);
    let steps: Vec<isize> = order.iter().map(|&axis: &usize| own[axis] as isize).collect();
    let extents: Vec<usize> = order.iter().map(|&axis| cut[axis]).collect();
    strided(input, &extents, 0, &steps)?.reshaped(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attribute, Domain};

    fn node(op_type: &str, attributes: &[(&str, Attribute)]) -> Node {
        Node {
            name: String::new(),
            domain: Domain::Onnx,
            op_type: op_type.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            quantizer: None,
        }
    }

    fn run(op_type: &str, attributes: &[(&str, Attribute)], input: &Tensor) -> Tensor {
        evaluate(&node(op_type, attributes), input).unwrap()
    }

    /// By the definition of torch's pixel shuffle and of TensorFlow's, and one undoes the other.
    #[test]
    fn blocks_are_channels_and_back() {
        let input = Tensor::f32(&[1, 8, 2, 3], (0..48u8).map(f32::from).collect()).unwrap();
        for mode in ["CRD", "DCR"] {
            let attributes = [("blocksize", Attribute::Int(2)), ("mode", Attribute::Text(mode.into()))];
            let shuffled = run("DepthToSpace", &attributes, &input);
            assert_eq!(shuffled.shape(), [1, 2, 4, 6]);
            for index in 0..48 {
                let [c, y, x] = [index / 24, index / 6 % 4, index % 6];
                let phase = y % 2 * 2 + x % 2;
                let channel = if mode == "CRD" { c * 4 + phase } else { phase * 2 + c };
                let expected = (channel * 2 + y / 2) * 3 + x / 2;
                assert_eq!(shuffled.get(index), expected as f64, "{mode} {index}");
            }
            if mode == "DCR" {
                let back = run("SpaceToDepth", &[("blocksize", Attribute::Int(2))], &shuffled);
                assert_eq!((back.shape(), back.to_f64()), (input.shape(), input.to_f64()));
            }
        }
    }

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let input = Tensor::f32(&[1, 6, 2, 3], vec![0.0; 36]).unwrap();
        for (op_type, block) in
            [("DepthToSpace", 2), ("SpaceToDepth", 2), ("DepthToSpace", 0), ("SpaceToDepth", -1)]
        {
            let node = node(op_type, &[("blocksize", Attribute::Int(block))]);
            assert!(evaluate(&node, &input).is_err(), "{op_type} {block}");
        }
    }
}
