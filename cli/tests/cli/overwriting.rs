//! What is written never takes the place of what is read, whatever it is called; nor of devices, pipes and links.

use std::fs;
use std::path::Path;

use crate::support::{Folder, assert_says, squares};
use crate::tiny;

/// Every file of a folder with its contents.
fn contents(folder: &Folder) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut folders = vec![folder.path("")];
    let mut contents = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                contents.push((path.clone(), fs::read(&path).unwrap_or_default()));
            }
        }
    }
    contents.sort();
    contents
}

/// Runs a wrong command, which must leave everything as it was. The error names the option that is wrong.
#[track_caller]
fn refused(folder: &Folder, args: &[&str], says: &[&str]) {
    let before = contents(folder);
    let error = folder.run(&[&["-q"], args].concat()).failed(2);
    assert_says(&error, says);
    assert!(contents(folder) == before, "{args:?} changed a file");
}

/// Links to a file, and another spelling of it.
fn aliases(folder: &Folder, file: &str) -> Vec<String> {
    let mut names = vec![file.to_owned(), format!("inner/../{file}")];
    fs::create_dir_all(folder.path("inner")).unwrap();
    #[cfg(unix)]
    {
        let (link, hard) = (format!("inner/link-{}", names.len()), "inner/hard".to_owned());
        for path in [&link, &hard] {
            let _ = fs::remove_file(folder.path(path));
        }
        std::os::unix::fs::symlink(Path::new("..").join(file), folder.path(&link)).unwrap();
        fs::hard_link(folder.path(file), folder.path(&hard)).unwrap();
        names.extend([link, hard]);
    }
    names
}

#[test]
fn convert_spares_the_model_and_the_names() {
    let folder = Folder::new("spares_model_and_names");
    folder.write("model.onnx", "no model: nothing is read before the names are compared");
    folder.write("names.txt", "cat\n");
    for input in ["model.onnx", "names.txt"] {
        for alias in aliases(&folder, input) {
            let convert = ["convert", "model.onnx", "--names", "names.txt"];
            refused(&folder, &[&convert[..], &["-o", &alias]].concat(), &[&alias, "is an input", "-o"]);
            let report = [&convert[..], &["--report", &alias]].concat();
            refused(&folder, &report, &[&alias, "is an input", "--report"]);
        }
    }
}

#[test]
fn convert_spares_a_folder_of_weights() {
    let folder = Folder::new("spares_weights");
    folder.write("weights/network.json", "{}");
    folder.write("weights/stem.weight.npy", "array");
    for input in ["weights/network.json", "weights/stem.weight.npy"] {
        for alias in aliases(&folder, input) {
            for option in ["-o", "--report"] {
                let args = ["convert", "--weights", "weights", option, &alias];
                refused(&folder, &args, &[&alias, "is an input", option]);
            }
        }
    }
    // Other files of the folder may be results of earlier.
    folder.write("weights/old.ylb", "old");
    let error = folder.run(&["-q", "convert", "--weights", "weights", "-o", "weights/old.ylb"]).failed(1);
    assert_says(&error, &["network.json"]);
}

#[test]
fn convert_spares_tensors_beside_the_model() {
    let folder = Folder::new("spares_external");
    let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports");
    for name in ["external_data_w4a4.onnx", "external_data_w4a4.weights"] {
        fs::copy(exports.join(name), folder.path(name)).unwrap();
    }
    for alias in aliases(&folder, "external_data_w4a4.weights") {
        // Links beside the model could lead anywhere and are not read, but those are elsewhere.
        for option in ["-o", "--report"] {
            let args = ["convert", "external_data_w4a4.onnx", option, &alias];
            refused(&folder, &args, &[&alias, "is an input", option]);
        }
    }
    assert!(!folder.path("external_data_w4a4.ylb").exists(), "a report that is wrong is known before");
    folder.run(&["convert", "external_data_w4a4.onnx", "--report", "a.json"]).done();
}

