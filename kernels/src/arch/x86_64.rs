//! x86-64 with AVX2, with AVX-512, and with AMX.

pub(crate) mod amx;
pub(crate) mod avx512;
pub(crate) mod bsconv;
pub(crate) mod depthwise;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod simd;
pub(crate) mod sum;
