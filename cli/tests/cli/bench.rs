//! `bench`.

use crate::support::{Folder, assert_says};
use crate::tiny;

fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.write("tiny.ylb", tiny::file());
    folder
}

#[test]
fn says_what_machine_and_how_fast() {
    let folder = folder("bench_text");
    let finished = folder.run(&["bench", "tiny.ylb", "--warmup", "0", "--iterations", "3", "--threads", "1"]);
    assert_eq!(finished.stderr, "");
    let text = finished.done();
    assert_says(
        &text,
        &[
            "tiny.ylb: 64x64 input, 0.10 M MACs\n",
            "1 thread on ",
            "min ",
            "median ",
            "p95 ",
            "3 iterations after 0",
        ],
    );
    assert!(!text.contains("kernel"), "a profile was not asked for");
}

#[test]
fn profile_lists_every_layer() {
    let folder = folder("bench_profile");
    let text = folder.run(&["bench", "tiny.ylb", "--iterations", "2", "--profile"]).done();
    assert_says(&text, &["GMAC/s", "kernel", "/head", "Conv 8x8/8", "100.0 %", "mulconv"]);
}

#[test]
fn json_has_numbers() {
    let folder = folder("bench_json");
    let json = folder
        .run(&["bench", "tiny.ylb", "--iterations", "4", "--threads", "2", "--profile", "--json"])
        .json();
    assert_eq!((&json["threads"], &json["iterations"], &json["macs"]), (&2.into(), &4.into(), &98304.into()));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let latency = &json["latency_ms"];
    let ordered = ["min", "median", "p95", "max"].map(|name| number(&latency[name]));
    assert!(ordered[0] > 0.0 && ordered.is_sorted(), "{latency}");
    assert!(number(&latency["mean"]) >= ordered[0] && number(&latency["mean"]) <= ordered[3], "{latency}");
    assert!(number(&json["load_ms"]) > 0.0 && number(&json["first_ms"]) > 0.0);
    assert!(number(&json["arena_bytes"]) > 0.0);
    assert_eq!(json["machine"]["architecture"], std::env::consts::ARCH);
    assert!(json["machine"]["clock"]["groups"].is_array());
    let layer = &json["layers"][0];
    assert_eq!((&layer["name"], number(&layer["share"])), (&"/head".into(), 1.0));
    assert!(number(&layer["mean_ms"]) > 0.0 && number(&layer["macs_per_second"]) > 0.0);
    assert!((0.0..=1.0).contains(&number(&layer["balance"])), "{layer}");
}

#[test]
fn times_a_network_without_a_file() {
    let folder = folder("bench_net");
    let args = ["bench", "--net", "yolov5n", "--bits", "w1a2", "--imgsz", "32,64", "--json"];
    let document = folder.run(&[&args[..], &["--warmup", "0", "--iterations", "1"]].concat()).json();
    assert_eq!(document["model"], "yolov5n w1a2 relu with random weights");
    assert_eq!(document["activation"], "relu");
    assert_eq!(document["input"], serde_json::json!([32, 64]));
    for net in
        ["yolov3-tiny", "yolov5n-mobilenetv3", "yolov7-tiny", "yolov8n", "yolo11n", "yolo26n", "yolox-nano"]
    {
        let args = ["bench", "--net", net, "--imgsz", "32", "--iterations", "1", "--warmup", "0", "--json"];
        let document = folder.run(&args).json();
        assert_eq!(document["model"], format!("{net} w2a2 relu with random weights"));
    }
    let unknown = folder.run(&["bench", "--net", "yolov4"]);
    assert_eq!(unknown.status, 2);
    assert_says(&unknown.stderr, &["expected yolov5, yolov8, yolo11 or yolo26 with n, s"]);
    let error = folder.run(&["bench", "--net", "yolov5n", "--imgsz", "100"]).failed(2);
    assert_says(&error, &["multiples of 32"]);
    assert_eq!(folder.run(&["bench", "tiny.ylb", "--net", "yolov5n"]).status, 2);
    assert_eq!(folder.run(&["bench"]).status, 2);
}

