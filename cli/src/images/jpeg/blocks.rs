//! Whether a JPEG's data go on to its last block: they are walked through without being decoded (ITU-T T.81, F.2.2).

use super::header::{Header, Scanned, segments};
use super::{HUFFMAN_TABLES, RESTART_INTERVAL, tables};

/// Whether every block is there of a picture that is stored in one scan from top to bottom. Of others that cannot be
/// told in one walk: `false`.
pub fn all_there(jpeg: &[u8], header: &Header) -> bool {
    header.is_one_scan() && walk(jpeg, header).is_some()
}

fn walk(jpeg: &[u8], header: &Header) -> Option<()> {
    let tables = Tables::read(jpeg, header);
    let interval = restart_interval(jpeg);
    let units = units(header);
    let mut bits = Bits { data: &jpeg[header.data..], at: 0, held: 0, count: 0 };
    for unit in 0..units {
        if interval > 0 && unit > 0 && unit % interval == 0 {
            bits.restart()?;
        }
        for scanned in &header.scanned {
            let component = header.components[scanned.component];
            // Alone in the scan, a component has its blocks one by one (A.2.2).
            let alone = header.scanned.len() == 1;
            let blocks = if alone { 1 } else { component.across * component.down };
            (0..blocks).try_for_each(|_| skip_block(&mut bits, &tables, scanned))?;
        }
    }
    Some(())
}

/// Minimal coded units of the scan.
fn units(header: &Header) -> u64 {
    let [across, down] = if header.scanned.len() == 1 { [1, 1] } else { header.finest() };
    let along = |extent: u16, factor: u8| u64::from(extent).div_ceil(8 * u64::from(factor));
    along(header.width, across) * along(header.height, down)
}

fn restart_interval(jpeg: &[u8]) -> u64 {
    let intervals = segments(jpeg).filter(|segment| segment.marker == RESTART_INTERVAL);
    let interval = intervals.last().and_then(|segment| segment.body.first_chunk().copied());
    u64::from(u16::from_be_bytes(interval.unwrap_or_default()))
}

fn skip_block(bits: &mut Bits<'_>, tables: &Tables, scanned: &Scanned) -> Option<()> {
    let size = tables.means[usize::from(scanned.dc)].as_ref()?.value(bits)?;
    bits.skip(size)?;
    let others = tables.others[usize::from(scanned.ac)].as_ref()?;
    let mut coefficient = 1;
    while coefficient < 64 {
        let value = others.value(bits)?;
        let (zeros, size) = (value >> 4, value & 15);
        match (zeros, size) {
            (0..15, 0) => return Some(()),
            _ => coefficient += zeros + 1,
        }
        bits.skip(size)?;
    }
    (coefficient == 64).then_some(())
}

/// The Huffman tables in force when the first scan begins, by their numbers.
#[derive(Default)]
struct Tables {
    means: [Option<Table>; 16],
    others: [Option<Table>; 16],
}

impl Tables {
    fn read(jpeg: &[u8], header: &Header) -> Self {
        let mut tables = Self::default();
        if !header.has_tables {
            tables.add(&tables::segment()[4..]);
        }
        for segment in segments(jpeg).filter(|segment| segment.marker == HUFFMAN_TABLES) {
            tables.add(segment.body);
        }
        tables
    }

    /// Takes over the tables of a segment, as far as it is well-formed.
    fn add(&mut self, mut body: &[u8]) {
        while let Some((&place, rest)) = body.split_first()
            && let Some((&lengths, rest)) = rest.split_first_chunk::<16>()
            && let Some((values, rest)) = rest.split_at_checked(lengths.iter().map(|&n| usize::from(n)).sum())
        {
            let tables = if place >> 4 == 0 { &mut self.means } else { &mut self.others };
            tables[usize::from(place & 15)] = Some(Table { lengths, values: values.to_vec() });
            body = rest;
        }
    }
}

/// A Huffman table: how many codes there are of 1 to 16 bits, and what they stand for.
struct Table {
    lengths: [u8; 16],
    values: Vec<u8>,
}

impl Table {
    /// Reads a code. Codes of a length are consecutive numbers, twice what comes after those of the length before.
    fn value(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for length in self.lengths {
            code |= usize::from(bits.next()?);
            let count = usize::from(length);
            if code < first + count {
                return self.values.get(index + code.checked_sub(first)?).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// The bits of the data. They end before a marker.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u8,
    count: u8,
}

impl Bits<'_> {
    fn next(&mut self) -> Option<bool> {
        if self.count == 0 {
            self.held = match self.data[self.at..] {
                // An ff of the data is followed by a 0 (F.1.2.3).
                [0xff, 0x00, ..] => {
                    self.at += 1;
                    0xff
                }
                [0xff, ..] | [] => return None,
                [byte, ..] => byte,
            };
            self.at += 1;
            self.count = 8;
        }
        self.count -= 1;
        Some(self.held >> self.count & 1 == 1)
    }

    fn skip(&mut self, bits: u8) -> Option<()> {
        (0..bits).try_for_each(|_| self.next().map(drop))
    }

    /// Goes behind the restart marker, which comes after the byte that was begun.
    fn restart(&mut self) -> Option<()> {
        let rest = &self.data[self.at..];
        let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
        let is_restart = fill > 0 && matches!(rest.get(fill), Some(0xd0..=0xd7));
        self.at += fill + 1;
        self.count = 0;
        is_restart.then_some(())
    }
}
