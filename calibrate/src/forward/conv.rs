//! Convolutions in 32-bit floats: blocks of pixels are arranged as columns, and multiplied with the weights.
//!
//! ```text
//! columns[k][pixel] = input at (input channel, row, column of the window) = k        8 pixels a panel
//! sums[4][8]       += weights[k][4] · columns[k][8]       for all k, in their order: the compiler vectorises the rest
//! ```
//!
//! Products and sums are rounded one after the other, never fused, so that every machine gets the same numbers.

use ylb_source::SourceError;
use ylb_source::ir::{Data, Node, Tensor};
use ylb_source::window::{self, Geometry};

use crate::cost::Work;

/// Output channels of a tile.
const ROWS: usize = 4;
/// Pixels of a tile.
const COLUMNS: usize = 8;
/// Tiles of pixels of a block: its columns stay in the second-level cache.
const PANELS: usize = 8;

/// Weights and what belongs to them, arranged for the product.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Output channels, input channels of a group, rows, columns.
    pub shape: [usize; 4],
    /// Groups.
    pub groups: usize,
    /// The weights, as they are.
    pub weights: Vec<f32>,
    /// A number for each output channel.
    pub bias: Vec<f32>,
    /// By group and tile of output channels: `[k][ROWS]`.
    tiles: Vec<[f32; ROWS]>,
}

/// Where the windows of a convolution lie on an input.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    size: [usize; 2],
    kernel: [usize; 2],
    dilations: [usize; 2],
    window: Geometry,
    /// Rows and columns of the output.
    pub output: [usize; 2],
}

impl Convolution {
    /// Of a node's constants.
    ///
    /// # Errors
    /// If weights or bias are not those of a convolution.
    pub fn new(node: &Node, weights: &Tensor, bias: Option<&Tensor>) -> Result<Self, SourceError> {
        let &[outputs, group, rows, columns] = weights.shape() else {
            return Err(SourceError::unsupported("expected weights of rank 4"));
        };
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        if groups == 0 || outputs == 0 || !outputs.is_multiple_of(groups) {
            return Err(SourceError::malformed(format!("{outputs} output channels in {groups} groups")));
        }
        let bias = bias.map_or_else(|| vec![0.0; outputs], floats);
        if bias.len() != outputs {
            return Err(SourceError::malformed("a bias that is not one number for each output channel"));
        }
        Ok(Self::of([outputs, group, rows, columns], groups, floats(weights), bias))
    }

    /// The same with other numbers.
    pub fn with(&self, weights: Vec<f32>, bias: Vec<f32>) -> Self {
        Self::of(self.shape, self.groups, weights, bias)
    }

    fn of(shape: [usize; 4], groups: usize, weights: Vec<f32>, bias: Vec<f32>) -> Self {
        let depth: usize = shape[1..].iter().product();
        let outputs = shape[0] / groups;
        let mut tiles = Vec::with_capacity(groups * outputs.div_ceil(ROWS) * depth);
        for group in 0..groups {
            for first in (0..outputs).step_by(ROWS) {
                let weight = |k: usize, row: usize| match first + row < outputs {
                    true => weights[(group * outputs + first + row) * depth + k],
                    false => 0.0,
                };
                tiles.extend((0..depth).map(|k| std::array::from_fn(|row| weight(k, row))));
            }
        }
        Self { shape, groups, weights, bias, tiles }
    }

