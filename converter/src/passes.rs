//! Passes over the graph, in the order in which they run. Each leaves a valid graph behind.
//!
//! | pass | before | after |
//! |---|---|---|
//! | [`constants`] | scales behind `Identity`, `Cast`, `Mul`; shape arithmetic; open extents | every tensor that does not depend on the picture is a constant with its codes, every other has a shape |
//! | [`quantizers`] | each format's way of writing an activation quantizer | `FakeQuant` nodes |
//! | [`heads`] | a decode, or none | the outputs are the heads; what the decode computes is known |
//! | [`prune`] | nodes that nothing needs any more | gone |

pub mod constants;
pub mod heads;
pub mod prune;
pub mod quantizers;
mod shapes;

#[cfg(test)]
mod tests;
