//! Joins of curves.

use ylb_format::model::*;
use ylb_format::{NodeProblem, ReadError, SectionKind, Violation, limits};

use super::models::{accumulators, node, unsigned, value};
use super::{assert_error, encoder, models};

/// The sum of a function of the picture and one of the accumulators of a convolution.
fn join() -> Model {
    let mut model = models::detector();
    let shape = [3, 8, 8];
    let conv = Conv {
        terms: vec![models::term(0, models::cyclic([3, 3, 1, 1], WeightEncoding::Unsigned, 4))],
        window: models::square(1, 1, 0),
        groups: 1,
        requantize: None,
    };
    let function =
        OperandFunction::Curve { curve: 0, multipliers: vec![1 << 20; 3], bias: vec![1 << 40; 3], shift: 10 };
    let join = Curves {
        operands: vec![
            CurveOperand { input: ValueId(0), function: OperandFunction::Table(vec![1 << 58; 256]) },
            CurveOperand { input: ValueId(1), function },
        ],
        combine: Combine::Sum,
        curves: vec![Curve { width: 30, pieces: vec![[0, 1 << 20, 0, 0], [1 << 40, 5, 4, 3], [9, 8, 0, 0]] }],
        thresholds: vec![-3, 1 << 50],
        levels: vec![0, 200, 100],
    };
    model.values = vec![
        value("image", shape, unsigned(255)),
        accumulators("", shape),
        value("made", shape, unsigned(255)),
    ];
    model.nodes = vec![node("conv", 1, Operator::Conv(conv)), node("own", 2, Operator::Curves(join))];
    model.outputs.clear();
    model.detect = Detect::default();
    model.metadata.class_names.clear();
    model
}

fn curves(model: &mut Model) -> &mut Curves {
    let Operator::Curves(curves) = &mut model.nodes[1].operator else { panic!() };
    curves
}

/// What is wrong after a change.
fn problem(change: impl Fn(&mut Curves)) -> Option<NodeProblem> {
    let mut model = join();
    change(curves(&mut model));
    match ylb_format::validate(&model) {
        Ok(()) => None,
        Err(Violation::Node { node: 1, problem, .. }) => Some(problem),
        Err(other) => panic!("{other}"),
    }
}

fn own(join: &mut Curves) -> (&mut u8, &mut Vec<i64>, &mut Vec<i64>, &mut u8) {
    let OperandFunction::Curve { curve, multipliers, bias, shift } = &mut join.operands[1].function else {
        panic!()
    };
    (curve, multipliers, bias, shift)
}

#[test]
fn operands_fit_their_functions() {
    assert_eq!(problem(|_| {}), None);
    assert_eq!(problem(|join| join.combine = Combine::Product { shift: 62 }), None);
    let count = |count, min, max| Some(NodeProblem::InputCount { count, min, max });
    assert_eq!(problem(|join| join.operands.clear()), count(0, 1, limits::MAX_CURVE_OPERANDS));
    let single = |join: &mut Curves| {
        join.combine = Combine::Product { shift: 62 };
        join.operands.pop();
    };
    assert_eq!(problem(single), count(1, 2, 3));
    let table = |len: usize| {
        move |join: &mut Curves| join.operands[0].function = OperandFunction::Table(vec![0; len])
    };
    assert_eq!(problem(table(255)), Some(NodeProblem::TableLen { len: 255, levels: 256 }));
    let swapped = |join: &mut Curves| {
        let function = join.operands[0].function.clone();
        join.operands[1].function = function;
    };
    assert_eq!(problem(swapped), Some(NodeProblem::InputIsAccumulators { value: 1 }));
    let swapped = |join: &mut Curves| {
        let function = join.operands[1].function.clone();
        join.operands[0].function = function;
    };
    assert_eq!(problem(swapped), Some(NodeProblem::InputIsLevels { input: 0 }));
    assert_eq!(
        problem(|join| *own(join).0 = 1),
        Some(NodeProblem::UnknownCurve { input: 1, curve: 1, curves: 1 })
    );
    let missing = NodeProblem::MultipliersLen { len: 2, terms: 1, channels: 3 };
    assert_eq!(problem(|join| _ = own(join).1.pop()), Some(missing));
    assert_eq!(problem(|join| _ = own(join).2.pop()), Some(NodeProblem::BiasLen { len: 2, channels: 3 }));
    assert_eq!(problem(|join| *own(join).3 = 63), Some(NodeProblem::Shift { shift: 63, limit: 62 }));
    let shift = |join: &mut Curves| join.combine = Combine::Product { shift: 63 };
    assert_eq!(problem(shift), Some(NodeProblem::Shift { shift: 63, limit: 62 }));
}

