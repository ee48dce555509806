//! Product of two values with its quantizer, or any other function of both. The second may be a gate, which has an extent of
//! 1 along some axes.
//!
//! A product is a table over both levels, made at load from the exact map. In a network that has very many such
//! operators its accumulators are computed instead.

use ylb_format::model::{Encoding, Requantize, ValueId};
use ylb_kernels::requantize::{AccumulatorRange, RequantizeTile, Requantizer};
use ylb_kernels::rows::Rows;

use super::pairs::{PairTable, level_of};
use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, Planned};
use crate::requantize::{self, Requantization};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A product that is to be prepared.
pub struct MulDraft<'a> {
    /// The factors.
    pub inputs: [ValueId; 2],
    /// Products to levels.
    pub requantize: &'a Requantize,
    /// Whether all pairs of levels may be gone through.
    pub pairs: bool,
}

/// A look-up of two values that is to be prepared.
pub struct PairMapDraft<'a> {
    /// The values looked up.
    pub inputs: [ValueId; 2],
    /// All pairs of levels.
    pub table: &'a [u8],
}

impl Planned for PairMapDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        self.inputs.into_iter().for_each(|input| demands.by_level(input));
    }
}

impl Draft for PairMapDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let [a, b] = self.inputs.map(|input| setting.model.encoding(input));
        let levels = usize::from(b.max_level) + 1;
        let level = |x: u8, y: u8| self.table[usize::from(x) * levels + usize::from(y)];
        let method = Method::Table(PairTable::new(a, b, level));
        Prepared::one(MulOp::of(self.inputs, method, setting), setting)
    }
}

/// A product or a look-up of two values, ready to run.
pub struct MulOp {
    inputs: [Store; 2],
    /// Channels, rows and columns of the second: those of the first, or 1.
    gate: [usize; 3],
    method: Method,
    width: usize,
    channels: usize,
}

enum Method {
    /// All pairs of levels.
    Table(PairTable),
    /// Integers of each factor: `step · level + integer of level 0`.
    Products { integers: [[i32; 2]; 2], requantizer: Requantizer },
}

impl Planned for MulDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        self.inputs.into_iter().for_each(|input| demands.by_level(input));
    }
}

impl Draft for MulDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        Prepared::one(MulOp::new(self, setting), setting)
    }
}

impl MulOp {
    fn new(draft: &MulDraft<'_>, setting: &Setting<'_>) -> Self {
        let &Setting { model, output, engine, .. } = setting;
        let [first, second] = draft.inputs;
        let (a, b) = (model.encoding(first), model.encoding(second));
        let max_level = model.encoding(output).max_level;
        let method = if draft.pairs {
            Method::Table(PairTable::new(a, b, level_of(a, b, draft.requantize, max_level, |x, y| [x * y])))
        } else {
            let range = product_range(a, b);
            let requantizer = requantize::prepare(draft.requantize, max_level, &[range], engine);
            let integers = [a, b].map(|encoding| [encoding.step.into(), encoding.integer(0)]);
            Method::Products { integers, requantizer }
        };
        Self::of(draft.inputs, method, setting)
    }

    fn of(inputs: [ValueId; 2], method: Method, setting: &Setting<'_>) -> Self {
        let &Setting { model, plan, output, .. } = setting;
        let value = model.value(output);
        Self {
            inputs: inputs.map(|input| super::input_store(plan, input)),
            gate: model.value(inputs[1]).shape().map(|extent| extent as usize),
            method,
            width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    /// Row `y` of the second as a row of the first: read, and repeated along axes of extent 1.
    fn gate_row<'a>(
        &self,
        rows: &Rows,
        bytes: &'a [u8],
        y: usize,
        [whole, own]: [&'a mut [u8]; 2],
    ) -> &'a [u8] {
        let [channels, height, width] = self.gate;
        let stride = level_stride(self.channels as u32);
        let y = if height == 1 { 0 } else { y };
        if (channels, width) == (self.channels, self.width) {
            return read_row(rows, &self.inputs[1], bytes, y, stride, whole);
        }
        let own_stride = level_stride(channels as u32);
        let row = read_row(rows, &self.inputs[1], bytes, y, own_stride, own);
        for (x, out) in whole.chunks_exact_mut(stride).enumerate() {
            let pixel = &row[if width == 1 { 0 } else { x * own_stride }..][..own_stride];
            if channels == self.channels {
                out.copy_from_slice(pixel);
            } else {
                out.fill(pixel[0]);
            }
        }
        whole
    }

    /// Levels of a row of the second.
    fn gate_len(&self) -> usize {
        self.gate[2] * level_stride(self.gate[0] as u32)
    }

    /// Levels of a row of the output.
    fn row_len(&self) -> usize {
        self.width * level_stride(self.channels as u32)
    }

    /// Accumulators of a row.
    fn products_len(&self) -> usize {
        match self.method {
            Method::Table(_) => 0,
            Method::Products { .. } => self.row_len(),
        }
    }
}

impl Op for MulOp {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn requantization(&self) -> Option<Requantization> {
        match &self.method {
            Method::Products { requantizer, .. } => Some(Requantization::of(requantizer)),
            Method::Table(_) => None,
        }
    }

    /// A row of each factor, of the result and of accumulators, and a row of a gate.
    fn scratch(&self) -> usize {
        let gate = bytes_for::<u8>(self.gate_len());
        3 * bytes_for::<u8>(self.row_len()) + bytes_for::<i32>(self.products_len()) + gate
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let [a_buffer, b_buffer, out] = std::array::from_fn(|_| scratch.cut::<u8>(self.row_len()));
        let products = scratch.cut(self.products_len());
        let gate_buffer = scratch.cut::<u8>(self.gate_len());
        let [a_bytes, b_bytes] = [0, 1].map(|factor| memory.read(&self.inputs[factor].range));
        for y in band.rows.clone() {
            let a = read_row(rows, &self.inputs[0], a_bytes, y, stride, a_buffer);
            let b = self.gate_row(rows, b_bytes, y, [&mut *b_buffer, &mut *gate_buffer]);
            match &self.method {
                Method::Table(table) => table.apply(rows, a, b, out),
                Method::Products { integers, requantizer } => {
                    multiply(integers, a, b, products);
                    requantizer.apply(&mut RequantizeTile {
                        accumulators: &[products],
                        stride: 1,
                        pixels: a.len(),
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

/// Products of the integers of two rows of levels.
fn multiply([first, second]: &[[i32; 2]; 2], a: &[u8], b: &[u8], products: &mut [i32]) {
    let integer = |[step, zero]: &[i32; 2], level: u8| step * i32::from(level) + zero;
    for ((product, &a), &b) in products.iter_mut().zip(a).zip(b) {
        *product = integer(first, a) * integer(second, b);
    }
}

/// Least and largest product of the integers of two encodings.
fn product_range(a: &Encoding, b: &Encoding) -> AccumulatorRange {
    let ((a_min, a_max), (b_min, b_max)) = (requantize::integer_range(a), requantize::integer_range(b));
    let corners = [a_min * b_min, a_min * b_max, a_max * b_min, a_max * b_max];
    let (min, max) = corners
        .iter()
        .fold((corners[0], corners[0]), |(min, max), &product| (min.min(product), max.max(product)));
    AccumulatorRange { min, max }
}
