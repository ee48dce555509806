//! Reads `.npz` files: zip archives of numpy arrays. For trusted fixtures only.

use std::collections::BTreeMap;
use std::path::Path;

/// One array.
#[derive(Clone, Debug)]
pub struct Array {
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// numpy's name of the type without byte order, such as `f4`.
    pub kind: String,
    bytes: Vec<u8>,
}

/// The arrays of a file by name.
pub fn read(path: &Path) -> BTreeMap<String, Array> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries(&bytes).map(|(name, bytes)| (name.trim_end_matches(".npy").to_owned(), array(&bytes))).collect()
}

impl Array {
    /// Elements as f32.
    pub fn f32(&self) -> Vec<f32> {
        assert_eq!(self.kind, "f4");
        self.bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    /// Elements of a small integer type, widened.
    pub fn i32(&self) -> Vec<i32> {
        match &self.kind[..] {
            "u1" | "b1" => self.bytes.iter().map(|&byte| i32::from(byte)).collect(),
            "i1" => self.bytes.iter().map(|&byte| i32::from(byte as i8)).collect(),
            "i2" => {
                let elements = self.bytes.chunks_exact(2);
                elements.map(|bytes| i32::from(i16::from_le_bytes([bytes[0], bytes[1]]))).collect()
            }
            kind => panic!("no reader for arrays of {kind}"),
        }
    }
}

/// Names and contents of a zip archive, by its central directory.
fn entries(archive: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let u16_at = move |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let u32_at = move |at: usize| u16_at(at) | u16_at(at + 2) << 16;
    let end = archive.windows(4).rposition(|window| window == b"PK\x05\x06").expect("a zip archive");
    let count = u16_at(end + 10);
    let mut at = u32_at(end + 16);
    (0..count).map(move |_| {
        let (method, compressed) = (u16_at(at + 10), u32_at(at + 20));
        let (name_len, extra_len, comment_len) = (u16_at(at + 28), u16_at(at + 30), u16_at(at + 32));
        let name = String::from_utf8(archive[at + 46..][..name_len].to_vec()).expect("UTF-8 names");
        let local = u32_at(at + 42);
        let data = &archive[local + 30 + u16_at(local + 26) + u16_at(local + 28)..][..compressed];
        at += 46 + name_len + extra_len + comment_len;
        let bytes = match method {
            0 => data.to_vec(),
            8 => miniz_oxide::inflate::decompress_to_vec(data).expect("deflated data"),
            method => panic!("{name}: no reader for compression method {method}"),
        };
        (name, bytes)
    })
}

/// The array of a `.npy` file.
fn array(file: &[u8]) -> Array {
    assert_eq!(&file[..6], b"\x93NUMPY");
    let (header_len, start) = match file[6] {
        1 => (usize::from(u16::from_le_bytes([file[8], file[9]])), 10),
        _ => (u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize, 12),
    };
    let header = std::str::from_utf8(&file[start..start + header_len]).expect("text");
    let value = |key: &str| header.split(&format!("'{key}':")).nth(1).expect("key").trim_start();
    assert!(value("fortran_order").starts_with("False"));
    let kind = value("descr")[1..].split('\'').next().expect("a quoted type");
    let shape = value("shape")[1..].split(')').next().expect("a tuple");
    Array {
        shape: shape.split(',').filter_map(|extent| extent.trim().parse().ok()).collect(),
        kind: kind.trim_start_matches(['<', '|', '=']).to_owned(),
        bytes: file[start + header_len..].to_vec(),
    }
}
