//! `convert --calibrate`: from a detector in floats to a `.ylb` file.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Folder, assert_says, squares};

/// A detector of 64x64 pixels as torch exports it, without a quantizer.
fn float_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports/float_model.onnx")
}

/// A folder with the model and some pictures.
fn folder(test: &str, pictures: u32) -> Folder {
    let folder = Folder::new(test);
    folder.write("best.onnx", fs::read(float_model()).unwrap());
    for index in 0..pictures {
        let colour = [200 - 9 * index as u8, 90, 20 * index as u8];
        let picture =
            squares(80 + index, 70, &[(8 + 3 * index, 12, colour), (30, 20 + index, [255, 255, 0])]);
        folder.save(&format!("photos/{index}.png"), &picture);
    }
    folder
}

#[test]
fn a_float_model_becomes_one_that_is_proven() {
    let folder = folder("calibrated", 10);
    let convert = [
        "convert",
        "best.onnx",
        "--calibrate",
        "photos",
        "--calibration-pictures",
        "8",
        "--verify",
        "--keep",
        "kept.onnx",
        "--report",
        "report.json",
    ];
    let finished = folder.run(&convert);
    let (text, warnings) = (finished.stdout.clone(), finished.stderr.clone());
    finished.done();
    assert!(text.contains("verified on a synthetic picture (equal)"), "{text}");
    assert!(text.contains("calibrated from floats to w8a8 on 8 pictures"), "{text}");
    assert!(!warnings.contains("to calibrate on"), "{warnings}");
    // The quantized model is a source like any other: all codes are equal, on pictures, too.
    let compared = folder.run(&["compare", "kept.onnx", "best.ylb", "photos"]).done();
    assert!(compared.contains("best.ylb equals kept.onnx"), "{compared}");
    let report: Value = serde_json::from_slice(&fs::read(folder.path("report.json")).unwrap()).unwrap();
    assert_eq!(report["calibration"]["bits"], "w8a8");
    assert_eq!(report["calibration"]["pictures"], 8);
    assert_eq!(report["source"]["name"], "kept.onnx");
    let layers = report["calibration"]["layers"].as_array().unwrap();
    let convolutions: Vec<&Value> = layers.iter().filter(|layer| !layer["weight_bits"].is_null()).collect();
    assert!(convolutions.len() > 5);
    for layer in convolutions {
        assert_eq!(layer["weight_bits"], 8);
        assert!(layer["weight_signal_to_noise_db"].as_f64().unwrap() > 35.0, "{layer}");
    }
    // Converted from there, it is the same model.
    folder.run(&["-q", "convert", "kept.onnx", "-o", "again.ylb"]).done();
    assert!(fs::read(folder.path("best.ylb")).unwrap() == fs::read(folder.path("again.ylb")).unwrap());
    folder.run(&["run", "best.ylb", "photos/1.png"]).done();
}

/// Without an object there is no agreement, and the warning says how far from one the model was.
#[test]
fn agreement_takes_objects() {
    let folder = folder("calibrated_nothing", 3);
    let mut model = fs::read(float_model()).unwrap();
    // `raw_data` of 21 floats: biases of the three heads, of 3 anchors with 7 numbers, the fifth of which is the objectness.
    let heads: Vec<usize> =
        (0..model.len() - 86).filter(|&place| model[place..].starts_with(&[0x4a, 84])).collect();
    assert_eq!(heads.len(), 3);
    for place in heads {
        for anchor in 0..3 {
            let objectness = place + 2 + 4 * (7 * anchor + 4);
            model[objectness..objectness + 4].copy_from_slice(&(-20.0f32).to_le_bytes());
        }
    }
    folder.write("nothing.onnx", model);
    let finished = folder.run(&["convert", "nothing.onnx", "--calibrate", "photos"]);
    assert_says(
        &finished.stderr,
        &["finds nothing in these pictures with a confidence above 0.25 (the greatest is 0.0"],
    );
    let text = finished.done();
    assert!(text.contains("calibrated from floats") && !text.contains("agreement"), "{text}");
}

/// Nothing in a graph of floats tells that they are bytes: an option does, and the kept model says so itself.
#[test]
fn floats_are_bytes_by_option() {
    let folder = folder("calibrated_bytes", 8);
    let convert = ["convert", "best.onnx", "--calibrate", "photos", "--bytes", "--fill", "0", "--verify"];
    let text = folder.run(&[&convert[..], &["--keep", "kept.onnx"]].concat()).done();
    assert_says(
        &text,
        &["picture: the graph takes bytes, 0 to 255", "verified on a synthetic picture (equal)"],
    );
    let compared = folder.run(&["compare", "kept.onnx", "best.ylb", "photos"]).done();
    assert_says(&compared, &["best.ylb equals kept.onnx"]);
    let preprocessing = &folder.run(&["info", "best.ylb", "--json"]).json()["input"];
    assert_eq!(
        (&preprocessing["range"], &preprocessing["fill"]),
        (&"0..255".into(), &serde_json::json!([0, 0, 0]))
    );
    // Without it they are numbers up to 1.
    let text = folder.run(&["convert", "best.onnx", "--calibrate", "photos", "-o", "unit.ylb"]).done();
    assert!(!text.contains("takes bytes"), "{text}");
}

