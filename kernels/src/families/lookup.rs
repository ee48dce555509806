//! Convolution by table look-up: the contract between its micro-kernels and their caller.
//!
//! The bits that four weights have in one plane select a subset of the four levels that they meet. A *table* holds
//! the sums of all 16 subsets, so that one look-up does four multiply-accumulates of a plane:
//!
//! ```text
//! table[s] = Σ over k < 4 with bit k of s:  level[k]                  16 bytes for 4 levels
//!
//! sums[p][o] = Σ_planes 2^plane · Σ_quads table[p][quad][index[o][plane][quad]]     the top plane negative
//! ```
//!
//! Weights are in two's complement of 2 or 3 bits. Tables are made once for each level of the input, as rows of
//! *table pixels*, and then read for all outputs. They are four times as large as levels, so that only
//! the rows under a row of outputs are kept.
//!
//! Sums are kept in 16 bits that wrap around: they are exact where the result fits an i16, and it is for the caller
//! to see to it.

use crate::families::direct::{LevelsEnd, Operands};
use crate::registry::{Candidate, Dispatch};
use crate::requantize::Requantizer;
use crate::ukernel::{Available, Engine, Family, Listed, MicroKernel};

/// Output channels of a block.
pub const OUTPUTS: usize = 32;
/// Levels of a table.
pub const QUAD: usize = 4;
/// Bytes of a table.
pub const TABLE: usize = 16;
/// Largest level: four of them fit a byte.
pub const MAX_LEVEL: u8 = 63;

/// A micro-kernel that looks up.
#[derive(Debug)]
pub struct LookupKernel {
    /// `lutconv_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>]`, see `docs/kernels.md`.
    pub name: &'static str,
    /// What the CPU must have.
    pub engine: Engine,
    /// Output pixels that share one pass over the weights.
    pub mr: usize,
    /// Cycles of making a table, by look-ups of one output and plane: what the choice weighs.
    pub cost: LookupCost,
    /// Makes tables.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - There are [`TABLE`] bytes in `tables` for each [`QUAD`] levels.
    pub(crate) make_tables: unsafe fn(levels: &[u8], tables: &mut [u8]),
    /// Computes a tile.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The tile has been checked by `LookupTile::check`.
    pub(crate) run: unsafe fn(&mut LookupTile<'_>),
    /// Computes a tile to levels, if the micro-kernel can.
    pub(crate) levels: Option<LookupLevels>,
}

/// How a micro-kernel that looks up ends in levels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookupLevels {
    /// Whether it has the arithmetic of a requantizer, which is one for a single term.
    pub(crate) takes: fn(&Requantizer) -> bool,
    /// Computes a tile, whose own sums are not used.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - Both have been checked, by `LookupTile::check_tables` and `LevelsEnd::check`, and `takes` accepts the
    ///   requantizer.
    pub(crate) run: unsafe fn(&mut LookupTile<'_>, &mut LevelsEnd<'_>),
}

/// What a micro-kernel takes, for the choice among micro-kernels.
#[derive(Clone, Copy, Debug)]
pub struct LookupCost {
    /// Multiply-accumulates of one plane in a cycle.
    pub rate: f32,
    /// Cycles for a level's share of a table.
    pub table: f32,
}

/// One call of a micro-kernel.
#[derive(Debug)]
pub struct LookupTile<'a> {
    /// Tables.
    pub tables: &'a [u8],
    /// Offset of the window of the first output pixel.
    pub offset: usize,
    /// Bytes from a window to the window of the next output pixel.
    pub pixel_step: usize,
    /// Offset of each run from its window's offset.
    pub runs: &'a [usize],
    /// Tables of a run.
    pub quads: usize,
    /// Planes of weights.
    pub planes: usize,
    /// The block's weights, as [`Lookup::pack`] wrote them.
    pub weights: &'a [u8],
    /// Output pixels.
    pub pixels: usize,
    /// Result: `[pixels][OUTPUTS]`.
    pub sums: &'a mut [i32],
}

impl MicroKernel for LookupKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn engine(&self) -> Engine {
        self.engine
    }

    fn op(&self) -> &'static str {
        "lutconv"
    }

    fn tile(&self) -> Option<[usize; 2]> {
        Some([self.mr, OUTPUTS])
    }
}

impl Family for LookupKernel {
    fn listed(list: &Listed) -> &'static [&'static Self] {
        list.lookup
    }
}

/// A micro-kernel that looks up and that this CPU can run.
pub type Lookup = Available<LookupKernel>;

