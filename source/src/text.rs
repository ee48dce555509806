//! Reading text files, as editors of all systems write them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a file that a person writes: class names, the description of a data set.
pub const SHORT: u64 = 4 << 20;

/// Most bytes of a file that a program writes: labels, lists of pictures.
pub const LONG: u64 = 256 << 20;

/// How a `.ylb` file begins.
const MODEL_START: &[u8] = b"\x8eYLB";

/// Why a file is not read as text.
#[derive(Debug)]
#[non_exhaustive]
pub enum TextError {
    /// It cannot be read.
    Io(io::Error),
    /// It has more than so many bytes.
    TooLong(u64),
    /// A model was given where text was wanted, as happens when arguments are swapped.
    IsModel,
    /// It is UTF-16.
    Utf16,
    /// It holds bytes that no text has.
    NotText,
    /// It is not UTF-8.
    NotUtf8 {
        /// The first line that is not, from 1 on.
        line: usize,
        /// The first byte that is not.
        byte: u8,
    },
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooLong(most) => write!(f, "the file has more than {most} bytes: is it the right one?"),
            Self::IsModel => f.write_str("this is a .ylb file, not text"),
            Self::Utf16 => f.write_str("the text is UTF-16: save it as UTF-8"),
            Self::NotText => f.write_str("this is not a text file"),
            Self::NotUtf8 { line, byte } => {
                write!(f, "line {line} is not UTF-8 (byte {byte:02x}): save the text as UTF-8")
            }
        }
    }
}

impl std::error::Error for TextError {}

impl From<io::Error> for TextError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl TextError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file of at most so many bytes as UTF-8, without the byte order mark that editors of Windows put first.
///
/// # Errors
/// If it cannot be read, is longer, or is not such text.
pub fn read(path: &Path, most: u64) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    // One byte more shows that there is more; a pipe or a device may not have an end.
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(TextError::TooLong(most));
    }
    decode(bytes)
}

fn decode(mut bytes: Vec<u8>) -> Result<String, TextError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(TextError::Utf16);
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    if bytes.starts_with(MODEL_START) {
        return Err(TextError::IsModel);
    }
    if bytes.contains(&0) {
        return Err(TextError::NotText);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        TextError::NotUtf8 { line, byte: error.as_bytes()[valid] }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_editors_are_taken_off() {
        assert_eq!(decode(b"\xef\xbb\xbfcat\r\n".to_vec()).unwrap(), "cat\r\n");
        assert_eq!(decode("größe".into()).unwrap(), "größe");
        assert_eq!(decode(Vec::new()).unwrap(), "");
    }

    #[test]
    fn what_is_not_text_has_a_reason() {
        for (bytes, reason) in [
            (b"a\nb\ngr\xf6sse\n" as &[u8], "line 3 is not UTF-8 (byte f6): save"),
            (b"\xff\xfec\0a\0t\0", "UTF-16: save it as UTF-8"),
            (b"\xfe\xff\0c", "UTF-16"),
            (b"\x8eYLB\r\n\x1a\n\x01\0", "a .ylb file"),
            (b"\x7fELF\0\0", "not a text file"),
        ] {
            let error = decode(bytes.to_vec()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let path = std::env::temp_dir().join(format!("yolo-lowbit-text-{}", std::process::id()));
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "12345");
        let error = read(&path, 4).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("more than 4 bytes"), "{error}");
        assert!(read(&path, 4).unwrap_err().is_missing());
    }
}
