//! Passes over the graph, in the order in which they run. Each leaves a valid graph behind.
//!
//! | pass | before | after |
//! |---|---|---|
//! | [`outputs`] | what a tool put behind the heads | gone, on request |
//! | [`qoperator`] | `QLinearConv` and other operators on codes | floats between quantizers |
//! | [`constants`] | scales behind `Identity`, `Cast`, `Mul`; shape arithmetic; open extents | every tensor that does not depend on the picture is a constant with its codes, every other has a shape |
//! | [`trunc`] | QONNX `Trunc` | the arithmetic that it stands for |
//! | [`openvino`] | OpenVINO's `FakeQuantize` | the arithmetic that it stands for |
//! | [`roundings`] | `Sign(x) · Floor(Abs(x) + 0.5)`, casts to integers | operators that round by a mode |
//! | [`straight_through`] | `x + (q − x)` | `q` |
//! | [`clamps`] | `Round`, then `Clip` to integers | `Clip`, then `Round` |
//! | [`written_out`] | `Div`, `Clip`, `Round`, `Mul` | `FakeQuant` nodes |
//! | [`quantizers`] | each format's way of writing an activation quantizer | `FakeQuant` nodes |
//! | [`unjoined`] | maps joined row by row, and split again behind a convolution of one pixel | a convolution for each part |
//! | [`rearranged`] | transpositions and back; a picture of blue, green, red | layers in the order of the weights |
//! | [`pad`] | zeros around a feature map | the padding of the convolutions and poolings behind |
//! | [`decode`] | quantizers in the decode of the boxes | none, or an error |
//! | [`heads`](crate::heads) | a decode, or none | the outputs are the heads; what the decode computes is known |
//! | [`prune`] | nodes that nothing needs any more | gone; again behind the next pass |
//! | [`focus`] | slices of every second pixel, and a convolution | one convolution of twice the stride |
//! | [`channels`] | slices, splits and shuffles of channels, however written, and of pixels | one operator that says which channels |
//! | [`attention`] | products of activations as matrices, softmax between them; in the same walk | operators on feature maps |
//! | [`vectors`] | linear layers on pooled maps | convolutions of one pixel |
//! | [`averages`] | `AveragePool`, `GlobalAveragePool`, `ReduceMean`; `GlobalMaxPool`, `ReduceMax` of the map | convolutions with weights of 1; `MaxPool` |
//! | [`placement`] | quantizers in front of convolutions, floats in poolings and concats before them | quantizers behind what is quantized |
//! | [`transposed`] | `ConvTranspose` or a pixel shuffle, and what works pixel by pixel behind it | convolutions whose pixels follow one another |
//! | [`grids`] | weights whose quantizer was folded away | weights with codes |
//! | [`dilations`] | dilated convolutions | zeros between weights |

pub mod attention;
pub mod averages;
pub mod channels;
pub mod clamps;
pub mod constants;
pub mod decode;
pub mod dilations;
pub mod focus;
pub mod grids;
pub mod openvino;
pub mod outputs;
pub mod pad;
pub mod placement;
pub mod prune;
pub mod qoperator;
pub mod quantizers;
pub mod rearranged;
pub mod roundings;
mod shapes;
mod spelled;
pub mod straight_through;
pub mod transposed;
pub mod trunc;
pub mod unjoined;
pub mod vectors;
pub mod written_out;

pub use shapes::why_without_shape;

#[cfg(test)]
mod tests;
