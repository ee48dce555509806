//! JPEG files before they are decoded: what their headers say, what must be refused, what can be mended.
//!
//! The decoder (zune-jpeg 0.5) is right about what cameras and programs usually write. But some valid files of rare
//! kinds it decodes to stripes without a word, and some it ends in a panic: those are refused here, by what their
//! headers say. Markers and segments are those of ITU-T T.81, annex B.

mod blocks;
mod header;
mod tables;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use anyhow::{Result, ensure};

use header::{Header, scanned};

const HUFFMAN_TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;
const RESTART_INTERVAL: u8 = 0xdd;
const END_OF_IMAGE: u8 = 0xd9;

/// A file that the decoder reads, and reads rightly.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// The file, with what was missing put in.
    pub bytes: Cow<'a, [u8]>,
    /// What the user should know about it.
    pub warning: Option<&'static str>,
    /// Bytes that decoding takes, in addition to the file and the decoded picture.
    pub working_memory: u64,
}

/// Checks a file, and mends what can be mended without guessing: Huffman tables that frames of MJPEG cameras leave
/// out, and an end that was cut off after the last pixel.
///
/// # Errors
/// If the file is damaged, or of a kind that the decoder does not read, or not rightly.
pub fn prepare(jpeg: &[u8]) -> Result<Prepared<'_>> {
    let header = Header::read(jpeg)?;
    header.check_kind()?;
    let (mut bytes, mut warning) = (Cow::Borrowed(jpeg), None);
    let scans = Scans::read(jpeg, &header);
    if scans.have_end {
        ensure!(scans.are_complete(&header), "the picture is damaged: some of its colours are missing");
    } else {
        // The decoder does not ask: it fills what is missing with grey, and a picture of which a camera saved a
        // tenth would be searched as if it were whole.
        ensure!(blocks::all_there(jpeg, &header), "the picture is damaged: its end is missing");
        let without_half_a_mark = jpeg.strip_suffix(&[0xff]).unwrap_or(jpeg);
        bytes = Cow::Owned([without_half_a_mark, &[0xff, END_OF_IMAGE]].concat());
        warning = Some("its end mark is missing, but every pixel is there");
    }
    if !header.has_tables && header.is_baseline() {
        bytes.to_mut().splice(header.scan..header.scan, tables::segment());
    }
    Ok(Prepared { bytes, warning, working_memory: header.working_memory() })
}

/// What the scans, from the first one on, hold.
#[derive(Debug)]
struct Scans {
    /// A bit for each component of the frame that some scan has.
    components: u8,
    /// Whether the end marker comes.
    have_end: bool,
}

impl Scans {
    /// Markers are `ff` with a byte other than 0 (B.1.1). Skipping the segments by their lengths keeps the
    /// markers of an embedded thumbnail from being taken for the picture's.
    fn read(jpeg: &[u8], header: &Header) -> Self {
        let bits = |components: &[header::Scanned]| {
            components.iter().fold(0, |bits, scanned| bits | 1 << scanned.component)
        };
        let mut scans = Self { components: bits(&header.scanned), have_end: false };
        let mut at = header.data;
        while let Some(&[first, marker]) = jpeg.get(at..at + 2) {
            match (first, marker) {
                (0xff, END_OF_IMAGE) => {
                    scans.have_end = true;
                    break;
                }
                // Data, an escaped ff, filling, or a marker without a segment.
                (0..0xff, _) | (0xff, 0xff) => at += 1,
                (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
                (0xff, _) => {
                    let Some(&[high, low]) = jpeg.get(at + 2..at + 4) else { break };
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    let body = jpeg.get(at + 4..at + 2 + length);
                    if let (START_OF_SCAN, Some(body)) = (marker, body) {
                        scans.components |= bits(&scanned(body, &header.components).unwrap_or_default());
                    }
                    at += 2 + length;
                }
            }
        }
        scans
    }

    fn are_complete(&self, header: &Header) -> bool {
        (0..header.components.len()).all(|component| self.components & 1 << component != 0)
    }
}
