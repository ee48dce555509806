//! What stands before a JPEG's first pixels, and which kinds the decoder does not read rightly.

use anyhow::{Context, Result, bail, ensure};

use super::{END_OF_IMAGE, HUFFMAN_TABLES, START_OF_SCAN};

const BASELINE: u8 = 0xc0;
const EXTENDED: u8 = 0xc1;
const PROGRESSIVE: u8 = 0xc2;

/// What stands before the first pixels.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The marker of the frame: how pixels are coded.
    frame: u8,
    /// Bits of a sample.
    precision: u8,
    pub width: u16,
    pub height: u16,
    pub components: Vec<Component>,
    /// Whether there are Huffman tables.
    pub has_tables: bool,
    /// Where the segment of the first scan begins.
    pub scan: usize,
    /// Where the first scan's data begin.
    pub data: usize,
    /// What is in the first scan.
    pub scanned: Vec<Scanned>,
}

/// A colour, or the brightness, of the frame.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    id: u8,
    /// Samples beside each other, in the smallest unit of all components.
    pub across: u8,
    /// Samples above each other.
    pub down: u8,
}

/// A component in a scan.
#[derive(Clone, Copy, Debug)]
pub struct Scanned {
    /// Which of the frame's components.
    pub component: usize,
    /// Which Huffman table its means have.
    pub dc: u8,
    /// Which Huffman table its other coefficients have.
    pub ac: u8,
}

/// A marker with its segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub marker: u8,
    /// Where the marker is.
    at: usize,
    /// What comes after marker and length.
    pub body: &'a [u8],
}

/// The segments up to that of the first scan. What lies between them is skipped, as the decoder does.
pub fn segments(jpeg: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut next = Some(2);
    std::iter::from_fn(move || {
        let start = next.take()?;
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff);
        let at = start + jpeg.get(start..)?.windows(2).position(is_marker)?;
        let (marker, &[high, low]) = (jpeg[at + 1], jpeg.get(at + 2..at + 4)?) else { return None };
        let body = jpeg.get(at + 4..at + 2 + usize::from(u16::from_be_bytes([high, low])))?;
        match marker {
            END_OF_IMAGE => return None,
            START_OF_SCAN => {}
            _ => next = Some(at + 4 + body.len()),
        }
        Some(Segment { marker, at, body })
    })
}

/// The components of a scan, by its segment. `None` if that is wrong.
pub fn scanned(body: &[u8], frame: &[Component]) -> Option<Vec<Scanned>> {
    let (&count, rest) = body.split_first()?;
    let component = |&[id, tables]: &[u8; 2]| {
        let component = frame.iter().position(|component| component.id == id)?;
        Some(Scanned { component, dc: tables >> 4, ac: tables & 15 })
    };
    rest.as_chunks::<2>().0.get(..usize::from(count))?.iter().map(component).collect()
}

impl Header {
    /// Reads the headers.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn read(jpeg: &[u8]) -> Result<Self> {
        let mut header = Self::default();
        for Segment { marker, at, body } in segments(jpeg) {
            match marker {
                HUFFMAN_TABLES => header.has_tables = true,
                // All kinds of frames: c8 is reserved, cc conditions arithmetic coding.
                0xc0..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    ensure!(header.frame == 0, "the picture is damaged: it has two frame headers");
                    header.frame = marker;
                    header.read_frame(body).context("the picture is damaged: its frame header is cut off")?;
                }
                START_OF_SCAN => {
                    (header.scan, header.data) = (at, at + 4 + body.len());
                    let scanned = scanned(body, &header.components);
                    header.scanned = scanned
                        .filter(|scanned| !scanned.is_empty())
                        .context("the picture is damaged: its scan header is wrong")?;
                }
                _ => {}
            }
        }
        ensure!(header.data > 0, "the picture is damaged: it ends before its pixels begin");
        Ok(header)
    }

    fn read_frame(&mut self, body: &[u8]) -> Option<()> {
        let (&[precision, h1, h0, w1, w0, count], components) = body.split_first_chunk()?;
        self.precision = precision;
        (self.height, self.width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
        let component =
            |&[id, factors, _]: &[u8; 3]| Component { id, across: factors >> 4, down: factors & 15 };
        let components = components.as_chunks::<3>().0.get(..usize::from(count))?;
        self.components = components.iter().map(component).collect();
        Some(())
    }

    /// The finest sampling across and down.
    pub fn finest(&self) -> [u8; 2] {
        let finest = |factor: fn(&Component) -> u8| self.components.iter().map(factor).max().unwrap_or(1);
        [finest(|component| component.across), finest(|component| component.down)]
    }

    /// Whether it is coded by Huffman's method and from top to bottom.
    pub fn is_baseline(&self) -> bool {
        matches!(self.frame, BASELINE | EXTENDED)
    }

    /// Whether in addition all components are in the first scan.
    pub fn is_one_scan(&self) -> bool {
        self.is_baseline() && self.scanned.len() == self.components.len()
    }

    /// Bytes of the coefficients, which the decoder holds for progressive pictures: two for each sample.
    pub fn working_memory(&self) -> u64 {
        if self.frame != PROGRESSIVE {
            return 0;
        }
        let [across, down] = self.finest().map(u64::from);
        let units = u64::from(self.width).div_ceil(8 * across) * u64::from(self.height).div_ceil(8 * down);
        let blocks: u64 = self.components.iter().map(|c| u64::from(c.across) * u64::from(c.down)).sum();
        units * blocks * 64 * 2
    }

    /// Refuses what the decoder does not read, or reads wrongly.
    ///
    /// # Errors
    /// With the kind, and what can be done.
    pub fn check_kind(&self) -> Result<()> {
        ensure!(self.frame != 0, "the picture is damaged: it has no frame header");
        match self.frame {
            BASELINE | EXTENDED | PROGRESSIVE => {}
            0xc9 | 0xca => bail!(
                "JPEG with arithmetic coding is not read: \
                 recode it without loss, with \"jpegtran -copy all a.jpg > b.jpg\""
            ),
            _ => bail!("lossless and hierarchical JPEG is not read: save it as PNG"),
        }
        ensure!(self.precision == 8, "JPEG of {} bits a sample is not read: save it with 8", self.precision);
        ensure!(self.width > 0 && self.height > 0, "the picture is damaged: it has no width or height");
        let count = self.components.len();
        ensure!([1, 3, 4].contains(&count), "JPEG of {count} components is not read: only of 1, 3 or 4");
        let sane = |factor| (1..=4).contains(&factor);
        let first = self.components[0];
        let mut rest = self.components.iter();
        ensure!(
            rest.all(|component| sane(component.across) && sane(component.down)),
            "the picture is damaged: its sampling factors are not 1 to 4"
        );
        ensure!(
            self.components.iter().all(|component| component.across != 3 && component.down != 3),
            "JPEG with a sampling factor of 3 is not read: save it as PNG"
        );
        // Some of these are decoded rightly; which, nobody should have to find out.
        ensure!(
            !self.is_baseline() || self.is_one_scan(),
            "JPEG with its colours in separate scans is not read: \
             recode it without loss, with \"jpegtran -copy all a.jpg > b.jpg\""
        );
        if [first.across, first.down] != self.finest() {
            bail!("JPEG with less resolution for brightness than for colour is not read: save it as PNG");
        }
        Ok(())
    }
}