#[test]
fn curves_end_in_lines_of_few_bits() {
    let pieces = |pieces: Vec<[i64; 4]>, width| {
        move |join: &mut Curves| join.curves[0] = Curve { width, pieces: pieces.clone() }
    };
    assert_eq!(problem(pieces(vec![[1; 4]], 30)), Some(NodeProblem::CurveEnds { curve: 0 }));
    assert_eq!(
        problem(pieces(vec![[1, 1, 0, 0], [1, 1, 1, 0]], 30)),
        Some(NodeProblem::CurveEnds { curve: 0 })
    );
    assert_eq!(problem(pieces(vec![[1, 1, 0, 0]], 40)), None);
    for (count, width) in [(0, 30), (4097, 30), (1, 41)] {
        let found = problem(pieces(vec![[0; 4]; count], width));
        assert_eq!(found, Some(NodeProblem::Pieces { curve: 0, pieces: count, width }));
    }
    let steep = |line| pieces(vec![[0; 4], [0, line, 1, -1], [0; 4]], 22);
    assert_eq!(problem(steep((1 << 40) - 3)), None);
    assert_eq!(problem(steep((1 << 40) - 2)), Some(NodeProblem::Pieces { curve: 0, pieces: 3, width: 22 }));
}

#[test]
fn joins_fit_58_bits() {
    let range = |input| Some(NodeProblem::CurveRange { input });
    let table =
        |join: &mut Curves| join.operands[0].function = OperandFunction::Table(vec![-(1 << 58) - 1; 256]);
    assert_eq!(problem(table), range(0));
    // Accumulators of up to 11 475.
    let steep = |join: &mut Curves| (*own(join).1, *own(join).3) = (vec![1 << 58; 3], 4);
    assert_eq!(problem(steep), range(1));
    let far = |join: &mut Curves| *own(join).2 = vec![i64::MIN; 3];
    assert_eq!(problem(far), range(1));
    // Far from 0, where the last line leads.
    let line = |k1: i64| {
        move |join: &mut Curves| {
            *own(join).2 = vec![1 << 57; 3];
            join.curves[0].pieces[2] = [0, k1, 0, 0];
        }
    };
    assert_eq!(problem(line(1 << 29)), None);
    assert_eq!(problem(line((1 << 32) - 1)), range(1));
    let product = |shift| move |join: &mut Curves| join.combine = Combine::Product { shift };
    assert_eq!(problem(product(50)), None);
    assert_eq!(problem(product(10)), range(1));
}

/// Only factors have extents of 1.
#[test]
fn gates_are_factors() {
    let gated = |combine| {
        let mut model = join();
        model.values[1] = accumulators("", [1, 8, 8]);
        let Operator::Conv(conv) = &mut model.nodes[0].operator else { panic!() };
        conv.terms = vec![models::term(0, models::cyclic([1, 3, 1, 1], WeightEncoding::Unsigned, 4))];
        let join = curves(&mut model);
        join.combine = combine;
        own(join).1.truncate(1);
        own(join).2.truncate(1);
        ylb_format::validate(&model)
    };
    assert_eq!(gated(Combine::Product { shift: 62 }), Ok(()));
    let problem = NodeProblem::InputShape { input: 1, expected: [3, 8, 8], actual: [1, 8, 8] };
    assert_eq!(gated(Combine::Sum), Err(Violation::Node { node: 1, name: "own".into(), problem }));
}

#[test]
fn long_tables_and_curves_are_not_read() {
    let mut model = join();
    curves(&mut model).operands[0].function = OperandFunction::Table(vec![0; 257]);
    let section = SectionKind::QUANT;
    let what = "entries of a table";
    assert_error(
        &encoder::sections(&model).file(),
        ReadError::Count { section, what, count: 257, limit: 256 },
    );
    let mut model = join();
    curves(&mut model).curves[0].pieces = vec![[0; 4]; 4097];
    let what = "pieces of a curve";
    assert_error(
        &encoder::sections(&model).file(),
        ReadError::Count { section, what, count: 4097, limit: 4096 },
    );
}
