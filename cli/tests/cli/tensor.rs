//! `run --tensor`: NumPy files in and out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Folder, assert_says, squares};
use crate::tiny;

/// A `.npy` file as `numpy.save` writes it.
fn npy(descriptor: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\0v\0", header.as_bytes(), data].concat()
}

/// The input tensor of a picture: planes of R, G and B, from 0 to 1.
pub fn input_tensor() -> Vec<u8> {
    let picture = squares(64, 64, &[(16, 24, [255, 0, 0])]);
    let plane = |colour: usize| picture.pixels().map(move |pixel| f32::from(pixel.0[colour]) / 255.0);
    let data: Vec<u8> = (0..3).flat_map(plane).flat_map(f32::to_le_bytes).collect();
    npy("<f4", "(1, 3, 64, 64)", &data)
}

/// Members of an archive without compression: name to (header, data).
fn members(archive: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let archive = fs::read(archive).unwrap();
    let word = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap()) as usize;
    let short = |at: usize| usize::from(u16::from_le_bytes(archive[at..at + 2].try_into().unwrap()));
    let end = archive.len() - 22;
    let mut entry = word(end + 16);
    let mut members = BTreeMap::new();
    for _ in 0..short(end + 10) {
        let name_len = short(entry + 28);
        let name = String::from_utf8(archive[entry + 46..entry + 46 + name_len].to_vec()).unwrap();
        let local = word(entry + 42);
        let data = local + 30 + short(local + 26) + short(local + 28);
        let member = &archive[data..data + word(entry + 24)];
        let (header, data) = member.split_at(10 + usize::from(u16::from_le_bytes([member[8], member[9]])));
        members.insert(name, (String::from_utf8_lossy(&header[10..]).into_owned(), data.to_vec()));
        entry += 46 + name_len;
    }
    members
}

fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.write("tiny.ylb", tiny::file());
    folder.write("in.npy", input_tensor());
    folder
}

#[test]
fn outputs_and_codes_are_written() {
    let folder = folder("outputs_and_codes");
    let text = folder
        .run(&["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "raw.npz", "--codes", "codes.npz"])
        .done();
    assert_eq!(text, "1 tensor written to raw.npz\n1 tensor written to codes.npz\n");

    let raw = members(&folder.path("raw.npz"));
    let (header, data) = &raw["output0.npy"];
    assert_says(header, &["'descr': '<f4'", "'shape': (1, 64, 8)"]);
    let floats: Vec<f32> =
        data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    // Row 3, column 2 of 8x8 cells.
    let lit = &floats[(3 * 8 + 2) * 8..][..8];
    assert_eq!(lit[..4], [20.0, 28.0, 16.0, 16.0]);
    assert!((f64::from(lit[4] * lit[5]) - tiny::CONFIDENCE).abs() < 1e-5, "{lit:?}");
    let lit_cells = floats.chunks_exact(8).filter(|cell| cell[4] > 0.5).count();
    assert_eq!(lit_cells, 1);

    let codes = members(&folder.path("codes.npz"));
    let (header, data) = &codes["pixels/codes.npy"];
    assert_says(header, &["'descr': '<i2'", "'shape': (1, 3, 64, 64)"]);
    let lit: Vec<usize> =
        (0..data.len() / 2).filter(|index| data[2 * index..2 * index + 2] == [255, 0]).collect();
    let expected: Vec<usize> = (24..32).flat_map(|y| (16..24).map(move |x| y * 64 + x)).collect();
    assert_eq!(lit, expected);
}

/// Bytes are the pixels themselves, floats their 255th parts.
#[test]
fn bytes_give_what_floats_give() {
    let folder = folder("tensor_bytes");
    let picture = squares(64, 64, &[(16, 24, [255, 0, 0]), (40, 8, [10, 200, 30])]);
    let planes: Vec<u8> =
        (0..3).flat_map(|colour| picture.pixels().map(move |pixel| pixel.0[colour])).collect();
    let floats: Vec<u8> = planes.iter().flat_map(|&byte| (f32::from(byte) / 255.0).to_le_bytes()).collect();
    let words: Vec<u8> = planes.iter().flat_map(|&byte| i64::from(byte).to_le_bytes()).collect();
    let mut written = Vec::new();
    for (descriptor, data) in [("<f4", floats), ("|u1", planes), ("<i8", words)] {
        folder.write("in.npy", npy(descriptor, "(1, 3, 64, 64)", &data));
        let args = ["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "raw.npz", "--codes", "codes.npz"];
        folder.run(&args).done();
        written.push(["raw.npz", "codes.npz"].map(|file| fs::read(folder.path(file)).unwrap()));
    }
    assert!(written[0] == written[1] && written[0] == written[2]);
}

#[test]
fn json_lists_what_was_written() {
    let folder = folder("json_lists");
    let json = folder.run(&["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "raw.npz", "--json"]).json();
    let tensors = serde_json::json!([{"name": "output0", "shape": [1, 64, 8]}]);
    assert_eq!(json["files"], serde_json::json!([{"path": "raw.npz", "tensors": tensors}]));
}

#[test]
fn numpy_reads_the_archives() {
    let folder = folder("numpy_reads");
    folder.run(&["run", "tiny.ylb", "--tensor", "in.npy", "--raw", "raw.npz", "--codes", "codes.npz"]).done();
    let has_numpy = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: python3 with numpy is missing");
        return;
    }
    let script = "
import numpy, zipfile
for name in ['raw.npz', 'codes.npz']:
    assert zipfile.ZipFile(name).testzip() is None
raw, codes, tensor = numpy.load('raw.npz'), numpy.load('codes.npz'), numpy.load('in.npy')
assert raw.files == ['output0'] and raw['output0'].dtype == 'float32' and raw['output0'].shape == (1, 64, 8)
assert codes.files == ['pixels/codes'] and codes['pixels/codes'].dtype == 'int16'
assert (codes['pixels/codes'] == numpy.round(tensor * 255)).all()
";
    let output = Command::new("python3").args(["-c", script]).current_dir(folder.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_tensors_are_refused() {
    let folder = folder("wrong_tensors");
    let good = input_tensor();
    let data = &good[128..];
    for (file, reason) in [
        (npy("<f4", "(1, 3, 32, 128)", data), "needs [1, 3, 64, 64]"),
        (npy("<f8", "(1, 3, 64, 32)", data), "numpy.float32"),
        (good[..1000].to_vec(), "its shape asks for"),
        (b"PK".to_vec(), "no .npy file"),
        (npy("<f4", "(1, 3, 64, 64)", &[0x3f; 4 * 3 * 64 * 64]), "k/255"),
        (npy("<f4", "(1, 3, 64, 64)", &200f32.to_le_bytes().repeat(3 * 64 * 64)), ".astype(numpy.uint8)"),
        (npy("|u1", "(1, 64, 64, 3)", &[7; 3 * 64 * 64]), "needs [1, 3, 64, 64]"),
        (npy("<i2", "(1, 3, 64, 64)", &[1; 2 * 3 * 64 * 64]), "0 to 255"),
    ] {
        folder.write("wrong.npy", file);
        let error = folder.run(&["run", "tiny.ylb", "--tensor", "wrong.npy", "--raw", "raw.npz"]).failed(1);
        assert_says(&error, &[reason]);
    }
    assert!(!folder.path("raw.npz").exists());
}
