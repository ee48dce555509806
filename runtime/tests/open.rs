//! Opening files: whatever they are, and whatever happens to them meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ylb_format::model::{ChannelOrder, PicturePlacement, PixelRange, TensorLayout};
use ylb_runtime::{LoadError, LoadErrorKind, MAX_MEMORY, Network};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

/// A fresh folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ylb-runtime-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn model() -> Vec<u8> {
    let model = synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: [32, 32],
        weight_bits: 1,
        activation_bits: 1,
        edge_weight_bits: 8,
        classes: 1,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    });
    ylb_format::write(&model).unwrap()
}

fn error(path: &Path) -> LoadError {
    Network::open(path).err().expect("no model")
}

#[test]
fn files_of_every_length() {
    let folder = Folder::new("lengths");
    let (path, model) = (folder.0.join("a.ylb"), model());
    fs::write(&path, &model).unwrap();
    assert!(Network::open(&path).is_ok());
    for len in [0, 1, 7, 8, 11, 12, 31, 32, 33, 4095, 4096, 4097, model.len() - 1] {
        fs::write(&path, &model[..len]).unwrap();
        let expected = ylb_format::read(&model[..len]).unwrap_err();
        assert!(
            matches!(error(&path).kind(), LoadErrorKind::Format(error) if *error == expected),
            "{len} bytes"
        );
    }
    fs::write(&path, [&model[..], &[0]].concat()).unwrap();
    assert!(error(&path).to_string().contains("1 more than the file should have"));
}

#[test]
fn what_is_no_file_is_named() {
    let folder = Folder::new("no_files");
    let missing = error(&folder.0.join("missing.ylb"));
    assert!(matches!(missing.kind(), LoadErrorKind::Io(io) if io.kind() == std::io::ErrorKind::NotFound));
    assert!(
        error(&folder.0)
            .to_string()
            .ends_with("cannot read the model: this is a folder; expected a .ylb file")
    );
    if cfg!(target_os = "linux") {
        let device = error(Path::new("/dev/zero")).to_string();
        assert!(device.ends_with("this is a pipe or a device; expected a .ylb file"), "{device}");
        // Its length is said to be 0, and it holds something.
        let status = error(Path::new("/proc/self/status")).to_string();
        assert!(status.contains("not a .ylb file"), "{status}");
    }
}

/// Neither is read: the one is no model, the other too large to be one.
#[test]
fn enormous_files_are_refused_at_once() {
    let folder = Folder::new("enormous");
    let path = folder.0.join("a.ylb");
    let file = fs::File::create(&path).unwrap();
    if file.set_len(MAX_MEMORY + 1).is_err() {
        eprintln!("SKIPPED: this file system has no sparse files");
        return;
    }
    assert!(error(&path).to_string().contains("not a .ylb file"));
    fs::write(&path, &model()[..32]).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(MAX_MEMORY + 1).unwrap();
    let kind = error(&path);
    assert!(
        matches!(kind.kind(), LoadErrorKind::TooLarge { bytes, limit } if (*bytes, *limit) == (MAX_MEMORY + 1, MAX_MEMORY))
    );
}

/// As `cp` over it or `rsync --inplace` do. Were the file mapped, this process would be killed.
#[test]
fn a_file_that_is_shortened_meanwhile_is_an_error() {
    let folder = Folder::new("shortened");
    let (path, model) = (folder.0.join("a.ylb"), model());
    fs::write(&path, &model).unwrap();
    let done = AtomicBool::new(false);
    let (mut whole, mut damaged) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_len(0).unwrap();
                fs::write(&path, &model).unwrap();
                thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        for _ in 0..400 {
            match Network::open(&path) {
                Ok(_) => whole += 1,
                Err(error) => {
                    assert!(matches!(error.kind(), LoadErrorKind::Format(_)), "{error}");
                    damaged += 1;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    eprintln!("{whole} whole, {damaged} damaged");
}

/// Range, mean, deviation and layout are told, not asked for: levels have them worked in.
#[test]
fn what_is_told_of_the_picture_is_taken() {
    let folder = Folder::new("told");
    let path = folder.0.join("a.ylb");
    let mut model = ylb_format::read(&model()).unwrap();
    model.input.preprocessing.range = PixelRange::Bytes;
    model.input.preprocessing.order = ChannelOrder::Bgr;
    model.input.preprocessing.placement = PicturePlacement::Corner;
    model.input.preprocessing.layout = TensorLayout::Nhwc;
    model.input.preprocessing.mean[1] = 0.5;
    model.input.preprocessing.deviation[2] = 0.25;
    fs::write(&path, ylb_format::write(&model).unwrap()).unwrap();
    assert!(Network::open(&path).is_ok());
}
