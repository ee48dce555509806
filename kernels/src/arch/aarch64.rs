//! AArch64 Advanced SIMD (NEON).

pub(crate) mod bsconv;
pub(crate) mod combine;
pub(crate) mod dotprod;
pub(crate) mod dwconv;
mod levels;
pub(crate) mod lutconv;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod simd;
pub(crate) mod winconv;

use crate::ukernel::Listed;

/// The micro-kernels of this instruction set.
pub(crate) static KERNELS: Listed = Listed {
    direct: &[
        &bsconv::BSCONV_I32_UX_UX_1X64_NEON_CNT,
        &bsconv::BSCONV_I32_UX_UX_1X32_NEON_CNT,
        &bsconv::BSCONV_I32_UX_UX_1X16_NEON_CNT,
        &bsconv::tables::BSCONV_I32_U2_U1_2X64_NEON_TBL,
        &bsconv::tables::BSCONV_I32_U2_U1_4X32_NEON_TBL,
        &bsconv::tables::BSCONV_I32_U2_U1_4X16_NEON_TBL,
        &mulconv::MULCONV_I32_U8_S8_4X16_NEON_MLAL,
        &mulconv::MULCONV_I32_U8_S8_4X16_NEON_MULL,
        &mulconv::masks::MULCONV_I32_U1_S8_1X32_NEON_PADAL,
        &mulconv::two_bits::MULCONV_I32_U2_S8_1X32_NEON_PADAL,
        &dotprod::MULCONV_I32_U8_S8_4X16_NEON_DOTPROD,
    ],
    winograd: &[&winconv::WINCONV_I32_U5_S5_4X16_NEON_MLAL],
    lookup: &[&lutconv::LUTCONV_I32_U6_SX_4X32_NEON_TBL],
    depthwise: &[
        &dwconv::DWCONV_I32_U4_S8_2X16_NEON_MLAL,
        &dwconv::DWCONV_I32_U8_S8_2X16_NEON_MLAL,
        &dwconv::wide::DWCONV_I32_U8_SX_2X16_NEON_MLAL,
    ],
    requantize: &[
        &requantize::REQUANTIZE_U8_I32_THRESHOLDS16_NEON,
        &requantize::REQUANTIZE_U8_I32_THRESHOLDS32_NEON,
        &requantize::REQUANTIZE_U8_I32_NARROW_NEON,
        &requantize::REQUANTIZE_U8_I32_FIXED_NEON,
        &requantize::REQUANTIZE_U8_I32_WIDE_NEON,
        &requantize::REQUANTIZE_U8_I32_CELLS_NEON,
        &requantize::REQUANTIZE_U8_I32_SEARCH_NEON,
    ],
    transform: &[],
};
