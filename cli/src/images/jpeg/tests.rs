//! Headers built by hand, and pictures of one colour, whose blocks are six bits long.

use super::*;

/// Sampling factors, across and down in a byte, of the usual kinds.
const SAME: [u8; 3] = [0x11; 3];
const HALF: [u8; 3] = [0x22, 0x11, 0x11];

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = (body.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker, high, low], body].concat()
}

/// A frame header of components 1, 2, ... with these sampling factors.
fn frame(marker: u8, width: u16, height: u16, factors: &[u8]) -> Vec<u8> {
    let ([h1, h0], [w1, w0]) = (height.to_be_bytes(), width.to_be_bytes());
    let mut body = vec![8, h1, h0, w1, w0, factors.len() as u8];
    for (id, &factors) in (1..).zip(factors) {
        body.extend([id, factors, 0]);
    }
    segment(marker, &body)
}

/// A scan of these components, with data.
fn scan(ids: &[u8], data: &[u8]) -> Vec<u8> {
    let components: Vec<u8> = ids.iter().flat_map(|&id| [id, 0]).collect();
    let body = [&[ids.len() as u8], &components[..], &[0, 63, 0]].concat();
    [segment(START_OF_SCAN, &body), data.to_vec()].concat()
}

const START: &[u8] = &[0xff, 0xd8];
const END: &[u8] = &[0xff, END_OF_IMAGE];

