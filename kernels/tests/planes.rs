//! Micro-kernels that end in bit planes give the planes of the levels that the definitions give.

#[path = "support/case.rs"]
mod case;

use case::{Case, Fill, Random, Shape, operands_of, planes, report};
use ylb_kernels::combine::{CombineRow, PlaneFunction};
use ylb_kernels::families::direct::{Conv, ConvKernel, ConvTile, Operands, PlanesTile};
use ylb_kernels::reference;
use ylb_kernels::registry;
use ylb_kernels::requantize::{AccumulatorRange, AccumulatorTransform, RequantizeSpec};
use ylb_kernels::rows::Rows;
use ylb_kernels::ukernel::Engine;

/// What a byte that must not be written holds.
const UNTOUCHED: u8 = 0xa5;

fn available() -> impl Iterator<Item = Conv> {
    registry::available::<ConvKernel>()
}

fn bits_of(max_level: u8) -> u8 {
    (8 - max_level.leading_zeros()) as u8
}

/// The transforms that weights and levels have: see `ylb_runtime::weight_codes`.
fn transforms(
    conv: &Conv,
    operands: Operands,
    channels: usize,
    random: &mut Random,
) -> Vec<AccumulatorTransform> {
    let mut constants = || (0..channels).map(|_| random.within(-100..=100)).collect::<Vec<i32>>();
    let transform = |sum_scale, total_scale: i32, constants| AccumulatorTransform {
        sum_scale,
        total_scales: if total_scale == 0 { vec![] } else { vec![total_scale; channels] },
        constants,
    };
    if !conv.kernel().bit_serial {
        return vec![transform(1, 0, vec![0; channels]), transform(3, 0, constants())];
    }
    match operands.weight_bits {
        1 => vec![transform(2, -1, vec![0; channels]), transform(4, -2, constants())],
        bits => vec![transform(1, -(1 << (bits - 1)), constants()), transform(1, 0, vec![0; channels])],
    }
}

/// What a convolution can have, whatever its weights.
fn range(
    conv: &Conv,
    operands: Operands,
    shape: Shape,
    transform: &AccumulatorTransform,
    channel: usize,
) -> AccumulatorRange {
    let count = (shape.runs * shape.depth) as i32;
    let (low, high) = if conv.kernel().bit_serial {
        (0, (1 << operands.weight_bits) - 1)
    } else {
        (i32::from(operands.min_weight), i32::from(operands.max_weight))
    };
    let total_scale = transform.total_scales.first().copied().unwrap_or(0);
    let of =
        |weight: i32| (transform.sum_scale * weight + total_scale) * count * i32::from(operands.max_level);
    let constant = transform.constants[channel];
    AccumulatorRange { min: of(low).min(0) + constant, max: of(high).max(0) + constant }
}

/// Staircases of up to `most` steps, rising and falling: half of the steps within and beyond the range, the others
/// beside one of the channel's `accumulators`, where a sum that is wrong by little makes another level.
fn staircase(
    ranges: &[AccumulatorRange],
    accumulators: impl Fn(usize) -> Vec<i32>,
    most: usize,
    rising_only: bool,
    random: &mut Random,
) -> RequantizeSpec {
    let mut thresholds = Vec::new();
    let mut levels = Vec::new();
    for (channel, range) in ranges.iter().enumerate() {
        let steps = random.within(0..=most as i32) as usize;
        let accumulators = accumulators(channel);
        let position = |_| match &accumulators[..] {
            [_, ..] if random.within(0..=1) == 1 => {
                let near = random.within(0..=accumulators.len() as i32 - 1) as usize;
                accumulators[near] + random.within(-1..=1)
            }
            _ => random.within(range.min - 2..=range.max + 2),
        };
        let mut positions: Vec<i32> = (0..steps).map(position).collect();
        positions.sort_unstable();
        let first = random.within(0..=(most - steps) as i32) as u8;
        let mut values: Vec<u8> = (0..=steps as u8).map(|step| first + step).collect();
        if !rising_only && random.within(0..=1) == 1 {
            values.reverse();
        }
        thresholds.push(positions);
        levels.push(values);
    }
    RequantizeSpec::Staircase { thresholds, levels }
}

