//! Sliding windows of convolutions and poolings.

use crate::error::SourceError;
use crate::ir::Node;

/// Geometry of a `Conv` or `MaxPool` as the model describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Rows and columns that the window spans.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

/// Largest extent and stride of a window: that of `.ylb` files.
const MAX_EXTENT: i64 = 256;

/// Distances between the rows and between the columns that a window looks at.
///
/// # Errors
/// If they are not two, or out of range.
pub fn dilations(node: &Node) -> Result<[usize; 2], SourceError> {
    match node.ints("dilations") {
        None => Ok([1, 1]),
        Some(&[rows, columns]) => Ok([positive(rows)?, positive(columns)?]),
        Some(other) => Err(SourceError::malformed(format!("dilations {other:?}"))),
    }
}

/// Reads a node's window over an input `[batch, channels, rows, columns]`. `kernel` is the weights'
/// extent where there are weights; that of the result is what the window spans, dilated or not.
///
/// # Errors
/// For windows that are not two-dimensional, rounded up, or too large, and for poolings that are dilated.
pub fn of_node(node: &Node, input: &[usize], kernel: Option<[usize; 2]>) -> Result<Geometry, SourceError> {
    let [_, _, height, width] = input[..] else {
        return Err(SourceError::unsupported(format!("input shape {input:?}; expected rank 4")));
    };
    let declared = match node.ints("kernel_shape") {
        Some(&[rows, columns]) => Some([positive(rows)?, positive(columns)?]),
        Some(other) => {
            return Err(SourceError::unsupported(format!("a window of {other:?}; expected 2D")));
        }
        None => None,
    };
    let kernel = match (kernel, declared) {
        (Some(kernel), Some(declared)) if kernel != declared => {
            return Err(SourceError::malformed(format!(
                "kernel_shape {declared:?}, but weights of {kernel:?}"
            )));
        }
        (Some([rows, columns]), _) => [positive(rows as i64)?, positive(columns as i64)?],
        (None, Some(declared)) => declared,
        (None, None) => return Err(SourceError::malformed("expected a kernel_shape")),
    };
    let dilations = dilations(node)?;
    if dilations != [1, 1] && !node.is("Conv") {
        return Err(SourceError::unsupported("a dilated window; expected dilations of 1"));
    }
    let [rows, columns] = [0, 1].map(|d| (kernel[d] - 1) * dilations[d] + 1);
    let kernel = [positive(rows as i64)?, positive(columns as i64)?];
    let stride = match node.ints("strides") {
        Some(&[rows, columns]) => [positive(rows)?, positive(columns)?],
        None => [1, 1],
        Some(other) => return Err(SourceError::malformed(format!("strides {other:?}"))),
    };
    let mut padding = padding(node, [height, width], kernel, stride)?;
    if node.int("ceil_mode", 0) != 0 {
        round_up(node, [height, width], kernel, stride, &mut padding)?;
    }
    let geometry = Geometry { kernel, stride, padding };
    let limits = [kernel[0], kernel[1], kernel[0], kernel[1]];
    if padding.iter().zip(limits).any(|(&padding, limit)| padding >= limit) {
        return Err(SourceError::unsupported(format!(
            "padding {padding:?} of a {kernel:?} window; expected less than the window"
        )));
    }
    Ok(geometry)
}

/// What `ceil_mode` adds: a window more where the last step would leave elements over, which begins inside the input or
/// its upper padding. Where nothing is left over it changes nothing. A maximum takes what is outside for nothing, so that
/// padding below and on the right says the same, and so does a mean that does not count padding; one that does counts only
/// what was padded before.
fn round_up(
    node: &Node,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: &mut [usize; 4],
) -> Result<(), SourceError> {
    for d in 0..2 {
        let padded = input[d] + padding[d] + padding[d + 2];
        let Some(rest) = padded.checked_sub(kernel[d]) else { continue };
        let (steps, left) = (rest / stride[d], rest % stride[d]);
        if left == 0 || (steps + 1) * stride[d] >= input[d] + padding[d] {
            continue;
        }
        let leaves_out = node.is("AveragePool") && node.int("count_include_pad", 0) == 0;
        if node.op_type != "MaxPool" && !leaves_out {
            return Err(SourceError::unsupported(
                "ceil_mode 1, which adds a window, and count_include_pad 1; expected one of them to be 0",
            ));
        }
        padding[d + 2] += stride[d] - left;
    }
    Ok(())
}

/// Geometry of a `ConvTranspose`: position `i` of its input adds to positions `i · stride + k − padding` of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transposed {
    /// Rows and columns of the weights.
    pub kernel: [usize; 2],
    /// Steps down and right, in the output.
    pub stride: [usize; 2],
    /// Rows and columns cut off at the top and on the left.
    pub padding: [usize; 2],
    /// Rows and columns of the output.
    pub output: [usize; 2],
}

