//! Bodies over [`Simd`](crate::simd::Simd), and portable forms.

pub(crate) mod bsconv;
pub(crate) mod combine;
pub(crate) mod dwconv;
pub(crate) mod lutconv;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod winconv;

use crate::ukernel::Listed;

/// The portable micro-kernels.
pub(crate) static KERNELS: Listed = Listed {
    direct: &[&bsconv::BSCONV_I32_UX_UX_1X16_GENERIC, &mulconv::MULCONV_I32_U8_S8_1X16_GENERIC],
    winograd: &[&winconv::WINCONV_I32_U5_S5_4X16_GENERIC],
    lookup: &[&lutconv::LUTCONV_I32_U6_SX_1X32_GENERIC],
    depthwise: &[&dwconv::DWCONV_I32_U8_SX_1X16_GENERIC],
    requantize: &[
        &requantize::REQUANTIZE_U8_I32_THRESHOLDS16_GENERIC,
        &requantize::REQUANTIZE_U8_I32_THRESHOLDS32_GENERIC,
        &requantize::REQUANTIZE_U8_I32_NARROW_GENERIC,
        &requantize::REQUANTIZE_U8_I32_FIXED_GENERIC,
        &requantize::REQUANTIZE_U8_I32_WIDE_GENERIC,
        &requantize::REQUANTIZE_U8_I32_CELLS_GENERIC,
        &requantize::REQUANTIZE_U8_I32_SEARCH_GENERIC,
        &requantize::REQUANTIZE_U8_I32_MANY_GENERIC,
    ],
    transform: &[requantize::TRANSFORM_GENERIC],
};
