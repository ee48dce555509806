//! Every kind of damage of a folder of weights, and the one line that it gives.

#[allow(dead_code, reason = "the converter's tests use the rest")]
#[path = "support/made.rs"]
mod made;

use std::fs;
use std::path::{Path, PathBuf};

use made::{ALL_QUANTIZED, Made, SMALL, made, npy_file, saved};
use ylb_source::npy::{Array, Elements};
use ylb_source::weights::{NETWORK, Network};
use ylb_source::{ErrorKind, Source, SourceError};

/// The error of a folder after a change.
fn error_of(test: &str, json: &str, change: impl FnOnce(&PathBuf)) -> SourceError {
    let (_, arrays) = made(SMALL, Made::new(4, ALL_QUANTIZED)).unwrap();
    let folder = saved(test, json, &arrays);
    change(&folder);
    let error = Source::weights(&folder).map(|_| ()).unwrap_err();
    fs::remove_dir_all(&folder).unwrap();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn reals(shape: &[usize], value: f32) -> Array {
    Array { shape: shape.to_vec(), elements: Elements::F32(vec![value; shape.iter().product()]) }
}

fn integers(shape: &[usize], value: i64) -> Array {
    Array { shape: shape.to_vec(), elements: Elements::Integers(vec![value; shape.iter().product()]) }
}

#[test]
fn arrays() {
    let f64s = Array { shape: vec![], elements: Elements::F64(vec![0.1]) };
    // The file, what it holds instead (nothing: it is removed), and what the error says.
    let cases: [(&str, Option<Array>, &[&str]); 18] = [
        ("a.weight.npy", None, &["a.weight.npy", "no such file", "the codes of the layer's weights"]),
        ("a.weight_scale.npy", None, &["a.weight_scale.npy", "no such file"]),
        (
            "a.output_scale.npy",
            None,
            &["a.output_scale.npy", "no such file", "the scale of the layer's output"],
        ),
        ("a.weight.npy", Some(integers(&[7, 5, 3, 2], 0)), &["shape [7, 5, 3, 2]", "expected [7, 5, 3, 3]"]),
        (
            "a.weight.npy",
            Some(integers(&[7, 5, 3, 9], 0)),
            &["has 945 elements", "at most 315", "[7, 5, 3, 3]"],
        ),
        ("a.weight.npy", Some(reals(&[7, 5, 3, 3], 1.0)), &["float32; expected integers"]),
        ("a.weight.npy", Some(integers(&[7, 5, 3, 3], 8)), &["a code of 8", "-8 to 7 (4 bits, signed)"]),
        ("a.weight_scale.npy", Some(reals(&[5], 1.0)), &["shape [5]; expected [] or [7]"]),
        ("a.weight_scale.npy", Some(reals(&[7], 0.0)), &["a scale of 0; expected another number"]),
        ("a.weight_scale.npy", Some(reals(&[7], f32::NAN)), &["holds NaN; expected finite numbers"]),
        ("a.weight_zero_point.npy", Some(integers(&[7], 256)), &["256; expected -255 to 255"]),
        ("a.bias.npy", Some(reals(&[7], f32::INFINITY)), &["holds inf; expected finite numbers"]),
        ("a.bias.npy", Some(integers(&[7], 1)), &["integers; expected float32 or float64"]),
        ("a.output_scale.npy", Some(reals(&[], -1.0)), &["a scale of -1; expected a positive number"]),
        ("a.output_scale.npy", Some(f64s), &["float64; expected float32"]),
        ("a.output_zero_point.npy", Some(integers(&[], 300)), &["300; expected -255 to 255"]),
        ("a.bn_mean.npy", Some(reals(&[7], 1.0)), &["a.bn_gamma.npy", "beside the layer's other bn_ files"]),
        ("aa.bias.npy", Some(reals(&[7], 1.0)), &["aa.bias.npy", "belongs to no layer"]),
    ];
    for (index, (file, array, says)) in cases.into_iter().enumerate() {
        let error = error_of(&format!("array{index}"), SMALL, |folder| match &array {
            Some(array) => fs::write(folder.join(file), npy_file(array)).unwrap(),
            None => fs::remove_file(folder.join(file)).unwrap(),
        });
        let text = error.to_string();
        assert!(says.iter().all(|what| text.contains(what)), "{file}: {text}");
        assert!(text.contains(file) || file == "a.bn_mean.npy", "{text}");
    }
}

#[test]
fn files() {
    let cut = |folder: &PathBuf| {
        let file = folder.join("b.weight.npy");
        let bytes = fs::read(&file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    };
    let error = error_of("cut", SMALL, cut);
    assert!(error.to_string().contains("b.weight.npy: the .npy file has 125 bytes of data"), "{error}");
    assert_eq!(error.node_name(), Some("b"));
    let error = error_of("text", SMALL, |folder| fs::write(folder.join("b.bias.npy"), "1 2 3").unwrap());
    assert!(error.to_string().contains("b.bias.npy: this is no .npy file"), "{error}");
    let error = error_of("no_network", SMALL, |folder| fs::remove_file(folder.join(NETWORK)).unwrap());
    assert!(error.to_string().starts_with("network.json: "), "{error}");
    let error = error_of("nested", SMALL, |folder| fs::create_dir(folder.join("b.multiplier.npy")).unwrap());
    assert!(error.to_string().contains("b.multiplier.npy: not a regular file"), "{error}");
    #[cfg(unix)]
    {
        let link = |folder: &PathBuf| {
            fs::remove_file(folder.join("b.bias.npy")).unwrap();
            std::os::unix::fs::symlink(folder.join("a.bias.npy"), folder.join("b.bias.npy")).unwrap();
        };
        let error = error_of("link", SMALL, link);
        assert!(error.to_string().contains("b.bias.npy: not a regular file"), "{error}");
    }
    let error = Source::weights(Path::new("no/such/folder")).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cannot read the folder"), "{error}");
}

#[test]
fn networks() {
    let layer = r#"{"name": "a", "op": "conv", "channels": 7, "kernel": 3, "stride": 2},"#;
    let stem = r#"{"name": "stem", "op": "conv", "channels": 5, "kernel": 6, "stride": 2, "padding": 2},"#;
    let cases: [(&str, &str, &str); 27] = [
        ("weights 1", "weights 2", "its format is \"yolo-lowbit weights 2\""),
        ("[32, 48]", "[32]", "invalid length"),
        ("[32, 48]", "[0, 48]", "pictures of [0, 48] pixels"),
        ("[\"cat\"]", "[]", "0 class names"),
        ("[62, 45]", "[62, -45]", "positive numbers"),
        (", [[30, 61], [62, 45]]", "", "anchors of 1 levels"),
        (": \"relu\"", ": \"gelu\"", "unknown variant `gelu`"),
        ("\"activation\"", "\"activaton\"", "unknown field `activaton`"),
        ("\"bits\": 4, \"kind\": \"signed\"", "\"bits\": 9, \"kind\": \"signed\"", "codes of 9 bits"),
        ("\"kind\": \"unsigned\"", "\"kind\": \"bipolar\"", "expected 1 bit where they are bipolar"),
        (layer, "", "reads \"a\", which no layer before it writes"),
        (layer, &layer.replace("\"a\"", "\"stem\""), "two layers are called \"stem\""),
        (layer, &layer.replace("\"a\"", "\"../a\""), "letters, digits"),
        (layer, &layer.replace("conv", "convolution"), "unknown variant `convolution`"),
        (layer, &layer.replace("\"channels\": 7, ", ""), "layer \"a\": expected \"channels\""),
        (layer, &layer.replace("\"channels\": 7", "\"channels\": 0"), "channels is 0; expected 1 to 65536"),
        (layer, &layer.replace("\"kernel\": 3", "\"kernel\": 65"), "kernel is 65; expected 1 to 64"),
        (layer, &layer.replace("stride", "factor"), "\"factor\" does not belong to it"),
        (layer, &layer.replace("\"stride\": 2", "\"stride\": -2"), "invalid value"),
        (stem, &stem.replace("\"padding\": 2", "\"padding\": 6"), "less padding than window"),
        ("\"groups\": 7", "\"groups\": 2", "2 groups of 7 input"),
        ("[\"a\", \"b\"]", "[\"a\", \"stem\"]", "adds shapes"),
        ("[\"sum\", \"pool\"]", "[\"sum\", \"stem\"]", "joins shapes"),
        ("[\"sum\", \"pool\"]", "[\"sum\"]", "reads 1 layers"),
        ("\"op\": \"detect\"", "\"op\": \"add\"", "0 layers \"detect\""),
        ("\"layers\": [", "\"overrides\": {\"c\": {}}, \"layers\": [", "\"c\", which is no layer"),
        (
            "\"layers\": [",
            "\"architecture\": {\"yolov5\": {\"depth_multiple\": 1, \"width_multiple\": 1}}, \"layers\": [",
            "either \"architecture\" or \"layers\"",
        ),
    ];
    for (index, (old, new, says)) in cases.into_iter().enumerate() {
        assert!(SMALL.contains(old), "{old}");
        let error = error_of(&format!("network{index}"), &SMALL.replacen(old, new, 1), |_| {});
        assert!(error.to_string().contains(says), "{old} to {new}: {error}");
        assert!(error.to_string().contains(NETWORK) || error.node_name().is_some(), "{error}");
    }
    for len in 0..SMALL.len() {
        assert!(Network::parse(&SMALL.as_bytes()[..len]).is_err());
    }
}

/// Sizes that multiply beyond what fits are refused before memory is taken.
#[test]
fn huge_networks() {
    let json = SMALL.replace("\"channels\": 5, \"kernel\": 6", "\"channels\": 65536, \"kernel\": 64");
    let error = error_of("huge", &json, |_| {});
    assert!(error.kind() == ErrorKind::TooLarge || error.to_string().contains("padding"), "{error}");
    let multiples =
        r#""architecture": {"yolov5": {"depth_multiple": 1e9, "width_multiple": 1}}, "unused": ["#;
    let json = SMALL.replace("\"layers\": [", multiples);
    assert!(Network::parse(json.as_bytes()).is_err());
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Network::parse(nested.as_bytes()).is_err());
}