/// Reads a `ConvTranspose` over an input `[batch, channels, rows, columns]` with weights of so many rows and columns.
///
/// # Errors
/// If it is not two-dimensional, too large or dilated, or says its padding by the output's size.
pub fn transposed(node: &Node, input: &[usize], kernel: [usize; 2]) -> Result<Transposed, SourceError> {
    let &[_, _, height, width] = input else {
        return Err(SourceError::unsupported(format!("input shape {input:?}; expected rank 4")));
    };
    let two = |name: &str, default: i64| match node.ints(name) {
        None => Ok([default; 2]),
        Some(&[rows, columns]) => Ok([rows, columns]),
        Some(other) => Err(SourceError::unsupported(format!("{name} {other:?}; expected two"))),
    };
    if two("dilations", 1)? != [1, 1] || node.ints("output_shape").is_some() {
        return Err(SourceError::unsupported("expected no dilations and no output_shape"));
    }
    let declared = two("kernel_shape", 0)?;
    if node.ints("kernel_shape").is_some() && declared != kernel.map(|extent| extent as i64) {
        return Err(SourceError::malformed(format!("kernel_shape {declared:?}, but weights of {kernel:?}")));
    }
    let [rows, columns] = two("strides", 1)?;
    let stride = [positive(rows)?, positive(columns)?];
    let kernel = [positive(kernel[0] as i64)?, positive(kernel[1] as i64)?];
    let pads = match (node.text("auto_pad", "NOTSET"), node.ints("pads")) {
        ("NOTSET" | "", Some(&[top, left, bottom, right])) => [top, left, bottom, right],
        ("NOTSET" | "", None) | ("VALID", _) => [0; 4],
        _ => return Err(SourceError::unsupported("expected its padding as four pads")),
    };
    let more = two("output_padding", 0)?;
    let mut output = [0; 2];
    for (d, extent) in [height, width].into_iter().enumerate() {
        let whole = (extent.max(1) as i64 - 1) * stride[d] as i64 + kernel[d] as i64;
        let cut = [pads[d], pads[d + 2], more[d]];
        let rest =
            cut[0].checked_add(cut[1]).and_then(|cut_off| whole.checked_add(more[d])?.checked_sub(cut_off));
        let left =
            rest.filter(|&rest| rest > 0 && cut.iter().all(|&extent| (0..=MAX_EXTENT).contains(&extent)));
        output[d] = left
            .ok_or_else(|| SourceError::unsupported(format!("pads {pads:?} and output_padding {more:?}")))?
            as usize;
    }
    Ok(Transposed { kernel, stride, padding: [pads[0] as usize, pads[1] as usize], output })
}

fn positive(extent: i64) -> Result<usize, SourceError> {
    if (1..=MAX_EXTENT).contains(&extent) {
        return Ok(extent as usize);
    }
    Err(SourceError::unsupported(format!(
        "a window extent or stride of {extent}; expected 1 to {MAX_EXTENT}"
    )))
}

fn padding(
    node: &Node,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
) -> Result<[usize; 4], SourceError> {
    let same = |upper: bool| {
        let mut padding = [0; 4];
        for d in 0..2 {
            let outputs = input[d].div_ceil(stride[d]);
            let total = ((outputs.max(1) - 1) * stride[d] + kernel[d]).saturating_sub(input[d]);
            let small = total / 2;
            (padding[d], padding[d + 2]) =
                if upper { (small, total - small) } else { (total - small, small) };
        }
        padding
    };
    match node.text("auto_pad", "NOTSET") {
        "NOTSET" | "" => match node.ints("pads") {
            None => Ok([0; 4]),
            Some(&[top, left, bottom, right]) => {
                let mut padding = [0; 4];
                for (slot, value) in padding.iter_mut().zip([top, left, bottom, right]) {
                    *slot = usize::try_from(value)
                        .map_err(|_| SourceError::unsupported("negative padding; expected 0 or more"))?;
                }
                Ok(padding)
            }
            Some(other) => Err(SourceError::malformed(format!("pads {other:?}"))),
        },
        "VALID" => Ok([0; 4]),
        "SAME_UPPER" => Ok(same(true)),
        "SAME_LOWER" => Ok(same(false)),
        other => Err(SourceError::unsupported(format!("auto_pad {other}"))),
    }
}

