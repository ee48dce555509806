//! Bit-serial convolution with NEON: AND, CNT, ADD on 16 outputs.
//!
//! On a Cortex-A72 a step takes `(3·W·A·M + A) / 2` cycles for `M` strips of 16 outputs: 20.5 MACs per
//! cycle at 2-bit weights and levels, 78.8 at one bit. Emptying counters takes 7 % of that.

pub(super) mod planes;
pub(crate) mod tables;
mod totals;

use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::bsconv::{
    Instances, conv, instances, pack, packed_len, rate, run_instance, supports,
};
use crate::families::direct::{Capabilities, ConvKernel, ConvPlanes, ConvTile, WeightBlock};
use crate::simd::Simd;
use crate::ukernel::Engine;

/// For layers of many outputs: four strips share broadcasts.
pub(crate) static BSCONV_I32_UX_UX_1X64_NEON_CNT: ConvKernel =
    kernel::<64>("bsconv_i32_ux_ux_1x64_neon_cnt", bsconv_i32_ux_ux_1x64_neon_cnt);
/// For layers of up to 32 outputs.
pub(crate) static BSCONV_I32_UX_UX_1X32_NEON_CNT: ConvKernel =
    kernel::<32>("bsconv_i32_ux_ux_1x32_neon_cnt", bsconv_i32_ux_ux_1x32_neon_cnt);
/// For layers of up to 16 outputs.
pub(crate) static BSCONV_I32_UX_UX_1X16_NEON_CNT: ConvKernel =
    kernel::<16>("bsconv_i32_ux_ux_1x16_neon_cnt", bsconv_i32_ux_ux_1x16_neon_cnt);

static INSTANCES: Instances = instances!(conv_neon);

const fn kernel<const NR: usize>(name: &'static str, run: unsafe fn(&mut ConvTile<'_>)) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Neon,
        bit_serial: true,
        capabilities: Capabilities::NONE,
        nr: NR,
        mr: 1,
        supports,
        rate: |operands| {
            // Slots of AND, CNT, ADD on two pipes, the broadcasts' share, and emptying counters.
            let broadcasts = 16.0 / (NR as f32 * f32::from(operands.weight_bits.max(1)));
            let loops = rate(operands, NR, Neon::LANES, (3.0 + broadcasts) / 2.0 * 1.07);
            // Levels of more than two bits take the way through memory, and packing, which multiplying
            // micro-kernels do not need: a fifth of YOLOv5n at 2-bit weights and 4-bit levels.
            if operands.max_level > 3 { 0.8 * loops } else { loops }
        },
        packed_len: |runs, depth, weight_bits| {
            packed_len(NR, runs, depth, weight_bits) + ones_len(NR, weight_bits)
        },
        pack: |block, out| {
            pack::<Neon>(block, NR, out);
            pack_ones(block, &mut out[packed_len(NR, block.runs, block.depth, block.weight_bits)..]);
        },
        run,
        planes: Some(ConvPlanes::narrow(planes::run_planes::<NR>)),
        levels: None,
    }
}

/// Bytes behind the weights of a block: for weights of one bit the ones of each output, of 16 bits. See [`planes`].
const fn ones_len(nr: usize, weight_bits: u8) -> usize {
    if weight_bits == 1 { nr * size_of::<u16>() } else { 0 }
}

/// Packs them, modulo 2^16.
fn pack_ones(block: &WeightBlock<'_>, out: &mut [u8]) {
    let ones =
        out.chunks_exact_mut(size_of::<u16>()).take(if block.weight_bits == 1 { usize::MAX } else { 0 });
    for (output, out) in ones.enumerate() {
        let len = block.runs * block.depth;
        let codes = &block.codes[output * len..][..len];
        let count: usize = codes.iter().map(|&code| usize::from(code & 1)).sum();
        out.copy_from_slice(&(count as u16).to_le_bytes());
    }
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn bsconv_i32_ux_ux_1x64_neon_cnt(tile: &mut ConvTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise.
    unsafe { run_instance(&INSTANCES, tile, 64) }
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn bsconv_i32_ux_ux_1x32_neon_cnt(tile: &mut ConvTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise.
    unsafe { run_instance(&INSTANCES, tile, 32) }
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn bsconv_i32_ux_ux_1x16_neon_cnt(tile: &mut ConvTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise.
    unsafe { run_instance(&INSTANCES, tile, 16) }
}

/// # Safety
/// - As [`conv`].
/// - The CPU has Advanced SIMD.
#[target_feature(enable = "neon")]
unsafe fn conv_neon<const W: usize, const A: usize>(tile: &mut ConvTile<'_>, outputs: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let neon = Neon::new_unchecked();
        totals::add_up_totals::<A>(neon, tile);
        let totals = std::mem::take(&mut tile.totals);
        conv::<Neon, W, A>(neon, tile, outputs);
        tile.totals = totals;
    }
}