/// `None` if the micro-kernel does not make planes of this case.
fn failure(
    conv: &Conv,
    operands: Operands,
    shape: Shape,
    fill: Fill,
    bits: u8,
    seed: u64,
) -> Option<Option<String>> {
    let kernel = conv.kernel();
    if kernel.bit_serial && bits != bits_of(operands.max_level) {
        return None;
    }
    let case = Case::new(kernel, operands, shape, fill);
    let mut random = Random(seed);
    let first_channel = (seed as usize % 2) * kernel.nr;
    let channels = first_channel + shape.outputs;
    let widths = [operands.weight_bits, bits_of(operands.max_level)];
    let mut made = None;
    for transform in transforms(conv, operands, channels, &mut random) {
        let ranges: Vec<AccumulatorRange> =
            (0..channels).map(|channel| range(conv, operands, shape, &transform, channel)).collect();
        let total_scale = transform.total_scales.first().copied().unwrap_or(0);
        let accumulator = |pixel: usize, channel: usize| {
            let output = channel.checked_sub(first_channel)?;
            let sum = case.expected_sums[pixel * kernel.nr + output];
            let total = total_scale * case.expected_totals[pixel];
            Some(transform.sum_scale * sum + total + transform.constants[channel])
        };
        let of_channel =
            |channel| (0..shape.pixels).filter_map(|pixel| accumulator(pixel, channel)).collect();
        let rising_only = seed.is_multiple_of(3);
        let spec = staircase(&ranges, of_channel, (1 << bits) - 1, rising_only, &mut random);
        let Some(steps) = conv.plane_steps(&spec, &ranges, &transform, bits, widths) else {
            continue;
        };
        let pixel_len = shape.outputs.div_ceil(8) * usize::from(bits);
        let planes_stride = pixel_len + seed as usize % 3;
        let mut expected = vec![UNTOUCHED; shape.pixels * planes_stride];
        for pixel in 0..shape.pixels {
            let level = |output: usize| {
                let channel = first_channel + output;
                let accumulator = accumulator(pixel, channel).expect("a channel of the block");
                i32::from(reference::requantize(&spec, channel, &[i64::from(accumulator)]))
            };
            let levels: Vec<i32> = (0..shape.outputs).map(level).collect();
            expected[pixel * planes_stride..][..pixel_len].copy_from_slice(&planes(&levels, bits.into()));
        }
        // Totals are computed once, and then found.
        let mut totals = vec![0; shape.pixels];
        for compute_totals in [true, false] {
            let mut found = vec![UNTOUCHED; shape.pixels * planes_stride];
            conv.run_planes(&mut PlanesTile {
                conv: ConvTile {
                    input: &case.input,
                    input_offset: case.input_offset,
                    pixel_step: case.pixel_step,
                    runs: &case.runs,
                    depth: shape.depth,
                    activation_bits: bits_of(operands.max_level),
                    weight_bits: operands.weight_bits,
                    weights: &case.weights,
                    pixels: shape.pixels,
                    sums: &mut [],
                    sums_stride: kernel.nr,
                    totals: &mut totals,
                },
                compute_totals,
                steps: &steps,
                first_channel,
                outputs: shape.outputs,
                planes: &mut found,
                planes_stride,
            });
            let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
            let what = wrong.map(|byte| {
                format!("{} {operands:?} {shape:?} {fill:?} {bits} bits: byte {byte}", kernel.name)
            });
            made = Some(made.flatten().or(what));
        }
    }
    made
}

fn shapes(conv: &Conv) -> Vec<Shape> {
    let nr = conv.kernel().nr;
    let usual = Shape { pixels: 6, runs: 3, depth: 48, step: 16, outputs: nr };
    let mut shapes = vec![usual];
    for pixels in [0, 1, 3, 4, 5, 8, 37] {
        shapes.push(Shape { pixels, ..usual });
    }
    for outputs in [1, 8, 9, 16, 24, 40, 56, 63] {
        shapes.push(Shape { outputs: outputs.min(nr), ..usual });
    }
    for (runs, depth, step) in [
        (1, 16, 16),
        (1, 8, 8),
        (9, 32, 64),
        (3, 96, 64),
        (1, 256, 256),
        (3, 384, 128),
        (1, 512, 512),
        (2, 40, 24),
        (3, 72, 24),
    ] {
        shapes.push(Shape { runs, depth, step, pixels: 5, ..usual });
    }
    if !conv.kernel().bit_serial {
        shapes.extend([1, 2, 3, 5, 6, 18, 33].map(|depth| Shape { depth, ..usual }));
    }
    shapes
}

/// Whether micro-kernels of its engine end in planes.
fn makes_planes(conv: &Conv) -> bool {
    matches!(conv.kernel().engine, Engine::Neon | Engine::Dotprod | Engine::Avx512)
}

