//! Bit-serial convolution in plain loops, for CPUs without vectors of their own here. Widths are those
//! of the call: an instance for each pair of widths, as the vector forms have, took a tenth of the
//! program's code.

use super::{pack_strips, packed_len, rate, supports};
use crate::families::direct::{Capabilities, ConvKernel, ConvTile};
use crate::ukernel::Engine;

/// The portable micro-kernel.
pub(crate) static BSCONV_I32_UX_UX_1X16_GENERIC: ConvKernel = ConvKernel {
    name: "bsconv_i32_ux_ux_1x16_generic",
    engine: Engine::Generic,
    bit_serial: true,
    capabilities: Capabilities::NONE,
    nr: NR,
    mr: 1,
    supports,
    rate: |operands| rate(operands, NR, NR, 9.4),
    packed_len: |runs, depth, weight_bits| packed_len(NR, runs, depth, weight_bits),
    pack: |block, out| pack_strips(block, NR, NR, out),
    run: bsconv_i32_ux_ux_1x16_generic,
    planes: None,
    levels: None,
};

/// Outputs of a block, and lanes of its only strip.
const NR: usize = 16;

fn bsconv_i32_ux_ux_1x16_generic(tile: &mut ConvTile<'_>) {
    let (w, a) = (usize::from(tile.weight_bits), usize::from(tile.activation_bits));
    let steps = tile.depth / 8;
    for pixel in 0..tile.pixels {
        let window = &tile.input[tile.input_offset + pixel * tile.pixel_step..];
        let mut sums = [0i32; NR];
        let mut weights = tile.weights.chunks_exact(NR * w);
        for &run in tile.runs {
            let levels = window[run..].chunks_exact(a).take(steps);
            for (levels, weights) in levels.zip(&mut weights) {
                for (i, weights) in weights.as_chunks::<NR>().0.iter().enumerate() {
                    for (j, level) in levels.iter().enumerate() {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum += ((weight & level).count_ones() << (i + j)) as i32;
                        }
                    }
                }
            }
        }
        tile.sums[pixel * tile.sums_stride..][..NR].copy_from_slice(&sums);
        if let Some(total) = tile.totals.get_mut(pixel) {
            *total = tile.runs.iter().map(|&run| levels_total(&window[run..][..steps * a], a)).sum();
        }
    }
}

/// The sum of levels in planes, `[step][plane]`.
pub(crate) fn levels_total(planes: &[u8], level_bits: usize) -> i32 {
    let of_step = |bytes: &[u8]| -> i32 {
        bytes.iter().enumerate().map(|(plane, byte)| (byte.count_ones() << plane) as i32).sum()
    };
    planes.chunks_exact(level_bits).map(of_step).sum()
}
