//! A function of accumulators as a curve: where on it each channel's accumulators are, and cubics that follow it.
//!
//! Pieces are of equal width, a power of two, from `−reach` to `reach`; beyond, functions are taken for lines where they are lines but
//! for what does not matter, as SiLU is 24 from 0. How far the curve of integers is from the function is measured at 16 points of
//! each piece.

use std::rc::Rc;

use ylb_format::limits::{MAX_PIECE_WIDTH, MAX_PIECES};
use ylb_format::model::Curve;

use super::super::conv::PendingConv;
use super::super::cut::unreachable_conv;
use super::super::requantize::split;
use crate::error::ConvertError;
use crate::expr::{Expr, Program, ValueIndex};

/// How far from a line a function may be beyond the pieces: 2⁻³⁰.
const LINE: f64 = 1.0 / (1u64 << 30) as f64;
/// How far from the function a cubic should be, where narrower pieces bring it there: 2⁻²⁸.
const CUBIC: f64 = 1.0 / (1u64 << 28) as f64;
/// The farthest that pieces reach.
const MAX_PIECES_REACH: f64 = 64.0;
/// Pieces are from `2^−MIN_PARTS` to `2^−MAX_PARTS` wide.
const MIN_PARTS: i32 = 4;
const MAX_PARTS: i32 = 6;
/// Points at which a piece is measured.
const POINTS: usize = 16;
/// By how many bits all of that is finer for factors of a product, whose errors are multiplied.
const FACTOR_BITS: i32 = 4;
/// Bits of what an accumulator may become.
const MAX_BITS: i32 = 56;
/// Most fraction bits of a place.
const MAX_PLACE_FRACTION: i32 = 34;

/// Where on a function of one real number a convolution's accumulators are.
pub(super) struct Placement {
    /// What follows, of an expression's first codes.
    rest: Rc<Expr>,
    /// By channel: what multiplies an accumulator, and what is added.
    affine: Vec<(f64, f64)>,
    /// The largest magnitude of an accumulator.
    accumulator: f64,
    /// The largest magnitude of a place.
    pub(super) reach: f64,
}

/// A function, taken apart in pieces.
pub(super) struct Fitted {
    pub(super) placement: Placement,
    function: Program,
    /// Pieces reach from the negative of this to it.
    pieces_reach: f64,
    /// Pieces are `2^−parts` wide.
    parts: i32,
    /// Cubics in parts of the piece's width; the first and the last are lines.
    pieces: Vec<[f64; 4]>,
    /// The largest magnitude of the function.
    pub(super) reach: f64,
}

/// What brings accumulators to their places: `⌊accumulator · multipliers[c] / 2^shift⌋ + bias[c]`.
pub(super) struct Place {
    pub(super) multipliers: Vec<i64>,
    pub(super) bias: Vec<i64>,
    pub(super) shift: u8,
}

impl Placement {
    /// `None` where channels differ by more than a factor and an addend.
    pub(super) fn find(conv: &PendingConv, expr: &Rc<Expr>) -> Option<Self> {
        let (ground, rest) = split(expr)?;
        let (mut affine, mut reach, mut accumulator) = (Vec::with_capacity(conv.shape[0]), 0.0f64, 0.0f64);
        for channel in 0..conv.shape[0] {
            let (first, last) = conv.real_range(channel);
            let (factor, addend) = conv.affine_of_real(&ground, channel);
            for end in [first, last] {
                reach = reach.max((end * factor + addend).abs());
            }
            for term in &conv.terms {
                let (low, high) = term.ranges[channel];
                accumulator = accumulator.max(low.unsigned_abs().max(high.unsigned_abs()) as f64);
            }
            affine.push((factor * conv.factors(channel)[0], addend));
        }
        reach.is_finite().then_some(Self { rest, affine, accumulator, reach })
    }

    /// For places that reach as far as others do, so that equal functions have equal curves.
    pub(super) fn reaching(self, reach: f64) -> Self {
        Self { reach: self.reach.max(reach), ..self }
    }