impl Geometry {
    /// Rows and columns of the output.
    ///
    /// # Errors
    /// If the window does not fit the input.
    pub fn output_size(&self, input: [usize; 2]) -> Result<[usize; 2], SourceError> {
        let mut output = [0; 2];
        for d in 0..2 {
            let padded = input[d] + self.padding[d] + self.padding[d + 2];
            output[d] = match padded.checked_sub(self.kernel[d]) {
                Some(rest) => rest / self.stride[d] + 1,
                None => {
                    return Err(SourceError::malformed(format!(
                        "a window of {:?} over an input of {input:?}",
                        self.kernel
                    )));
                }
            };
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Attribute;
    use crate::ir::Builder;

    fn window(input: [usize; 2], attributes: &[(&str, Attribute)]) -> Result<Geometry, SourceError> {
        let (mut builder, image) = Builder::picture(input[0], input[1]);
        let output = builder.node("MaxPool", &[image], attributes);
        of_node(builder.producer(output), &[1, 3, input[0], input[1]], None)
    }

    fn ints(values: &[i64]) -> Attribute {
        Attribute::Ints(values.to_vec())
    }

    #[test]
    fn explicit_and_automatic_padding() {
        let kernel = ("kernel_shape", ints(&[3, 3]));
        let stride = ("strides", ints(&[2, 2]));
        let padded = window([8, 9], &[kernel.clone(), ("pads", ints(&[1, 1, 0, 1]))]).unwrap();
        assert_eq!(padded.output_size([8, 9]).unwrap(), [7, 9]);
        let same = |mode: &str| {
            let mode = ("auto_pad", Attribute::Text(mode.into()));
            window([8, 9], &[kernel.clone(), stride.clone(), mode]).unwrap()
        };
        assert_eq!(same("SAME_UPPER").padding, [0, 1, 1, 1]);
        assert_eq!(same("SAME_LOWER").padding, [1, 1, 0, 1]);
        assert_eq!(same("SAME_UPPER").output_size([8, 9]).unwrap(), [4, 5]);
        assert_eq!(same("VALID").output_size([8, 9]).unwrap(), [3, 4]);
    }

    #[test]
    fn windows_that_the_format_lacks_are_refused() {
        let refused: [&[(&str, Attribute)]; 6] = [
            &[],
            &[("kernel_shape", ints(&[3]))],
            &[("kernel_shape", ints(&[0, 3]))],
            &[("kernel_shape", ints(&[257, 3]))],
            &[("kernel_shape", ints(&[3, 3])), ("dilations", ints(&[2, 2]))],
            &[("kernel_shape", ints(&[3, 3])), ("pads", ints(&[3, 0, 0, 0]))],
        ];
        for attributes in refused {
            assert!(window([8, 8], attributes).is_err(), "{attributes:?}");
        }
    }

    /// Output sizes as PyTorch's `MaxPool2d(kernel, stride, padding, ceil_mode=True)` has them.
    #[test]
    fn rounding_up_is_padding_where_it_adds_a_window() {
        let pool = |input: [usize; 2], kernel: i64, stride: i64, pad: i64| {
            let attributes = [
                ("kernel_shape", ints(&[kernel; 2])),
                ("strides", ints(&[stride; 2])),
                ("pads", ints(&[pad; 4])),
                ("ceil_mode", Attribute::Int(1)),
            ];
            let window = window(input, &attributes).unwrap();
            (window.padding, window.output_size(input).unwrap())
        };
        assert_eq!(pool([8, 8], 2, 2, 0), ([0; 4], [4, 4]));
        assert_eq!(pool([8, 8], 5, 1, 2), ([2; 4], [8, 8]));
        assert_eq!(pool([7, 8], 2, 2, 0), ([0, 0, 1, 0], [4, 4]));
        assert_eq!(pool([8, 8], 3, 2, 0), ([0, 0, 1, 1], [4, 4]));
        assert_eq!(pool([8, 8], 3, 2, 1), ([1, 1, 2, 2], [5, 5]));
        // The window that is left over would begin in the lower padding: there is none.
        assert_eq!(pool([7, 7], 2, 2, 1), ([1; 4], [4, 4]));
        assert_eq!(pool([3, 3], 1, 2, 0), ([0; 4], [2, 2]));
        let mean = |counts: i64| {
            let (mut builder, image) = Builder::picture(7, 7);
            let attributes = [
                ("kernel_shape", ints(&[2, 2])),
                ("strides", ints(&[2, 2])),
                ("ceil_mode", Attribute::Int(1)),
                ("count_include_pad", Attribute::Int(counts)),
            ];
            let mean = builder.node("AveragePool", &[image], &attributes);
            of_node(builder.producer(mean), &[1, 3, 7, 7], None).map(|window| window.padding)
        };
        assert_eq!(mean(0).unwrap(), [0, 0, 1, 1]);
        assert!(mean(1).is_err());
    }
}
