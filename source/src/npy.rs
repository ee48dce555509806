//! NumPy's `.npy` files, as `numpy.save` writes them.
//!
//! The layout is specified in NumPy's `numpy.lib.format`: a magic number, a version, and a header that
//! is a Python dictionary on one line, then the elements.

use std::io::{Error, ErrorKind, Read};

/// First bytes of every file.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Largest header that is read: NumPy itself writes far less for anything that is a tensor.
const MAX_HEADER: usize = 1 << 16;

/// An array of any shape; the last index runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub elements: Elements,
}

/// Elements of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// `float32`.
    F32(Vec<f32>),
    /// `float64`.
    F64(Vec<f64>),
    /// Signed and unsigned integers of 8 to 32 bits, and signed ones of 64.
    Integers(Vec<i64>),
}

impl Elements {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Integers(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "float32",
            Self::F64(_) => "float64",
            Self::Integers(_) => "integers",
        }
    }
}

/// Reads an array of at most `max_elements` elements.
///
/// # Errors
/// A sentence, without the file's name, if it is no `.npy` file, is cut off or too long, is larger than
/// asked for, is in Fortran order, or has elements that [`Elements`] does not list.
pub fn read(source: &mut dyn Read, max_elements: usize) -> Result<Array, String> {
    let mut start = [0; 8];
    source.read_exact(&mut start).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => "this is no .npy file".to_owned(),
        _ => error.to_string(),
    })?;
    if !start.starts_with(MAGIC) {
        return Err("this is no .npy file".into());
    }
    let cut_off = |_: Error| "the .npy header is cut off";
    let header_len = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            source.read_exact(&mut bytes).map_err(cut_off)?;
            usize::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            source.read_exact(&mut bytes).map_err(cut_off)?;
            u32::from_le_bytes(bytes) as usize
        }
        version => return Err(format!("version {version} of the .npy format is not known")),
    };
    if header_len > MAX_HEADER {
        return Err("the .npy header is damaged".into());
    }
    let mut header = vec![0; header_len];
    source.read_exact(&mut header).map_err(cut_off)?;
    let header = String::from_utf8(header).map_err(|_| "the .npy header is damaged")?;
    let descriptor = header_field(&header, "descr").unwrap_or_default().trim_matches(['\'', '"']);
    match header_field(&header, "fortran_order") {
        Some("False") => {}
        Some("True") => {
            return Err("the array is in Fortran order: save it with numpy.ascontiguousarray".into());
        }
        _ => return Err("the .npy header is damaged".into()),
    }
    let shape = header_field(&header, "shape").and_then(parse_shape).ok_or("the .npy header is damaged")?;
    let count = shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
    let count = count.ok_or("the .npy header is damaged")?;
    if count > max_elements {
        return Err(format!("its shape {shape:?} has {count} elements; expected at most {max_elements}"));
    }
    let size = element_size(descriptor).ok_or_else(|| {
        format!("the array's type is \"{descriptor}\"; expected little-endian floats or integers")
    })?;
    let len = count.checked_mul(size).ok_or("the .npy header is damaged")?;
    let mut bytes = Vec::new();
    // One byte more than expected tells a file that is too long.
    source.take(len as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() != len {
        let found = if bytes.len() > len { "more".to_owned() } else { bytes.len().to_string() };
        return Err(format!("the .npy file has {found} bytes of data, but its shape asks for {len}"));
    }
    Ok(Array { shape, elements: elements(descriptor, &bytes) })
}

fn element_size(descriptor: &str) -> Option<usize> {
    Some(match descriptor {
        "|i1" | "|u1" => 1,
        "<i2" | "<u2" => 2,
        "<i4" | "<u4" | "<f4" => 4,
        "<i8" | "<f8" => 8,
        _ => return None,
    })
}

/// Elements of a type that [`element_size`] knows.
fn elements(descriptor: &str, bytes: &[u8]) -> Elements {
    fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
        let word = |chunk: &[u8]| {
            let mut word = [0; N];
            word.copy_from_slice(chunk);
            word
        };
        bytes.chunks_exact(N).map(|chunk| number(word(chunk))).collect()
    }
    match descriptor {
        "<f4" => Elements::F32(numbers(bytes, f32::from_le_bytes)),
        "<f8" => Elements::F64(numbers(bytes, f64::from_le_bytes)),
        "|i1" => Elements::Integers(numbers(bytes, |b| i8::from_le_bytes(b).into())),
        "|u1" => Elements::Integers(numbers(bytes, |b| u8::from_le_bytes(b).into())),
        "<i2" => Elements::Integers(numbers(bytes, |b| i16::from_le_bytes(b).into())),
        "<u2" => Elements::Integers(numbers(bytes, |b| u16::from_le_bytes(b).into())),
        "<i4" => Elements::Integers(numbers(bytes, |b| i32::from_le_bytes(b).into())),
        "<u4" => Elements::Integers(numbers(bytes, |b| u32::from_le_bytes(b).into())),
        _ => Elements::Integers(numbers(bytes, i64::from_le_bytes)),
    }
}