/// Data of so many blocks, each a mean like the one before (00) and an end (1010), filled up with ones.
fn blocks(count: usize) -> Vec<u8> {
    let bits = (0..count).flat_map(|_| [0, 0, 1, 0, 1, 0]);
    let bits: Vec<u8> = bits.chain([1; 7]).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

fn file(parts: &[&[u8]]) -> Vec<u8> {
    // A quantizer of ones: the frames above name its number.
    [START, &segment(0xdb, &[&[0], [1; 64].as_slice()].concat()), &parts.concat()].concat()
}

fn error(jpeg: &[u8]) -> String {
    prepare(jpeg).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(jpeg: &[u8], says: &str) {
    let error = error(jpeg);
    assert!(error.contains(says), "{error:?} does not say {says:?}");
}

#[test]
fn usual_kinds_pass_unchanged() {
    for (marker, factors) in [
        (0xc0, &SAME[..]),
        (0xc0, &HALF),
        (0xc1, &[0x21, 0x11, 0x11]),
        (0xc2, &HALF),
        (0xc0, &[0x11]),
        (0xc0, &[0x22]),
        (0xc0, &[0x11; 4]),
        (0xc0, &[0x22, 0x11, 0x11, 0x22]),
    ] {
        let ids: Vec<u8> = (1..=factors.len() as u8).collect();
        let jpeg = file(&[&tables::segment(), &frame(marker, 16, 16, factors), &scan(&ids, b"data"), END]);
        let prepared = prepare(&jpeg).unwrap_or_else(|error| panic!("{factors:x?}: {error}"));
        assert_eq!((&*prepared.bytes, prepared.warning), (&jpeg[..], None), "{factors:x?}");
    }
}

#[test]
fn what_is_decoded_wrongly_is_refused() {
    let repair =
        "separate scans is not read: recode it without loss, with \"jpegtran -copy all a.jpg > b.jpg\"";
    for factors in [HALF, SAME, [0x22; 3]] {
        for scans in [&[&[1][..], &[2], &[3]][..], &[&[1], &[2, 3]], &[&[1, 2], &[3]]] {
            let scans: Vec<u8> = scans.iter().flat_map(|ids| scan(ids, b"")).collect();
            for marker in [0xc0, 0xc1] {
                assert_says(&file(&[&frame(marker, 16, 16, &factors), &scans, END]), repair);
            }
            // Progressive pictures are always stored so.
            assert!(prepare(&file(&[&frame(0xc2, 16, 16, &factors), &scans, END])).is_ok());
        }
    }
    for factors in [[0x11, 0x22, 0x22], [0x12, 0x21, 0x11], [0x11, 0x12, 0x11], [0x21, 0x11, 0x22]] {
        for marker in [0xc0, 0xc2] {
            let jpeg = file(&[&frame(marker, 16, 16, &factors), &scan(&[1, 2, 3], b""), END]);
            assert_says(&jpeg, "less resolution for brightness than for colour");
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    let with = |frame: &[u8], ids: &[u8]| file(&[frame, &scan(ids, b""), END]);
    for marker in [0xc9, 0xca] {
        assert_says(&with(&frame(marker, 8, 8, &SAME), &[1, 2, 3]), "arithmetic coding");
    }
    for marker in [0xc3, 0xc5, 0xc6, 0xc7, 0xcb, 0xcd, 0xce, 0xcf] {
        assert_says(&with(&frame(marker, 8, 8, &SAME), &[1, 2, 3]), "lossless and hierarchical");
    }
    let mut of_12_bits = frame(0xc1, 8, 8, &SAME);
    of_12_bits[4] = 12;
    assert_says(&with(&of_12_bits, &[1, 2, 3]), "12 bits a sample");
    assert_says(&with(&frame(0xc0, 8, 8, &[0x11; 2]), &[1, 2]), "2 components");
    assert_says(&with(&frame(0xc0, 8, 8, &[0x31, 0x11, 0x11]), &[1, 2, 3]), "sampling factor of 3");
    assert_says(&with(&frame(0xc0, 8, 8, &[]), &[]), "scan header is wrong");
}

#[test]
fn damaged_headers_have_a_reason() {
    let good = frame(0xc0, 8, 8, &SAME);
    let colours = scan(&[1, 2, 3], b"");
    for (parts, says) in [
        (&[][..], "ends before its pixels begin"),
        (&[&good[..]], "ends before its pixels begin"),
        (&[END, &good, &colours], "ends before its pixels begin"),
        (&[&good[..], &colours[..5]], "ends before its pixels begin"),
        (&[&good[..], &good, &colours, END], "two frame headers"),
        (&[&colours[..], END], "scan header is wrong"),
        (&[&segment(0xc0, &good[4..good.len() - 1])[..], &colours, END], "frame header is cut off"),
        (&[&frame(0xc0, 8, 0, &SAME)[..], &colours, END], "no width or height"),
        (&[&frame(0xc0, 8, 8, &[0x11, 0x51, 0x11])[..], &colours, END], "sampling factors"),
        (&[&frame(0xc0, 8, 8, &[0x11, 0x10, 0x11])[..], &colours, END], "sampling factors"),
    ] {
        assert_says(&file(parts), says);
    }
    // Only brightness, of three components.
    let grey = [&frame(0xc2, 8, 8, &SAME)[..], &scan(&[1], b""), END].concat();
    assert_says(&file(&[&grey]), "some of its colours are missing");
}

#[test]
fn a_missing_end_is_mended_if_all_blocks_are_there() {
    let tables = tables::segment();
    for (width, height, factors, count) in [
        (8, 8, &[0x11][..], 1),
        // A component alone has as many blocks as it needs, whatever its factors.
        (17, 9, &[0x22], 3 * 2),
        (17, 9, &SAME, 3 * 2 * 3),
        (17, 9, &HALF, 2 * 6),
        (33, 8, &[0x21, 0x11, 0x11], 3 * 4),
    ] {
        let ids: Vec<u8> = (1..=factors.len() as u8).collect();
        let with = |data: &[u8]| file(&[&tables, &frame(0xc0, width, height, factors), &scan(&ids, data)]);
        let jpeg = with(&blocks(count));
        let prepared = prepare(&jpeg).unwrap_or_else(|error| panic!("{factors:x?}: {error}"));
        assert_eq!(prepared.bytes[..], [&jpeg, END].concat());
        assert!(prepared.warning.is_some_and(|warning| warning.contains("end mark is missing")));
        // Half of the end mark is there.
        assert_eq!(prepare(&[&jpeg, &[0xff][..]].concat()).unwrap().bytes[..], [&jpeg, END].concat());
        // 6 bits less are a byte less for most.
        for missing in 2..=count.min(9) {
            assert_says(&with(&blocks(count - missing)), "its end is missing");
        }
    }
}

#[test]
fn restart_markers_are_passed() {
    let with = |data: &[u8]| {
        let interval = segment(RESTART_INTERVAL, &[0, 2]);
        file(&[&tables::segment(), &interval, &frame(0xc0, 24, 8, &SAME), &scan(&[1, 2, 3], data)])
    };
    let whole = [&blocks(6)[..], &[0xff, 0xd0], &blocks(3)].concat();
    assert!(prepare(&with(&whole)).is_ok());
    assert_says(&with(&blocks(9)), "its end is missing");
    assert_says(&with(&[&blocks(6)[..], &[0xff, 0xd0], &blocks(1)].concat()), "its end is missing");
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_end() {
    let thumbnail = segment(0xe1, &[b"Exif\0\0", END].concat());
    let parts = [&tables::segment()[..], &thumbnail, &frame(0xc2, 8, 8, &SAME), &scan(&[1, 2, 3], b"")];
    assert_says(&file(&parts), "its end is missing");
}

#[test]
fn missing_huffman_tables_are_put_before_the_scan() {
    let (frame, scan) = (frame(0xc0, 16, 16, &HALF), scan(&[1, 2, 3], &blocks(6)));
    let without = file(&[&frame, &scan, END]);
    let prepared = prepare(&without).unwrap();
    assert_eq!(prepared.bytes[..], file(&[&frame, &tables::segment(), &scan, END]));
    // Without an end, too.
    let prepared = prepare(&without[..without.len() - 2]).unwrap();
    assert_eq!(prepared.bytes[..], file(&[&frame, &tables::segment(), &scan, END]));
    assert!(prepared.warning.is_some());
}

#[test]
fn memory_of_coefficients_is_counted() {
    let memory = |marker, ids: &[u8]| {
        Header::read(&file(&[&frame(marker, 100, 50, &HALF), &scan(ids, b"")])).unwrap().working_memory()
    };
    assert_eq!(memory(0xc0, &[1, 2, 3]), 0);
    // 7 by 4 units of six blocks of 64 coefficients of two bytes.
    assert_eq!(memory(0xc2, &[1, 2, 3]), 7 * 4 * 6 * 64 * 2);
}