/// Every width goes the exact way.
#[test]
fn fewer_bits_are_proven_too() {
    let folder = folder("calibrated_low", 3);
    for bits in ["small", "fast", "w4a8", "w3a5"] {
        let convert =
            ["convert", "best.onnx", "--calibrate", "photos", "--bits", bits, "--verify", "-o", "a.ylb"];
        let finished = folder.run(&convert);
        assert!(finished.stderr.contains("3 pictures to calibrate on; 32 or more"), "{}", finished.stderr);
        let text = finished.done();
        assert!(text.contains("(equal)"), "{bits}: {text}");
        assert!(text.contains(&format!("calibrated from floats to {bits} on 3 pictures")), "{text}");
    }
}

/// With a budget every layer has bits of its own, and the result is proven as any other.
#[test]
fn a_budget_chooses_bits_by_layer() {
    let folder = folder("calibrated_budget", 3);
    let convert = |budget: &str, more: &[&str]| {
        let own =
            ["convert", "best.onnx", "--calibrate", "photos", "--budget", budget, "--report", "report.json"];
        folder.run(&[&own[..], more].concat())
    };
    let report =
        || -> Value { serde_json::from_slice(&fs::read(folder.path("report.json")).unwrap()).unwrap() };
    for (unit, small, large) in [("MB", "0.001MB", "10MB"), ("Mcycles", "0.001Mcycles", "900Mcycles")] {
        let refused = convert(small, &["-q"]).failed(1);
        let least = refused.split("with the fewest bits it takes ").nth(1).expect(&refused);
        let least: f64 = least.split(unit).next().unwrap().parse().unwrap();
        convert(large, &[]).done();
        let document = report();
        let most = document["calibration"]["budget"]["estimated"].as_f64().unwrap() / 1e6;
        assert!(least < most, "{least} {most}");
        let budget = format!("{:.4}{unit}", (least + most) / 2.0);
        let text = convert(&budget, &["--verify"]).done();
        assert!(text.contains("(equal)"), "{text}");
        assert!(
            text.contains("chosen") && text.contains("before the layers make up for each other"),
            "{text}"
        );
        let document = report();
        let own = document["calibration"]["budget"]["estimated"].as_f64().unwrap() / 1e6;
        assert!(own <= (least + most) / 2.0 + 1e-4, "{own}");
        let trials = document["calibration"]["sensitivity"].as_array().unwrap();
        assert!(trials.iter().any(|trial| trial["chosen"].as_u64() < trial["bits"][0].as_u64()));
    }
    for args in [
        &["--budget", "1GB"][..],
        &["--budget", "1MB", "--bits", "w4a8"],
        &["--budget", "1MB", "--grid", "log2"],
    ] {
        let all = [&["-q", "convert", "best.onnx", "--calibrate", "photos"], args].concat();
        let finished = folder.run(&all);
        assert_eq!(finished.status, 2, "{args:?}");
        assert_says(&finished.stderr, &["--budget"]);
    }
}

/// What fewer bits cost is told without a budget, too, and powers of two are proven as equal steps are.
#[test]
fn sensitivity_and_powers_of_two() {
    let folder = folder("calibrated_log2", 3);
    let convert =
        ["convert", "best.onnx", "--calibrate", "photos", "--grid", "log2", "--sensitivity", "--verify"];
    let text = folder.run(&convert).done();
    assert!(text.contains("(equal)") && text.contains("head SNR in dB with fewer bits in"), "{text}");
    assert!(text.contains("calibrated from floats to w8a8 with powers of two on 3 pictures"), "{text}");
    let fast = ["-q", "convert", "best.onnx", "--calibrate", "photos", "--grid", "log2", "--bits", "fast"];
    assert_says(&folder.run(&fast).failed(2), &["--grid log2", "fast"]);
}

/// What ONNX Runtime quantized dynamically keeps its weights, and gets grids for its activations.
#[test]
fn dynamic_quantization_becomes_static() {
    let folder = folder("calibrated_dynamic", 8);
    let onnx = float_model().with_file_name("ort_dynamic.onnx");
    folder.write("dynamic.onnx", fs::read(onnx).unwrap());
    let refused = folder.run(&["-q", "convert", "dynamic.onnx"]).failed(1);
    assert_says(&refused, &["dynamic quantization", "--calibrate FOLDER"]);
    let text = folder.run(&["convert", "dynamic.onnx", "--calibrate", "photos", "--verify"]).done();
    assert!(text.contains("(equal)"), "{text}");
}

