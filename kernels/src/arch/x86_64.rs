//! x86-64 with AVX2, with AVX-512, and with AMX.

pub(crate) mod amx;
pub(crate) mod avx512;
pub(crate) mod bsconv;
pub(crate) mod dwconv;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod requantize;
pub(crate) mod simd;
pub(crate) mod sum;

use crate::ukernel::Listed;

/// The micro-kernels of this instruction set.
pub(crate) static KERNELS: Listed = Listed {
    direct: &[
        &amx::MULCONV_I32_U8_S8_32X32_AMX,
        &amx::MULCONV_I32_U8_S8_32X64_AMX,
        &amx::MULCONV_I32_U8_S8_32X128_AMX,
        &avx512::bsconv::BSCONV_I32_UX_UX_8X32_AVX512_CNT,
        &avx512::bsconv::BSCONV_I32_UX_UX_8X16_AVX512_CNT,
        &avx512::mulconv::MULCONV_I32_U8_S8_8X32_AVX512_VNNI,
        &avx512::mulconv::MULCONV_I32_U8_S8_16X16_AVX512_VNNI,
        &bsconv::BSCONV_I32_UX_UX_1X64_AVX2_CNT,
        &bsconv::BSCONV_I32_UX_UX_1X32_AVX2_CNT,
        &mulconv::MULCONV_I32_U8_S8_4X16_AVX2_MADD,
        &mulconv::MULCONV_I32_U8_S7_4X16_AVX2_MADDUBS,
        &mulconv::MULCONV_I32_U8_S4_4X16_AVX2_MADDUBS,
    ],
    winograd: &[],
    lookup: &[],
    depthwise: &[&dwconv::DWCONV_I32_U8_SX_1X16_AVX2_MADD],
    requantize: &[
        &avx512::requantize::REQUANTIZE_U8_I32_THRESHOLDS16_AVX512,
        &avx512::requantize::REQUANTIZE_U8_I32_THRESHOLDS32_AVX512,
        &avx512::requantize::REQUANTIZE_U8_I32_NARROW_AVX512,
        &avx512::requantize::REQUANTIZE_U8_I32_FIXED_AVX512,
        &avx512::requantize::REQUANTIZE_U8_I32_CELLS_AVX512,
        &requantize::REQUANTIZE_U8_I32_THRESHOLDS16_AVX2,
        &requantize::REQUANTIZE_U8_I32_THRESHOLDS32_AVX2,
        &requantize::REQUANTIZE_U8_I32_NARROW_AVX2,
        &requantize::REQUANTIZE_U8_I32_FIXED_AVX2,
        &requantize::REQUANTIZE_U8_I32_WIDE_AVX2,
        &requantize::REQUANTIZE_U8_I32_CELLS_AVX2,
        &requantize::REQUANTIZE_U8_I32_SEARCH_AVX2,
    ],
    transform: &[avx512::requantize::TRANSFORM_AVX512, requantize::TRANSFORM_AVX2],
};
