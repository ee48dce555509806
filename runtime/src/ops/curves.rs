//! Sums and products of functions of accumulators and of levels, with their quantizer.
//!
//! Activations that nothing quantizes before they are joined: each is computed in fixed point, from accumulators by a cubic in
//! pieces, from levels by a table. Whatever is multiplied here, the file promises, fits 64 bits, but for places far from 0.

use std::ops::Range;

use ylb_format::model::{Combine, Curve, CurveOperand, Curves, OperandFunction};

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, Planned};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::{Borrowed, Store};

/// A join that is to be prepared.
pub struct CurvesDraft<'a> {
    /// What is joined, and how.
    pub join: &'a Curves,
}

/// A join, ready to run.
struct CurvesOp {
    operands: Vec<Operand>,
    combine: Combine,
    thresholds: Vec<i64>,
    levels: Vec<u8>,
    /// Channels, rows and columns of the output.
    shape: [usize; 3],
}

/// What is joined.
struct Operand {
    source: Source,
    /// Channels, rows and columns: those of the output, or 1.
    shape: [usize; 3],
}

enum Source {
    /// A number for each level.
    Levels { store: Store, table: Vec<i64> },
    /// Accumulators, in 16 bits if `narrow`.
    Accumulators { range: Range<usize>, narrow: bool, curve: Placed },
}

/// A curve, and by channel where on it an accumulator is.
struct Placed {
    multipliers: Vec<i64>,
    bias: Vec<i64>,
    shift: u8,
    curve: Curve,
}

impl Planned for CurvesDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        let levels = |operand: &&CurveOperand| matches!(operand.function, OperandFunction::Table(_));
        self.join.operands.iter().filter(levels).for_each(|operand| demands.by_level(operand.input));
    }
}

impl Draft for CurvesDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, output, .. } = setting;
        let join = self.join;
        let op = CurvesOp {
            operands: join.operands.iter().map(|operand| prepared(operand, join, setting)).collect(),
            combine: join.combine,
            thresholds: join.thresholds.clone(),
            levels: join.levels.clone(),
            shape: model.value(output).shape().map(|extent| extent as usize),
        };
        Prepared::one(op, setting)
    }
}

fn prepared(operand: &CurveOperand, join: &Curves, setting: &Setting<'_>) -> Operand {
    let &Setting { model, plan, .. } = setting;
    let shape = model.value(operand.input).shape().map(|extent| extent as usize);
    let source = match &operand.function {
        OperandFunction::Table(table) => {
            let store = super::input_store(plan, operand.input);
            // What lies between pixels are levels, too.
            let entry = |level: usize| table[level.min(table.len() - 1)];
            Source::Levels { store, table: (0..256).map(entry).collect() }
        }
        OperandFunction::Curve { curve, multipliers, bias, shift } => {
            let storage = plan.storage[operand.input.index()].accumulators.clone();
            let store = storage.expect("a valid model has curves of accumulators only");
            let curve = Placed {
                multipliers: multipliers.clone(),
                bias: bias.clone(),
                shift: *shift,
                curve: join.curves[usize::from(*curve)].clone(),
            };
            Source::Accumulators { range: store.range, narrow: store.narrow, curve }
        }
    };
    Operand { source, shape }
}

impl Placed {
    fn value(&self, channel: usize, accumulator: i32) -> i64 {
        let product = i128::from(accumulator) * i128::from(self.multipliers[channel]);
        let x = (product >> self.shift) as i64 + self.bias[channel];
        let Curve { width, pieces } = &self.curve;
        let last = pieces.len() as i64 - 1;
        let piece = (x >> width).clamp(0, last);
        let d = x - (piece << width);
        let [k0, k1, k2, k3] = pieces[piece as usize];
        if piece == 0 || piece == last {
            return k0 + ((i128::from(k1) * i128::from(d)) >> width) as i64;
        }
        k0 + ((d * (k1 + ((d * (k2 + ((d * k3) >> width))) >> width))) >> width)
    }
}

