//! Families of convolution micro-kernels, a contract each: what its micro-kernels are asked for, which operands they
//! take, how fast they are, and which of them is best for a convolution (`candidate`).

pub mod depthwise;
pub mod direct;
pub mod lookup;
pub mod winograd;
