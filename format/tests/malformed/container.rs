//! Header, section table, padding, checksums, versions.

use ylb_format::{ReadError, SectionKind, VERSION, Version, read, write};

use super::assert_error;
use super::encoder::{self, assemble, fix_header_checksum, fix_section_checksums};
use super::models;

const GRAPH: SectionKind = SectionKind::GRAPH;

fn file() -> Vec<u8> {
    write(&models::detector()).unwrap()
}

/// A file changed by `change`, with all checksums made right.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = file();
    change(&mut bytes);
    fix_header_checksum(&mut bytes);
    bytes
}

fn set_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where the entry of the n-th section begins.
fn entry(section: usize) -> usize {
    32 + 32 * section
}

#[test]
fn empty() {
    assert_error(&[], ReadError::Empty);
}

#[test]
fn other_files() {
    for bytes in [&b"\x89PNG\r\n\x1a\n..."[..], b"x", b"\x08\x07\x12\x07pytorch", &[0; 500]] {
        assert_error(bytes, ReadError::NotYlb);
    }
}

#[test]
fn transferred_as_text() {
    let seven_bits = changed(|bytes| bytes[0] &= 0x7f);
    let unix: Vec<u8> = file().into_iter().filter(|byte| *byte != b'\r').collect();
    let dos = file().into_iter().flat_map(|byte| match byte {
        b'\n' => vec![b'\r', b'\n'],
        byte => vec![byte],
    });
    for bytes in [seven_bits, unix, dos.collect()] {
        assert_error(&bytes, ReadError::TextTransfer);
    }
}

#[test]
fn truncated() {
    let bytes = file();
    let actual = bytes.len() as u64 - 1;
    assert_error(&bytes[..bytes.len() - 1], ReadError::Truncated { expected: bytes.len() as u64, actual });
    let message = read(&bytes[..1000]).unwrap_err().to_string();
    assert_eq!(message, "the file is truncated: 1000 of 2794 bytes; copy it again");
}

#[test]
fn trailing_bytes() {
    let mut bytes = file();
    let expected = bytes.len() as u64;
    bytes.push(0);
    assert_error(&bytes, ReadError::TrailingBytes { expected, actual: expected + 1 });
}

/// Whatever a newer major version's header looks like.
#[test]
fn newer_major_version() {
    let mut bytes = file()[..12].to_vec();
    bytes[8] = 3;
    let version = Version { major: 3, minor: 0 };
    assert_error(&bytes, ReadError::NewerVersion { file: version, supported: VERSION });
    let message = read(&bytes).unwrap_err().to_string();
    assert!(message.contains("version 3.0") && message.contains("update yolo-lowbit"), "{message}");
}

/// Whatever follows: nothing of version 1 is read.
#[test]
fn older_major_version() {
    let file = Version { major: 1, minor: 0 };
    let bytes = changed(|bytes| bytes[8..12].copy_from_slice(&[1, 0, 0, 0]));
    assert_error(&bytes, ReadError::OlderVersion { file });
    assert_error(&bytes[..12], ReadError::OlderVersion { file });
    let message = read(&bytes).unwrap_err().to_string();
    assert!(message.contains("version 1.0") && message.contains("convert the model again"), "{message}");
}

#[test]
fn version_zero() {
    let version = Version { major: 0, minor: 7 };
    let bytes = changed(|bytes| bytes[8..12].copy_from_slice(&[0, 0, 7, 0]));
    assert_error(&bytes, ReadError::UnknownVersion { file: version });
}

#[test]
fn newer_minor_version() {
    let model = models::detector();
    let mut sections = encoder::sections(&model).list();
    // Nothing in it is new.
    assert_eq!(read(&assemble((2, 9), &sections)).as_ref(), Ok(&model));
    // What is new may be skipped.
    sections.push((0x8000_0001, b"preview picture".to_vec()));
    assert_eq!(read(&assemble((2, 9), &sections)).as_ref(), Ok(&model));
    assert_eq!(read(&assemble((2, 0), &sections)).as_ref(), Ok(&model));
    // What is new may not be skipped: a section, an operator.
    let newer = ReadError::NewerVersion { file: Version { major: 2, minor: 9 }, supported: VERSION };
    sections.insert(4, (5, vec![]));
    assert_error(&assemble((2, 9), &sections), newer.clone());
    let mut sections = encoder::sections(&models::tiny());
    // Behind the node's name and output.
    let name = sections.graph.windows(6).position(|bytes| bytes == b"\x04\0conv").unwrap();
    sections.graph[name + 6 + 4] = 77;
    assert_error(&assemble((2, 9), &sections.list()), newer);
}

