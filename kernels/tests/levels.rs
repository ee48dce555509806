//! Micro-kernels that end in levels give the levels that the definitions give, and stay inside their operands.

#[path = "support/case.rs"]
mod case;

use case::{Case, Fill, Random, Shape, operands_of, report};
use ylb_kernels::families::direct::{Conv, ConvKernel, ConvTile, LevelsEnd, LevelsTile, Operands, TileRows};
use ylb_kernels::families::lookup::{Lookup, LookupKernel, LookupTile, OUTPUTS, QUAD, TABLE};
use ylb_kernels::reference;
use ylb_kernels::registry;
use ylb_kernels::requantize::{AccumulatorRange, RequantizeSpec, Requantizer};
use ylb_kernels::ukernel::Engine;

/// What a byte that must not be written holds.
const UNTOUCHED: u8 = 0xa5;

/// What a convolution's sums can be, whatever its weights.
fn range(operands: Operands, shape: Shape) -> AccumulatorRange {
    let most = (shape.runs * shape.depth) as i32 * i32::from(operands.max_level);
    let [min, max] = [operands.min_weight, operands.max_weight].map(|weight| i32::from(weight) * most);
    AccumulatorRange { min: min.min(0), max: max.max(0) }
}

/// A map whose levels are those of a part of the range, for each channel another part; or one for all channels.
fn scale(range: AccumulatorRange, channels: usize, max_level: u8, random: &mut Random) -> RequantizeSpec {
    let span = (i64::from(range.max) - i64::from(range.min)).max(1) as f64;
    let shift = 24 + random.within(0..=8) as u8;
    let (mut multipliers, mut bias) = (Vec::new(), Vec::new());
    for _ in 0..channels {
        let share = f64::from(random.within(1..=16)) / 4.0;
        let multiplier = f64::from(max_level) * share / span * (1u64 << shift) as f64;
        let multiplier = multiplier.min(f64::from(i32::MAX)) as i32;
        let start = i64::from(random.within(range.min..=range.max / 2));
        multipliers.push(if random.within(0..=3) == 0 { -multiplier } else { multiplier });
        bias.push(-start * i64::from(multiplier));
    }
    RequantizeSpec::Scale { multipliers, bias, shift, max_level }
}

/// The same with a dip, as SiLU has: levels that fall to 0 before they rise, one at a threshold.
fn dipped(scale: RequantizeSpec) -> RequantizeSpec {
    let RequantizeSpec::Scale { multipliers, bias, shift, max_level } = scale else { return scale };
    let dip = max_level.min(3);
    let levels: Vec<u8> = (1..=dip).rev().chain(0..=max_level).collect();
    let thresholds = (1..levels.len()).map(|step| (step as i64 - i64::from(dip)) << shift).collect();
    RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels }
}

/// `None` if the micro-kernel does not end in these levels.
fn failure(conv: &Conv, case: &Case, max_level: u8, seed: u64) -> Option<Option<String>> {
    let (kernel, shape, operands) = (conv.kernel(), case.shape, case.operands);
    let mut random = Random(seed);
    let first_channel = seed as usize % 2 * kernel.nr;
    let channels = if seed.is_multiple_of(5) { 1 } else { first_channel + shape.outputs };
    let range = range(operands, shape);
    let spec = scale(range, channels, max_level, &mut random);
    let spec = if seed.is_multiple_of(3) { dipped(spec) } else { spec };
    let requantizer = Requantizer::new(&spec, &vec![range; channels]);
    if !conv.makes_levels(&requantizer) {
        return None;
    }
    let level_stride = shape.outputs + seed as usize % 3;
    let len = shape.pixels.saturating_sub(1) * level_stride + shape.outputs;
    let mut expected = vec![UNTOUCHED; len];
    for pixel in 0..shape.pixels {
        for output in 0..shape.outputs {
            let channel = if channels == 1 { 0 } else { first_channel + output };
            let sum = i64::from(case.expected_sums[pixel * kernel.nr + output]);
            expected[pixel * level_stride + output] = reference::requantize(&spec, channel, &[sum]);
        }
    }
    let mut found = vec![UNTOUCHED; len];
    conv.run_levels(&mut LevelsTile {
        conv: case.tile(&case.input, &case.weights, &mut [], &mut []),
        end: LevelsEnd {
            requantizer: &requantizer,
            first_channel,
            outputs: shape.outputs,
            levels: &mut found,
            level_stride,
        },
        rows: TileRows::ONE,
    });
    let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    Some(
        wrong
            .map(|byte| format!("{} {operands:?} {shape:?} levels to {max_level}: byte {byte}", kernel.name)),
    )
}

