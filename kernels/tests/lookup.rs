//! Every micro-kernel that looks up and that this CPU can run equals the formula, bit for bit.

#[path = "support/case.rs"]
mod case;

use case::{Random, report};
use ylb_kernels::families::lookup::{
    Lookup, LookupKernel, LookupTile, MAX_LEVEL, OUTPUTS, QUAD, TABLE, planes,
};
use ylb_kernels::registry;

/// What a number that must not be written holds.
const UNTOUCHED: i32 = i32::MIN + 77;

#[derive(Clone, Copy, Debug)]
struct Case {
    pixels: usize,
    runs: usize,
    quads: usize,
    /// Tables from a window to the next.
    step: usize,
    weights: [i8; 2],
    max_level: u8,
}

fn available() -> impl Iterator<Item = Lookup> {
    registry::available::<LookupKernel>()
}

/// A message if the sums differ from the definition's. `extreme` levels and weights are at their ends.
fn failure(lookup: &Lookup, case: Case, seed: u64, extreme: bool) -> Option<String> {
    let Case { pixels, runs, quads, step, weights, max_level } = case;
    let mut random = Random(seed);
    let mut pick = |low: i32, high: i32| match extreme {
        true => [low, high][random.within(0..=1) as usize],
        false => random.within(low..=high),
    };
    let offset = 3;
    let run_starts: Vec<usize> = (0..runs).map(|run| run * (quads + 2)).collect();
    let last_run = run_starts.last().copied().unwrap_or(0);
    let count = offset + pixels.saturating_sub(1) * step + last_run + quads;
    let levels: Vec<u8> = (0..count * QUAD).map(|_| pick(0, i32::from(max_level)) as u8).collect();
    let mut tables = vec![0; count * TABLE];
    lookup.make_tables(&levels, &mut tables);
    let codes: Vec<u8> = (0..OUTPUTS * runs * quads * QUAD)
        .map(|_| pick(weights[0].into(), weights[1].into()) as u8)
        .collect();
    let planes = planes(weights[0], weights[1]).expect("weights of 2 or 3 bits");
    let mut packed = vec![0; lookup.packed_len(runs, quads, planes)];
    lookup.pack(&codes, [runs, quads, planes], &mut packed);
    let mut sums = vec![UNTOUCHED; pixels * OUTPUTS + 3];
    lookup.run(&mut LookupTile {
        tables: &tables,
        offset: offset * TABLE,
        pixel_step: step * TABLE,
        runs: &run_starts.iter().map(|start| start * TABLE).collect::<Vec<_>>(),
        quads,
        planes,
        weights: &packed,
        pixels,
        sums: &mut sums,
    });
    for (index, &ours) in sums[..pixels * OUTPUTS].iter().enumerate() {
        let (pixel, output) = (index / OUTPUTS, index % OUTPUTS);
        let run = |run: usize| -> i32 {
            let levels = &levels[(offset + pixel * step + run_starts[run]) * QUAD..][..quads * QUAD];
            let codes = &codes[(output * runs + run) * quads * QUAD..][..quads * QUAD];
            codes.iter().zip(levels).map(|(&code, &level)| i32::from(code as i8) * i32::from(level)).sum()
        };
        let expected: i32 = (0..runs).map(run).sum();
        assert!(i16::try_from(expected).is_ok(), "the case is too large: {case:?}");
        if ours != expected {
            let name = lookup.kernel().name;
            return Some(format!("{name} {case:?}: ({pixel}, {output}) is {ours}, not {expected}"));
        }
    }
    (sums[pixels * OUTPUTS..] != [UNTOUCHED; 3]).then(|| format!("{case:?}: written beyond the sums"))
}

#[test]
fn micro_kernels_equal_the_formula() {
    let usual = Case { pixels: 5, runs: 3, quads: 12, step: 4, weights: [-2, 1], max_level: 15 };
    let mut cases = vec![usual];
    cases.extend([0, 1, 2, 3, 4, 7, 8, 9].map(|pixels| Case { pixels, ..usual }));
    cases.extend([0, 1, 2, 5].map(|runs| Case { runs, ..usual }));
    cases.extend([1, 2, 3, 4, 5, 7, 8, 9, 31].map(|quads| Case { quads, ..usual }));
    cases.extend([1, 8].map(|step| Case { step, ..usual }));
    cases.extend([[-1, 1], [0, 1], [-4, 3], [-3, 3], [0, 3]].map(|weights| Case { weights, ..usual }));
    cases.extend([1, 3, 7, MAX_LEVEL].map(|max_level| Case { max_level, ..usual }));
    let (mut count, mut failures) = (0, Vec::new());
    for lookup in available() {
        for &case in &cases {
            for extreme in [false, true] {
                count += 1;
                failures.extend(failure(&lookup, case, count as u64, extreme));
            }
        }
    }
    report(count, &failures);
}

/// Sums at both ends of 16 bits.
#[test]
fn largest_sums_fit() {
    for lookup in available() {
        for (weight, planes, expected) in [(-2i8, 2, -32_760), (1, 2, 16_380), (3, 3, 32_760)] {
            let quads = if weight == 3 { 182 } else { 273 };
            let codes = vec![weight as u8; OUTPUTS * quads * QUAD];
            let mut packed = vec![0; lookup.packed_len(1, quads, planes)];
            lookup.pack(&codes, [1, quads, planes], &mut packed);
            let mut tables = vec![0; quads * TABLE];
            lookup.make_tables(&vec![15; quads * QUAD], &mut tables);
            let mut sums = [0; OUTPUTS];
            lookup.run(&mut LookupTile {
                tables: &tables,
                offset: 0,
                pixel_step: 0,
                runs: &[0],
                quads,
                planes,
                weights: &packed,
                pixels: 1,
                sums: &mut sums,
            });
            assert_eq!(sums, [expected; OUTPUTS], "{}", lookup.kernel().name);
        }
    }
}

#[test]
fn short_operands_panic() {
    for lookup in available() {
        let panics = |tables: usize, weights: usize, sums: usize, room: usize| {
            let run = || {
                lookup.make_tables(&[0; 8 * QUAD], &mut vec![0; 8 * TABLE - room]);
                lookup.run(&mut LookupTile {
                    tables: &vec![0; 9 * TABLE - tables],
                    offset: TABLE,
                    pixel_step: TABLE,
                    runs: &[0, 3 * TABLE],
                    quads: 4,
                    planes: 2,
                    weights: &vec![0; lookup.packed_len(2, 4, 2) - weights],
                    pixels: 2,
                    sums: &mut vec![0; 2 * OUTPUTS - sums],
                });
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        assert!(!panics(0, 0, 0, 0), "{}", lookup.kernel().name);
        for at in 0..4 {
            let short = |index| usize::from(index == at);
            assert!(panics(short(0), short(1), short(2), short(3)), "operand {at}");
        }
    }
}