#[test]
fn planes_are_those_of_the_levels() {
    let (mut cases, mut failures) = (0, Vec::new());
    for conv in available() {
        for shape in shapes(&conv) {
            // Wide blocks take the oracle long: some of the operands.
            let every = if conv.kernel().capabilities.many_rows { 5 } else { 1 };
            let all = operands_of(conv.kernel(), shape.depth, shape.outputs);
            for operands in all.into_iter().step_by(every) {
                for bits in 1..=2 {
                    let random = if cases % 4 == 0 { Fill::Holes(cases) } else { Fill::Random(cases) };
                    for fill in [random, Fill::Largest] {
                        let result = failure(&conv, operands, shape, fill, bits, 7 * cases + u64::from(bits));
                        cases += u64::from(result.is_some());
                        failures.extend(result.flatten());
                    }
                }
            }
        }
    }
    if available().any(|conv| makes_planes(&conv)) {
        report(cases as usize, &failures);
        assert!(cases > 1000, "only {cases} cases made planes");
    }
}

/// Sums that pass 2^15 on their way, accumulators at the ends of an i16, and just beyond: then the
/// micro-kernel must say no.
#[test]
fn sixteen_bits_are_used_to_their_ends() {
    for conv in available().filter(|conv| conv.kernel().bit_serial) {
        let nr = conv.kernel().nr;
        for (weight_bits, depth, fits) in
            [(2u8, 8 * 682, true), (2, 8 * 683, false), (1, 8 * 1365, true), (1, 8 * 1366, false)]
        {
            let operands =
                Operands { max_level: 3, weight_bits, min_weight: 0, max_weight: 1, depth, outputs: nr };
            if !(conv.kernel().supports)(&operands) {
                continue;
            }
            let shape = Shape { pixels: 2, runs: 2, depth: depth / 2 / 8 * 8, step: 16, outputs: nr };
            let whole = Shape { runs: 1, depth, ..shape };
            for fill in [Fill::Largest, Fill::Smallest, Fill::Random(3)] {
                for seed in 0..4 {
                    match failure(&conv, operands, whole, fill, 2, seed) {
                        Some(failure) => assert_eq!(failure, None),
                        // Two's complement reaches −2 · 3 · depth.
                        None => assert!(!fits || !makes_planes(&conv)),
                    }
                }
            }
        }
    }
}

#[test]
fn functions_of_planes_are_those_of_the_levels() {
    let mut random = Random(5);
    for rows in Rows::available() {
        for bits in 1..=2u8 {
            let table: Vec<u8> = (0..16).map(|_| random.within(0..=(1 << bits) - 1) as u8).collect();
            let function = PlaneFunction::new(bits, |a, b| table[usize::from(a << bits | b)]);
            for channels in [8usize, 16, 24, 32, 48, 64, 136] {
                for (pixels, gap) in [(0, 0), (1, 0), (7, 0), (7, 3), (18, 8)] {
                    let pixel_len = channels / 8 * usize::from(bits);
                    let strides = [pixel_len, pixel_len + gap, pixel_len + 2 * gap];
                    let mut level = || random.within(0..=(1 << bits) - 1);
                    let mut inputs = [vec![0; pixels * strides[0]], vec![0; pixels * strides[1]]];
                    let mut expected = vec![UNTOUCHED; pixels * strides[2]];
                    for pixel in 0..pixels {
                        let [a, b]: [Vec<i32>; 2] =
                            std::array::from_fn(|_| (0..channels).map(|_| level()).collect());
                        let value = |(&a, &b): (&i32, &i32)| i32::from(table[(a << bits | b) as usize]);
                        let values: Vec<i32> = a.iter().zip(&b).map(value).collect();
                        let outputs = inputs.iter_mut().chain([&mut expected]);
                        for ((out, levels), stride) in outputs.zip([&a, &b, &values]).zip(strides) {
                            out[pixel * stride..][..pixel_len].copy_from_slice(&planes(levels, bits.into()));
                        }
                    }
                    let [a, b] = &inputs;
                    let mut found = vec![UNTOUCHED; pixels * strides[2]];
                    let output = &mut found[..];
                    rows.combine(CombineRow {
                        function: &function,
                        a,
                        b,
                        output,
                        strides,
                        pixels,
                        pixel_len,
                    });
                    assert_eq!(
                        found,
                        expected,
                        "{:?}, {bits} bits, {channels} channels, gap {gap}",
                        rows.engine()
                    );
                }
            }
        }
    }
}