#[test]
fn too_many_sections() {
    let mut bytes = file();
    bytes[12] = 65;
    assert_error(&bytes, ReadError::TooManySections { count: 65, limit: 64 });
}

#[test]
fn header_checksum() {
    let mut bytes = file();
    let stored = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    bytes[entry(2) + 8] ^= 1;
    let mut right = bytes.clone();
    fix_header_checksum(&mut right);
    let computed = u32::from_le_bytes(right[24..28].try_into().unwrap());
    assert_error(&bytes, ReadError::HeaderChecksum { stored, computed });
}

#[test]
fn reserved() {
    assert_error(&changed(|bytes| bytes[28] = 1), ReadError::Reserved { offset: 28 });
    let bytes = changed(|bytes| bytes[entry(1) + 31] = 1);
    assert_error(&bytes, ReadError::Reserved { offset: entry(1) + 24 });
}

#[test]
fn section_order() {
    let twice = changed(|bytes| bytes[entry(2)] = 2);
    assert_error(&twice, ReadError::SectionOrder { section: GRAPH });
    let swapped = changed(|bytes| {
        bytes[entry(0)] = 2;
        bytes[entry(1)] = 1;
    });
    assert_error(&swapped, ReadError::SectionOrder { section: SectionKind::METADATA });
}

#[test]
fn section_offset() {
    let expected = get_u64(&file(), entry(1) + 8);
    for actual in [0, expected - 64, expected - 1, expected + 64, u64::MAX - 63] {
        let bytes = changed(|bytes| set_u64(bytes, entry(1) + 8, actual));
        assert_error(&bytes, ReadError::SectionOffset { section: GRAPH, expected, actual });
    }
}

#[test]
fn section_end() {
    let (offset, file_len) = (get_u64(&file(), entry(1) + 8), file().len() as u64);
    for len in [file_len - offset + 1, u64::MAX, u64::MAX - offset + 1] {
        let bytes = changed(|bytes| set_u64(bytes, entry(1) + 16, len));
        assert_error(&bytes, ReadError::SectionEnd { section: GRAPH, offset, len, file_len });
    }
}

#[test]
fn uncovered() {
    let file_len = file().len() as u64;
    let bytes = changed(|bytes| {
        let len = get_u64(bytes, entry(3) + 16);
        set_u64(bytes, entry(3) + 16, len - 1);
    });
    assert_error(&bytes, ReadError::Uncovered { end: file_len - 1, file_len });
    assert_error(&assemble((2, 0), &[])[..32], ReadError::MissingSection { section: SectionKind::METADATA });
}

#[test]
fn padding() {
    let mut bytes = file();
    bytes[160] = 1;
    assert_error(&bytes, ReadError::Padding { section: SectionKind::METADATA });
    let mut bytes = file();
    let graph = get_u64(&bytes, entry(1) + 8) as usize;
    bytes[graph - 1] = 0x80;
    assert_error(&bytes, ReadError::Padding { section: GRAPH });
}

#[test]
fn section_checksum() {
    for (index, section) in
        [SectionKind::METADATA, GRAPH, SectionKind::QUANT, SectionKind::WEIGHTS].into_iter().enumerate()
    {
        let mut bytes = file();
        let offset = get_u64(&bytes, entry(index) + 8) as usize;
        bytes[offset + 3] ^= 0x10;
        let crc = |bytes: &[u8]| u32::from_le_bytes(bytes[entry(index) + 4..][..4].try_into().unwrap());
        let stored = crc(&bytes);
        let mut right = bytes.clone();
        fix_section_checksums(&mut right);
        let computed = crc(&right);
        assert_error(&bytes, ReadError::SectionChecksum { section, stored, computed });
    }
}

#[test]
fn unknown_section() {
    let mut sections = encoder::sections(&models::tiny()).list();
    sections.push((5, vec![1, 2, 3]));
    let section = SectionKind(5);
    assert_error(&assemble((2, 0), &sections), ReadError::UnknownSection { section });
}

#[test]
fn missing_section() {
    let kinds = [SectionKind::METADATA, GRAPH, SectionKind::QUANT, SectionKind::WEIGHTS];
    for (index, section) in kinds.into_iter().enumerate() {
        let mut sections = encoder::sections(&models::tiny()).list();
        sections.remove(index);
        assert_error(&assemble((2, 0), &sections), ReadError::MissingSection { section });
    }
}
