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
    assert!(number(&json["load_ms"]) > 0.0 && number(&json["arena_bytes"]) > 0.0);
    assert_eq!(json["machine"]["architecture"], std::env::consts::ARCH);
    assert!(json["machine"]["clock"]["groups"].is_array());
    let layer = &json["layers"][0];
    assert_eq!((&layer["name"], number(&layer["share"])), (&"/head".into(), 1.0));
    assert!(number(&layer["mean_ms"]) > 0.0 && number(&layer["macs_per_second"]) > 0.0);
}

#[test]
fn times_a_network_without_a_file() {
    let folder = folder("bench_net");
    let args = ["bench", "--net", "yolov5n", "--bits", "w1a2", "--imgsz", "32,64", "--json"];
    let document = folder.run(&[&args[..], &["--warmup", "0", "--iterations", "1"]].concat()).json();
    assert_eq!(document["model"], "yolov5n w1a2 with random weights");
    assert_eq!(document["input"], serde_json::json!([32, 64]));
    let error = folder.run(&["bench", "--net", "yolov5n", "--imgsz", "100"]).failed(2);
    assert_says(&error, &["multiples of 32"]);
    assert_eq!(folder.run(&["bench", "tiny.ylb", "--net", "yolov5n"]).status, 2);
    assert_eq!(folder.run(&["bench"]).status, 2);
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