/// The best micro-kernel for a convolution of one term whose weights have `planes` planes. `window` levels meet a weight
/// each, of which `fresh` are in no window before. `None` if levels are too large for tables.
pub fn candidate(
    dispatch: &Dispatch,
    term: &Operands,
    [window, fresh]: [usize; 2],
    planes: usize,
) -> Option<Candidate<LookupKernel>> {
    dispatch.best(|lookup: &Lookup| {
        let cost = lookup.kernel().cost;
        let lookups = window * planes * term.outputs.next_multiple_of(OUTPUTS);
        let cycles = lookups as f32 / cost.rate + fresh as f32 * cost.table;
        (term.max_level <= MAX_LEVEL).then(|| (window * term.outputs) as f32 / cycles)
    })
}

/// Planes that two's complement of weights from `min` to `max` takes; `None` if they are not 2 or 3.
pub fn planes(min: i8, max: i8) -> Option<usize> {
    match (min, max) {
        (-2.., ..=1) => Some(2),
        (-4.., ..=3) => Some(3),
        _ => None,
    }
}

impl Lookup {
    /// Bytes of a packed block.
    pub fn packed_len(&self, runs: usize, quads: usize, planes: usize) -> usize {
        planes * runs * quads * OUTPUTS
    }

    /// Packs a block of weights: `codes` are the bytes of i8, `[output < OUTPUTS][run][4 · quads]`.
    ///
    /// ```text
    /// packed [plane, the top one first][run][quad][output]       indices of 4 bits, a byte each
    /// ```
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn pack(&self, codes: &[u8], [runs, quads, planes]: [usize; 3], out: &mut [u8]) {
        assert_eq!(codes.len(), OUTPUTS * runs * quads * QUAD, "weights");
        assert_eq!(out.len(), self.packed_len(runs, quads, planes), "packed weights");
        for (index, out) in out.iter_mut().enumerate() {
            let (quad, output) = (index / OUTPUTS % (runs * quads), index % OUTPUTS);
            let plane = planes - 1 - index / (OUTPUTS * runs * quads);
            let codes = &codes[(output * runs * quads + quad) * QUAD..][..QUAD];
            *out = (0..QUAD).map(|k| (codes[k] >> plane & 1) << k).sum();
        }
    }

    /// Makes the tables of consecutive levels.
    ///
    /// # Panics
    /// If levels are no whole tables, or `tables` is too short for them.
    pub fn make_tables(&self, levels: &[u8], tables: &mut [u8]) {
        assert!(levels.len().is_multiple_of(QUAD), "{} levels", levels.len());
        assert!(levels.len() / QUAD <= tables.len() / TABLE, "no room for tables");
        // SAFETY: the CPU has the instructions, or `self` could not have been made; lengths were checked in
        // the lines before.
        unsafe { (self.kernel().make_tables)(levels, tables) }
    }

    /// Computes a tile.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for.
    pub fn run(&self, tile: &mut LookupTile<'_>) {
        tile.check(self.packed_len(tile.runs.len(), tile.quads, tile.planes));
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was checked in
        // the line before.
        unsafe { (self.kernel().run)(tile) }
    }

    /// Whether the micro-kernel can end in levels with this requantizer.
    pub fn makes_levels(&self, requantizer: &Requantizer) -> bool {
        self.kernel().levels.is_some_and(|levels| requantizer.terms() == 1 && (levels.takes)(requantizer))
    }

    /// Computes a tile to levels; the tile's own sums are not used.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for, or the requantizer is not one that
    /// [`makes_levels`](Self::makes_levels) accepts.
    pub fn run_levels(&self, tile: &mut LookupTile<'_>, end: &mut LevelsEnd<'_>) {
        let takes = self.makes_levels(end.requantizer);
        let levels = self.kernel().levels.filter(|_| takes).expect("the micro-kernel takes the requantizer");
        tile.check_tables(self.packed_len(tile.runs.len(), tile.quads, tile.planes));
        end.check(tile.pixels, OUTPUTS);
        // SAFETY: the CPU has the instructions, or `self` could not have been made; both were checked in
        // the lines before.
        unsafe { (levels.run)(tile, end) }
    }
}

impl LookupTile<'_> {
    /// Panics unless every access of a micro-kernel that keeps its contract is inside its operand.
    fn check(&self, packed_len: usize) {
        self.check_tables(packed_len);
        assert!(self.pixels <= self.sums.len() / OUTPUTS, "sums are too short");
    }

    /// The same without the sums.
    fn check_tables(&self, packed_len: usize) {
        assert!((1..=8).contains(&self.planes), "{} planes", self.planes);
        let last_run = self.runs.iter().copied().max().unwrap_or(0);
        let windows = self.pixels.saturating_sub(1).checked_mul(self.pixel_step);
        let end = windows
            .and_then(|windows| windows.checked_add(self.offset)?.checked_add(last_run))
            .and_then(|start| start.checked_add(self.quads.checked_mul(TABLE)?))
            .expect("tile geometry overflows");
        assert!(end <= self.tables.len(), "tables of {} bytes, {end} needed", self.tables.len());
        assert!(packed_len <= self.weights.len(), "weights are too short");
    }
}
