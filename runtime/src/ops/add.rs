//! Residual sum with its quantizer.
//!
//! A sum of two values is a table over both levels, made at load from the exact map; where 16-bit arithmetic equals
//! it, that ([`NarrowSum`]); on planes of one or two bits it is evaluated as polynomials
//! ([`ylb_kernels::combine`]). Longer sums compute their accumulators, as do all others in a network that has very many.

use ylb_format::model::{Encoding, Model, Requantize, ValueId};
use ylb_kernels::combine::{CombineRow, PlaneFunction};
use ylb_kernels::layout::Form;
use ylb_kernels::reference;
use ylb_kernels::requantize::{AccumulatorRange, RequantizeSpec, RequantizeTile, Requantizer};
use ylb_kernels::sum::NarrowSum;
use ylb_kernels::ukernel::Engine;

use super::{Context, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::{Plan, sum_form};
use crate::requantize;
use crate::scratch::ScratchLen;
use crate::storage::Store;

/// Most addends: see `ylb_format::model::Operator::Add`.
const MAX_ADDENDS: usize = 4;

/// A sum, ready to run.
pub struct AddOp {
    inputs: Vec<Store>,
    method: Method,
    width: usize,
    channels: usize,
}

enum Method {
    /// `table[a · b_levels + b]`.
    Table { table: Vec<u8>, b_levels: usize },
    /// Arithmetic of 16 bits.
    Narrow(NarrowSum),
    /// Both inputs and the output in planes.
    Planes(PlaneFunction),
    /// One accumulator an addend: `step · level + integer of level 0`.
    Accumulators { integers: Vec<[i32; 2]>, requantizer: Requantizer },
}

impl AddOp {
    /// Prepares a sum. `pairs`: whether all pairs of levels may be gone through, which takes up to a millisecond and
    /// 64 KiB.
    pub fn new(
        model: &Model,
        inputs: &[ValueId],
        requantize: &Requantize,
        output: ValueId,
        plan: &Plan,
        engine: Engine,
        pairs: bool,
    ) -> Self {
        let encoding = |value: &ValueId| *model.encoding(*value);
        let encodings: Vec<Encoding> = inputs.iter().map(encoding).collect();
        let max_level = encoding(&output).max_level;
        let stores = |value: ValueId| &plan.storage[value.index()].stores;
        let form = sum_form(model, inputs, output).filter(|&form| {
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
            ([a, b], _) if pairs => narrow(a, b, requantize, max_level)
                .map_or_else(|| table(a, b, requantize, max_level), Method::Narrow),
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

    /// Working memory of a thread: a row for each addend, and the result.
    pub fn scratch(&self) -> ScratchLen {
        let row = self.width * level_stride(self.channels as u32);
        let sums = match self.method {
            Method::Table { .. } | Method::Narrow(_) | Method::Planes(_) => 0,
            Method::Accumulators { .. } => row * self.inputs.len(),
        };
        ScratchLen { levels: (self.inputs.len() + 1) * row, sums, ..Default::default() }
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

    /// Computes the band's rows.
    pub fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        if let Method::Planes(function) = &self.method {
            return self.run_on_planes(function, band, context);
        }
        let stride = level_stride(self.channels as u32);
        let row_len = self.width * stride;
        let Context { memory, rows, scratch } = context;
        let (out, buffers) = scratch.levels.split_at_mut(row_len);
        for y in band.rows.clone() {
            let mut levels: [&[u8]; MAX_ADDENDS] = [&[]; MAX_ADDENDS];
            let buffers = buffers.chunks_exact_mut(row_len);
            for ((slot, input), buffer) in levels.iter_mut().zip(&self.inputs).zip(buffers) {
                *slot = read_row(rows, input, memory.read(&input.range), y, stride, buffer);
            }
            match &self.method {
                Method::Table { table, b_levels } => {
                    rows.lookup2(levels[0], levels[1], *b_levels, table, out);
                }
                Method::Narrow(sum) => sum.apply(levels[0], levels[1], out),
                Method::Planes(_) => unreachable!("ran above"),
                Method::Accumulators { integers, requantizer } => {
                    let sums = &mut scratch.sums[..row_len * integers.len()];
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
    let spec = requantize::spec(requantize, max_level);
    let (a, b) = (*a, *b);
    let integer = |encoding: &Encoding, level: u8| i64::from(encoding.integer(level.min(encoding.max_level)));
    move |x, y| reference::requantize(&spec, 0, &[integer(&a, x), integer(&b, y)])
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

fn table(a: &Encoding, b: &Encoding, requantize: &Requantize, max_level: u8) -> Method {
    let level = level_of(a, b, requantize, max_level);
    let levels = (0..=a.max_level).flat_map(|x| (0..=b.max_level).map(move |y| (x, y)));
    let table = levels.map(|(x, y)| level(x, y)).collect();
    Method::Table { table, b_levels: usize::from(b.max_level) + 1 }
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
