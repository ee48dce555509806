use proptest::prelude::*;

use super::*;

fn codes(index: usize) -> Rc<Expr> {
    Rc::new(Expr::Codes(ValueIndex(index)))
}

fn compile(expr: &Rc<Expr>, channel: usize) -> Program {
    Program::compile(expr, channel, |value| value.0, |_| unreachable!())
}

#[test]
fn constants_follow_the_channel() {
    let numbers = Rc::new(Expr::Constant(Rc::from([2.0, 3.0])));
    let expr = codes(0).binary(Binary::Mul, &numbers);
    assert!(!expr.is_uniform());
    assert_eq!(compile(&expr, 1).value(&[5.0], &mut Vec::new()), 15.0);
}

#[test]
fn shared_subexpressions_are_visited_once() {
    let x = codes(0).unary(Unary::Relu);
    let expr = x.binary(Binary::Mul, &x.unary(Unary::Sigmoid));
    assert_eq!(expr.nodes().len(), 4);
    assert_eq!(expr.leaves().values.len(), 1);
}

/// A chain as deep as a hostile graph can make it neither overflows the stack nor takes long.
#[test]
fn deep_chains_need_no_recursion() {
    let mut expr = codes(0);
    for _ in 0..50_000 {
        expr = expr.unary(Unary::Neg);
    }
    assert_eq!(compile(&expr, 0).value(&[3.0], &mut Vec::new()), 3.0);
}

#[test]
fn substitution_replaces_leaves_only() {
    let expr = codes(0).unary(Unary::Relu).binary(Binary::Add, &codes(1));
    let replaced = expr.substitute(|leaf| match leaf {
        Expr::Codes(ValueIndex(0)) => Some(codes(7)),
        _ => None,
    });
    let leaves: Vec<usize> = replaced.leaves().values.into_iter().map(|value| value.0).collect();
    assert_eq!(leaves, [1, 7]);
}

fn functions() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..14, 1..8)
}

fn build(choices: &[usize]) -> Rc<Expr> {
    let mut expr = codes(0);
    for &choice in choices {
        expr = match choice {
            0 => expr.unary(Unary::Relu),
            1 => expr.unary(Unary::Clip { low: -1.5, high: 2.0 }),
            2 => expr.unary(Unary::LeakyRelu { slope: 0.1 }),
            3 => expr.unary(Unary::Sigmoid),
            4 => expr.unary(Unary::Tanh),
            5 => expr.unary(Unary::Softplus),
            6 => expr.unary(Unary::Neg),
            7 => expr.unary(Unary::Abs),
            8 => expr.binary(Binary::Mul, &Expr::number(-0.37)),
            9 => expr.binary(Binary::Sub, &Expr::number(1.21)),
            10 => expr.binary(Binary::Div, &Expr::number(0.3)),
            11 => expr.binary(Binary::Mul, &expr.unary(Unary::Sigmoid)),
            12 => expr.binary(Binary::Min, &Expr::number(0.9)),
            _ => expr.unary(Unary::Round(Rounding::HalfEven)),
        };
    }
    expr
}

proptest! {
    /// No value of an interval's numbers leaves the interval's bounds.
    #[test]
    fn ranges_hold_all_values(choices in functions(), low in -400i32..400, width in 0i32..300) {
        let program = compile(&build(&choices), 0);
        let input = Interval { low: f64::from(low), high: f64::from(low + width) };
        let range = program.range(&[input], &mut Vec::new());
        let mut scratch = Vec::new();
        for x in low..=low + width {
            let value = program.value(&[f64::from(x)], &mut scratch);
            prop_assert!(range.low <= value && value <= range.high, "{x}: {value} in {range:?}");
        }
    }
}