impl Operand {
    /// Numbers of its row `y`, `[column][channel]`.
    fn row(
        &self,
        context: (&Borrowed<'_>, &ylb_kernels::rows::Rows),
        y: usize,
        out: &mut [i64],
        buffer: &mut [u8],
    ) {
        let [channels, height, width] = self.shape;
        let y = y.min(height - 1);
        let (memory, rows) = context;
        match &self.source {
            Source::Levels { store, table } => {
                let stride = level_stride(channels as u32);
                let row = read_row(rows, store, memory.read(&store.range), y, stride, buffer);
                for (out, pixel) in out.chunks_exact_mut(channels).zip(row.chunks_exact(stride)) {
                    out.iter_mut().zip(pixel).for_each(|(out, &level)| *out = table[usize::from(level)]);
                }
            }
            Source::Accumulators { range, narrow, curve } => {
                let bytes = memory.read(range);
                let start = y * width * channels;
                let numbers = out.iter_mut().enumerate();
                if *narrow {
                    let row = &bytemuck::cast_slice::<u8, i16>(bytes)[start..];
                    numbers
                        .zip(row)
                        .for_each(|((at, out), &own)| *out = curve.value(at % channels, own.into()));
                } else {
                    let row = &bytemuck::cast_slice::<u8, i32>(bytes)[start..];
                    numbers.zip(row).for_each(|((at, out), &own)| *out = curve.value(at % channels, own));
                }
            }
        }
    }

    /// Numbers of a row.
    fn row_len(&self) -> usize {
        self.shape[0] * self.shape[2]
    }
}

impl CurvesOp {
    /// Numbers of a row.
    fn row_len(&self) -> usize {
        self.shape[0] * self.shape[2]
    }

    /// Levels of a row.
    fn levels_len(&self) -> usize {
        self.shape[2] * level_stride(self.shape[0] as u32)
    }

    /// Joins a row with that of another operand.
    fn join(&self, whole: &mut [i64], operand: &Operand, own: &[i64]) {
        match self.combine {
            Combine::Sum => whole.iter_mut().zip(own).for_each(|(sum, own)| *sum += own),
            Combine::Product { shift } => {
                let [channels, _, columns] = operand.shape;
                for (x, pixel) in whole.chunks_exact_mut(self.shape[0]).enumerate() {
                    let gate = &own[if columns == 1 { 0 } else { x * channels }..][..channels];
                    for (factor, gate) in pixel.iter_mut().zip(gate.iter().cycle()) {
                        *factor = ((i128::from(*factor) * i128::from(*gate)) >> shift) as i64;
                    }
                }
            }
        }
    }
}

impl Op for CurvesOp {
    fn name(&self) -> &'static str {
        "curves"
    }

    /// A row of the join, of another operand, of levels read and of those written.
    fn scratch(&self) -> usize {
        2 * bytes_for::<i64>(self.row_len()) + 2 * bytes_for::<u8>(self.levels_len())
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let [channels, ..] = self.shape;
        let stride = level_stride(channels as u32);
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let [whole, another] = std::array::from_fn(|_| scratch.cut::<i64>(self.row_len()));
        let [buffer, out] = std::array::from_fn(|_| scratch.cut::<u8>(self.levels_len()));
        out.fill(0);
        for y in band.rows.clone() {
            for (number, operand) in self.operands.iter().enumerate() {
                let into = if number == 0 { &mut *whole } else { &mut another[..operand.row_len()] };
                operand.row((memory, rows), y, into, buffer);
                if number > 0 {
                    self.join(whole, operand, &another[..operand.row_len()]);
                }
            }
            for (pixel, numbers) in out.chunks_exact_mut(stride).zip(whole.chunks_exact(channels)) {
                for (level, number) in pixel.iter_mut().zip(numbers) {
                    *level = self.levels[self.thresholds.partition_point(|threshold| threshold <= number)];
                }
            }
            band.write_row(rows, y, out, stride, channels);
        }
    }
}