    /// Takes the function apart, in a product more finely. `None` where it is a line nowhere near, or not finite.
    pub(super) fn fitted(self, product: bool) -> Result<Option<Fitted>, ConvertError> {
        let finer = if product { f64::from(-FACTOR_BITS).exp2() } else { 1.0 };
        let function = Program::compile(&self.rest, 0, |_: ValueIndex| 0, |_| unreachable_conv());
        let far = self.reach.max(MAX_PIECES_REACH).log2().ceil().exp2();
        let mut scratch = Vec::new();
        let mut at = |x: f64| function.value(&[x], &mut scratch);
        let Some(pieces_reach) = pieces_reach(&mut at, self.reach, far, LINE * finer) else {
            return Ok(None);
        };
        let mut found = None;
        for parts in MIN_PARTS..=MAX_PARTS {
            let count = (2.0 * pieces_reach * f64::from(parts).exp2()) as usize;
            if count + 2 > MAX_PIECES {
                break;
            }
            let pieces = pieces(&mut at, (pieces_reach, far), parts, count);
            let error = farthest(&mut at, &pieces, pieces_reach, parts);
            found = Some((parts, pieces));
            if error <= CUBIC * finer {
                break;
            }
        }
        let Some((parts, pieces)) = found else { return Ok(None) };
        let most = self.reach.max(1.0);
        let samples = (-64..=64).map(|step| at(most * f64::from(step) / 64.0).abs());
        let inner = pieces.iter().map(|piece| piece.iter().map(|k| k.abs()).sum::<f64>());
        let reach = samples.chain(inner).fold(0.0, f64::max);
        let finite = pieces.iter().flatten().all(|k| k.is_finite()) && reach.is_finite();
        Ok(finite.then_some(Fitted { placement: self, function, pieces_reach, parts, pieces, reach }))
    }
}

/// The least number from which on, on both sides, a function is a line; what is reached at all, if that is less.
fn pieces_reach(at: &mut impl FnMut(f64) -> f64, reach: f64, far: f64, line: f64) -> Option<f64> {
    let needed = reach.max(1.0).log2().ceil().exp2();
    let candidates = [1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0, MAX_PIECES_REACH];
    let mut is_line = |from: f64| {
        [-1.0, 1.0].into_iter().all(|side| {
            let (own, end) = (at(side * from), at(side * far));
            (1..POINTS).all(|point| {
                // Denser near the beginning, where the function bends.
                let part = (point as f64 / POINTS as f64).powi(3);
                let expected = own + (end - own) * part;
                let allowed = line + expected.abs() * f64::EPSILON * 8.0;
                (at(side * (from + (far - from) * part)) - expected).abs() <= allowed
            })
        })
    };
    candidates.into_iter().find(|&from| from >= needed || is_line(from))
}

/// A line, cubics through four points each, and a line.
fn pieces(
    at: &mut impl FnMut(f64) -> f64,
    (reach, far): (f64, f64),
    parts: i32,
    count: usize,
) -> Vec<[f64; 4]> {
    let width = f64::from(-parts).exp2();
    let mut pieces = Vec::with_capacity(count + 2);
    let slope = |own: f64, end: f64| if far > reach { (end - own) / (far - reach) } else { 0.0 };
    let (first, last) = (at(-reach), at(reach));
    let before = slope(first, at(-far));
    pieces.push([first + before * width, -before * width, 0.0, 0.0]);
    for piece in 0..count {
        let from = -reach + piece as f64 * width;
        // The ends apart, where the function may have a corner.
        let places = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0];
        let [a, b, c, d] = places.map(|t| at(from + t * width));
        let k1 = (-11.0 * a + 18.0 * b - 9.0 * c + 2.0 * d) / 2.0;
        let k2 = (18.0 * a - 45.0 * b + 36.0 * c - 9.0 * d) / 2.0;
        let k3 = (-9.0 * a + 27.0 * b - 27.0 * c + 9.0 * d) / 2.0;
        pieces.push([a, k1, k2, k3]);
    }
    pieces.push([last, slope(last, at(far)) * width, 0.0, 0.0]);
    pieces
}

