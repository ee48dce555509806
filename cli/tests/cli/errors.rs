//! Everything that a user can get wrong has a message of its own.

use crate::support::{Folder, assert_says, squares};
use crate::tiny;

/// A folder with the network and a picture.
fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.write("tiny.ylb", tiny::file());
    folder.save("a.png", &squares(64, 64, &[]));
    folder
}

#[test]
fn wrong_usage_has_its_status() {
    let folder = folder("wrong_usage");
    for args in [
        &["run", "tiny.ylb"] as &[&str],
        &["fly"],
        &["run", "tiny.ylb", "a.png", "--conf", "2"],
        &["run", "tiny.ylb", "a.png", "--no-such-flag"],
        &["bench", "tiny.ylb", "--iterations", "0"],
        &[],
    ] {
        let finished = folder.run(args);
        assert_eq!((finished.status, finished.stdout.as_str()), (2, ""), "{args:?}");
        assert_says(&finished.stderr, &["--help"]);
    }
    let below = folder.run(&["run", "tiny.ylb", "a.png", "--conf", "-0.1"]).stderr;
    assert_says(&below, &["'-0.1'", "expected a number from 0 to 1"]);
    let error = folder.run(&["-q", "run", "tiny.ylb", "a.png", "--classes", "red,purple"]).failed(2);
    assert_says(&error, &["no class \"purple\"", "red, green, blue"]);
}

#[test]
fn help_and_version_are_no_errors() {
    let folder = Folder::new("help_and_version");
    assert_says(&folder.run(&["--help"]).done(), &["convert", "run", "info", "bench", "Examples:"]);
    assert_says(&folder.run(&["run", "--help"]).done(), &["--conf", "Examples:", "times_ms"]);
    let version = folder.run(&["--version"]).done();
    assert_eq!(version, concat!("yolo-lowbit ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn missing_files() {
    let folder = folder("missing_files");
    let missing = "No such file or directory";
    assert_says(&folder.run(&["run", "no.ylb", "a.png"]).failed(1), &["cannot load no.ylb", missing]);
    assert_says(&folder.run(&["info", "no.ylb"]).failed(1), &["cannot load no.ylb", missing]);
    assert_says(&folder.run(&["bench", "no.ylb"]).failed(1), &["cannot load no.ylb", missing]);
    assert_says(
        &folder.run(&["-q", "run", "tiny.ylb", "no.png"]).failed(1),
        &["cannot open no.png", missing],
    );
    assert_says(&folder.run(&["convert", "no.onnx"]).failed(1), &["cannot open no.onnx", missing]);
    assert!(!folder.path("runs").exists(), "there is no picture, but a folder for results");
}

#[test]
fn a_folder_without_pictures() {
    let folder = folder("without_pictures");
    folder.write("empty/notes.txt", "no picture");
    let error = folder.run(&["-q", "run", "tiny.ylb", "empty"]).failed(1);
    assert_eq!(error, "empty has no pictures: name a folder with .jpg, .jpeg or .png files in it");
}

#[test]
fn a_truncated_model() {
    let folder = folder("truncated_model");
    let file = tiny::file();
    for len in [20, 100, file.len() / 2, file.len() - 1] {
        folder.write("cut.ylb", &file[..len]);
        let error = folder.run(&["-q", "run", "cut.ylb", "a.png"]).failed(1);
        assert_says(&error, &["cut.ylb: ", "truncated"]);
    }
    folder.write("cut.ylb", "");
    assert_says(&folder.run(&["-q", "run", "cut.ylb", "a.png"]).failed(1), &["cut.ylb: ", "empty"]);
}

#[test]
fn a_model_of_a_newer_version() {
    let folder = folder("newer_version");
    let mut file = tiny::file();
    // The major version follows the magic number; nothing behind it can be relied on.
    file[8] = 3;
    folder.write("newer.ylb", &file);
    let error = folder.run(&["-q", "run", "newer.ylb", "a.png"]).failed(1);
    assert_says(&error, &["newer.ylb: ", "version 3.0", "newer"]);
}

#[test]
fn a_damaged_model() {
    let folder = folder("damaged_model");
    let mut file = tiny::file();
    let last = file.len() - 1;
    file[last] ^= 1;
    folder.write("damaged.ylb", &file);
    assert_says(&folder.run(&["info", "damaged.ylb"]).failed(1), &["damaged.ylb: ", "checksum"]);
}

#[test]
fn something_else_in_place_of_a_model() {
    let folder = folder("something_else");
    folder.write("model.onnx", "whatever");
    let error = folder.run(&["run", "model.onnx", "a.png"]).failed(1);
    assert_says(&error, &["model.onnx is an ONNX file", "yolo-lowbit convert model.onnx"]);
    assert_says(&folder.run(&["run", "a.png", "a.png"]).failed(1), &["a.png: ", "not a .ylb file"]);
    assert_says(&folder.run(&["info", "."]).failed(1), &["is a folder"]);
    let error = folder.run(&["run", "tiny.ylb", "--tensor", ".", "--raw", "a.npz"]).failed(1);
    assert_says(&error, &[". is a folder", ".npy file"]);
}

#[test]
#[cfg(target_os = "linux")]
fn devices_and_files_of_the_system_in_place_of_a_model() {
    let folder = folder("no_files");
    for command in ["info", "bench"] {
        let error = folder.run(&[command, "/dev/stdin"]).failed(1);
        assert_eq!(error, "/dev/stdin is a pipe or a device, but the model must be a .ylb file");
        assert_says(&folder.run(&[command, "/dev/zero"]).failed(1), &["is a pipe or a device"]);
        // Its length is said to be 0.
        assert_says(&folder.run(&[command, "/proc/self/status"]).failed(1), &["not a .ylb file"]);
    }
    assert_says(
        &folder.run(&["convert", "--names", ".", "a.png"]).failed(1),
        &["cannot open .", "directory"],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn help_that_cannot_be_written_is_an_error() {
    let folder = folder("full");
    for args in [&["--help"] as &[&str], &["run", "--help"], &["--version"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = folder.command(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_says(
            &String::from_utf8_lossy(&output.stderr),
            &["yolo-lowbit: error: cannot print", "No space left on device"],
        );
    }
}

#[test]
fn a_model_without_anchors() {
    let folder = folder("without_anchors");
    folder.write("heads.ylb", tiny::file_without_anchors());
    folder.save("b.png", &squares(64, 64, &[]));
    // Said once, not for each picture.
    let error = folder.run(&["-q", "run", "heads.ylb", "a.png", "b.png"]).failed(1);
    assert_says(&error, &["anchors"]);
}

#[test]
fn results_that_cannot_be_saved() {
    let folder = folder("cannot_save");
    folder.write("runs", "a file where the folder should be");
    let error = folder.run(&["-q", "run", "tiny.ylb", "a.png"]).failed(1);
    assert_says(&error, &["cannot make the folder runs", "--out", "--no-save"]);
}

#[test]
fn micro_kernels_that_do_not_exist() {
    let folder = folder("no_such_kernel");
    let output = folder.command(&["info", "tiny.ylb"]).env("YLB_KERNELS", "abacus").output().unwrap();
    let error = crate::support::Finished::from(output).failed(1);
    assert_says(&error, &["abacus", "YLB_KERNELS"]);
}
