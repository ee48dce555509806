//! Damage of every kind gives an error, never a panic and never another model.

use proptest::prelude::*;
use ylb_format::{ReadError, read, write};

#[path = "support/encoder.rs"]
#[allow(dead_code)]
mod encoder;
#[path = "support/models.rs"]
#[allow(dead_code)]
mod models;

#[test]
fn every_truncation() {
    let bytes = write(&models::detector()).unwrap();
    assert_eq!(read(&[]), Err(ReadError::Empty));
    for len in 1..bytes.len() {
        match read(&bytes[..len]).unwrap_err() {
            ReadError::Truncated { actual, expected } => {
                assert_eq!(actual, len as u64);
                assert!(expected > actual);
                if len >= 32 {
                    assert_eq!(expected, bytes.len() as u64);
                }
            }
            other => panic!("{len} bytes: {other}"),
        }
    }
}

#[test]
fn every_changed_byte() {
    let bytes = write(&models::detector()).unwrap();
    for index in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[index] ^= change;
            assert!(read(&damaged).is_err(), "byte {index} changed by {change:#x}");
        }
    }
}

/// With the checksums made right again, so that the reader behind them is reached: what it accepts is
/// written back byte for byte.
#[test]
fn every_changed_byte_behind_the_checksums() {
    let bytes = write(&models::detector()).unwrap();
    let mut accepted = 0;
    for index in 160..bytes.len() {
        for change in [0x01, 0x02, 0x10, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[index] ^= change;
            encoder::fix_section_checksums(&mut changed);
            if let Ok(model) = read(&changed) {
                assert_eq!(write(&model).unwrap(), changed, "byte {index}");
                accepted += 1;
            }
        }
    }
    // Names, biases, weights: many bytes may be anything.
    assert!(accepted > 1000, "only {accepted} changes were accepted");
}

proptest! {
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn random_sections(
        metadata in proptest::collection::vec(any::<u8>(), 0..100),
        graph in proptest::collection::vec(any::<u8>(), 0..800),
        quant in proptest::collection::vec(any::<u8>(), 0..100),
        weights in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let sections = encoder::Sections { metadata, graph, quant, weights };
        prop_assert!(read(&sections.file()).is_err());
    }

    #[test]
    fn several_changes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = write(&models::detector()).unwrap();
        for (index, byte) in changes {
            let index = 160 + index.index(bytes.len() - 160);
            bytes[index] = byte;
        }
        encoder::fix_section_checksums(&mut bytes);
        if let Ok(model) = read(&bytes) {
            prop_assert_eq!(write(&model).unwrap(), bytes);
        }
    }
}
