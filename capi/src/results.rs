//! What sessions hand out.

use std::ffi::c_char;

/// A found object. Coordinates are pixels of the picture, from its top left corner, clipped to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ylb_detection {
    /// Class, counted from 0; ylb_model_class_name() has its name.
    pub class_id: u32,
    /// Score of the class, 0 to 1: times the objectness, where the network has one.
    pub confidence: f32,
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

/// An output of the source model, restored in floating point.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ylb_output {
    /// The elements, the last axis fastest.
    pub data: *const f32,
    /// Number of elements.
    pub length: usize,
    /// Extent of each axis; the first is the batch, 1.
    pub shape: *const usize,
    /// Number of axes.
    pub rank: usize,
}

/// Where the time of a frame went, in seconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ylb_times {
    /// Bringing the picture, resized, or the tensor into the input.
    pub preprocess: f64,
    /// The network.
    pub inference: f64,
    /// From the network's numbers to boxes; 0 for a frame that was not ylb_session_detect()'s.
    pub postprocess: f64,
}

/// A layer of the last frame.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ylb_layer {
    /// Name of the layer in the source model, UTF-8.
    pub name: *const c_char,
    /// Name of the micro-kernel of a convolution, otherwise what is done.
    pub kernel: *const c_char,
    /// Multiply-accumulates of a frame; 0 for what is no convolution.
    pub macs: u64,
    /// Seconds that the layer took.
    pub seconds: f64,
}