#[test]
fn activation_functions_have_networks() {
    let folder = folder("bench_activation");
    let silu = ["bench", "--net", "yolov5n", "--bits", "w4a4", "--imgsz", "32", "--activation", "silu"];
    let once = ["--warmup", "0", "--iterations", "1"];
    let text = folder.run(&[&silu[..], &once[..]].concat()).done();
    assert_says(&text, &["yolov5n w4a4 silu with random weights: 32x32 input"]);
    let zero_point = ["--activation-grid", "zero-point", "--json"];
    let document = folder.run(&[&silu[..], &once[..], &zero_point[..]].concat()).json();
    assert_eq!(document["model"], "yolov5n w4a4 silu, zero-point with random weights");
    assert_eq!(document["activation"], "silu");
    let row = folder.run(&[&silu[..], &once[..], &["--row"]].concat()).done();
    assert_says(&row, &["| yolov5n w4a4 silu with random weights, 32x32 |"]);

    let written = folder.run(&[&silu[..], &["--write", "silu.ylb"]].concat()).done();
    assert_eq!(written, "yolov5n w4a4 silu with random weights written to silu.ylb\n");
    let document = folder.run(&[&["bench", "silu.ylb", "--json"], &once[..]].concat()).json();
    assert_eq!(document["activation"], serde_json::Value::Null);
    assert_eq!(document["input"], serde_json::json!([32, 32]));

    let one_bit = ["bench", "--net", "yolov5n", "--bits", "w1a1", "--activation", "silu", "--imgsz", "32"];
    assert_says(&folder.run(&one_bit).failed(2), &["--activation-grid zero-point"]);
    folder.run(&[&one_bit[..], &once[..], &zero_point[..]].concat()).json();
    let unknown = folder.run(&["bench", "--net", "yolov5n", "--activation", "elu"]);
    assert_eq!(unknown.status, 2);
    assert_says(&unknown.stderr, &["expected one of relu, silu, leaky, hardswish, mish, sigmoid, prelu"]);
    assert_eq!(folder.run(&["bench", "tiny.ylb", "--activation", "silu"]).status, 2);
    assert_eq!(folder.run(&[&silu[..], &["--write", "a.ylb", "--json"]].concat()).status, 2);
}

#[test]
fn times_every_micro_kernel() {
    let folder = Folder::new("bench_kernels");
    let document = folder.run(&["bench", "--kernels", "--json"]).json();
    let kernels = document["kernels"].as_array().unwrap();
    assert!(kernels.iter().all(|kernel| kernel["macs_per_second"].as_f64().unwrap() > 0.0));
    let chosen: Vec<_> = kernels.iter().filter(|kernel| kernel["chosen"] == true).collect();
    assert_eq!(chosen.len(), 3 * 7, "one choice for each layer and precision");
    for operation in ["bsconv", "mulconv"] {
        let generic = |kernel: &&serde_json::Value| {
            let kernel = kernel["kernel"].as_str().unwrap();
            kernel.starts_with(operation) && kernel.contains("generic")
        };
        assert!(kernels.iter().any(|kernel| generic(&kernel)), "the portable {operation} runs everywhere");
    }
    let restricted = folder.command(&["bench", "--kernels"]).env("YLB_KERNELS", "generic").output().unwrap();
    let text = String::from_utf8(restricted.stdout).unwrap();
    assert_says(&text, &["GMAC/s", "3x3, 64 to 64", "W2A2", "chosen"]);
    assert_eq!(folder.run(&["bench", "--kernels", "--row"]).status, 2);
    let forms = document["requantization"].as_array().unwrap();
    for form in ["thresholds16", "thresholds32", "narrow", "fixed", "wide", "cells", "search", "many"] {
        let row = forms.iter().find(|row| row["form"] == form).unwrap();
        assert!(row["ns_per_level"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["layers"], serde_json::Value::Null);
        assert_says(&text, &[row["example"].as_str().unwrap(), &format!("requantize_u8_i32_{form}")]);
    }
    let net = ["bench", "--net", "yolov5n", "--imgsz", "32", "--bits", "w8a8", "--activation", "silu"];
    let document = folder.run(&[&net[..], &["--kernels", "--json"]].concat()).json();
    assert_eq!(document["model"], "yolov5n w8a8 silu with random weights");
    let forms = document["requantization"].as_array().unwrap();
    let layers = |form: &str| forms.iter().find(|row| row["form"] == form).unwrap()["layers"].clone();
    assert_eq!((layers("cells"), layers("search")), (57.into(), 0.into()));
}

#[test]
fn prints_a_row_of_a_table() {
    let folder = folder("bench_row");
    let row = folder
        .run(&["bench", "tiny.ylb", "--warmup", "0", "--iterations", "1", "--threads", "1", "--row"])
        .done();
    let cells: Vec<&str> = row.trim_end().split('|').map(str::trim).collect();
    let [first, board, cpu, clock, threads, network, median, last] = cells[..] else {
        panic!("not six cells: {row}")
    };
    assert_eq!((first, threads, network, last), ("", "1", "tiny.ylb, 64x64", ""));
    assert!(![board, cpu, clock].contains(&""), "{row}");
    assert!(median.parse::<f64>().is_ok(), "{row}");
    assert_eq!(row.lines().count(), 1);
    assert_eq!(folder.run(&["bench", "tiny.ylb", "--row", "--json"]).status, 2);
}
