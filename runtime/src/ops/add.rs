//! Residual sum with its quantizer.
//!
//! A sum of two values is a table over both levels, made at load from the exact map; where 16-bit arithmetic equals
//! it, that ([`NarrowSum`]); on planes of one or two bits it is evaluated as polynomials
//! ([`ylb_kernels::combine`]). Longer sums compute their accumulators, as do all others in a network that has very many.

use ylb_format::limits::MAX_ADDENDS;
use ylb_format::model::{Encoding, Model, Requantize, ValueId};
use ylb_kernels::combine::{CombineRow, PlaneFunction};
use ylb_kernels::layout::Form;
use ylb_kernels::requantize::{AccumulatorRange, RequantizeSpec, RequantizeTile, Requantizer};
use ylb_kernels::sum::NarrowSum;
use ylb_kernels::ukernel::Engine;

use super::pairs::{self, PairTable};
use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, FormsRead, Planned};
use crate::requantize::{self, Requantization};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A sum that is to be prepared.
pub struct AddDraft<'a> {
    inputs: &'a [ValueId],
    requantize: &'a Requantize,
    output: ValueId,
    /// The planes on which it can be computed, if it can.
    form: Option<Form>,
    pairs: bool,
}

/// A sum, ready to run.
pub struct AddOp {
    inputs: Vec<Store>,
    method: Method,
    width: usize,
    channels: usize,
}

enum Method {
    /// All pairs of levels.
    Table(PairTable),
    /// Arithmetic of 16 bits.
    Narrow(NarrowSum),
    /// Both inputs and the output in planes.
    Planes(PlaneFunction),
    /// One accumulator an addend: `step · level + integer of level 0`.
    Accumulators { integers: Vec<[i32; 2]>, requantizer: Requantizer },
}

impl<'a> AddDraft<'a> {
    /// A sum. `pairs`: whether all pairs of levels may be gone through.
    pub fn new(
        model: &Model,
        inputs: &'a [ValueId],
        requantize: &'a Requantize,
        output: ValueId,
        pairs: bool,
    ) -> Self {
        Self { inputs, requantize, output, form: planes(model, inputs, output), pairs }
    }
}

impl Planned for AddDraft<'_> {
    fn wish(&self, demands: &mut Demands, read_as: &FormsRead) {
        // Where convolutions read an addend or the sum as bytes, a sum on planes would ask for both forms.
        let mut values = self.inputs.iter().chain([&self.output]);
        let form = self.form.filter(|form| values.all(|value| !read_as.reads_other(*value, *form)));
        for &input in self.inputs {
            match form {
                Some(form) => demands.prefer(input, form),
                None => demands.by_level(input),
            }
        }
    }
}

impl Draft for AddDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        Prepared::one(AddOp::new(self, setting), setting)
    }
}

/// The planes on which a sum can be computed without unpacking them: whole groups of channels of one or
/// two bits everywhere.
fn planes(model: &Model, inputs: &[ValueId], output: ValueId) -> Option<Form> {
    let bits = |value: ValueId| {
        let value = model.value(value);
        let bits = value.encoding()?.bits();
        (value.channels.is_multiple_of(8) && bits <= 2).then_some(bits)
    };
    let all = bits(output).filter(|_| inputs.len() == 2)?;
    inputs.iter().all(|&input| bits(input) == Some(all)).then_some(Form::Planes { bits: all })
}

