//! Sum of functions of values with its quantizer.
//!
//! A sum of two is a table over both levels, made at load from the exact map. Longer sums add up what the tables of their
//! inputs hold, as do all others in a network that has very many.

use ylb_format::limits::MAX_ADDENDS;
use ylb_format::model::{Requantize, ValueId};
use ylb_kernels::reference;
use ylb_kernels::requantize::{AccumulatorRange, RequantizeTile, Requantizer};

use super::pairs::PairTable;
use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, Planned};
use crate::requantize::{self, Requantization};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A sum of functions that is to be prepared.
pub struct AddTablesDraft<'a> {
    /// The values looked up.
    pub inputs: &'a [ValueId],
    /// One table for each.
    pub tables: &'a [Vec<i32>],
    /// Sums to levels.
    pub requantize: &'a Requantize,
    /// Whether all pairs of levels may be gone through.
    pub pairs: bool,
}

/// A sum of functions, ready to run.
struct AddTablesOp {
    inputs: Vec<Store>,
    method: Method,
    width: usize,
    channels: usize,
}

enum Method {
    /// All pairs of levels.
    Pairs(PairTable),
    /// Sums of entries, 256 a table.
    Sums { tables: Vec<[i32; 256]>, requantizer: Requantizer },
}

impl Planned for AddTablesDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        self.inputs.iter().for_each(|&input| demands.by_level(input));
    }
}

impl Draft for AddTablesDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        Prepared::one(AddTablesOp::new(self, setting), setting)
    }
}

/// A table with its last entry repeated up to the 256th: levels beyond an encoding count as the largest.
fn filled(table: &[i32]) -> [i32; 256] {
    std::array::from_fn(|level| table[level.min(table.len() - 1)])
}

impl AddTablesOp {
    fn new(draft: &AddTablesDraft<'_>, setting: &Setting<'_>) -> Self {
        let &Setting { model, plan, output, engine } = setting;
        let value = model.value(output);
        let max_level = model.encoding(output).max_level;
        let tables: Vec<[i32; 256]> = draft.tables.iter().map(|table| filled(table)).collect();
        let method = match (draft.inputs, &tables[..]) {
            (&[first, second], [a, b]) if draft.pairs => {
                let spec = requantize::spec(draft.requantize, max_level);
                let level = |x: u8, y: u8| {
                    let sum = i64::from(a[usize::from(x)]) + i64::from(b[usize::from(y)]);
                    reference::requantize(&spec, 0, &[sum])
                };
                Method::Pairs(PairTable::new(model.encoding(first), model.encoding(second), level))
            }
            _ => {
                let ends = |pick: fn(&[i32; 256]) -> i32| tables.iter().map(pick).sum();
                let range = AccumulatorRange {
                    min: ends(|table| table.iter().copied().min().unwrap_or(0)),
                    max: ends(|table| table.iter().copied().max().unwrap_or(0)),
                };
                let requantizer = requantize::prepare(draft.requantize, max_level, &[range], engine);
                Method::Sums { tables, requantizer }
            }
        };
        Self {
            inputs: draft.inputs.iter().map(|&input| super::input_store(plan, input)).collect(),
            method,
            width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    /// Levels of a row of the output.
    fn row_len(&self) -> usize {
        self.width * level_stride(self.channels as u32)
    }

    /// Accumulators of a row.
    fn sums_len(&self) -> usize {
        match self.method {
            Method::Pairs(_) => 0,
            Method::Sums { .. } => self.row_len(),
        }
    }
}

impl Op for AddTablesOp {
    fn name(&self) -> &'static str {
        "add_tables"
    }

    fn requantization(&self) -> Option<Requantization> {
        match &self.method {
            Method::Pairs(_) => None,
            Method::Sums { requantizer, .. } => Some(Requantization::of(requantizer)),
        }
    }

    /// A row for each addend, the result, and a row of accumulators.
    fn scratch(&self) -> usize {
        (self.inputs.len() + 1) * bytes_for::<u8>(self.row_len()) + bytes_for::<i32>(self.sums_len())
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let (out, sums) = (scratch.cut::<u8>(self.row_len()), scratch.cut::<i32>(self.sums_len()));
        let mut buffers: [&mut [u8]; MAX_ADDENDS] = Default::default();
        buffers.iter_mut().zip(&self.inputs).for_each(|(buffer, _)| *buffer = scratch.cut(self.row_len()));
        for y in band.rows.clone() {
            let mut levels: [&[u8]; MAX_ADDENDS] = [&[]; MAX_ADDENDS];
            for ((slot, input), buffer) in levels.iter_mut().zip(&self.inputs).zip(&mut buffers) {
                *slot = read_row(rows, input, memory.read(&input.range), y, stride, buffer);
            }
            match &self.method {
                Method::Pairs(table) => table.apply(rows, levels[0], levels[1], out),
                Method::Sums { tables, requantizer } => {
                    sums.fill(0);
                    for (table, levels) in tables.iter().zip(levels) {
                        for (sum, &level) in sums.iter_mut().zip(levels) {
                            *sum += table[usize::from(level)];
                        }
                    }
                    requantizer.apply(&mut RequantizeTile {
                        accumulators: &[sums],
                        stride: 1,
                        pixels: out.len(),
                        first_channel: 0,
                        channels: 1,
                        levels: out,
                        level_stride: 1,
                    });
                }
            }
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
