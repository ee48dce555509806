//! Every micro-kernel of the registry that this CPU can run equals the formula, bit for bit.

#[path = "support/case.rs"]
mod case;

use case::{Case, Fill, Shape, operands_of, report};
use ylb_kernels::families::direct::{Conv, ConvKernel, ConvTile, Operands};
use ylb_kernels::registry;

/// Sizes below, at and above each edge: of pixels, strips of outputs, vectors and chunks of depth,
/// and the counts at which bit-serial counters are emptied.
fn shapes(kernel: &ConvKernel) -> Vec<Shape> {
    let ConvKernel { nr, mr, .. } = *kernel;
    let usual = Shape { pixels: mr + 1, runs: 3, depth: 48, step: 16, outputs: nr };
    let mut shapes = vec![usual];
    for pixels in [0, 1, 2, 3, mr - 1, mr, mr + 1, 2 * mr - 1, 2 * mr, 2 * mr + 1] {
        shapes.push(Shape { pixels, ..usual });
    }
    for runs in [0, 1, 2, 5] {
        shapes.push(Shape { runs, ..usual });
    }
    for outputs in [0, 1, 8, nr - 1] {
        shapes.push(Shape { outputs, ..usual });
    }
    for step in [8, 48, 64] {
        shapes.push(Shape { step, ..usual });
    }
    for depth in [0, 8, 16, 24, 32, 40, 56, 64, 72, 80, 88, 120, 128, 136, 248, 256, 264, 304] {
        shapes.push(Shape { depth, runs: 1, ..usual });
        shapes.push(Shape { depth, runs: 2, ..usual });
    }
    if !kernel.bit_serial {
        for depth in [1, 2, 3, 4, 5, 7, 9, 15, 17, 27, 31, 33, 63, 65] {
            shapes.push(Shape { depth, ..usual });
            shapes.push(Shape { depth, step: 3, runs: 2, ..usual });
        }
    }
    shapes
}

fn available() -> impl Iterator<Item = Conv> {
    registry::available::<ConvKernel>()
}

#[test]
fn micro_kernels_equal_the_formula() {
    let (mut cases, mut failures) = (0, Vec::new());
    for conv in available() {
        let kernel = conv.kernel();
        for shape in shapes(kernel) {
            for operands in operands_of(kernel, shape.depth, shape.outputs) {
                cases += 1;
                failures.extend(Case::new(kernel, operands, shape, Fill::Random(cases)).failure(&conv));
            }
        }
    }
    report(cases as usize, &failures);
}

#[test]
fn largest_accumulators_do_not_overflow() {
    let (mut cases, mut failures) = (0, Vec::new());
    for conv in available() {
        let kernel = conv.kernel();
        let shape = Shape { pixels: 1, runs: 1, depth: 0, step: 8, outputs: kernel.nr };
        for operands in operands_of(kernel, 8, kernel.nr) {
            // The largest product decides how deep a run must be to leave 16 bits, and may be to stay
            // in 32.
            let weight = if kernel.bit_serial {
                (1 << operands.weight_bits) - 1
            } else {
                operands.min_weight.unsigned_abs().max(operands.max_weight.unsigned_abs()).into()
            };
            let product = weight * usize::from(operands.max_level);
            let beyond_16_bits = (65_536 / product + 1).next_multiple_of(8);
            let deepest = (i32::MAX as usize / product).min(66_000) / 8 * 8;
            let depths = [256, beyond_16_bits, if product > 32_000 { deepest } else { 0 }];
            for depth in depths {
                let operands = Operands { depth, ..operands };
                // Two runs, too: counters are then emptied at other steps.
                for (runs, depth) in [(1, depth), (2, depth / 16 * 8)] {
                    // Where all levels are equal, the pieces of a deep run may be mistaken for each other.
                    let mixed = (depth == beyond_16_bits).then_some(Fill::Random(1));
                    for fill in [Fill::Largest, Fill::Smallest].into_iter().chain(mixed) {
                        cases += 1;
                        let shape = Shape { runs, depth, ..shape };
                        failures.extend(Case::new(kernel, operands, shape, fill).failure(&conv));
                    }
                }
            }
        }
    }
    report(cases, &failures);
}

#[test]
fn totals_may_be_left_out() {
    for conv in available() {
        let kernel = conv.kernel();
        let shape = Shape { pixels: 2, runs: 2, depth: 24, step: 8, outputs: kernel.nr };
        for operands in operands_of(kernel, shape.depth, shape.outputs) {
            let case = Case::new(kernel, operands, shape, Fill::Random(1));
            let mut sums = vec![i32::MIN; case.expected_sums.len()];
            conv.run(&mut case.tile(&case.input, &case.weights, &mut sums, &mut []));
            assert_eq!(sums, case.expected_sums, "{} {operands:?}", kernel.name);
        }
    }
}

#[test]
fn sums_may_lie_apart() {
    const UNTOUCHED: i32 = i32::MIN;
    for conv in available() {
        let kernel = conv.kernel();
        let pixels = kernel.mr + 1;
        let stride = kernel.nr + 7;
        let shape = Shape { pixels, runs: 2, depth: 24, step: 8, outputs: kernel.nr };
        for operands in operands_of(kernel, shape.depth, shape.outputs) {
            let case = Case::new(kernel, operands, shape, Fill::Random(1));
            let mut expected = vec![UNTOUCHED; pixels * stride];
            for (sums, expected) in case.expected_sums.chunks(kernel.nr).zip(expected.chunks_mut(stride)) {
                expected[..kernel.nr].copy_from_slice(sums);
            }
            // Nothing has to follow the last pixel's sums.
            expected.truncate(pixels * stride - 7);
            let mut sums = vec![UNTOUCHED; expected.len()];
            let tile = case.tile(&case.input, &case.weights, &mut sums, &mut []);
            conv.run(&mut ConvTile { sums_stride: stride, ..tile });
            assert_eq!(sums, expected, "{} {operands:?}", kernel.name);
        }
    }
}

#[test]
fn short_operands_panic() {
    for conv in available() {
        let kernel = conv.kernel();
        let shape = Shape { pixels: 2, runs: 2, depth: 24, step: 8, outputs: kernel.nr };
        let operands = operands_of(kernel, shape.depth, shape.outputs)[0];
        let case = Case::new(kernel, operands, shape, Fill::Random(1));
        let panics = |input: usize, weights: usize, sums: usize, totals: usize| {
            let mut all_sums = vec![0; case.expected_sums.len()];
            let mut all_totals = vec![0; case.expected_totals.len()];
            let (input, weights) = (&case.input[input..], &case.weights[weights..]);
            let (sums, totals) = (&mut all_sums[sums..], &mut all_totals[totals..]);
            let run = || conv.run(&mut case.tile(input, weights, sums, totals));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        assert!(!panics(0, 0, 0, 0), "{}", kernel.name);
        assert!(panics(1, 0, 0, 0), "{}: input", kernel.name);
        assert!(panics(0, 1, 0, 0), "{}: weights", kernel.name);
        assert!(panics(0, 0, 1, 0), "{}: sums", kernel.name);
        assert!(panics(0, 0, 0, 1), "{}: totals", kernel.name);
    }
}
