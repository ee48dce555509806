//! From counted blocks to figures.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cache::Caches;
use crate::encodings::{BRANCH, SYSTEM, classify};
use crate::slots::{PER_CYCLE, Slots};

/// A translated block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Address of its first instruction in the program.
    pub address: u64,
    /// Its instructions.
    pub code: &'a [u32],
    /// How often it was executed.
    pub executions: u64,
}

/// A block of the program, however often it was translated.
#[derive(Clone, Copy, Default)]
struct Merged<'a> {
    code: &'a [u32],
    executions: u64,
    /// Executions that came from the block before it in memory, without a branch.
    fallen_in: u64,
}

/// The report: a line `name number` for each figure. Slots and cycles are whole numbers, rounded.
///
/// `a72_cycles` and `a76_cycles` are the sum of the bounds of straight runs. QEMU ends a block at every
/// page of the program and after some hundred instructions, and a bound for each half of a loop's body
/// is larger than that of the whole: so blocks that execution falls through are joined to runs first.
/// Otherwise the figures would depend on the addresses that the linker chose.
///
/// With `caches` there are their accesses and misses, too.
pub fn text(blocks: &[Block<'_>], caches: Option<&Caches>) -> String {
    let mut sum = Slots::NONE;
    let mut classes = BTreeMap::<&str, u64>::new();
    for block in blocks {
        for &word in block.code {
            let (class, slots) = classify(word);
            sum += slots * block.executions;
            *classes.entry(class).or_default() += block.executions;
        }
    }
    let [a72, a76] = joined_bounds(blocks);
    let whole = |halves: u64| halves.div_ceil(2);
    let figures = [
        ("a72_cycles", rounded(a72)),
        ("a76_cycles", rounded(a76)),
        ("instructions", sum.instructions),
        ("a72_dispatch", whole(sum.dispatch)),
        ("pipe_f0", whole(sum.f0)),
        ("pipe_f1", whole(sum.f1)),
        ("pipe_f_any", whole(sum.f_any)),
        ("pipe_load", whole(sum.load)),
        ("pipe_store", whole(sum.store)),
        ("pipe_int", whole(sum.int)),
        ("pipe_multi", whole(sum.multi)),
        ("pipe_branch", whole(sum.branch)),
    ];
    let mut text = String::new();
    for (name, figure) in figures {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {figure}");
    }
    for (level, cache) in caches.iter().flat_map(|caches| [("l1", &caches.first), ("l2", &caches.second)]) {
        let _ = writeln!(text, "{level}_accesses {}\n{level}_misses {}", cache.accesses(), cache.misses());
    }
    for (class, executions) in classes.iter().filter(|(_, executions)| **executions > 0) {
        let _ = writeln!(text, "class_{class} {executions}");
    }
    text
}

fn rounded(twelfths: u128) -> u64 {
    let per_cycle = u128::from(PER_CYCLE);
    u64::try_from((twelfths + per_cycle / 2) / per_cycle).unwrap_or(u64::MAX)
}

/// Bounds of all runs on the Cortex-A72 and the Cortex-A76, in twelfths of a cycle.
fn joined_bounds(blocks: &[Block<'_>]) -> [u128; 2] {
    let program = merge(blocks);
    let mut bounds = [0; 2];
    for (&address, block) in &program {
        let entries = block.executions.saturating_sub(block.fallen_in);
        if entries == 0 {
            continue;
        }
        let mut run = Slots::NONE;
        let mut next = Some((address, block.code));
        while let Some((address, code)) = next {
            for &word in code {
                run += classify(word).1;
            }
            next = following(address, code)
                .and_then(|address| program.get(&address).map(|block| (address, block.code)));
        }
        bounds[0] += u128::from(run.a72_bound()) * u128::from(entries);
        bounds[1] += u128::from(run.a76_bound()) * u128::from(entries);
    }
    bounds
}

/// The executed blocks by address.
fn merge<'a>(blocks: &[Block<'a>]) -> BTreeMap<u64, Merged<'a>> {
    let mut program = BTreeMap::<u64, Merged<'a>>::new();
    for block in blocks.iter().filter(|block| block.executions > 0) {
        let merged = program.entry(block.address).or_default();
        merged.code = block.code;
        merged.executions += block.executions;
    }
    let falls: Vec<(u64, u64)> = program
        .iter()
        .filter_map(|(&address, block)| Some((following(address, block.code)?, block.executions)))
        .collect();
    for (address, executions) in falls {
        if let Some(block) = program.get_mut(&address) {
            block.fallen_in += executions;
        }
    }
    program
}

