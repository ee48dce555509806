//! Many pictures: one that cannot be read costs the others nothing, and results are not lost.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Finished, Folder, assert_says, shared, squares};
use crate::tiny;

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// A folder with the network and pictures `in/a.png` and `in/z.png`, with one red square and with a blue one.
fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.write("tiny.ylb", tiny::file());
    folder.save("in/a.png", &squares(64, 64, &[(16, 24, RED)]));
    folder.save("in/z.png", &squares(64, 64, &[(40, 48, BLUE)]));
    folder
}

/// A PNG of 68 bytes that claims 65500 by 65500 pixels of 8 bytes.
fn bomb() -> Vec<u8> {
    let extent = 65500_u32.to_be_bytes();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let deflated_nothing = [0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01];
    let header = [&extent[..], &extent, &[16, 6, 0, 0, 0]].concat();
    for (name, data) in [(b"IHDR", &header[..]), (b"IDAT", &deflated_nothing[..]), (b"IEND", &[])] {
        let chunk = [&name[..], data].concat();
        png.extend_from_slice(&(data.len() as u32).to_be_bytes());
        png.extend_from_slice(&chunk);
        png.extend_from_slice(&crc32fast::hash(&chunk).to_be_bytes());
    }
    png
}

/// The elements that `run --jsonl` printed.
fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn broken_and_missing_pictures_do_not_stop_the_others() {
    let folder = folder("broken_among_good");
    let good = fs::read(folder.save("b.jpg", &squares(64, 64, &[(8, 8, RED)]))).unwrap();
    folder.write("in/b.jpg", &good[..good.len() - 20]);
    folder.write("in/c.jpg", "this is text");
    folder.write("in/d.png", bomb());
    fs::create_dir(folder.path("empty")).unwrap();

    let inputs = ["gone.png", "in", "empty", "in/a.png"];
    let args = [&["--quiet", "run", "tiny.ylb"], &inputs[..]].concat();
    let Finished { status, stdout, stderr } = folder.run(&args);
    assert_eq!(status, 1);
    assert_says(
        &stdout,
        &[
            "image 2/8 in/a.png: 64x64 1 red",
            "image 6/8 in/z.png: 64x64 1 blue",
            "image 8/8 in/a.png",
            "3 images, 3 objects, 5 failed",
        ],
    );
    let errors: Vec<&str> =
        stderr.lines().map(|line| line.strip_prefix("yolo-lowbit: error: ").expect(line)).collect();
    assert_says(errors[0], &["cannot open gone.png: No such file"]);
    assert_eq!(errors[1], "image in/b.jpg: the picture is damaged: its end is missing");
    assert_eq!(errors[2], "image in/c.jpg: this is not a JPEG or PNG picture");
    assert_says(errors[3], &["image in/d.png: 65500x65500 are more pixels", "--max-pixels 4290250000"]);
    assert_eq!(errors[4], "empty has no pictures: name a folder with .jpg, .jpeg or .png files in it");
    assert_eq!((errors.len(), fs::read_dir(folder.path("runs")).unwrap().count()), (5, 3));

    for form in ["--json", "--jsonl"] {
        let finished = folder.run(&[&args[..], &["--no-save", form]].concat());
        assert_eq!(finished.status, 1);
        let images = match form {
            "--jsonl" => lines(&finished.stdout),
            _ => {
                serde_json::from_str::<Value>(&finished.stdout).unwrap()["images"].as_array().unwrap().clone()
            }
        };
        let told: Vec<Option<&str>> = images.iter().map(|image| image["error"].as_str()).collect();
        let expected = [Some(errors[0]), None, Some(errors[1]), Some(errors[2]), Some(errors[3]), None];
        assert_eq!(told, [&expected[..], &[Some(errors[4]), None]].concat());
        let paths: Vec<&str> = images.iter().map(|image| image["path"].as_str().unwrap()).collect();
        let expected = ["gone.png", "in/a.png", "in/b.jpg", "in/c.jpg", "in/d.png", "in/z.png"];
        assert_eq!(paths, [&expected[..], &["empty", "in/a.png"]].concat());
    }
}

#[test]
fn pictures_have_at_most_max_pixels() {
    let folder = folder("max_pixels");
    let run =
        |most: &str| folder.run(&["-q", "run", "tiny.ylb", "in/a.png", "--no-save", "--max-pixels", most]);
    assert_says(&run("4096").done(), &["1 red"]);
    let says = ["64x64 are more pixels than are read", "--max-pixels 4096 (now 4095)"];
    assert_says(&run("4095").failed(1), &says);

    folder.write("data.yaml", "val: in\nnames: [red, green, blue]\n");
    folder.write("in/a.txt", "0 0.3125 0.4375 0.25 0.25\n");
    folder.write("in/z.txt", "");
    let eval = |most: &str| folder.run(&["eval", "tiny.ylb", "data.yaml", "--max-pixels", most]);
    eval("4096").done();
    assert_says(&eval("4095").failed(1), &["in/a.png: 64x64", says[1]]);
}