/// The same for a micro-kernel that looks up, whose windows are single pixels of `4 · quads` levels.
fn lookup_failure(
    lookup: &Lookup,
    [pixels, outputs, quads]: [usize; 3],
    seed: u64,
) -> Option<Option<String>> {
    let mut random = Random(seed);
    let depth = quads * QUAD;
    // Without pixels, there must still be tables for an offset to point to.
    let levels: Vec<u8> = (0..pixels.max(1) * depth).map(|_| random.within(0..=15) as u8).collect();
    let codes: Vec<u8> = (0..OUTPUTS * depth).map(|_| random.within(-2..=1) as u8).collect();
    let (mut tables, mut weights) =
        (vec![0; pixels.max(1) * quads * TABLE], vec![0; lookup.packed_len(1, quads, 2)]);
    lookup.make_tables(&levels, &mut tables);
    lookup.pack(&codes, [1, quads, 2], &mut weights);
    let first_channel = seed as usize % 2 * OUTPUTS;
    let channels = if seed.is_multiple_of(5) { 1 } else { first_channel + outputs };
    let range = AccumulatorRange { min: -30 * depth as i32, max: 15 * depth as i32 };
    let spec = scale(range, channels, 15, &mut random);
    let requantizer = Requantizer::new(&spec, &vec![range; channels]);
    if !lookup.makes_levels(&requantizer) {
        return None;
    }
    let level_stride = outputs + seed as usize % 3;
    let len = pixels.saturating_sub(1) * level_stride + outputs;
    let (mut expected, mut found) = (vec![UNTOUCHED; len], vec![UNTOUCHED; len]);
    for (pixel, levels) in levels.chunks_exact(depth).enumerate().take(pixels) {
        for (output, codes) in codes.chunks_exact(depth).enumerate().take(outputs) {
            let products = levels.iter().zip(codes);
            let sum = products.map(|(&level, &code)| i64::from(level) * i64::from(code as i8)).sum();
            let channel = if channels == 1 { 0 } else { first_channel + output };
            expected[pixel * level_stride + output] = reference::requantize(&spec, channel, &[sum]);
        }
    }
    let mut tile = LookupTile {
        tables: &tables,
        offset: 0,
        pixel_step: quads * TABLE,
        runs: &[0],
        quads,
        planes: 2,
        weights: &weights,
        pixels,
        sums: &mut [],
    };
    let levels = &mut found[..];
    lookup.run_levels(
        &mut tile,
        &mut LevelsEnd { requantizer: &requantizer, first_channel, outputs, levels, level_stride },
    );
    let name = lookup.kernel().name;
    let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    Some(wrong.map(|byte| format!("{name}: {pixels} pixels, {outputs} outputs, {quads} quads: byte {byte}")))
}

#[test]
fn levels_are_those_of_sums_looked_up() {
    let (mut cases, mut failures) = (0, Vec::new());
    let kernels = || registry::available::<LookupKernel>();
    for lookup in kernels() {
        for pixels in [0, 1, 3, 4, 9] {
            for outputs in [1, 15, 16, 17, 31, 32] {
                for quads in [1, 7, 32] {
                    let seed = (pixels * 1000 + outputs * 10 + quads) as u64;
                    let result = lookup_failure(&lookup, [pixels, outputs, quads], seed);
                    cases += usize::from(result.is_some());
                    failures.extend(result.flatten());
                }
            }
        }
    }
    if kernels().any(|lookup| lookup.kernel().engine == Engine::Neon) {
        report(cases, &failures);
        assert!(cases > 60, "only {cases} cases made levels");
    }
}

