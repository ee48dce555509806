//! The reference interpreter against the stored references, and whole comparisons.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::Case;
use ylb_converter::compare::{Bar, Codes, Executed, Reference, Verdict};
use ylb_converter::reference;
use ylb_format::model::{Model, Operator, ValueId};
use ylb_source::interpret::{Interpreter, Reals};

/// Every stored code of the first picture, and every output of two pictures.
fn check(name: &str) {
    let Some(case) = Case::open(name) else { return };
    let [_, _, height, width] = case.arrays["input_u8_0"].shape[..] else { panic!("no picture") };
    let start = std::time::Instant::now();
    let interpreter = Interpreter::new(&case.onnx, None, [height, width]).unwrap();
    let stored = stored_codes(&case, &interpreter);
    let names: BTreeSet<&str> = stored.keys().copied().collect();
    for picture in 0..2 {
        let pixels = case.pixels(picture).unwrap();
        let wanted = if picture == 0 { names.clone() } else { BTreeSet::new() };
        let interpretation = interpreter.run(&pixels, &wanted, &mut |_, _| {}).unwrap();
        let (mut wrong, mut total, mut first) = (0, 0, None);
        for (name, expected) in stored.iter().filter(|_| picture == 0) {
            let codes = &interpretation.codes[*name];
            assert_eq!(codes.len(), expected.len(), "{name}");
            let differ = codes.iter().zip(*expected).filter(|(a, b)| f64::from(**a) != **b).count();
            first = first.or((differ > 0).then_some(name));
            (wrong, total) = (wrong + differ, total + codes.len());
        }
        // The stored codes are those of 32-bit arithmetic. Where outputs in 64 bits are stored as well,
        // they differ, and so do codes: then the outputs alone tell.
        let same = !case.arrays.contains_key(&format!("exact64_output_{picture}_0"));
        assert!(wrong == 0 || !same, "{wrong} of {total} codes differ, first in {first:?}");
        for (index, output) in interpretation.outputs.iter().enumerate() {
            let excess = excess(&case, output, picture, index);
            assert!(excess <= 0.0, "picture {picture}, output {index}: {excess} beyond the bar");
        }
    }
    let codes: usize = stored.values().map(|codes| codes.len()).sum();
    eprintln!("{name}: {codes} codes, {:.1} s", start.elapsed().as_secs_f64());
}

/// Reference codes by the source's name of the tensor.
fn stored_codes<'a>(case: &'a Case, interpreter: &'a Interpreter) -> BTreeMap<&'a str, &'a [f64]> {
    // Archives cannot hold some characters of a name; they stand as underscores there.
    let plain = |text: &str| text.replace('/', "_");
    let tensors: BTreeMap<String, &str> =
        interpreter.tensor_names().map(|name| (plain(name), name)).collect();
    let mut stored = BTreeMap::new();
    for (key, array) in &case.arrays {
        let Some(name) = key.strip_prefix("codes_0/") else { continue };
        let name = name.split_once(':').filter(|(p, _)| p.starts_with("act")).map_or(name, |(_, n)| n);
        let name = plain(name);
        // The sub-byte QDQ cases keep the names of the QCDQ graphs that they were made from.
        let other = name.replace("Clip_output", "QuantizeLinear_output");
        let tensor = tensors.get(&name).or_else(|| tensors.get(&other));
        stored.insert(*tensor.unwrap_or_else(|| panic!("no tensor {name}")), array.data.as_slice());
    }
    assert!(!stored.is_empty());
    stored
}

/// Largest amount by which an output leaves its bar; see the tests of the cases.
fn excess(case: &Case, output: &Reals, picture: usize, index: usize) -> f64 {
    let exact = case.arrays.get(&format!("exact64_output_{picture}_{index}"));
    let expected = exact.unwrap_or_else(|| &case.arrays[&format!("output_{picture}_{index}")]);
    assert_eq!(output.shape, expected.shape);
    let columns = *output.shape.last().unwrap();
    let boxes = output.shape.len() == 3;
    let beyond = |(position, (a, b)): (usize, (&f64, &f64))| {
        let relative = if boxes && position % columns < 4 { 1e-5 * b.abs() } else { 0.0 };
        (a - b).abs() - 1e-3 - relative
    };
    let pairs = output.data.iter().zip(&expected.data).enumerate();
    pairs.map(beyond).fold(f64::NEG_INFINITY, f64::max)
}

