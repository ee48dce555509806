use std::rc::Rc;

use ylb_source::quantizer::{Order, PerAxis, Quantizer, Rounding};

use super::*;
use crate::expr::{Binary, Expr, Unary, ValueIndex};

fn quantizer(order: Order, low: i64, high: i64, scale: f32, zero_point: f32) -> Unary {
    Unary::Quantize(std::sync::Arc::new(Quantizer {
        order,
        rounding: Rounding::HalfEven,
        low,
        high,
        scale: PerAxis::uniform(scale),
        zero_point: PerAxis::uniform(zero_point),
        codes_name: String::new(),
    }))
}

/// Compares with every accumulator evaluated by itself, and returns the staircase.
fn check(function: impl Fn(&Rc<Expr>) -> Rc<Expr>, levels: Levels, first: i64, last: i64) -> Staircase {
    let expr = function(&Rc::new(Expr::Codes(ValueIndex(0))));
    let program = Program::compile(&expr, 0, |_| 0, |_| unreachable!());
    let staircase = Staircase::find(&program, levels, first, last).unwrap();
    let mut scratch = Vec::new();
    for accumulator in first..=last {
        let code = program.value(&[accumulator as f64], &mut scratch);
        assert_eq!(staircase.level(accumulator), levels.level(code).unwrap(), "{accumulator}");
    }
    assert_eq!(staircase.first(), first);
    staircase
}

fn scaled(x: &Rc<Expr>, factor: f64, addend: f64) -> Rc<Expr> {
    x.binary(Binary::Mul, &Expr::number(factor)).binary(Binary::Add, &Expr::number(addend))
}

#[test]
fn relu_rises() {
    let levels = Levels { low: 0, step: 1, max_level: 15 };
    let function = |x: &Rc<Expr>| {
        let quantizer = quantizer(Order::ClampThenRound, 0, 15, 0.41, 0.0);
        scaled(x, 0.0123, -0.7).unary(Unary::Relu).unary(quantizer)
    };
    let staircase = check(function, levels, -1000, 1000);
    assert_eq!(staircase.rising(), Some(true));
    assert_eq!(staircase.steps.len(), 16);
}

#[test]
fn negative_factors_fall_and_mirror() {
    let levels = Levels { low: -8, step: 1, max_level: 15 };
    let function =
        |x: &Rc<Expr>| scaled(x, -0.03, 0.2).unary(quantizer(Order::RoundThenClamp, -8, 7, 0.3, 0.0));
    let staircase = check(function, levels, -300, 200);
    assert_eq!(staircase.rising(), Some(false));
    let mirrored = staircase.mirrored();
    assert_eq!((mirrored.first(), mirrored.last), (-200, 300));
    for accumulator in -300..=200 {
        assert_eq!(mirrored.level(-accumulator), staircase.level(accumulator));
    }
}

/// SiLU dips below zero and comes back: codes fall, then rise.
#[test]
fn silu_falls_and_rises() {
    let levels = Levels { low: 0, step: 1, max_level: 15 };
    let function = |x: &Rc<Expr>| {
        let x = scaled(x, 0.01, 0.0);
        let silu = x.binary(Binary::Mul, &x.unary(Unary::Sigmoid));
        silu.unary(quantizer(Order::RoundThenClamp, 0, 15, 0.05, 6.0))
    };
    let staircase = check(function, levels, -2000, 2000);
    assert_eq!(staircase.rising(), None);
}

#[test]
fn ties_go_to_even() {
    let levels = Levels { low: 0, step: 1, max_level: 15 };
    let function =
        |x: &Rc<Expr>| scaled(x, 0.5, 0.0).unary(quantizer(Order::ClampThenRound, 0, 15, 1.0, 0.0));
    let staircase = check(function, levels, 0, 30);
    assert_eq!([1, 2, 3, 5].map(|accumulator| staircase.level(accumulator)), [0, 1, 2, 2]);
}

#[test]
fn bipolar_has_two_levels() {
    let levels = Levels { low: -1, step: 2, max_level: 1 };
    let function = |x: &Rc<Expr>| scaled(x, -1.0, 3.0).unary(quantizer(Order::Bipolar, -1, 1, 1.0, 0.0));
    assert_eq!(check(function, levels, -10, 10).steps, [(-10, 1), (4, 0)]);
}

#[test]
fn numbers_that_are_no_codes_are_refused() {
    let levels = Levels { low: 0, step: 1, max_level: 3 };
    let expr = scaled(&Rc::new(Expr::Codes(ValueIndex(0))), 0.25, 0.0);
    let program = Program::compile(&expr, 0, |_| 0, |_| unreachable!());
    assert!(Staircase::find(&program, levels, 0, 3).is_err());
}
