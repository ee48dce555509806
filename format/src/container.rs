//! The container's constants, shared by reader and writer: see `docs/ylb-format.md`.

use std::fmt;

/// First bytes of every file, as PNG's: a byte beyond ASCII shows transfers that strip the eighth
/// bit, the two line endings show transfers that translate one of them, and 1A ends a listing on DOS.
pub(crate) const MAGIC: [u8; 8] = *b"\x8eYLB\r\n\x1a\n";

/// The format version that this crate writes, and the newest it reads completely.
pub const VERSION: Version = Version { major: 2, minor: 0 };

/// Bytes of the header, which the section table follows.
pub(crate) const HEADER_LEN: usize = 32;
/// Where in the header its checksum lies.
pub(crate) const CHECKSUM_OFFSET: usize = 24;
/// Bytes of an entry of the section table.
pub(crate) const ENTRY_LEN: usize = 32;
/// Sections begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 64;
/// A section kind with this bit may be skipped by a reader that does not know it.
pub(crate) const OPTIONAL_BIT: u32 = 1 << 31;

/// Numbers that stand for the variants of the model's enums.
pub(crate) mod codes {
    pub(crate) const VALUE_LEVELS: u8 = 0;
    pub(crate) const VALUE_ACCUMULATORS: u8 = 1;

    pub(crate) const CONV: u8 = 1;
    pub(crate) const ADD: u8 = 2;
    pub(crate) const MAP: u8 = 3;
    pub(crate) const MAX_POOL: u8 = 4;
    pub(crate) const UPSAMPLE: u8 = 5;
    pub(crate) const CONCAT: u8 = 6;
    pub(crate) const MUL: u8 = 7;
    pub(crate) const SLICE: u8 = 8;
    pub(crate) const CHANNEL_MAX: u8 = 9;
    pub(crate) const PAD: u8 = 10;
    pub(crate) const ADD_TABLES: u8 = 11;
    pub(crate) const MAT_MUL: u8 = 12;
    pub(crate) const SOFTMAX: u8 = 13;
    pub(crate) const INTERLEAVE: u8 = 14;
    pub(crate) const PAIR_MAP: u8 = 15;
    pub(crate) const CURVES: u8 = 16;

    pub(crate) const COMBINE_SUM: u8 = 0;
    pub(crate) const COMBINE_PRODUCT: u8 = 1;
    pub(crate) const FUNCTION_TABLE: u8 = 0;
    pub(crate) const FUNCTION_CURVE: u8 = 1;

    pub(crate) const ALONG_CHANNELS: u8 = 1;
    pub(crate) const ALONG_POSITIONS: u8 = 2;
    pub(crate) const ALONG_CHANNELS_BY_AREA: u8 = 3;
    pub(crate) const ALONG_POSITIONS_BY_AREA: u8 = 4;

    pub(crate) const REQUANTIZE_NONE: u8 = 0;
    pub(crate) const REQUANTIZE_SCALE: u8 = 1;
    pub(crate) const REQUANTIZE_STAIRCASE: u8 = 2;
    pub(crate) const REQUANTIZE_SCALED_STAIRCASE: u8 = 3;

    pub(crate) const WEIGHTS_UNSIGNED: u8 = 1;
    pub(crate) const WEIGHTS_TWOS_COMPLEMENT: u8 = 2;
    pub(crate) const WEIGHTS_BIPOLAR: u8 = 3;

    pub(crate) const RANGE_UNIT: u8 = 0;
    pub(crate) const RANGE_BYTES: u8 = 1;
    pub(crate) const ORDER_RGB: u8 = 0;
    pub(crate) const ORDER_BGR: u8 = 1;
    pub(crate) const LAYOUT_NCHW: u8 = 0;
    pub(crate) const LAYOUT_NHWC: u8 = 1;
    pub(crate) const PLACEMENT_CENTRE: u8 = 0;
    pub(crate) const PLACEMENT_CORNER: u8 = 1;
    pub(crate) const PLACEMENT_STRETCH: u8 = 2;

    pub(crate) const BOXES_ANCHORS_SIGMOID: u8 = 1;
    pub(crate) const BOXES_ANCHORS_EXP: u8 = 2;
    pub(crate) const BOXES_GRID_EXP: u8 = 3;
    pub(crate) const BOXES_DISTRIBUTIONS: u8 = 4;
    pub(crate) const BOXES_DISTANCES: u8 = 5;

    pub(crate) const SCORES_OBJECTNESS_TIMES_CLASS: u8 = 1;
    pub(crate) const SCORES_CLASS: u8 = 2;
    pub(crate) const SCORES_OBJECTNESS_TIMES_SOFTMAX: u8 = 3;
    pub(crate) const SCORES_CONSTANT_OBJECTNESS: u8 = 4;

    pub(crate) const OUTPUT_HEAD: u8 = 1;
    pub(crate) const OUTPUT_HEAD_BY_ANCHOR: u8 = 2;
    pub(crate) const OUTPUT_DECODED: u8 = 3;
    pub(crate) const OUTPUT_ARRANGED: u8 = 4;
    pub(crate) const OF_MAPS: u8 = 0;
    pub(crate) const OF_PART: u8 = 1;
    pub(crate) const OF_MAP: u8 = 2;
}

/// Version of the file format.
///
/// A new major version changes what bytes mean; a new minor version only adds: see
/// `docs/ylb-format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incremented where an older reader would misread a file.
    pub major: u16,
    /// Incremented where something is added.
    pub minor: u16,
}

/// What a section holds: the number in the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionKind(pub u32);

/// An entry of the section table, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// First byte, counted from the file's beginning.
    pub offset: u64,
    /// Bytes without padding.
    pub len: u64,
    /// CRC-32 (ISO-HDLC, as zlib's and PNG's) of its bytes.
    pub crc32: u32,
}

impl SectionKind {
    /// Origin and naming.
    pub const METADATA: Self = Self(1);
    /// Input, values, nodes, detection head, outputs.
    pub const GRAPH: Self = Self(2);
    /// Every array of integers that is not weights.
    pub const QUANT: Self = Self(3);
    /// Bit planes of all weights.
    pub const WEIGHTS: Self = Self(4);

    /// The sections of this version, in a file's order.
    pub(crate) const ALL: [Self; 4] = [Self::METADATA, Self::GRAPH, Self::QUANT, Self::WEIGHTS];
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::METADATA => f.write_str("METADATA"),
            Self::GRAPH => f.write_str("GRAPH"),
            Self::QUANT => f.write_str("QUANT"),
            Self::WEIGHTS => f.write_str("WEIGHTS"),
            Self(kind) => write!(f, "0x{kind:08x}"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
