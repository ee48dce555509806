use super::*;

fn value(bits: u8, off_by_one: usize, worse: usize) -> ValueComparison {
    ValueComparison {
        node: "node".into(),
        name: "tensor".into(),
        bits,
        elements: 100,
        off_by_one,
        worse,
        largest: if worse > 0 { 2 } else { u32::from(off_by_one > 0) },
    }
}

fn comparison(bits: u8, values: Vec<ValueComparison>, excess: f64, mean_deviations: f64) -> Comparison {
    let output = OutputComparison {
        name: "output0".into(),
        node: "head".into(),
        elements: 10,
        largest: excess + OUTPUT_TOLERANCE,
        excess,
        mean_deviations,
    };
    Comparison { values, outputs: vec![output], activation_bits: bits }
}

#[test]
fn verdicts() {
    let verdicts = |comparison: &Comparison| [Bar::Close, Bar::Strict].map(|bar| comparison.verdict(bar));
    let (equal, different) = ([Verdict::Equal; 2], [Verdict::Different; 2]);
    assert_eq!(verdicts(&comparison(4, vec![value(4, 0, 0)], -1e-3, 0.0)), equal);
    assert_eq!(verdicts(&comparison(8, vec![value(8, 0, 0)], 0.0, 0.0)), equal);
    // One code of a 4-bit model is one too many.
    assert_eq!(verdicts(&comparison(4, vec![value(4, 1, 0)], -1e-3, 0.0)), different);
    let close = [Verdict::Close, Verdict::Different];
    assert_eq!(verdicts(&comparison(8, vec![value(8, 5, 0)], 0.1, 0.02)), close);
    assert_eq!(verdicts(&comparison(8, vec![value(8, 10, 0), value(4, 0, 0)], 0.1, 0.02)), close);
    assert_eq!(verdicts(&comparison(8, vec![value(8, 6, 0)], 0.1, 0.02)), different);
    assert_eq!(verdicts(&comparison(8, vec![value(8, 1, 1)], 0.1, 0.02)), different);
    assert_eq!(verdicts(&comparison(8, vec![value(8, 5, 0)], 0.1, 0.04)), different);
    assert_eq!(verdicts(&comparison(4, vec![value(4, 0, 0)], 1e-6, 0.0)), different);
}

#[test]
fn the_first_divergence_is_named() {
    let first = |comparison: &Comparison| {
        comparison.first_divergence().map(|d| (d.node.to_owned(), d.tensor.to_owned()))
    };
    let named = |node: &str, off| ValueComparison { node: node.into(), ..value(4, off, 0) };
    let all = comparison(4, vec![named("a", 0), named("b", 1), named("c", 50)], 1.0, 1.0);
    assert_eq!(first(&all), Some(("b".into(), "tensor".into())));
    assert_eq!(all.totals(), [300, 51, 0]);
    let outputs = comparison(4, vec![named("a", 0)], 1.0, 1.0);
    assert_eq!(first(&outputs), Some(("head".into(), "output0".into())));
    assert_eq!(first(&comparison(4, vec![named("a", 0)], 0.0, 1.0)), None);
}

#[test]
fn bipolar_codes_differ_by_levels() {
    use ylb_format::model::{Encoding, ValueKind};
    let encoding = Encoding { max_level: 1, step: 2, low: -1, zero_point: 0, scale: 1.0 };
    let bipolar =
        Value { name: "signs".into(), channels: 1, height: 1, width: 4, kind: ValueKind::Levels(encoding) };
    let mut source = Interpretation::default();
    let compare = |source: &Interpretation| compare_value("node", &bipolar, &[1, -1, 1, 1], source);
    assert!(compare(&source).unwrap_err().message().contains("no such tensor"));
    source.codes.insert("signs".into(), vec![1, -1, -1, 1]);
    let comparison = compare(&source).unwrap();
    assert_eq!((comparison.equal(), comparison.off_by_one, comparison.worse), (3, 1, 0));
    assert_eq!((comparison.largest, comparison.is_equal()), (1, false));
    source.codes.insert("signs".into(), vec![1]);
    assert!(compare(&source).unwrap_err().message().contains("4 codes, 1 in the source"));
}

#[test]
fn synthetic_pictures_are_varied_and_always_the_same() {
    let picture = synthetic_picture([64, 96]);
    assert_eq!(picture.len(), 3 * 64 * 96);
    assert_eq!(picture, synthetic_picture([64, 96]));
    let distinct: BTreeSet<u8> = picture.iter().copied().collect();
    assert!(distinct.len() > 200, "{} different bytes", distinct.len());
    assert_eq!(planar(&[1, 2, 3, 4, 5, 6]), [1, 4, 2, 5, 3, 6]);
}
