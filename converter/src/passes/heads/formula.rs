//! What YOLOv5's heads and decodes compute.

use ylb_source::ir::Tensor;

use super::{Head, Level};

/// Elements of a head as rows by anchor, row and column of cells, mapped by a function of anchor,
/// cell `[y, x]`, position in the row and value.
pub(super) fn rows_of(
    level: &Level,
    classes: usize,
    head: &Tensor,
    function: impl Fn(usize, [usize; 2], usize, f64) -> f64,
) -> Vec<f64> {
    let [height, width] = level.size;
    let row_len = 5 + classes;
    let mut rows = Vec::with_capacity(head.len());
    for anchor in 0..level.head.anchors_per_cell {
        for y in 0..height {
            for x in 0..width {
                for k in 0..row_len {
                    let index = ((anchor * row_len + k) * height + y) * width + x;
                    rows.push(function(anchor, [y, x], k, head.get(index)));
                }
            }
        }
    }
    rows
}

/// YOLOv5's decode of one number: position `k` of a row of an anchor in cell `[y, x]`.
pub(super) fn decode(head: &Head, anchor: usize, [y, x]: [usize; 2], k: usize, logit: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-logit).exp());
    let stride = head.stride as f64;
    match k {
        0 => (2.0 * sigmoid - 0.5 + x as f64) * stride,
        1 => (2.0 * sigmoid - 0.5 + y as f64) * stride,
        2 | 3 => (2.0 * sigmoid).powi(2) * f64::from(head.anchors[anchor][k - 2]),
        _ => sigmoid,
    }
}