/// The same file, byte for byte, whatever the number of threads.
#[test]
fn threads_change_nothing() {
    let folder = folder("calibrated_threads", 5);
    for bits in ["w8a8", "w4a8"] {
        for threads in ["1", "4"] {
            let convert = [
                "-q",
                "convert",
                "best.onnx",
                "--calibrate",
                "photos",
                "--bits",
                bits,
                "--keep",
                "kept.onnx",
            ];
            let mut command = folder.command(&convert);
            let output =
                command.args(["-o", &format!("{threads}.ylb")]).env("RAYON_NUM_THREADS", threads).output();
            assert!(output.unwrap().status.success());
            fs::rename(folder.path("kept.onnx"), folder.path(&format!("{threads}.onnx"))).unwrap();
        }
        for kind in ["ylb", "onnx"] {
            let read = |threads: &str| fs::read(folder.path(&format!("{threads}.{kind}"))).unwrap();
            assert!(read("1") == read("4"), "{bits} {kind}");
        }
    }
}

#[test]
fn without_pictures_the_error_says_what_to_type() {
    let folder = folder("calibrate_advice", 1);
    let refused = folder.run(&["convert", "best.onnx"]).failed(1);
    assert_says(&refused, &["plain floats", "yolo-lowbit convert best.onnx --calibrate FOLDER"]);
}

#[test]
fn few_pictures_are_warned_of() {
    let folder = folder("calibrate_few", 2);
    let finished = folder.run(&["convert", "best.onnx", "--calibrate", "photos"]);
    assert!(
        finished.stderr.contains("2 pictures to calibrate on; 8 or more would be better"),
        "{}",
        finished.stderr
    );
    finished.done();
}

/// What was labelled is measured in floats and afterwards.
#[test]
fn accuracy_is_measured_before_and_after() {
    let folder = folder("calibrate_data", 2);
    folder.write("data.yaml", "path: .\nval: images\nnames: [a, b, c]\n");
    for index in 0..2 {
        fs::create_dir_all(folder.path("images")).unwrap();
        let name = format!("{index}.png");
        fs::copy(folder.path(&format!("photos/{name}")), folder.path(&format!("images/{name}"))).unwrap();
        folder.write(&format!("labels/{index}.txt"), "0 0.5 0.5 0.2 0.2\n");
    }
    let convert = ["convert", "best.onnx", "--calibrate", "photos", "--data", "data.yaml"];
    let text = folder.run(&convert).done();
    assert!(text.contains("on 2 labelled pictures: in floats mAP50 0."), "{text}");
    folder.write("labels/1.txt", "99 0.5 0.5 0.2 0.2\n");
    folder.write("data.yaml", format!("path: .\nval: images\nnames: [{}]\n", ["a"; 100].join(", ")));
    let quiet = [&["-q"], &convert[..]].concat();
    assert_says(&folder.run(&quiet).failed(1), &["class 99"]);
    let split = [&quiet[..], &["--split", "nowhere"]].concat();
    assert_says(&folder.run(&split).failed(2), &["nowhere"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = folder("calibrate_refused", 1);
    fs::create_dir_all(folder.path("empty")).unwrap();
    let run = |args: &[&str]| folder.run(&[&["-q", "convert", "best.onnx"], args].concat());
    assert_says(&run(&["--calibrate", "nowhere"]).failed(1), &["nowhere", "No such file"]);
    assert_says(&run(&["--calibrate", "empty"]).failed(1), &["empty"]);
    for (args, says) in [
        (&["--calibrate", "photos", "--bits", "w9a8"][..], "expected w8a8"),
        (&["--bits", "w4a8"], "--calibrate"),
        (&["--keep", "kept.onnx"], "--calibrate"),
        (&["--calibrate", "photos", "--calibration-pictures", "0"], "from 1 on"),
    ] {
        let finished = run(args);
        assert_eq!(finished.status, 2, "{args:?}");
        assert_says(&finished.stderr, &[says]);
    }
    assert_says(&run(&["--calibrate", "photos", "--keep", "best.onnx"]).failed(2), &["best.onnx", "--keep"]);
    assert_says(
        &run(&["--calibrate", "photos", "--keep", "best.ylb"]).failed(2),
        &["the model's name", "--keep"],
    );
    assert_says(&run(&["--calibrate", "photos", "-o", "photos/0.png"]).failed(2), &["photos/0.png"]);
    let same = ["--calibrate", "photos", "--keep", "a.json", "--report", "a.json"];
    assert_says(&run(&same).failed(2), &["the report's name"]);
    folder.write("photos/1.png", "no picture");
    assert_says(&run(&["--calibrate", "photos"]).failed(1), &["photos/1.png"]);
    assert!(!folder.path("best.ylb").exists());
}
