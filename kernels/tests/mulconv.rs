//! Multiplying micro-kernels at the operands that their instructions are tightest for: levels of 0
//! and 255 (−128 and 127 where levels become signed) against the largest weights of both signs.
//! Everything else is in `conformance`.

use ylb_kernels::families::direct::{Conv, ConvKernel, ConvTile, Operands, WeightBlock};
use ylb_kernels::layout::READ_SLACK;
use ylb_kernels::registry;

/// Sums of one pixel: every level is `level`, and weights alternate between `weights` with `period`.
fn run(conv: &Conv, level: u8, weights: [i8; 2], period: usize, depth: usize) -> Vec<i32> {
    let kernel = conv.kernel();
    let codes: Vec<u8> = (0..kernel.nr * depth).map(|index| weights[index / period % 2] as u8).collect();
    let mut packed = vec![0xff; (kernel.packed_len)(1, depth, 8)];
    (kernel.pack)(&WeightBlock { codes: &codes, runs: 1, depth, weight_bits: 8 }, &mut packed);
    let mut sums = vec![0; kernel.nr];
    conv.run(&mut ConvTile {
        input: &vec![level; depth + READ_SLACK],
        input_offset: 0,
        pixel_step: depth,
        runs: &[0],
        depth,
        activation_bits: 8,
        weight_bits: 8,
        weights: &packed,
        pixels: 1,
        sums: &mut sums,
        sums_stride: kernel.nr,
        totals: &mut [],
    });
    sums
}

#[test]
fn products_never_overflow() {
    let depth = 96;
    for conv in registry::available::<ConvKernel>().filter(|conv| !conv.kernel().bit_serial) {
        let kernel = conv.kernel();
        for (min_weight, max_weight) in [(-128, 127), (-127, 127), (-64, 64), (-64, 63), (-8, 8), (-8, 7)] {
            for max_level in [1, 3, 127, 128, 254, 255] {
                let operands =
                    Operands { max_level, weight_bits: 8, min_weight, max_weight, depth, outputs: kernel.nr };
                if !(kernel.supports)(&operands) {
                    continue;
                }
                for level in [0, max_level] {
                    for weights in [[min_weight; 2], [max_weight; 2], [min_weight, max_weight]] {
                        for period in [1, 2, 4] {
                            let sum: i32 = (0..depth)
                                .map(|k| i32::from(level) * i32::from(weights[k / period % 2]))
                                .sum();
                            let sums = run(&conv, level, weights, period, depth);
                            assert_eq!(sums, vec![sum; kernel.nr], "{}: {level} · {weights:?}", kernel.name);
                        }
                    }
                }
            }
        }
    }
}

/// Whatever the weights, some micro-kernel of each instruction set takes them, so that a weight of
/// −128 does not send a convolution to the portable one.
#[test]
fn every_instruction_set_takes_all_operands() {
    let operands = Operands {
        max_level: 255,
        weight_bits: 8,
        min_weight: -128,
        max_weight: 127,
        depth: 64,
        outputs: 16,
    };
    for kernel in registry::kernels::<ConvKernel>().filter(|kernel| !kernel.bit_serial) {
        let takes = |other: &ConvKernel| {
            !other.bit_serial && other.engine == kernel.engine && (other.supports)(&operands)
        };
        assert!(registry::kernels().any(takes), "none with {:?}", kernel.engine);
    }
}
