//! AArch64 Advanced SIMD (NEON).

pub(crate) mod bsconv;
pub(crate) mod combine;
pub(crate) mod dotprod;
mod levels;
pub(crate) mod lutconv;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod simd;
pub(crate) mod winconv;
