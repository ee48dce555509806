//! Writes an architecture down, layer after layer.

use crate::layer::{Along, Function, Layer, Op, PICTURE, Window};

/// The layers so far.
#[derive(Debug)]
pub struct Layers {
    layers: Vec<Layer>,
    /// The last layer's name.
    last: String,
}

impl Layers {
    /// None: what is read next is the picture.
    pub fn new() -> Self {
        Self { layers: Vec::new(), last: PICTURE.into() }
    }

    /// The name of the last layer, or of the picture.
    pub fn last(&self) -> String {
        self.last.clone()
    }

    /// Appends a layer and returns its name.
    pub fn push(&mut self, name: impl Into<String>, op: Op, from: &[&str]) -> String {
        self.last = name.into();
        let from = from.iter().map(|&name| name.to_owned()).collect();
        self.layers.push(Layer { name: self.last.clone(), op, from });
        self.last.clone()
    }

    /// A convolution whose output is as large as its input, or by its step smaller.
    pub fn conv(
        &mut self,
        name: impl Into<String>,
        from: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> String {
        self.function(name, from, channels, [kernel, stride], Function::Activation)
    }

    /// A convolution of 1x1 that nothing follows.
    pub fn linear(&mut self, name: impl Into<String>, from: &str, channels: usize) -> String {
        self.function(name, from, channels, [1, 1], Function::Identity)
    }

    /// A convolution like [`Self::conv`], of another function. The window's extent and step come in one array.
    pub fn function(
        &mut self,
        name: impl Into<String>,
        from: &str,
        channels: usize,
        [kernel, stride]: [usize; 2],
        function: Function,
    ) -> String {
        let window = Window::centred(kernel, stride);
        self.push(name, Op::Conv { channels, window, groups: 1, function }, &[from])
    }

    /// A convolution of each channel with a window of its own, whose extent and step come in one array.
    pub fn depthwise(
        &mut self,
        name: impl Into<String>,
        from: &str,
        channels: usize,
        [kernel, stride]: [usize; 2],
        function: Function,
    ) -> String {
        let window = Window::centred(kernel, stride);
        self.push(name, Op::Conv { channels, window, groups: channels, function }, &[from])
    }

    /// Poolings of what `from` names: the largest of each window of these extents, in steps of 1.
    pub fn pools(&mut self, name: &str, from: &str, kernels: &[usize]) -> Vec<String> {
        let pool = |(index, kernel): (usize, &usize)| {
            self.push(format!("{name}.m.{index}"), Op::MaxPool(Window::centred(*kernel, 1)), &[from])
        };
        kernels.iter().enumerate().map(pool).collect()
    }

    /// Channels of a layer. `None` if there is no such layer, or it has as many as rows and columns leave it.
    pub fn channels(&self, name: &str) -> Option<usize> {
        if name == PICTURE {
            return Some(3);
        }
        let layer = self.layers.iter().find(|layer| layer.name == name)?;
        match layer.op {
            Op::Conv { channels, .. } => Some(channels),
            Op::Concat => layer.from.iter().map(|from| self.channels(from)).sum(),
            Op::MatMul { along: Along::Positions, .. } => self.channels(&layer.from[1]),
            Op::MatMul { .. } | Op::Softmax { .. } | Op::Detect => None,
            _ => self.channels(&layer.from[0]),
        }
    }

    /// The head, and the end.
    pub fn detect(mut self, name: impl Into<String>, inputs: &[&str]) -> Vec<Layer> {
        self.push(name, Op::Detect, inputs);
        self.layers
    }
}
