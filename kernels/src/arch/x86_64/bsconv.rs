//! Bit-serial convolution with AVX2: bytes are counted by two look-ups of nibbles.
//!
//! Measured on one core of an Intel Xeon: 230 GMAC/s at one bit, 120 at one and two bits, 60 at two,
//! where multiplying with VPMADDUBSW reaches 87 to 118.

use crate::arch::generic::bsconv::{
    Instances, conv, instances, pack, packed_len, rate, run_instance, supports,
};
use crate::arch::x86_64::simd::Avx2;
use crate::families::direct::{Capabilities, ConvKernel, ConvTile};
use crate::simd::Simd;
use crate::ukernel::Engine;

/// For layers of many outputs: two strips share broadcasts.
pub(crate) static BSCONV_I32_UX_UX_1X64_AVX2_CNT: ConvKernel =
    kernel::<64>("bsconv_i32_ux_ux_1x64_avx2_cnt", bsconv_i32_ux_ux_1x64_avx2_cnt);
/// For layers of up to 32 outputs.
pub(crate) static BSCONV_I32_UX_UX_1X32_AVX2_CNT: ConvKernel =
    kernel::<32>("bsconv_i32_ux_ux_1x32_avx2_cnt", bsconv_i32_ux_ux_1x32_avx2_cnt);

static INSTANCES: Instances = instances!(conv_avx2);

const fn kernel<const NR: usize>(name: &'static str, run: unsafe fn(&mut ConvTile<'_>)) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Avx2,
        bit_serial: true,
        capabilities: Capabilities::NONE,
        nr: NR,
        mr: 1,
        supports,
        rate: |operands| rate(operands, NR, Avx2::LANES, 4.7),
        packed_len: |runs, depth, weight_bits| packed_len(NR, runs, depth, weight_bits),
        pack: |block, out| pack::<Avx2>(block, NR, out),
        run,
        planes: None,
        levels: None,
    }
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn bsconv_i32_ux_ux_1x64_avx2_cnt(tile: &mut ConvTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise.
    unsafe { run_instance(&INSTANCES, tile, 64) }
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn bsconv_i32_ux_ux_1x32_avx2_cnt(tile: &mut ConvTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise.
    unsafe { run_instance(&INSTANCES, tile, 32) }
}

/// # Safety
/// - As [`conv`].
/// - The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn conv_avx2<const W: usize, const A: usize>(tile: &mut ConvTile<'_>, outputs: usize) {
    // SAFETY: the caller's promise.
    unsafe { conv::<Avx2, W, A>(Avx2::new_unchecked(), tile, outputs) }
}