/// The largest distance of cubics from a function.
fn farthest(at: &mut impl FnMut(f64) -> f64, pieces: &[[f64; 4]], reach: f64, parts: i32) -> f64 {
    let width = f64::from(-parts).exp2();
    let inner = &pieces[1..pieces.len() - 1];
    let mut most = 0.0f64;
    for (piece, [k0, k1, k2, k3]) in inner.iter().enumerate() {
        for point in 0..POINTS {
            let t = (point as f64 + 0.5) / POINTS as f64;
            let x = -reach + (piece as f64 + t) * width;
            most = most.max((at(x) - (k0 + t * (k1 + t * (k2 + t * k3)))).abs());
        }
    }
    most
}

impl Fitted {
    /// The most fraction bits of the function that there is room for.
    pub(super) fn most_fraction(&self) -> i32 {
        self.placement.room() - self.steepest().log2().ceil().max(0.0) as i32
    }

    /// What a unit of the place is multiplied with at most.
    fn steepest(&self) -> f64 {
        let steepness = |piece: &[f64; 4]| piece[1..].iter().map(|k| k.abs()).sum::<f64>();
        let by_piece = self.pieces.iter().map(steepness).fold(f64::MIN_POSITIVE, f64::max);
        by_piece * f64::from(self.parts).exp2()
    }

    /// The curve with so many fraction bits, and of places at most as many as there is `room` for, where on it accumulators are,
    /// and how far all of that can be from the function, in units of the last bit.
    pub(super) fn fixed(&self, fraction: i32, room: i32) -> Option<(Curve, Place, f64)> {
        let unit = f64::from(fraction).exp2();
        let steepest = self.steepest() * f64::from(-self.parts).exp2();
        // What is multiplied in a piece has 62 bits.
        let bits = 61 - (steepest * unit).log2().ceil() as i32;
        let width = bits.min(MAX_PLACE_FRACTION.min(room) - self.parts).min(MAX_PIECE_WIDTH.into());
        if width < 8 {
            return None;
        }
        let round = |piece: &[f64; 4]| piece.map(|k| (k * unit).round() as i64);
        let curve = Curve { width: width as u8, pieces: self.pieces.iter().map(round).collect() };
        let place_fraction = width + self.parts;
        let (place, off) = self.placement.place(place_fraction, self.pieces_reach, self.parts)?;
        let slope = steepest * 3.0 * unit / f64::from(width).exp2();
        let error = 1.1 * self.measured(&curve, fraction) + 1.0 + slope * off;
        Some((curve, place, error))
    }

    /// The largest distance of a curve of integers from the function, in units of its last bit.
    fn measured(&self, curve: &Curve, fraction: i32) -> f64 {
        let width = f64::from(-self.parts).exp2();
        let (unit, in_piece) = (f64::from(fraction).exp2(), f64::from(curve.width).exp2());
        let mut scratch = Vec::new();
        let mut most = 0.0f64;
        let mut measure = |from: f64, distance: f64| {
            // In whole units of the place, as they are looked at.
            let d = (distance * in_piece).round();
            let piece = ((from + self.pieces_reach) / width + 1.0).round().max(0.0) as usize;
            let expected = self.function.value(&[from + d / in_piece * width], &mut scratch) * unit;
            let found = value(&curve.pieces[piece.min(curve.pieces.len() - 1)], d as i64, curve.width);
            most = most.max((expected - found as f64).abs());
        };
        let inner = curve.pieces.len() - 2;
        for piece in 0..inner {
            let from = -self.pieces_reach + piece as f64 * width;
            (0..POINTS).for_each(|point| measure(from, (point as f64 + 0.5) / POINTS as f64));
        }
        let beyond = (self.placement.reach - self.pieces_reach).max(0.0) / width;
        for point in 0..=POINTS {
            let part = (point as f64 / POINTS as f64).powi(3);
            measure(self.pieces_reach, beyond * part);
            measure(-self.pieces_reach - width, 1.0 - beyond * part);
        }
        most
    }
}

impl Placement {
    /// The most fraction bits of a place.
    pub(super) fn room(&self) -> i32 {
        let largest = self.affine.iter().map(|(factor, _)| factor.abs()).fold(f64::MIN_POSITIVE, f64::max);
        // Magnitudes of weights bound accumulators by twice what they reach at most.
        MAX_BITS - (2.0 * self.accumulator.max(1.0) * largest).log2().ceil() as i32
    }