    /// Products of a sum.
    pub fn depth(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Where the windows lie on an input.
    ///
    /// # Errors
    /// If the input has other channels, or the window does not fit it.
    pub fn place(&self, node: &Node, input: &Tensor) -> Result<Place, SourceError> {
        let [_, group, rows, columns] = self.shape;
        let &[1, channels, height, width] = input.shape() else {
            return Err(SourceError::unsupported(format!(
                "input shape {:?}; expected one picture",
                input.shape()
            )));
        };
        if channels != group * self.groups {
            return Err(SourceError::malformed(format!(
                "weights of {group} channels in {} groups over {channels} channels",
                self.groups
            )));
        }
        // What the window spans; the distances between what it looks at are the dilations.
        let window = window::of_node(node, input.shape(), Some([rows, columns]))?;
        let dilations = window::dilations(node)?;
        let output = window.output_size([height, width])?;
        Ok(Place { size: [height, width], kernel: [rows, columns], dilations, window, output })
    }

    /// What it costs over an input.
    ///
    /// # Errors
    /// As [`place`](Self::place).
    pub fn work(&self, node: &Node, input: &Tensor) -> Result<Work, SourceError> {
        let place = self.place(node, input)?;
        let strides: Vec<usize> =
            node.ints("strides").unwrap_or(&[1, 1]).iter().map(|&by| by.max(1) as usize).collect();
        let step = strides.iter().product();
        let is_dense = step == 1 && place.dilations == [1, 1];
        let pixels = place.output[0] * place.output[1];
        Ok(Work { shape: self.shape, groups: self.groups, is_dense, step, pixels })
    }

    /// The convolution of an input of rank 4.
    ///
    /// # Errors
    /// If the input does not fit.
    pub fn run(&self, node: &Node, input: &Tensor) -> Result<Tensor, SourceError> {
        let place = self.place(node, input)?;
        let pixels = place.output[0] * place.output[1];
        let elements = view(input)?;
        let (outputs, depth) = (self.shape[0] / self.groups, self.depth());
        let tiles = outputs.div_ceil(ROWS) * depth;
        let mut result = vec![0.0; self.shape[0] * pixels];
        let mut columns = vec![[0.0; COLUMNS]; PANELS * depth];
        let plane = place.size[0] * place.size[1];
        for group in 0..self.groups {
            let own = &elements[group * self.shape[1] * plane..][..self.shape[1] * plane];
            let tiles = &self.tiles[group * tiles..][..tiles];
            let first = group * outputs;
            let target = &mut result[first * pixels..][..outputs * pixels];
            for start in (0..pixels).step_by(PANELS * COLUMNS) {
                let panels = (pixels - start).div_ceil(COLUMNS).min(PANELS);
                for (panel, columns) in columns.chunks_exact_mut(depth.max(1)).take(panels).enumerate() {
                    place.columns(own, start + panel * COLUMNS, columns);
                }
                for (tile, weights) in tiles.chunks_exact(depth.max(1)).enumerate() {
                    for (panel, columns) in columns.chunks_exact(depth.max(1)).take(panels).enumerate() {
                        let sums = product(weights, columns);
                        let at = start + panel * COLUMNS;
                        let len = COLUMNS.min(pixels - at);
                        for (row, sums) in sums.iter().enumerate().take(outputs - tile * ROWS) {
                            let channel = tile * ROWS + row;
                            let bias = self.bias[first + channel];
                            let target = &mut target[channel * pixels + at..][..len];
                            target.iter_mut().zip(sums).for_each(|(target, sum)| *target = sum + bias);
                        }
                    }
                }
            }
        }
        Tensor::f32(&[1, self.shape[0], place.output[0], place.output[1]], result)
    }
}

/// A tile of sums.
fn product(weights: &[[f32; ROWS]], columns: &[[f32; COLUMNS]]) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for (weights, columns) in weights.iter().zip(columns) {
        for (sums, weight) in sums.iter_mut().zip(weights) {
            for (sum, x) in sums.iter_mut().zip(columns) {
                *sum += weight * x;
            }
        }
    }
    sums
}

impl Place {
    /// The windows of eight pixels from `first` on, as columns. Beyond the last pixel there are zeros.
    fn columns(&self, input: &[f32], first: usize, columns: &mut [[f32; COLUMNS]]) {
        let pixels = self.output[0] * self.output[1];
        let len = COLUMNS.min(pixels - first);
        if self.is_pointwise() {
            for (column, plane) in columns.iter_mut().zip(input.chunks_exact(pixels)) {
                column.fill(0.0);
                column[..len].copy_from_slice(&plane[first..][..len]);
            }
            return;
        }
        let mut corners = [[isize::MIN / 2; 2]; COLUMNS];
        for (corner, pixel) in corners.iter_mut().zip(first..first + len) {
            *corner = self.corner(pixel);
        }
        let [height, width] = self.size;
        let mut columns = columns.iter_mut();
        for plane in input.chunks_exact((height * width).max(1)) {
            for ky in 0..self.kernel[0] {
                for kx in 0..self.kernel[1] {
                    let (dy, dx) = ((ky * self.dilations[0]) as isize, (kx * self.dilations[1]) as isize);
                    let Some(column) = columns.next() else { return };
                    for (x, corner) in column.iter_mut().zip(&corners) {
                        *x = at(plane, [height, width], corner[0] + dy, corner[1] + dx);
                    }
                }
            }
        }
    }

    /// The window of one pixel of a group's channels, in the order of the weights.
    pub fn column(&self, input: &[f32], pixel: usize, column: &mut Vec<f32>) {
        column.clear();
        let [y, x] = self.corner(pixel);
        let [height, width] = self.size;
        for plane in input.chunks_exact((height * width).max(1)) {
            for ky in 0..self.kernel[0] {
                let row = y + (ky * self.dilations[0]) as isize;
                let element = |kx| at(plane, self.size, row, x + (kx * self.dilations[1]) as isize);
                column.extend((0..self.kernel[1]).map(element));
            }
        }
    }

    /// Row and column of the input that the window of a pixel begins at.
    fn corner(&self, pixel: usize) -> [isize; 2] {
        let (y, x) = (pixel / self.output[1], pixel % self.output[1]);
        let [top, left, ..] = self.window.padding;
        let [down, right] = self.window.stride;
        [(y * down) as isize - top as isize, (x * right) as isize - left as isize]
    }

    /// Elements of a channel of the input.
    pub fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.window.stride == [1, 1] && self.window.padding == [0; 4]
    }
}

/// An element, or 0 outside.
fn at(plane: &[f32], [height, width]: [usize; 2], row: isize, column: isize) -> f32 {
    match (usize::try_from(row), usize::try_from(column)) {
        (Ok(row), Ok(column)) if row < height && column < width => plane[row * width + column],
        _ => 0.0,
    }
}

/// Elements of a tensor of 32-bit floats.
///
/// # Errors
/// If it is of another type.
pub fn view(tensor: &Tensor) -> Result<&[f32], SourceError> {
    match tensor.data() {
        Data::F32(values) => Ok(values),
        _ => {
            Err(SourceError::unsupported(format!("an input of {}; expected 32-bit floats", tensor.element())))
        }
    }
}

/// Elements of a tensor as 32-bit floats.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    (0..tensor.len()).map(|index| tensor.get(index) as f32).collect()
}
