//! Which numbers a network's input takes: how a byte of the picture becomes an element of it.
//!
//! Everything up to the picture's first quantizer or convolution is a function of one byte, so a graph may do with the
//! picture what it likes (divide it, shift it, quantize it) as long as it is known what it starts from. That cannot be
//! read off a file whose input is floats, and a network fed `byte / 255` that divides by 255 itself sees a black
//! picture. It is told so:
//!
//! | input | an element is |
//! |---|---|
//! | `uint8` | the byte |
//! | floats | `byte / 255`, as YOLOv5 feeds it, unless ... |
//! | ... the graph divides by 255 first | the byte |
//! | ... or the picture would be [crushed](is_crushed) as `byte / 255` and is not as the byte | the byte |
//! | floats, and the picture is crushed either way | refused |
//!
//! The converter decides on its own graph (`lower/picture.rs`), the reference interpreter by running the source on
//! numbers (`interpret/picture.rs`). They share this page and nothing else, so that `compare` finds it if one is wrong.

use crate::ir::{Attribute, Domain, ElementType, Graph, Node, TensorInfo};

/// How an element of the input follows from a byte of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PictureRange {
    /// `byte / 255` in 32 bits.
    #[default]
    Unit,
    /// The byte itself, 0 to 255.
    Bytes,
}

/// Rewrites a graph of floats that are bytes, 0 to 255, whatever its range can be found out to be: its input becomes `uint8`,
/// and a `Cast` to floats follows. Graphs of another input stay as they are.
pub fn take_bytes(graph: &mut Graph) {
    let &[input] = graph.inputs.as_slice() else { return };
    if graph.input_types.get(&input).is_some_and(|element| !element.is_float()) {
        return;
    }
    let TensorInfo { name, shape, .. } = graph.tensor(input).clone();
    let floats =
        graph.add_tensor(TensorInfo { name: format!("{name}_floats"), shape, ..TensorInfo::default() });
    for read in graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten()) {
        if *read == input {
            *read = floats;
        }
    }
    let cast = Node {
        name: format!("{name}_to_floats"),
        domain: Domain::Onnx,
        op_type: "Cast".into(),
        inputs: vec![Some(input)],
        outputs: vec![floats],
        attributes: [("to".to_owned(), Attribute::Int(ONNX_FLOAT))].into(),
        quantizer: None,
    };
    graph.nodes.insert(0, cast);
    graph.input_types.insert(input, ElementType::Unsigned(8));
}

/// Whether an input of this shape is a picture whose channels come last; open extents are 0.
pub fn is_channels_last(shape: &[usize]) -> bool {
    matches!(shape, &[_, rows, _, 3] if rows != 3)
}

/// `FLOAT` of ONNX's `TensorProto.DataType`.
const ONNX_FLOAT: i64 = 1;

/// A part of a quantizer's levels, or of the distance from black to white where there is no quantizer: a picture that
/// reaches less is crushed. A picture of the wrong range reaches two levels, 2 of 64 and less from 6 bits on.
const LEAST_PART: f64 = 1.0 / 16.0;

/// Largest relative distance of a divisor from 255: constants may be of 16 bits.
pub const DIVISOR_TOLERANCE: f64 = 1e-3;

/// A number that no picture has, whatever its range: what a quantizer makes of it and of its opposite are its ends.
pub const BEYOND: f64 = 1e9;

/// Bytes of a picture: more levels than that no picture reaches.
const BYTES: f64 = 256.0;

/// Most levels that are taken for a quantizer's: rounding that nothing clamps has more, and is refused elsewhere.
const MOST_LEVELS: f64 = 65_536.0;

/// What a picture of all bytes becomes at the first place that is no function of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// So many different codes of so many that the quantizer has.
    Levels {
        /// Codes that some byte becomes.
        reached: usize,
        /// Codes from the smallest to the largest.
        all: f64,
    },
    /// Without a quantizer: the distance between the smallest and the largest number.
    Spread(f64),
}

/// Whether so little of a picture is left that it was not meant so: less than a sixteenth of the levels, a single level,
/// or numbers that lie closer together than a sixteenth.
pub fn is_crushed(reach: Reach) -> bool {
    match reach {
        Reach::Levels { all, .. } if !(1.0..=MOST_LEVELS).contains(&all) => false,
        Reach::Levels { reached, all } => reached < 2 || (reached as f64) < LEAST_PART * all.min(BYTES),
        Reach::Spread(distance) => distance < LEAST_PART,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crushed_is_less_than_a_sixteenth() {
        let levels = |reached, all| is_crushed(Reach::Levels { reached, all });
        assert!(levels(2, 256.0) && levels(15, 256.0) && !levels(16, 256.0));
        // Of narrow quantizers two levels are much; one never is.
        assert!(levels(2, 64.0) && !levels(2, 32.0) && levels(1, 4.0) && levels(1, 2.0));
        // Bytes are no more than 256 in 16 bits either.
        assert!(levels(2, 65_536.0) && !levels(256, 65_536.0));
        // Rounding without a clamp is no quantizer.
        assert!(!levels(256, 1e9) && !levels(1, f64::NAN));
        assert!(is_crushed(Reach::Spread(1.0 / 255.0)) && !is_crushed(Reach::Spread(1.0)));
        assert!(!is_crushed(Reach::Spread(f64::NAN)));
    }
}
