//! The reference cases: real exports with reference outputs, kept beside the checkout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ylb_converter::reference::{self, Execution};
use ylb_converter::{ConvertError, Converted, Options, convert};
use ylb_format::model::{Model, ValueId};

pub mod npz;

/// One case: the export and what it must give.
pub struct Case {
    /// Bytes of the export.
    pub onnx: Vec<u8>,
    /// Inputs and reference outputs.
    pub arrays: BTreeMap<String, npz::Array>,
}

impl Case {
    /// Reads a case. `None`, loudly, where the reference cases are absent.
    ///
    /// # Panics
    /// If they are absent although `CI` is `true`.
    pub fn open(name: &str) -> Option<Self> {
        let folder = folder().join(name);
        let Ok(onnx) = std::fs::read(folder.join("model.onnx")) else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no reference case {name}");
            eprintln!("SKIPPED: no reference case at {}", folder.display());
            return None;
        };
        let arrays = npz::read(&std::fs::read(folder.join("io.npz")).unwrap());
        Some(Self { onnx, arrays })
    }

    /// Converts it.
    pub fn convert(&self) -> Result<Converted, ConvertError> {
        self.convert_with(Options::default())
    }

    /// Converts it with options; the size of the pictures is set here.
    pub fn convert_with(&self, options: Options) -> Result<Converted, ConvertError> {
        let [_, _, height, width] = self.arrays["input_u8_0"].shape[..] else { panic!("no picture") };
        let options = Options { image_size: Some([height, width]), ..options };
        convert(&self.onnx, "model.onnx", &options, &mut |_| {})
    }

    /// Pixels of a picture.
    pub fn pixels(&self, picture: usize) -> Option<Vec<u8>> {
        let array = self.arrays.get(&format!("input_u8_{picture}"))?;
        Some(array.data.iter().map(|&byte| byte as u8).collect())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases")
}

/// How many codes of how many differ, and the first value where one does.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    pub codes: usize,
    pub wrong: usize,
    pub first: Option<String>,
    /// Reference tensors that the model has no value for.
    pub missing: Vec<String>,
}

/// Compares every stored code of picture 0.
pub fn compare_codes(case: &Case, model: &Model, execution: &Execution<'_>) -> Difference {
    let mut difference = Difference::default();
    for (key, array) in &case.arrays {
        let Some(name) = key.strip_prefix("codes_0/") else { continue };
        let name = name.split_once(':').filter(|(p, _)| p.starts_with("act")).map_or(name, |(_, n)| n);
        // Archives cannot hold some characters of a name; they stand as underscores there.
        let plain = |text: &str| text.replace('/', "_");
        let find = |name: &str| {
            let same = |&index: &usize| plain(&model.values[index].name) == plain(name);
            (0..model.values.len()).find(same).map(|index| ValueId(index as u32))
        };
        // The sub-byte QDQ cases keep the names of the QCDQ graphs that they were made from.
        let value = find(name).or_else(|| find(&name.replace("Clip_output", "QuantizeLinear_output")));
        let Some(codes) = value.and_then(|value| execution.codes(value)) else {
            difference.missing.push(name.to_owned());
            continue;
        };
        assert_eq!(codes.len(), array.data.len(), "{name}");
        let wrong = codes.iter().zip(&array.data).filter(|(a, b)| f64::from(**a) != **b).count();
        difference.codes += codes.len();
        difference.wrong += wrong;
        if wrong > 0 && difference.first.is_none() {
            difference.first = Some(format!("{name}: {wrong} of {}", codes.len()));
        }
    }
    difference
}

/// Largest amount by which an output leaves its bar: 1e-3, and for the box columns of decoded rows
/// 1e-5 of the value more. 0 or less is within. The reference is that of 64-bit arithmetic where it
/// is stored, which it is where that of 32 bits differs.
pub fn output_excess(case: &Case, execution: &Execution<'_>, picture: usize) -> f64 {
    let mut excess = f64::NEG_INFINITY;
    for (index, output) in execution.outputs().iter().enumerate() {
        let exact = case.arrays.get(&format!("exact64_output_{picture}_{index}"));
        let expected = exact.unwrap_or_else(|| &case.arrays[&format!("output_{picture}_{index}")]);
        assert_eq!(output.shape, expected.shape, "{}", output.name);
        let columns = *output.shape.last().unwrap();
        let boxes = output.shape.len() == 3;
        for (position, (&a, &b)) in output.data.iter().zip(&expected.data).enumerate() {
            let bar = 1e-3 + if boxes && position % columns < 4 { 1e-5 * b.abs() } else { 0.0 };
            excess = excess.max((f64::from(a) - b).abs() - bar);
        }
    }
    excess
}

/// Mean difference of an output from the reference in 64-bit arithmetic, in standard deviations of
/// the reference.
pub fn mean_difference(case: &Case, execution: &Execution<'_>, picture: usize) -> f64 {
    let output = &execution.outputs()[0];
    let expected = &case.arrays[&format!("exact64_output_{picture}_0")].data;
    assert_eq!(output.data.len(), expected.len());
    let count = expected.len() as f64;
    let mean = expected.iter().sum::<f64>() / count;
    let variance = expected.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let differences = output.data.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).abs());
    differences.sum::<f64>() / count / variance.sqrt()
}

/// Runs picture 0 or another one.
pub fn run<'m>(case: &Case, model: &'m Model, picture: usize) -> Option<Execution<'m>> {
    Some(reference::execute(model, &case.pixels(picture)?))
}
