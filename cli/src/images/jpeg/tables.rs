//! The Huffman tables of frames that bring none, as those of many MJPEG cameras: ITU-T T.81, annex K.3.3.

use super::HUFFMAN_TABLES;

/// A table of annex K.
struct Table {
    /// Whether it is for other coefficients than the means; its number.
    place: u8,
    /// How many codes there are of 1 to 16 bits.
    lengths: [u8; 16],
    /// What the shorter codes stand for. Those after them stand for all other values, in ascending order.
    first: &'static [u8],
}

const TABLES: [Table; 4] = [
    // K.3 and K.4: means of brightness and of colour.
    Table { place: 0x00, lengths: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], first: &[] },
    Table { place: 0x01, lengths: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], first: &[] },
    // K.5 and K.6: their other coefficients, as zeros before a number and bits of that.
    Table {
        place: 0x10,
        lengths: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
        first: &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
            0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
            0x24, 0x33, 0x62, 0x72, 0x82,
        ],
    },
    Table {
        place: 0x11,
        lengths: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
        first: &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
            0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
            0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1,
        ],
    },
];

impl Table {
    /// All values that there are: of means their bits; else the end of a block, 16 zeros, and zeros with bits.
    fn exists(&self, value: u8) -> bool {
        match self.place {
            0x00 | 0x01 => value <= 11,
            _ => matches!(value, 0x00 | 0xf0) || (1..=10).contains(&(value & 15)),
        }
    }

    /// As a segment has it (B.2.4.2).
    fn bytes(&self) -> impl Iterator<Item = u8> {
        let others = (0..=255).filter(|value| self.exists(*value) && !self.first.contains(value));
        [self.place].into_iter().chain(self.lengths).chain(self.first.iter().copied()).chain(others)
    }
}

/// All four, as one segment with its marker.
pub fn segment() -> Vec<u8> {
    let tables: Vec<u8> = TABLES.iter().flat_map(Table::bytes).collect();
    let [high, low] = ((2 + tables.len()) as u16).to_be_bytes();
    [&[0xff, HUFFMAN_TABLES, high, low], tables.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::jpeg::header::segments;
    use image::codecs::jpeg::JpegEncoder;

    #[test]
    fn the_tables_are_those_of_an_encoder_that_uses_the_standard() {
        let mut jpeg = Vec::new();
        JpegEncoder::new(&mut jpeg).encode(&[0; 192], 8, 8, image::ExtendedColorType::Rgb8).unwrap();
        let tables = segments(&jpeg).filter(|segment| segment.marker == HUFFMAN_TABLES);
        let mut theirs: Vec<Vec<u8>> = tables.map(|segment| segment.body.to_vec()).collect();
        theirs.sort();
        assert_eq!(segment()[4..], theirs.concat());
    }
}
