//! Runs the micro-kernels over one layer, for an instruction counter or a stopwatch.
//!
//! `conv_loop NAME WEIGHT_BITS LEVEL_BITS ITERATIONS [CHANNELS OUTPUTS [KERNEL WIDTH HEIGHT]]`: the
//! layer is 3×3, 64 → 64 channels, 40×40, unless told otherwise; NAME is a part of a micro-kernel's name.
//! Under a counter, subtract a run of fewer iterations: what is set up is counted, too.

use std::time::Instant;

use ylb_kernels::families::direct::{Conv, ConvTile, WeightBlock};
use ylb_kernels::layout::{Border, Form, Layout, READ_SLACK};
use ylb_kernels::registry;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let name = arguments.first().map_or("", String::as_str);
    let (weight_bits, level_bits, iterations) = (number(1, 2)? as u8, number(2, 2)? as u8, number(3, 1)?);
    let (channels, outputs) = (number(4, 64)?, number(5, 64)?);
    let (kernel_size, width, height) = (number(6, 3)?, number(7, 40)?, number(8, 40)?);

    let conv = registry::available().find(|conv: &Conv| conv.kernel().name.contains(name));
    let conv = conv.ok_or("this CPU has no such micro-kernel")?;
    let kernel = conv.kernel();
    let form = if kernel.bit_serial { Form::Planes { bits: level_bits } } else { Form::Bytes };
    let border = Border { top: 0, left: 0, bottom: kernel_size - 1, right: kernel_size - 1 };
    let layout = Layout::dense(form, channels, height, width, border);
    let pattern = |index: usize| (index * 37 + index / 101) as u8;
    let input: Vec<u8> = (0..layout.len() + READ_SLACK).map(pattern).collect();
    let runs: Vec<usize> = (0..kernel_size).map(|row| row * layout.row_stride()).collect();
    let depth = kernel_size * channels;

    let mask = if kernel.bit_serial { (1 << weight_bits) - 1 } else { 1 };
    let codes: Vec<u8> = (0..kernel.nr * runs.len() * depth).map(|index| pattern(index) & mask).collect();
    let block = WeightBlock { codes: &codes, runs: runs.len(), depth, weight_bits };
    let mut weights = vec![0; (kernel.packed_len)(runs.len(), depth, weight_bits)];
    (kernel.pack)(&block, &mut weights);

    let mut sums = vec![0; width * kernel.nr];
    let started = Instant::now();
    let mut checksum = 0i64;
    for _ in 0..iterations {
        for _ in 0..outputs.div_ceil(kernel.nr) {
            for y in 0..height {
                conv.run(&mut ConvTile {
                    input: &input,
                    input_offset: layout.offset(y as isize, 0),
                    pixel_step: layout.pixel_stride,
                    runs: &runs,
                    depth,
                    activation_bits: level_bits,
                    weight_bits,
                    weights: &weights,
                    pixels: width,
                    sums: &mut sums,
                    sums_stride: kernel.nr,
                    totals: &mut [],
                });
                checksum += i64::from(sums[y % sums.len()]);
            }
        }
    }
    let macs = (iterations * outputs * height * width * runs.len() * depth) as f64;
    println!(
        "{}: {macs} MACs, {:.2} GMAC/s, checksum {checksum}",
        kernel.name,
        macs / started.elapsed().as_secs_f64() / 1e9
    );
    Ok(())
}
