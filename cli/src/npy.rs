//! NumPy's files: reads a `.npy` tensor, writes an `.npz` archive.
//!
//! The layout of a `.npy` file is specified in NumPy's `numpy.lib.format`; an `.npz` file is a zip
//! archive of them. Archives are written without compression: their members are then plain copies
//! of memory, and NumPy loads them like its own.

use std::io::{self, Read, Write};

use anyhow::{Result, anyhow, bail};
use ylb_source::npy::{self, Elements, MAGIC};

/// Most elements that are read: more than any picture has.
const MAX_ELEMENTS: usize = 1 << 30;

/// An array of any shape; the last index runs fastest.
#[derive(Debug, PartialEq)]
pub struct Array<T> {
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub data: Vec<T>,
}

/// A number that can be stored in a `.npy` file.
pub trait Element: Copy {
    /// NumPy's name of the type, byte order included.
    const DESCRIPTOR: &'static str;
    /// Appends the number's little-endian bytes.
    fn append_to(self, bytes: &mut Vec<u8>);
}

impl Element for f32 {
    const DESCRIPTOR: &'static str = "<f4";
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl Element for i16 {
    const DESCRIPTOR: &'static str = "<i2";
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

/// A picture as a tensor.
#[derive(Debug, PartialEq)]
pub enum PictureTensor {
    /// Real numbers.
    Floats(Array<f32>),
    /// Bytes of pixels.
    Bytes(Array<u8>),
}

/// Reads a `.npy` file of 32-bit floats, or of integers that are bytes.
///
/// # Errors
/// If it is no `.npy` file, is cut off or too long, or holds anything but little-endian 32-bit floats or integers
/// from 0 to 255 in C order.
pub fn read_picture(mut source: impl Read) -> Result<PictureTensor> {
    let npy::Array { shape, elements } = npy::read(&mut source, MAX_ELEMENTS).map_err(anyhow::Error::msg)?;
    match elements {
        Elements::F32(data) => Ok(PictureTensor::Floats(Array { shape, data })),
        Elements::Integers(integers) => {
            let byte = |integer: i64| {
                u8::try_from(integer).map_err(|_| {
                    anyhow!("the array holds {integer}, but integers must be bytes of a picture, 0 to 255")
                })
            };
            let data = integers.into_iter().map(byte).collect::<Result<Vec<u8>>>()?;
            Ok(PictureTensor::Bytes(Array { shape, data }))
        }
        other => bail!(
            "the array's type is {}, but 32-bit floats or bytes are needed: save it with .astype(numpy.float32), or \
             bytes with .astype(numpy.uint8)",
            other.type_name()
        ),
    }
}

/// The bytes of a `.npy` file, format version 1.0.
///
/// # Panics
/// If `data` does not have as many elements as `shape` says.
fn npy_bytes<T: Element>(shape: &[usize], data: &[T]) -> Vec<u8> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "the shape does not fit the data");
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    // A tuple of one needs its comma; further ones are allowed, not needed.
    let tuple = if shape.len() == 1 { extents.trim_end() } else { extents.trim_end_matches(", ") };
    let dictionary =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({tuple}), }}", T::DESCRIPTOR);
    // The data starts at a multiple of 64 bytes; the header is filled up with spaces and ends a line.
    let prefix = MAGIC.len() + 2 + 2;
    let padded = (prefix + dictionary.len() + 1).next_multiple_of(64) - prefix;
    let header = format!("{dictionary:<width$}\n", width = padded - 1);
    let header_len = u16::try_from(header.len()).expect("the shape has a few dimensions");

    let mut bytes = Vec::with_capacity(prefix + header.len() + size_of_val(data));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&header_len.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    for &element in data {
        element.append_to(&mut bytes);
    }
    bytes
}

/// Writes an `.npz` archive, array by array, with constant dates: equal arrays give equal files.
///
/// Record layouts: APPNOTE.TXT, "ZIP File Format Specification", sections 4.3.7 (local file header),
/// 4.3.12 (central directory) and 4.3.16 (end of central directory).
pub struct NpzWriter<W> {
    sink: W,
    offset: u64,
    directory: Vec<u8>,
    members: u16,
}

