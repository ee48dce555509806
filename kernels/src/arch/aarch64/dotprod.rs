//! Multiplying convolution with SDOT: the loop of [`mulconv`](super::mulconv), with all four products
//! of an output's step in one instruction lane.
//!
//! SDOT by element multiplies the 4 levels of one 32-bit lane with the weights of 4 outputs and adds
//! the products to 32 bits: 16 products an instruction, two instructions a cycle on a Cortex-A76, and
//! exact for all operands.

use std::arch::aarch64::*;
use std::arch::asm;

use super::mulconv::planes::convolve_planes;
use super::mulconv::{CORRECTIONS, GROUP, Multiply, convolve, pack_block};
use crate::arch::generic::mulconv::{OUTPUTS, packed_len, utilisation};
use crate::families::direct::{Capabilities, ConvKernel, ConvPlanes, ConvTile, PlanesTile};
use crate::ukernel::Engine;

/// Any operands.
pub(crate) static MULCONV_I32_U8_S8_4X16_NEON_DOTPROD: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s8_4x16_neon_dotprod",
    engine: Engine::Dotprod,
    bit_serial: false,
    capabilities: Capabilities::NONE,
    nr: OUTPUTS,
    mr: 4,
    supports: |_| true,
    rate: |operands| 32.0 * utilisation(operands, GROUP),
    packed_len: |runs, depth, _| CORRECTIONS + packed_len::<GROUP>(runs, depth),
    pack: pack_block::<Sdot>,
    run: mulconv_i32_u8_s8_4x16_neon_dotprod,
    planes: Some(ConvPlanes::wide(mulconv_planes_u8_s8_4x16_neon_dotprod)),
    levels: None,
};

/// Adds four products in 32 bits.
struct Sdot;

impl Multiply for Sdot {
    fn position(output: usize, k: usize) -> usize {
        output * GROUP + k
    }

    #[inline(always)]
    unsafe fn step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    ) {
        for (sum, &weights) in sums.iter_mut().zip(weights) {
            // SAFETY: the caller's promise: the CPU has the instruction.
            *sum = unsafe { sdot::<LOW>(*sum, weights, levels) };
        }
    }
}

/// `sum[i] + Σ_k a[4i + k] · b[4 · (LOW / 2) + k]`. The intrinsic for it is not stable.
///
/// # Safety
/// - The CPU has the dot product instructions.
#[inline(always)]
unsafe fn sdot<const LOW: i32>(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise; registers only.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            lane = const LOW / 2,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

#[target_feature(enable = "neon,dotprod")]
fn mulconv_i32_u8_s8_4x16_neon_dotprod(tile: &mut ConvTile<'_>) {
    // SAFETY: this function's own contract: the CPU has the instructions and the tile was checked.
    unsafe { convolve::<Sdot>(tile) }
}

#[target_feature(enable = "neon,dotprod")]
fn mulconv_planes_u8_s8_4x16_neon_dotprod(tile: &mut PlanesTile<'_>) {
    // SAFETY: this function's own contract: the CPU has the instructions and the tile was checked.
    unsafe { convolve_planes::<Sdot>(tile) }
}
