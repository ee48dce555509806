//! Files that broke a program once, each through the command that reads it: no signal, no panic, not much time and
//! not much memory. They lie beside the checkout, in `hostile` and `people`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::limited::{self, Limited};
use crate::support::{Folder, shared};

/// What is done with a file.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `info`, `run` and `bench`.
    Model,
    /// `convert`, and then `compare`.
    Export,
    /// A script that writes a folder of weights, which is converted.
    Weights,
    /// A script that writes exports into the folder `b`.
    Exports,
    /// `run` with a model of ours.
    Picture,
    /// `eval` with a model of ours.
    DataSet,
    /// `convert --names`.
    Names,
    /// No input of the command's.
    Other,
}

use Kind::{DataSet, Export, Exports, Model, Names, Other, Picture, Weights};

/// What is said of files of an older version of the format. What these held is tested on models that are written anew: by
/// `large.rs`, the format's tests of malformed heads, and the runtime's of bipolar codes.
const OLD: &str =
    ".ylb: the file has format version 1.0, which this program no longer reads: convert the model again";

/// Every file with what it is, and what an error must say if there has to be one.
const FILES: [(&str, Kind, Option<&str>); 28] = [
    ("hostile/README.md", Other, None),
    ("hostile/bipolar8.ylb", Model, Some(OLD)),
    ("hostile/bipolar8_weights_folder.py", Weights, None),
    ("hostile/classes-2e32-no-head.ylb", Model, Some(OLD)),
    ("hostile/deep_seq.yaml", DataSet, Some("deep_seq.yaml")),
    ("hostile/dorefa_zero_layer_nan.onnx", Export, None),
    ("hostile/onnx_const_memory.py", Exports, None),
    ("hostile/outlier_weight_1e8.onnx", Export, None),
    ("hostile/overflow_weights84.onnx", Export, None),
    ("hostile/panic_shapes97.onnx", Export, Some("panic_shapes97.onnx")),
    ("hostile/pb.py", Other, None),
    ("hostile/png68_claims_34GB.png", Picture, Some("png68_claims_34GB.png")),
    ("hostile/slow_fsync_preload.c", Other, None),
    ("hostile/tls_destructor_dlopen.c", Other, None),
    ("hostile/valid-17GB.ylb", Model, Some(OLD)),
    ("people/13000x13000-gray.png", Picture, None),
    ("people/README.md", Other, None),
    ("people/bmp-dropped/data.yaml", DataSet, None),
    ("people/decoder-panic.jpg", Picture, None),
    ("people/duplicates/data.yaml", DataSet, None),
    ("people/jpeg-without-eoi.jpg", Picture, None),
    ("people/luma-1x1-chroma-2x2.jpg", Picture, None),
    ("people/mjpeg-frame-without-dht.jpg", Picture, None),
    ("people/names-with-bom.txt", Names, None),
    ("people/nested/data.yaml", DataSet, None),
    ("people/noninterleaved-420.jpg", Picture, None),
    ("people/picture.webp", Picture, None),
    ("people/polygon/data.yaml", DataSet, None),
];

/// Runs the commands for one file; what is wrong with how they ended.
fn faults(folder: &Folder, file: &Path, kind: Kind, says: Option<&str>) -> Vec<String> {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
    let (model, photo) = (&*format!("{models}/cells-w4a4.ylb"), &*format!("{models}/sample.jpg"));
    let path = file.to_str().unwrap();
    let mut faults = Vec::new();
    let mut run = |args: &[&str]| {
        let mut args = args.to_vec();
        args.insert(0, "-q");
        let end = limited::run(folder, &args);
        faults.extend(end.fault().map(|fault| format!("{}: {fault}", args.join(" "))));
        if let Some(says) = says
            && !(end.status == 1 && end.stderr.contains(says))
        {
            faults.push(format!("{} did not say {says:?}: {}", args.join(" "), end.stderr));
        }
        end
    };
    // What converts must be equal to its source: otherwise `compare` ends with 1, and says nothing on standard error.
    let convert = |run: &mut dyn FnMut(&[&str]) -> Limited, args: &[&str], source: &str| {
        if run(args).status == 0 {
            run(&["compare", source, "out.ylb"]);
        }
    };
    match kind {
        Model => {
            run(&["info", path]);
            run(&["run", path, photo]);
            run(&["bench", path, "--iterations", "1"]);
        }
        Export => convert(&mut run, &["convert", path, "-o", "out.ylb"], path),
        Weights => {
            script(folder, file, &["8", "weights"]);
            convert(&mut run, &["convert", "--weights", "weights", "-o", "out.ylb"], "weights");
        }
        Exports => {
            fs::create_dir_all(folder.path("b")).unwrap();
            script(folder, file, &[]);
            for export in fs::read_dir(folder.path("b")).unwrap() {
                run(&["convert", export.unwrap().path().to_str().unwrap(), "-o", "out.ylb"]);
            }
        }
        Picture => drop(run(&["run", model, path])),
        DataSet => drop(run(&["eval", model, path])),
        Names => {
            let export =
                concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/exports/qonnx_w4a4_odd.onnx");
            run(&["convert", export, "-o", "out.ylb", "--names", path]);
        }
        Other => {}
    }
    faults
}

fn script(folder: &Folder, file: &Path, args: &[&str]) {
    let output =
        Command::new("python3").arg("-B").arg(file).args(args).current_dir(folder.path("")).output().unwrap();
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_that_broke_it_once_do_not() {
    let (Some(hostile), Some(_)) = (shared("hostile"), shared("people")) else { return };
    let shared = hostile.parent().unwrap();
    let mut all = Vec::new();
    for (name, kind, says) in FILES {
        let folder = Folder::new(&format!("hostile_{}", name.replace(['/', '.'], "_")));
        let faults = faults(&folder, &shared.join(name), kind, says);
        all.extend(faults.iter().map(|fault| format!("{name}: {}", fault.trim_end())));
    }
    assert!(all.is_empty(), "{} faults\n{}", all.len(), all.join("\n"));
}

/// A file that is added has to be added to the table.
#[test]
fn every_file_is_in_the_table() {
    let (Some(hostile), Some(people)) = (shared("hostile"), shared("people")) else { return };
    let known: BTreeSet<&str> = FILES.iter().map(|(name, ..)| *name).collect();
    for (parent, folder) in [("hostile", hostile), ("people", people)] {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let mut name = format!("{parent}/{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                name.push_str("/data.yaml");
            }
            assert!(known.contains(&*name), "{name} is not in the table");
        }
    }
}