#[test]
fn lines_of_json_are_elements_of_the_document() {
    let folder = folder("json_lines");
    let args = ["-q", "run", "tiny.ylb", "in", "--out", "found"];
    let mut lines = lines(&folder.run(&[&args[..], &["--jsonl"]].concat()).done());
    let mut document = folder.run(&[&args[..], &["--json"]].concat()).json();
    let images = document["images"].as_array_mut().unwrap();
    assert_eq!(lines.len(), 2);
    for image in lines.iter_mut().chain(images.iter_mut()) {
        assert!(image["times_ms"].as_object_mut().unwrap().remove("inference").is_some());
        image["times_ms"] = Value::Null;
    }
    assert_eq!(lines, *images);
    assert_eq!(lines[1]["saved"], "found/z.png");
}

/// A pipe as second picture, into which nobody writes: `run` waits for it, and is ended.
#[test]
fn what_was_done_before_an_end_is_there() {
    let folder = folder("interrupted");
    let pipe = folder.path("pipe.png");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: mkfifo is missing");
        return;
    }
    let args = ["-q", "run", "tiny.ylb", "in/a.png", "pipe.png", "--jsonl"];
    let mut child = folder.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let image = &lines(&line)[0];
    assert_eq!((&image["path"], &image["detections"][0]["name"]), (&"in/a.png".into(), &"red".into()));
    assert!(folder.path("runs/a.png").is_file());
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

/// Runs the binary with a standard output that nobody reads; its status.
fn unread(folder: &Folder, args: &[&str]) -> Option<i32> {
    let (reader, mut writer) = io::pipe().unwrap();
    drop(reader);
    // Processes that other tests are just starting may have the reader's end for a moment.
    while writer.write(b"x").is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let output = folder.command(args).stdout(writer).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("Broken pipe") && !stderr.contains("internal"), "{args:?}: {stderr}");
    output.status.code()
}

#[test]
fn a_reader_that_stops_is_told_by_the_status() {
    const BY_SIGPIPE: Option<i32> = Some(128 + 13);
    let folder = folder("reader_stops");
    for args in [
        &["run", "tiny.ylb", "in", "--no-save"][..],
        &["run", "tiny.ylb", "in", "--no-save", "--json"],
        &["run", "tiny.ylb", "in", "--no-save", "--jsonl"],
        &["info", "tiny.ylb"],
        &["info", "tiny.ylb", "--json"],
        &["bench", "tiny.ylb", "--iterations", "1"],
    ] {
        assert_eq!(unread(&folder, args), BY_SIGPIPE, "{args:?}");
    }
    // A failure is worse news.
    assert_eq!(unread(&folder, &["run", "tiny.ylb", "in/a.png", "gone.png", "--jsonl"]), Some(1));
}

#[test]
fn a_reader_that_stops_costs_no_files() {
    let folder = folder("reader_stops_files");
    for number in 0..4 {
        folder.save(&format!("in/{number}.png"), &squares(64, 64, &[(8, 8, RED)]));
    }
    for form in [&[][..], &["--json"], &["--jsonl"]] {
        assert_eq!(unread(&folder, &[&["run", "tiny.ylb", "in", "--out", "out"], form].concat()), Some(141));
        assert_eq!(fs::read_dir(folder.path("out")).unwrap().count(), 6, "{form:?}");
        fs::remove_dir_all(folder.path("out")).unwrap();
    }

    folder.write("data.yaml", "val: in\nnames: [red, green, blue]\n");
    folder.write("in/a.txt", "0 0.3125 0.4375 0.25 0.25\n");
    assert_eq!(unread(&folder, &["eval", "tiny.ylb", "data.yaml", "--plots", "plots"]), Some(141));
    assert_eq!(fs::read_dir(folder.path("plots")).unwrap().count(), 2);
}

#[test]
fn rare_pictures_are_right_or_refused() {
    let Some(people) = shared("people") else { return };
    let folder = folder("rare_pictures");
    let read = |name: &str| {
        let path = people.join(name);
        let good = folder.path("in/a.png");
        let paths = [good.as_path(), &path, &good].map(|path| path.to_str().unwrap().to_owned());
        let mut args = vec!["run", "tiny.ylb", "--no-save", "--jsonl"];
        args.extend(paths.iter().map(String::as_str));
        let Finished { status, stdout, stderr } = folder.run(&args);
        let images = lines(&stdout);
        assert_eq!(images.len(), 3, "{name}: {stderr}");
        assert!(images[0]["error"].is_null() && images[2]["error"].is_null(), "{name}: {stderr}");
        assert_eq!(status, i32::from(!images[1]["error"].is_null()), "{name}: {stderr}");
        images[1].clone()
    };
    for (name, says) in [
        ("noninterleaved-420.jpg", "jpegtran -copy all a.jpg > b.jpg"),
        ("decoder-panic.jpg", "jpegtran -copy all a.jpg > b.jpg"),
        ("luma-1x1-chroma-2x2.jpg", "less resolution for brightness than for colour"),
        ("13000x13000-gray.png", "--max-pixels 169000000 (now 50000000)"),
        ("picture.webp", "this is a WebP file"),
    ] {
        assert_says(read(name)["error"].as_str().unwrap_or(name), &[says]);
    }
    assert_eq!(read("mjpeg-frame-without-dht.jpg")["warning"], Value::Null);
    assert_says(read("jpeg-without-eoi.jpg")["warning"].as_str().unwrap(), &["end mark is missing"]);

    let hostile = Path::new("../hostile/png68_claims_34GB.png");
    assert_says(read(hostile.to_str().unwrap())["error"].as_str().unwrap(), &["--max-pixels 4290250000"]);
}
