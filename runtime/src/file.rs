//! A model file's bytes.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use memmap2::MmapMut;

use crate::error::{LoadErrorKind, OutOfMemory};
use crate::program::MAX_MEMORY;

/// Bytes that are enough to tell a `.ylb` file.
const START: usize = 32;

/// Reads a file into memory that goes back to the system as a whole when the model is made of it.
///
/// The file itself is not mapped: whoever shortened it meanwhile, as `cp` over it and `rsync --inplace` do, would end
/// this process by SIGBUS. Memory without a file behind it can be mapped safely, and where there is none left, that
/// is an error, not the end either.
pub fn read(path: &Path) -> Result<MmapMut, LoadErrorKind> {
    // Before it is opened: a pipe would wait for somebody to write. What cannot be looked at is left to opening, which
    // says why, or works: PRoot, for one, passes on no `statx` of a path.
    if let Ok(found) = std::fs::metadata(path)
        && !found.is_file()
    {
        let (kind, what) = if found.is_dir() {
            (ErrorKind::IsADirectory, "a folder")
        } else {
            (ErrorKind::InvalidInput, "a pipe or a device")
        };
        let reason = format!("this is {what}; expected a .ylb file");
        return Err(LoadErrorKind::Io(io::Error::new(kind, reason)));
    }
    let mut file = File::open(path).map_err(LoadErrorKind::Io)?;
    let len = file.metadata().map_err(LoadErrorKind::Io)?.len();
    let (start, started) = read_start(&mut file).map_err(LoadErrorKind::Io)?;
    let len = match ylb_format::read(&start[..started]) {
        // A beginning is not the whole. Files of the system, as in /proc, have a length of 0 whatever they hold.
        Err(ylb_format::ReadError::Truncated { .. }) => len.max(started as u64),
        Err(error) => return Err(error.into()),
        Ok(_) => started as u64,
    };
    let mut bytes = map(len)?;
    bytes[..started].copy_from_slice(&start[..started]);
    match file.read_exact(&mut bytes[started..]) {
        // It was shortened just now: the checksums of what follows are not those of zeros.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(LoadErrorKind::Io(error)),
        _ => Ok(bytes),
    }
}

/// As much of the beginning as there is.
fn read_start(file: &mut File) -> io::Result<([u8; START], usize)> {
    let mut start = [0; START];
    let mut len = 0;
    while len < START {
        match file.read(&mut start[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((start, len))
}

fn map(len: u64) -> Result<MmapMut, LoadErrorKind> {
    if len > MAX_MEMORY {
        return Err(LoadErrorKind::TooLarge { bytes: len, limit: MAX_MEMORY });
    }
    let map = usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory.into()).and_then(MmapMut::map_anon);
    map.map_err(|_| OutOfMemory { bytes: len }.into())
}