fn shapes(nr: usize) -> Vec<Shape> {
    let usual = Shape { pixels: 6, runs: 3, depth: 48, step: 16, outputs: nr };
    let mut shapes = vec![usual];
    shapes.extend([0, 1, 3, 4, 5, 16, 20, 33, 37].map(|pixels| Shape { pixels, ..usual }));
    shapes.extend([1, 7, 8, 15, 31, 33, 70].map(|outputs| Shape { outputs: outputs.min(nr), ..usual }));
    for (runs, depth) in [(1, 16), (1, 3), (6, 18), (9, 33), (1, 512), (3, 384)] {
        shapes.push(Shape { runs, depth, pixels: 5, ..usual });
    }
    shapes
}

/// Rows of `pixels` outputs, `period` pixels apart.
fn rows_failure(conv: &Conv, [count, pixels, period]: [usize; 3], max_level: u8) -> Option<String> {
    let kernel = conv.kernel();
    let shape =
        Shape { pixels: (count - 1) * period + pixels, runs: 2, depth: 70, step: 16, outputs: kernel.nr };
    let operands = operands_of(kernel, shape.depth, shape.outputs)[0];
    let case = Case::new(kernel, operands, shape, Fill::Random(period as u64));
    let range = range(operands, shape);
    let spec = scale(range, shape.outputs, max_level, &mut Random(count as u64));
    let requantizer = Requantizer::new(&spec, &vec![range; shape.outputs]);
    if !conv.makes_levels(&requantizer) {
        return None;
    }
    let rows = TileRows { count, input_step: period * case.pixel_step, level_step: pixels * kernel.nr + 5 };
    let len = (count - 1) * rows.level_step + pixels * kernel.nr;
    let (mut expected, mut found) = (vec![UNTOUCHED; len], vec![UNTOUCHED; len]);
    for (row, pixel) in (0..count).flat_map(|row| (0..pixels).map(move |pixel| (row, pixel))) {
        for output in 0..kernel.nr {
            let sum = i64::from(case.expected_sums[(row * period + pixel) * kernel.nr + output]);
            expected[row * rows.level_step + pixel * kernel.nr + output] =
                reference::requantize(&spec, output, &[sum]);
        }
    }
    let (requantizer, level_stride) = (&requantizer, kernel.nr);
    conv.run_levels(&mut LevelsTile {
        conv: ConvTile { pixels, ..case.tile(&case.input, &case.weights, &mut [], &mut []) },
        end: LevelsEnd {
            requantizer,
            first_channel: 0,
            outputs: kernel.nr,
            levels: &mut found,
            level_stride,
        },
        rows,
    });
    let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected)?;
    Some(format!(
        "{}: {count} rows of {pixels}, {period} apart, levels to {max_level}: byte {wrong}",
        kernel.name
    ))
}

#[test]
fn several_rows_are_those_of_one_after_another() {
    let mut cases = 0;
    let mut failures = Vec::new();
    for conv in registry::available::<ConvKernel>().filter(|conv| !conv.kernel().bit_serial) {
        // Rows that touch each other, that have gaps, and that are far apart.
        for rows in [[1, 5, 9], [7, 5, 5], [4, 10, 12], [3, 20, 22], [5, 3, 40], [2, 33, 34], [6, 16, 17]] {
            for max_level in [1, 3, 15, 255] {
                cases += 1;
                failures.extend(rows_failure(&conv, rows, max_level));
            }
        }
    }
    report(cases, &failures);
}

#[test]
fn levels_are_those_of_the_sums() {
    let (mut tried, mut cases, mut failures) = (0u64, 0u64, Vec::new());
    let kernels = || registry::available::<ConvKernel>();
    for conv in kernels().filter(|conv| !conv.kernel().bit_serial) {
        for shape in shapes(conv.kernel().nr) {
            for operands in operands_of(conv.kernel(), shape.depth, shape.outputs) {
                for fill in [Fill::Random(tried), Fill::Largest, Fill::Smallest] {
                    let case = Case::new(conv.kernel(), operands, shape, fill);
                    for max_level in [3, 7, 15, 255] {
                        let result = failure(&conv, &case, max_level, 11 * tried + u64::from(max_level));
                        tried += 1;
                        cases += u64::from(result.is_some());
                        failures.extend(result.flatten());
                    }
                }
            }
        }
    }
    if kernels().any(|conv| matches!(conv.kernel().engine, Engine::Neon | Engine::Avx512)) {
        report(cases as usize, &failures);
        assert!(cases > 1000, "only {cases} cases made levels");
    }
}