/// Text of a field's value in the header, which is a Python dictionary on one line:
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }`.
fn header_field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let start = [format!("'{name}':"), format!("\"{name}\":")]
        .iter()
        .find_map(|key| header.find(key.as_str()).map(|position| position + key.len()))?;
    let value = header[start..].trim_start();
    let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
    Some(value[..end].trim_end())
}

/// Reads a Python tuple of extents: `()`, `(3,)`, `(1, 3)`.
fn parse_shape(tuple: &str) -> Option<Vec<usize>> {
    let inner = tuple.strip_prefix('(')?.strip_suffix(')')?.trim();
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|extent| extent.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, descriptor: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_type_is_read() {
        let integers = |values: &[i64]| Elements::Integers(values.to_vec());
        for (descriptor, data, expected) in [
            ("|i1", &[255u8, 1][..], integers(&[-1, 1])),
            ("|u1", &[255, 1], integers(&[255, 1])),
            ("<i2", &[255, 255, 0, 1], integers(&[-1, 256])),
            ("<u2", &[255, 255, 0, 1], integers(&[65535, 256])),
            ("<i4", &[254, 255, 255, 255, 1, 0, 0, 0], integers(&[-2, 1])),
            ("<u4", &[255, 255, 255, 255, 1, 0, 0, 0], integers(&[4294967295, 1])),
            ("<f4", &[0, 0, 192, 63, 0, 0, 0, 0], Elements::F32(vec![1.5, 0.0])),
        ] {
            for version in [1, 2] {
                let bytes = file(version, descriptor, "(2,)", data);
                let array = read(&mut bytes.as_slice(), 2).unwrap();
                assert_eq!(array, Array { shape: vec![2], elements: expected.clone() }, "{descriptor}");
                for len in 0..bytes.len() {
                    assert!(read(&mut &bytes[..len], 2).is_err(), "{descriptor}: {len} bytes");
                }
            }
        }
        let bytes = file(1, "<f8", "()", &1.5f64.to_le_bytes());
        let array = read(&mut bytes.as_slice(), 1).unwrap();
        assert_eq!(array, Array { shape: vec![], elements: Elements::F64(vec![1.5]) });
    }

    #[test]
    fn a_header_of_junk_is_damaged() {
        let junk = [&b"\x93NUMPY\x01\0\x00\x40"[..], &[b'x'; 1 << 14], &[0; 8]].concat();
        assert_eq!(read(&mut junk.as_slice(), 100).unwrap_err(), "the .npy header is damaged");
        for (order, reason) in [("True", "Fortran order"), ("true", "damaged"), ("", "damaged")] {
            let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': (1,), }}");
            let len = u8::try_from(header.len()).unwrap();
            let bytes = [&b"\x93NUMPY\x01\0"[..], &[len, 0], header.as_bytes(), &[0; 4]].concat();
            assert!(read(&mut bytes.as_slice(), 1).unwrap_err().contains(reason), "{order}");
        }
    }

    #[test]
    fn hostile_headers_are_refused_before_memory_is_taken() {
        for (descriptor, shape, reason) in [
            ("<f4", "(9999999999, 9999999999, 9)", "damaged"),
            ("<f4", "(1000, 1000)", "at most 100"),
            ("<f4", "(100,)", "4 bytes of data, but its shape asks for 400"),
            ("<f4", "()", "more bytes"),
            ("<f4", "(-1,)", "damaged"),
            (">f4", "(1,)", "little-endian"),
            ("<c8", "(1,)", "little-endian"),
            ("O", "(1,)", "little-endian"),
        ] {
            let data = if reason == "more bytes" { vec![0; 5] } else { vec![0; 4] };
            let error = read(&mut file(1, descriptor, shape, &data).as_slice(), 100).unwrap_err();
            assert!(error.contains(reason), "{descriptor} {shape}: {error}");
        }
    }
}