impl AddOp {
    fn new(draft: &AddDraft<'_>, setting: &Setting<'_>) -> Self {
        let &AddDraft { inputs, requantize, output, pairs, .. } = draft;
        let &Setting { model, plan, engine, .. } = setting;
        let encoding = |value: &ValueId| *model.encoding(*value);
        let encodings: Vec<Encoding> = inputs.iter().map(encoding).collect();
        let max_level = encoding(&output).max_level;
        let stores = |value: ValueId| &plan.storage[value.index()].stores;
        let form = draft.form.filter(|&form| {
            let first = stores(output).first();
            let whole = |value: &ValueId| {
                plan.storage[value.index()].store(form).is_some_and(|store| store.segments.len() == 1)
            };
            first.is_some_and(|store| store.layout.form == form) && inputs.iter().all(whole)
        });
        let method = match (&encodings[..], form) {
            ([a, b], Some(Form::Planes { bits })) => {
                Method::Planes(PlaneFunction::new(bits, level_of(a, b, requantize, max_level)))
            }
            ([a, b], _) if pairs => narrow(a, b, requantize, max_level).map_or_else(
                || Method::Table(PairTable::new(a, b, level_of(a, b, requantize, max_level))),
                Method::Narrow,
            ),
            _ => accumulators(&encodings, requantize, max_level, engine),
        };
        let value = model.value(output);
        Self {
            inputs: inputs
                .iter()
                .map(|&input| match form {
                    Some(form) => plan.storage[input.index()].store(form).expect("found above").clone(),
                    None => super::input_store(plan, input),
                })
                .collect(),
            method,
            width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    /// Accumulators of a row.
    fn sums_len(&self) -> usize {
        match self.method {
            Method::Table(_) | Method::Narrow(_) | Method::Planes(_) => 0,
            Method::Accumulators { .. } => {
                self.inputs.len() * self.width * level_stride(self.channels as u32)
            }
        }
    }

    fn run_on_planes(&self, function: &PlaneFunction, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let [a, b] = &self.inputs[..] else {
            unreachable!("functions have two arguments");
        };
        for y in band.rows.clone() {
            let row = |store: &Store| &context.memory.read(&store.range)[store.offset(y as isize, 0)..];
            let output = band.planes_row(y);
            context.rows.combine(CombineRow {
                function,
                a: row(a),
                b: row(b),
                output: output.bytes,
                strides: [a.layout.pixel_stride, b.layout.pixel_stride, output.pixel_stride],
                pixels: self.width,
                pixel_len: a.layout.pixel_len(),
            });
            band.finish_planes_row(context.rows, y, self.channels);
        }
    }
}

impl Op for AddOp {
    fn name(&self) -> &'static str {
        "add"
    }

    fn requantization(&self) -> Option<Requantization> {
        match &self.method {
            Method::Accumulators { requantizer, .. } => Some(Requantization::of(requantizer)),
            _ => None,
        }
    }

    /// A row for each addend, the result, and rows of accumulators.
    fn scratch(&self) -> usize {
        let row = self.width * level_stride(self.channels as u32);
        let rows = (self.inputs.len() + 1) * bytes_for::<u8>(row);
        rows + bytes_for::<i32>(self.sums_len())
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        if let Method::Planes(function) = &self.method {
            return self.run_on_planes(function, band, context);
        }
        let stride = level_stride(self.channels as u32);
        let row_len = self.width * stride;
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let (out, sums) = (scratch.cut::<u8>(row_len), scratch.cut::<i32>(self.sums_len()));
        let mut buffers: [&mut [u8]; MAX_ADDENDS] = Default::default();
        buffers.iter_mut().zip(&self.inputs).for_each(|(buffer, _)| *buffer = scratch.cut(row_len));
        for y in band.rows.clone() {
            let mut levels: [&[u8]; MAX_ADDENDS] = [&[]; MAX_ADDENDS];
            for ((slot, input), buffer) in levels.iter_mut().zip(&self.inputs).zip(&mut buffers) {
                *slot = read_row(rows, input, memory.read(&input.range), y, stride, buffer);
            }
            match &self.method {
                Method::Table(table) => table.apply(rows, levels[0], levels[1], out),
                Method::Narrow(sum) => sum.apply(levels[0], levels[1], out),
                Method::Planes(_) => unreachable!("ran above"),
                Method::Accumulators { integers, requantizer } => {
                    let rows = sums.chunks_exact_mut(row_len).zip(levels);
                    for ((sums, levels), &[step, zero]) in rows.zip(integers) {
                        for (sum, &level) in sums.iter_mut().zip(levels) {
                            *sum = step * i32::from(level) + zero;
                        }
                    }
                    let mut terms: [&[i32]; MAX_ADDENDS] = [&[]; MAX_ADDENDS];
                    for (slot, sums) in terms.iter_mut().zip(sums.chunks_exact(row_len)) {
                        *slot = sums;
                    }
                    requantizer.apply(&mut RequantizeTile {
                        accumulators: &terms[..integers.len()],
                        stride: 1,
                        pixels: row_len,
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

/// The exact map from two levels to one.
fn level_of(a: &Encoding, b: &Encoding, requantize: &Requantize, max_level: u8) -> impl Fn(u8, u8) -> u8 {
    pairs::level_of(a, b, requantize, max_level, |x, y| [x, y])
}

/// Largest level of a sum for which [`NarrowSum`] is looked for: all pairs of levels are tried.
const NARROW_MAX_LEVEL: u8 = 31;

fn narrow(a: &Encoding, b: &Encoding, requantize: &Requantize, max_level: u8) -> Option<NarrowSum> {
    let RequantizeSpec::Scale { multipliers, shift, .. } = requantize::spec(requantize, max_level) else {
        return None;
    };
    let [first, second] = multipliers[..] else {
        return None;
    };
    let factors = [first, second].map(i64::from);
    let factors = [factors[0] * i64::from(a.step), factors[1] * i64::from(b.step)];
    let max_levels = [a.max_level, b.max_level];
    let few = max_level.max(a.max_level).max(b.max_level) <= NARROW_MAX_LEVEL;
    let level = level_of(a, b, requantize, max_level);
    few.then(|| NarrowSum::new(factors, shift, max_levels, max_level, level)).flatten()
}

fn accumulators(encodings: &[Encoding], requantize: &Requantize, max_level: u8, engine: Engine) -> Method {
    let integers = encodings.iter().map(|encoding| [encoding.step.into(), encoding.integer(0)]).collect();
    let ranges: Vec<AccumulatorRange> = encodings
        .iter()
        .map(requantize::integer_range)
        .map(|(min, max)| AccumulatorRange { min, max })
        .collect();
    Method::Accumulators {
        integers,
        requantizer: requantize::prepare(requantize, max_level, &ranges, engine),
    }
}
