//! Runs a depthwise micro-kernel over one layer, for an instruction counter or a stopwatch.
//!
//! `depthwise_loop NAME LEVEL_BITS ITERATIONS [CHANNELS KERNEL STRIDE WIDTH HEIGHT]`: the layer is 64 channels, 3×3, stride 1,
//! 40×40 outputs, unless told otherwise; NAME is a part of a micro-kernel's name.
//! Under a counter, subtract a run of fewer iterations: what is set up is counted, too.

use std::time::Instant;

use ylb_kernels::families::depthwise::{CHANNELS, Depthwise, DepthwiseTile};
use ylb_kernels::layout::READ_SLACK;
use ylb_kernels::registry;

/// Output pixels of a call, as the runtime has it.
const STRIP: usize = 32;

/// Channels of a call.
const BLOCK: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let name = arguments.first().map_or("", String::as_str);
    let (level_bits, iterations) = (number(1, 8)? as u32, number(2, 1)?);
    let (channels, size, stride) = (number(3, 64)?, number(4, 3)?, number(5, 1)?);
    let (width, height) = (number(6, 40)?, number(7, 40)?);

    let depthwise =
        registry::available().find(|depthwise: &Depthwise| depthwise.kernel().name.contains(name));
    let depthwise = depthwise.ok_or("this CPU has no such micro-kernel")?;
    let pattern = |index: usize| (index * 37 + index / 101) as u8;
    let [rows, columns] = [height, width].map(|extent| (extent - 1) * stride + size);
    let input: Vec<u8> =
        (0..rows * columns * channels + READ_SLACK).map(|index| pattern(index) >> (8 - level_bits)).collect();
    let taps = size * size;
    let mut weights = vec![0; depthwise.packed_len(channels, taps)];
    let weight = |tap: usize, channel: usize| i16::from(pattern(tap * channels + channel)) % 127 - 63;
    depthwise.pack(weight, [channels, taps], &mut weights);
    let block_len = depthwise.packed_len(1, taps);

    let mut sums = vec![0; STRIP * BLOCK];
    let (mut checksum, started) = (0i64, Instant::now());
    for _ in 0..iterations {
        for y in 0..height {
            for first in (0..channels).step_by(BLOCK) {
                for x in (0..width).step_by(STRIP) {
                    depthwise.run(&mut DepthwiseTile {
                        input: &input,
                        input_offset: (y * columns + x) * stride * channels + first,
                        pixel_step: stride * channels,
                        kernel: [size; 2],
                        row_step: columns * channels,
                        column_step: channels,
                        channels: BLOCK.min(channels - first),
                        weights: &weights[first / CHANNELS * block_len..],
                        pixels: STRIP.min(width - x),
                        sums: &mut sums,
                        sums_stride: BLOCK,
                    });
                    checksum += i64::from(sums[(x + y) % BLOCK]);
                }
            }
        }
    }
    let macs = (iterations * channels * height * width * taps) as f64;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}: {macs} MACs, {:.2} GMAC/s, checksum {checksum}",
        depthwise.kernel().name,
        macs / seconds / 1e9
    );
    Ok(())
}
