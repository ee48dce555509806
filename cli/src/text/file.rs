//! Reading text files, as editors of all systems write them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Most bytes of a file that a person writes: class names, the description of a data set.
pub const SHORT: u64 = 4 << 20;

/// Most bytes of a file that a program writes: labels, lists of pictures.
pub const LONG: u64 = 256 << 20;

/// How a `.ylb` file begins.
const MODEL_START: &[u8] = b"\x8eYLB";

/// A model was given where text was wanted, as happens when arguments are swapped.
#[derive(Debug)]
pub struct IsModel;

impl fmt::Display for IsModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is a .ylb file, not text")
    }
}

impl std::error::Error for IsModel {}

/// Reads a file of at most so many bytes as UTF-8, without the byte order mark that editors of Windows put first.
///
/// # Errors
/// If it cannot be read, is longer, or is not such text.
pub fn read(path: &Path, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    // One byte more shows that there is more; a pipe or a device may not have an end.
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= most, "the file has more than {most} bytes: is it the right one?");
    decode(bytes)
}

fn decode(mut bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!("the text is UTF-16: save it as UTF-8");
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    ensure!(!bytes.starts_with(MODEL_START), IsModel);
    ensure!(!bytes.contains(&0), "this is not a text file");
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        let byte = error.as_bytes()[valid];
        anyhow::anyhow!("line {line} is not UTF-8 (byte {byte:02x}): save the text as UTF-8")
    })
}

/// Reads a file as [`read`] does, with its path in the error.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path, most: u64) -> Result<String> {
    read(path, most).with_context(|| format!("cannot open {}", path.display()))
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
    }
}