/// What the local header and the central directory both say about a member, in the archive's order:
/// version needed, flags, method, time, date, CRC, both sizes, lengths of the name and extra field.
fn member_fields(crc: u32, len: u32, name_len: u16) -> Vec<u8> {
    const VERSION_NEEDED: u16 = 20;
    const NAME_IS_UTF8: u16 = 1 << 11;
    const STORED: u16 = 0;
    const MIDNIGHT: u16 = 0;
    const FIRST_OF_JANUARY_1980: u16 = 1 << 5 | 1;
    let words = [VERSION_NEEDED, NAME_IS_UTF8, STORED, MIDNIGHT, FIRST_OF_JANUARY_1980];
    let mut fields: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fields.extend([crc, len, len].iter().flat_map(|word| word.to_le_bytes()));
    fields.extend([name_len, 0].iter().flat_map(|word| word.to_le_bytes()));
    fields
}

impl<W: Write> NpzWriter<W> {
    /// Starts an archive.
    pub fn new(sink: W) -> Self {
        Self { sink, offset: 0, directory: Vec::new(), members: 0 }
    }

    /// Appends an array under a name, by which NumPy's `load` then knows it.
    ///
    /// # Errors
    /// If writing fails or the archive outgrows what the format can express (4 GiB, 65535 arrays).
    pub fn add<T: Element>(&mut self, name: &str, shape: &[usize], data: &[T]) -> io::Result<()> {
        let bytes = npy_bytes(shape, data);
        let name = format!("{name}.npy");
        let name_len = u16::try_from(name.len()).map_err(|_| too_large())?;
        let len = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        let offset = u32::try_from(self.offset).map_err(|_| too_large())?;
        self.members = self.members.checked_add(1).ok_or_else(too_large)?;
        let fields = member_fields(crc32fast::hash(&bytes), len, name_len);

        let mut header = b"PK\x03\x04".to_vec();
        header.extend_from_slice(&fields);
        header.extend_from_slice(name.as_bytes());
        self.sink.write_all(&header)?;
        self.sink.write_all(&bytes)?;
        self.offset += (header.len() + bytes.len()) as u64;

        self.directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        self.directory.extend_from_slice(&fields);
        // Length of the comment, disk, internal and external attributes.
        self.directory.extend_from_slice(&[0; 2 + 2 + 2 + 4]);
        self.directory.extend_from_slice(&offset.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        Ok(())
    }

    /// Writes the directory, which completes the archive, and gives back the sink.
    ///
    /// # Errors
    /// If writing fails or the archive outgrew 4 GiB.
    pub fn finish(mut self) -> io::Result<W> {
        let directory_len = u32::try_from(self.directory.len()).map_err(|_| too_large())?;
        let offset = u32::try_from(self.offset).map_err(|_| too_large())?;
        self.sink.write_all(&self.directory)?;
        // Two disk numbers, members on this disk and in all, directory length and offset, comment.
        self.sink.write_all(b"PK\x05\x06\x00\x00\x00\x00")?;
        self.sink.write_all(&self.members.to_le_bytes())?;
        self.sink.write_all(&self.members.to_le_bytes())?;
        self.sink.write_all(&directory_len.to_le_bytes())?;
        self.sink.write_all(&offset.to_le_bytes())?;
        self.sink.write_all(&[0, 0])?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn too_large() -> io::Error {
    io::Error::other("more data than an .npz archive can hold (4 GiB)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `numpy.save` writes for `numpy.float32([[1, -2.5]])`.
    fn saved_by_numpy() -> Vec<u8> {
        let mut file =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".to_vec();
        file.resize(127, b' ');
        file.push(b'\n');
        file.extend([1.0f32, -2.5].iter().flat_map(|value| value.to_le_bytes()));
        file
    }

    fn read_f32(file: &[u8]) -> Result<Array<f32>> {
        match read_picture(file)? {
            PictureTensor::Floats(array) => Ok(array),
            PictureTensor::Bytes(array) => bail!("bytes of shape {:?}", array.shape),
        }
    }

    #[test]
    fn writes_what_numpy_writes() {
        assert_eq!(npy_bytes(&[1, 2], &[1.0f32, -2.5]), saved_by_numpy());
    }

    #[test]
    fn reads_what_numpy_writes() {
        let array = read_f32(&saved_by_numpy()).unwrap();
        assert_eq!(array, Array { shape: vec![1, 2], data: vec![1.0, -2.5] });
    }

    #[test]
    fn reads_bytes_of_every_type_of_integer() {
        for (descriptor, size) in [("|u1", 1), ("|i1", 1), ("<u2", 2), ("<i4", 4), ("<i8", 8)] {
            let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': (1, 3), }}");
            let mut file = b"\x93NUMPY\x01\x00v\x00".to_vec();
            file.extend(format!("{header:<117}\n").bytes());
            for byte in [0, 7, 127] {
                file.push(byte);
                file.resize(file.len() + size - 1, 0);
            }
            let bytes = Array { shape: vec![1, 3], data: vec![0, 7, 127] };
            assert_eq!(read_picture(file.as_slice()).unwrap(), PictureTensor::Bytes(bytes), "{descriptor}");
        }
    }

    #[test]
    fn reads_every_rank_that_it_writes() {
        for shape in [vec![], vec![3], vec![0, 2], vec![2, 1, 2, 3, 1]] {
            let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|index| index as f32).collect();
            let bytes = npy_bytes(&shape, &data);
            assert!(bytes.len().is_multiple_of(4) && (bytes.len() - 4 * data.len()).is_multiple_of(64));
            assert_eq!(read_f32(&bytes).unwrap(), Array { shape, data });
        }
    }

    #[test]
    fn reads_headers_of_version_2() {
        let version_1 = saved_by_numpy();
        let mut version_2 = b"\x93NUMPY\x02\x00v\x00\x00\x00".to_vec();
        version_2.extend_from_slice(&version_1[10..]);
        assert_eq!(read_f32(&version_2).unwrap().data, [1.0, -2.5]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = saved_by_numpy();
        for len in 0..file.len() {
            assert!(read_f32(&file[..len]).is_err(), "{len} bytes were accepted");
        }
    }

    #[test]
    fn refuses_other_contents_with_a_reason() {
        let good = String::from_utf8_lossy(&saved_by_numpy()[10..128]).into_owned();
        let cases = [
            (good.replace("'<f4'", "'<f8'").replace("(1, 2)", "(1, 1)"), "32-bit floats or bytes"),
            (good.replace("'<f4'", "'<i4'"), "0 to 255"),
            (good.replace("False,", "True, "), "Fortran order"),
            (good.replace("(1, 2)", "(1, 3)"), "its shape asks for 12"),
            (good.replace("(1, 2)", "(1, x)"), "damaged"),
            (good.replace("(1, 2), }", "(9999999999, 9999999999), }"), "damaged"),
            (good.replace("(1, 2), }", "(99999, 99999), }"), "at most"),
        ];
        for (header, reason) in cases {
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend_from_slice(&(header.len() as u16).to_le_bytes());
            file.extend_from_slice(header.as_bytes());
            file.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
            let error = read_f32(&file).unwrap_err().to_string();
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
        assert!(read_f32(b"PK\x03\x04 an archive").unwrap_err().to_string().contains("no .npy file"));
    }

    #[test]
    fn the_archive_is_a_zip_file_by_the_letter() {
        let mut writer = NpzWriter::new(Vec::new());
        writer.add("a/b", &[2], &[-1i16, 300]).unwrap();
        writer.add("c", &[1], &[0.5f32]).unwrap();
        let archive = writer.finish().unwrap();

        let word = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap()) as usize;
        let end = archive.len() - 22;
        assert_eq!(&archive[end..end + 4], b"PK\x05\x06");
        assert_eq!(&archive[end + 8..end + 12], [2, 0, 2, 0]);
        let mut entry = word(end + 16);
        assert_eq!(entry + word(end + 12), end);
        for (name, contents) in
            [("a/b.npy", npy_bytes(&[2], &[-1i16, 300])), ("c.npy", npy_bytes(&[1], &[0.5f32]))]
        {
            assert_eq!(&archive[entry..entry + 4], b"PK\x01\x02");
            let local = word(entry + 42);
            assert_eq!(&archive[local..local + 4], b"PK\x03\x04");
            assert_eq!(archive[local + 4..local + 30], archive[entry + 6..entry + 32]);
            assert_eq!(word(local + 14), crc32fast::hash(&contents) as usize);
            assert_eq!([word(local + 18), word(local + 22)], [contents.len(); 2]);
            let data = local + 30 + name.len();
            assert_eq!(&archive[local + 30..data], name.as_bytes());
            assert_eq!(archive[data..data + contents.len()], contents);
            entry += 46 + name.len();
        }
        assert_eq!(entry, end);
    }
}