#[test]
fn model_and_report_are_two_files() {
    let folder = Folder::new("two_files");
    folder.write("model.onnx", "whatever");
    fs::create_dir(folder.path("inner")).unwrap();
    for (output, report) in [("a.ylb", "a.ylb"), ("a.ylb", "inner/../a.ylb"), ("./a.ylb", "a.ylb")] {
        let args = ["convert", "model.onnx", "-o", output, "--report", report];
        refused(&folder, &args, &[report, "the model's name", "--report"]);
    }
    refused(&folder, &["convert", "model.onnx", "--report", "model.ylb"], &["model.ylb", "--report"]);
    for option in ["-o", "--report"] {
        refused(&folder, &["convert", "model.onnx", option, "inner"], &["inner is a folder", option]);
    }
}

#[test]
fn run_spares_the_model_and_the_tensor() {
    let folder = Folder::new("spares_tensor");
    folder.write("tiny.ylb", tiny::file());
    folder.write("in.npy", "no array");
    for input in ["tiny.ylb", "in.npy"] {
        for alias in aliases(&folder, input) {
            for option in ["--raw", "--codes"] {
                let args = ["run", "tiny.ylb", "--tensor", "in.npy", option, &alias];
                refused(&folder, &args, &[&alias, "is an input", option]);
            }
        }
    }
    let args = ["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "a.npz", "--codes", "inner/../a.npz"];
    refused(&folder, &args, &["files of their own"]);
}

#[test]
fn run_spares_the_model_and_the_pictures() {
    let folder = Folder::new("spares_pictures");
    let picture = squares(64, 64, &[(16, 24, [255, 0, 0])]);
    // A model with the name of a result, and a picture with that of the next one.
    folder.write("a.png", tiny::file());
    folder.save("photos/a.png", &picture);
    folder.save("photos/b.png", &picture);
    #[cfg(unix)]
    fs::hard_link(folder.path("photos/b.png"), folder.path("a-2.png")).unwrap();
    let before = contents(&folder);
    let args = ["run", "a.png", "photos/a.png", "photos/b.png", "photos/a.png", "--out", ".", "--json"];
    let json = folder.run(&args).json();
    let saved: Vec<&str> =
        json["images"].as_array().unwrap().iter().map(|image| image["saved"].as_str().unwrap()).collect();
    let expected = if cfg!(unix) {
        ["./a-3.png", "./b.png", "./a-4.png"]
    } else {
        ["./a-2.png", "./b.png", "./a-3.png"]
    };
    assert_eq!(saved, expected);
    let after = contents(&folder);
    assert!(before.iter().all(|file| after.contains(file)), "an input changed");
    assert_eq!(after.len(), before.len() + 3, "{after:?}");
}

/// A result is not written through a link: the command chose its name.
#[test]
#[cfg(unix)]
fn run_spares_what_links_in_the_folder_lead_to() {
    let folder = Folder::new("spares_links");
    folder.write("tiny.ylb", tiny::file());
    folder.save("a.png", &squares(64, 64, &[]));
    folder.write("runs/other", "dear");
    std::os::unix::fs::symlink("other", folder.path("runs/a.png")).unwrap();
    folder.run(&["run", "tiny.ylb", "a.png"]).done();
    assert_eq!(fs::read(folder.path("runs/other")).unwrap(), b"dear");
    assert!(folder.path("runs/a-2.png").is_file());
}

#[test]
fn eval_spares_its_inputs() {
    let folder = Folder::new("spares_data_set");
    folder.write("data/confusion-matrix.svg", "names: [red, green, blue]\nval: images\n");
    folder.write("data/precision-recall.svg", tiny::file());
    folder.save("data/images/a.png", &squares(64, 64, &[(16, 24, [255, 0, 0])]));
    folder.write("data/labels/a.txt", "0 0.3125 0.4375 0.125 0.125\n");
    folder.write("tiny.ylb", tiny::file());
    let matrix = ["eval", "tiny.ylb", "data/confusion-matrix.svg", "--plots", "data"];
    refused(&folder, &matrix, &["data/confusion-matrix.svg", "is an input", "--plots"]);
    folder.write("data.yaml", "names: [red, green, blue]\npath: data\nval: images\n");
    let curves = ["eval", "data/precision-recall.svg", "data.yaml", "--plots", "data"];
    refused(&folder, &curves, &["data/precision-recall.svg", "is an input", "--plots"]);
    folder.run(&["eval", "tiny.ylb", "data.yaml", "--plots", "plots"]).done();
}

#[test]
#[cfg(unix)]
fn devices_and_pipes_are_written_to() {
    use std::process::{Command, Stdio};

    let folder = Folder::new("devices");
    folder.write("tiny.ylb", tiny::file());
    folder.write("in.npy", crate::tensor::input_tensor());
    let run = ["-q", "run", "tiny.ylb", "--tensor", "in.npy", "--json", "--raw"];
    folder.run(&[&run[..], &["/dev/null", "--codes", "/dev/null"]].concat()).done();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());

    let archive = folder.command(&[&run[..], &["/dev/stdout"]].concat()).output().unwrap();
    assert_eq!(archive.status.code(), Some(0), "{}", String::from_utf8_lossy(&archive.stderr));
    assert!(archive.stdout.starts_with(b"PK\x03\x04"));

    let pipe = folder.path("pipe");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no mkfifo");
        return;
    }
    let reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
    folder.run(&[&run[..], &["pipe"]].concat()).done();
    assert!(reader.wait_with_output().unwrap().stdout.starts_with(b"PK\x03\x04"));
    assert!(!fs::metadata(&pipe).unwrap().is_file());
    // Nothing else came into the folder.
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 3);
}