/// The address at which execution goes on after a block that ends without a branch. After a system
/// instruction QEMU ends a block by itself, wherever it stands: nothing is joined there.
fn following(address: u64, code: &[u32]) -> Option<u64> {
    match classify(*code.last()?).0 {
        BRANCH | SYSTEM => None,
        _ => Some(address + 4 * code.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UMLAL: u32 = 0x2e22_8020; // umlal v0.8h, v1.8b, v2.8b: F0
    const SADALP: u32 = 0x4e60_6820; // sadalp v0.4s, v1.8h: F1
    const RET: u32 = 0xd65f_03c0;
    const MRS: u32 = 0xd53b_d040; // mrs x0, tpidr_el0

    fn cycles(blocks: &[Block<'_>]) -> [u128; 2] {
        joined_bounds(blocks).map(|twelfths| twelfths / u128::from(PER_CYCLE))
    }

    #[test]
    fn a_run_cut_by_the_emulator_is_joined() {
        let head = Block { address: 0xff0, code: &[UMLAL; 4], executions: 5 };
        let tail = Block { address: 0x1000, code: &[SADALP, SADALP, SADALP, SADALP, RET], executions: 7 };
        // Five times both (4 cycles: F0 and F1 at the same time), twice the tail alone (4 cycles).
        assert_eq!(cycles(&[head, tail]), [7 * 4; 2]);
        // The order of translation does not matter, and two translations of a block are one block.
        let again = Block { executions: 3, ..head };
        let tail = Block { executions: 10, ..tail };
        assert_eq!(cycles(&[tail, again, head]), [10 * 4; 2]);
    }

    #[test]
    fn nothing_is_joined_after_a_branch_or_a_system_instruction() {
        for last in [RET, MRS] {
            let head = Block { address: 0x100, code: &[UMLAL, UMLAL, last], executions: 10 };
            let tail = Block { address: 0x10c, code: &[SADALP, SADALP, RET], executions: 10 };
            assert_eq!(cycles(&[head, tail]), [40; 2], "{last:#x}");
        }
    }

    #[test]
    fn the_report_names_every_figure() {
        let body = Block { address: 0, code: &[UMLAL, SADALP, RET], executions: 1_000_000_000_000 };
        let never = Block { address: 0x100, code: &[MRS], executions: 0 };
        let report = text(&[body, never], None);
        let trillion = "1000000000000";
        let expected = format!(
            "a72_cycles {trillion}\na76_cycles {trillion}\ninstructions 3000000000000\n\
             a72_dispatch 3000000000000\npipe_f0 {trillion}\npipe_f1 {trillion}\npipe_f_any 0\npipe_load 0\n\
             pipe_store 0\npipe_int 0\npipe_multi 0\npipe_branch {trillion}\nclass_branch {trillion}\n\
             class_v_accumulate {trillion}\nclass_v_mul_long {trillion}\n"
        );
        assert_eq!(report, expected);
        let mut caches = Caches::cortex_a72();
        caches.access(0, 8);
        caches.access(8, 8);
        let report = text(&[body, never], Some(&caches));
        assert!(report.contains("\nl1_accesses 2\nl1_misses 1\nl2_accesses 1\nl2_misses 1\n"), "{report}");
    }
}