macro_rules! cases {
    ($($name:ident)*) => { $(#[test] fn $name() { check(stringify!($name)); })* };
}

// Emulated floating point takes minutes a case; one shows that nothing depends on the architecture.
#[cfg(not(target_arch = "x86_64"))]
cases! {
    qonnx_relu_w1a2_perm
}

#[cfg(target_arch = "x86_64")]
cases! {
    dorefa_w2a2
    fx_qat_u8s8
    lsq_binary_w1a2_onnxsim
    lsq_relu_w4a4
    ort_static_u8u8_pt_relu
    qcdq_relu_w2a3_naive_dyn
    qcdq_relu_w4a4_416
    qcdq_silu_asym_w4a4
    qdq_int2_w2a2
    qdq_int4_w4a4
    qonnx_relu_shared_w4a4
    qonnx_relu_w1a2_perm
    qonnx_relu_w2a2_naive_raw
    qonnx_relu_w4a4_320
    qonnx_sign_w1a1
    qonnx_silu_s_w4a4
    trained_w4a4_qonnx
}

/// What the reference executor of models makes of a picture.
fn executed(model: &Model, pixels: &[u8]) -> Executed {
    let execution = reference::execute(model, pixels);
    let codes = |(index, value): (usize, &ylb_format::model::Value)| {
        let data = execution.codes(ValueId(index as u32)).filter(|_| !value.name.is_empty())?;
        Some(Codes { name: value.name.clone(), data })
    };
    Executed {
        codes: model.values.iter().enumerate().filter_map(codes).collect(),
        outputs: execution.outputs(),
    }
}

/// A converted model equals its source; with one weight changed it does not, and the layer is named.
#[test]
fn a_changed_weight_is_found_in_its_layer() {
    let Some(case) = Case::open("qonnx_relu_w4a4_320") else { return };
    let model = case.convert().unwrap().model;
    let pixels = case.pixels(0).unwrap();
    let compare = |model: &Model| {
        let reference = Reference::new(&case.onnx, None, model).unwrap();
        reference.compare(&pixels, &executed(model, &pixels), &mut |_, _| {}).unwrap()
    };
    let comparison = compare(&model);
    assert_eq!((comparison.verdict(Bar::Strict), comparison.first_divergence()), (Verdict::Equal, None));
    assert_eq!((comparison.totals()[1..].to_vec(), comparison.activation_bits), (vec![0, 0], 4));
    assert!(comparison.totals()[0] > 1_000_000, "{:?}", comparison.totals());

    let convs: Vec<usize> = (0..model.nodes.len())
        .filter(|&index| matches!(model.nodes[index].operator, Operator::Conv(_)))
        .collect();
    // In the middle of the network, and in the detection head, which has no codes.
    for node in [convs[convs.len() / 2], *convs.last().unwrap()] {
        let mut changed = model.clone();
        let Operator::Conv(conv) = &mut changed.nodes[node].operator else { unreachable!() };
        let weights = &mut conv.terms[0].weights;
        // All weights of an input channel's first tap: one alone may meet nothing but zeros.
        let top_plane = weights.planes.len() - weights.planes.len() / usize::from(weights.bits);
        weights.planes[top_plane] ^= 0xff;
        let name = changed.nodes[node].name.clone();
        let comparison = compare(&changed);
        assert_eq!(comparison.verdict(Bar::Close), Verdict::Different);
        assert_eq!(comparison.first_divergence().map(|d| d.node.to_owned()), Some(name));
    }
}

#[test]
fn other_sources_are_refused() {
    let Some(case) = Case::open("qonnx_relu_w4a4_320") else { return };
    let Some(other) = Case::open("qonnx_silu_s_w4a4") else { return };
    let model = case.convert().unwrap().model;
    let error = Reference::new(&other.onnx, None, &model).unwrap_err();
    assert_eq!(error.kind(), ylb_converter::ErrorKind::OtherSource);
    assert!(error.message().contains("model.onnx"), "{error}");
}
