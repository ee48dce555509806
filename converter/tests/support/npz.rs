//! Reads `.npz` archives as numpy writes them: zip, stored or deflated, of `.npy` arrays.

use std::collections::BTreeMap;

/// An array of numbers; integers up to 32 bits and floats are exact.
#[derive(Clone, Debug)]
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f64>,
}

/// All arrays of an archive, by name without `.npy`.
///
/// # Panics
/// If the bytes are no such archive: fixtures are not hostile.
pub fn read(bytes: &[u8]) -> BTreeMap<String, Array> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").expect("a zip archive");
    let (count, mut entry) = (u16_at(end + 10), u32_at(end + 16));
    let mut arrays = BTreeMap::new();
    for _ in 0..count {
        assert_eq!(&bytes[entry..entry + 4], b"PK\x01\x02");
        let (method, len, offset) = (u16_at(entry + 10), u32_at(entry + 20), u32_at(entry + 42));
        let name_len = u16_at(entry + 28);
        let name = String::from_utf8_lossy(&bytes[entry + 46..entry + 46 + name_len]).into_owned();
        let data = offset + 30 + u16_at(offset + 26) + u16_at(offset + 28);
        let packed = &bytes[data..data + len];
        let content = match method {
            0 => packed.to_vec(),
            8 => miniz_oxide::inflate::decompress_to_vec(packed).expect("deflated data"),
            other => panic!("compression method {other}"),
        };
        arrays.insert(name.trim_end_matches(".npy").to_owned(), parse_npy(&content));
        entry += 46 + name_len + u16_at(entry + 30) + u16_at(entry + 32);
    }
    arrays
}

fn parse_npy(bytes: &[u8]) -> Array {
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    let field = |name: &str| {
        let at = header.find(&format!("'{name}':")).unwrap();
        header[at + name.len() + 3..].trim_start()
    };
    assert!(field("fortran_order").starts_with("False"));
    let shape = field("shape");
    let shape = &shape[1..shape.find(')').unwrap()];
    let shape: Vec<usize> = shape.split(',').filter_map(|extent| extent.trim().parse().ok()).collect();
    let kind = field("descr").trim_start_matches('\'').split('\'').next().unwrap();
    let content = &bytes[10 + header_len..];
    fn numbers<const N: usize>(content: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        content.chunks_exact(N).map(|chunk| number(chunk.try_into().unwrap())).collect()
    }
    let data = match kind {
        "|u1" => numbers(content, |b: [u8; 1]| b[0].into()),
        "|i1" => numbers(content, |b| i8::from_le_bytes(b).into()),
        "<i2" => numbers(content, |b| i16::from_le_bytes(b).into()),
        "<u2" => numbers(content, |b| u16::from_le_bytes(b).into()),
        "<i4" => numbers(content, |b| i32::from_le_bytes(b).into()),
        "<f4" => numbers(content, |b| f32::from_le_bytes(b).into()),
        "<f8" => numbers(content, f64::from_le_bytes),
        other => panic!("numpy type {other}"),
    };
    assert_eq!(data.len(), shape.iter().product::<usize>());
    Array { shape, data }
}
