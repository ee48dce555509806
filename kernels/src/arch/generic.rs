//! Bodies over [`Simd`](crate::simd::Simd), and portable forms.

pub(crate) mod bsconv;
pub(crate) mod combine;
pub(crate) mod depthwise;
pub(crate) mod lutconv;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod winconv;
