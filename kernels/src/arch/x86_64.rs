//! x86-64 with AVX2, and with AVX-512.

pub(crate) mod avx512;
pub(crate) mod bsconv;
pub(crate) mod depthwise;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod simd;