#[test]
#[cfg(unix)]
fn links_stay_and_lead_to_the_result() {
    let folder = Folder::new("links_stay");
    folder.write("tiny.ylb", tiny::file());
    folder.write("in.npy", crate::tensor::input_tensor());
    folder.write("disk/raw.npz", "old");
    std::os::unix::fs::symlink("disk/raw.npz", folder.path("raw.npz")).unwrap();
    folder.run(&["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "raw.npz"]).done();
    assert!(folder.path("raw.npz").is_symlink());
    assert!(fs::read(folder.path("disk/raw.npz")).unwrap().starts_with(b"PK\x03\x04"));
    assert_eq!(fs::read_dir(folder.path("disk")).unwrap().count(), 1);

    let generated = folder.path("man");
    fs::create_dir(&generated).unwrap();
    folder.write("page", "old");
    std::os::unix::fs::symlink("../page", generated.join("yolo-lowbit.1")).unwrap();
    folder.run(&["generate", "man", "man"]).done();
    assert!(generated.join("yolo-lowbit.1").is_symlink());
    assert!(fs::read_to_string(folder.path("page")).unwrap().contains("yolo-lowbit"));
}

#[test]
fn pictures_of_the_longest_names_are_saved() {
    let folder = Folder::new("longest_names");
    folder.write("tiny.ylb", tiny::file());
    let name = format!("{}.png", "x".repeat(251));
    folder.save("a.png", &squares(64, 64, &[]));
    fs::rename(folder.path("a.png"), folder.path(&name)).unwrap();
    folder.run(&["run", "tiny.ylb", &name]).done();
    assert!(folder.path("runs").join(name).is_file());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_names_the_file() {
    let folder = Folder::new("full_disk");
    folder.write("tiny.ylb", tiny::file());
    folder.write("in.npy", crate::tensor::input_tensor());
    let error = folder.run(&["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "/dev/full"]).failed(1);
    assert_says(&error, &["cannot write /dev/full", "No space left"]);
    let error = folder.run(&["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "no/raw.npz"]).failed(1);
    assert_says(&error, &["cannot write no/raw.npz", "No such file"]);
}