    /// Places with so many fraction bits, counted from the beginning of the first piece, and how far they can be off, in
    /// units of the last.
    fn place(&self, fraction: i32, pieces_reach: f64, parts: i32) -> Option<(Place, f64)> {
        let unit = f64::from(fraction).exp2();
        let largest =
            self.affine.iter().map(|(factor, _)| factor.abs()).fold(f64::MIN_POSITIVE, f64::max) * unit;
        // Multipliers of up to 61 bits; more than what accumulators have beyond the fraction is of no use.
        let shift = (61 - largest.log2().ceil() as i32).min(40);
        if shift < 0 {
            return None;
        }
        let by = f64::from(shift).exp2() * unit;
        let start = pieces_reach + f64::from(-parts).exp2();
        let multipliers = self.affine.iter().map(|(factor, _)| (factor * by).round() as i64).collect();
        let bias = self.affine.iter().map(|(_, addend)| ((addend + start) * unit).round() as i64).collect();
        let off = 0.5 * self.accumulator / f64::from(shift).exp2() + 1.5;
        Some((Place { multipliers, bias, shift: shift as u8 }, off))
    }
}

/// A piece at a distance from its beginning.
fn value(piece: &[i64; 4], d: i64, width: u8) -> i64 {
    let [k0, k1, k2, k3] = piece.map(i128::from);
    let d = i128::from(d);
    (k0 + ((d * (k1 + ((d * (k2 + ((d * k3) >> width))) >> width))) >> width)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Binary, Unary};

    /// Pieces of a function, where accumulators are multiples of 2⁻⁸ up to 300.
    fn fitted(rest: &Rc<Expr>) -> Option<Fitted> {
        let placement = Placement {
            rest: Rc::clone(rest),
            affine: vec![(1.0 / 256.0, 0.125)],
            accumulator: 76_800.0,
            reach: 300.2,
        };
        placement.fitted(false).unwrap()
    }

    fn codes() -> Rc<Expr> {
        Rc::new(Expr::Codes(ValueIndex(0)))
    }

    /// Every place, far from 0 too, is as near to the function as is said.
    #[test]
    fn curves_follow_activations() {
        let x = codes();
        let silu = x.binary(Binary::Mul, &x.unary(Unary::Sigmoid));
        let mish = x.binary(Binary::Mul, &x.unary(Unary::Softplus).unary(Unary::Tanh));
        let six = x.unary(Unary::Clip { low: 0.0, high: 6.0 });
        let hard = x.binary(Binary::Mul, &crate::expr::hard_sigmoid(&x, 1.0 / 6.0, 0.5));
        let leaky = x.unary(Unary::LeakyRelu { slope: 0.1 });
        for function in [x.clone(), silu, mish, six, hard, leaky, x.unary(Unary::Sigmoid)] {
            let fitted = fitted(&function).unwrap();
            let fraction = 36;
            let (curve, place, error) = fitted.fixed(fraction, 34).unwrap();
            let unit = f64::from(fraction).exp2();
            // Slopes far from 0 have as many bits as the function.
            assert!(error / unit < 1e-7, "{function:?}: {error}");
            let mut scratch = Vec::new();
            for accumulator in (-76_800..=76_800).step_by(7) {
                let x = ((i128::from(accumulator) * i128::from(place.multipliers[0])) >> place.shift) as i64
                    + place.bias[0];
                let piece = (x >> curve.width).clamp(0, curve.pieces.len() as i64 - 1);
                let found = value(&curve.pieces[piece as usize], x - (piece << curve.width), curve.width);
                let real = accumulator as f64 / 256.0 + 0.125;
                let expected = fitted.function.value(&[real], &mut scratch) * unit;
                assert!(
                    (found as f64 - expected).abs() <= error,
                    "{function:?} at {real}: {found} {expected} {error}"
                );
            }
        }
    }

    /// A corner inside a piece is told by the error; what is a line nowhere has no curve.
    #[test]
    fn corners_are_told_and_endless_bends_are_none() {
        let x = codes();
        let corner = x.binary(Binary::Sub, &Expr::number(0.01)).unary(Unary::Relu);
        let (_, _, error) = fitted(&corner).unwrap().fixed(36, 34).unwrap();
        assert!(error / (36f64).exp2() > 1e-4, "{error}");
        assert!(fitted(&x.binary(Binary::Mul, &x)).is_none());
    }
}
