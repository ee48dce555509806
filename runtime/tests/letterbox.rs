//! The letterbox against OpenCV, byte for byte, and against itself.

#[path = "support/noise.rs"]
mod noise;

use noise::noise;
use std::path::{Path, PathBuf};
use ylb_format::model::{ChannelOrder, PicturePlacement, Preprocessing};
use ylb_runtime::picture::PictureErrorKind;
use ylb_runtime::picture::{Band, Letterbox, Picture, PixelFormat, Placement};

const FILL: u8 = 114;

/// The bytes of a pixel in some format, from its RGB bytes.
type Pixel = fn(&[u8]) -> Vec<u8>;

fn identity() -> [u8; 256] {
    std::array::from_fn(|byte| byte as u8)
}

/// The fixtures' picture: RGB noise.
fn rgb(width: usize, height: usize) -> Vec<u8> {
    let seed = (width * 65536 + height) as u32;
    (0..width * height * 3).map(|index| noise(seed, index) as u8).collect()
}

/// All rows of the input, dense.
fn letterboxed(letterbox: &mut Letterbox, picture: &Picture<'_>, input: [usize; 2]) -> Vec<u8> {
    letterbox.prepare(picture).expect("a valid picture");
    let mut levels = vec![0; 3 * input[0] * input[1]];
    let band = Band { rows: 0..input[1], levels: &mut levels, row_stride: 3 * input[0] };
    letterbox.fill(picture, band, &mut letterbox.row_cache());
    levels
}

fn letterboxed_rgb(size: [usize; 2], input: [usize; 2], table: &[u8; 256]) -> Vec<u8> {
    let pixels = rgb(size[0], size[1]);
    let picture = Picture::new(&pixels, size[0], size[1], PixelFormat::Rgb).expect("valid");
    let mut letterbox = Letterbox::new(input[0], input[1], table, FILL);
    letterboxed(&mut letterbox, &picture, input)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/letterbox")
}

/// `[columns, rows]` of picture and input, and the CRC-32, for each golden case.
fn cases() -> Vec<([usize; 2], [usize; 2], u32)> {
    let text = std::fs::read_to_string(fixtures().join("cases.txt")).expect("cases.txt");
    let case = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let size = |index: usize| words[index].parse::<usize>().expect("a size");
        let crc = u32::from_str_radix(words[4], 16).expect("a checksum");
        ([size(0), size(1)], [size(2), size(3)], crc)
    };
    text.lines().map(case).collect()
}

#[test]
fn it_equals_opencv() {
    let cases = cases();
    assert!(cases.len() >= 400, "only {} cases", cases.len());
    let different: Vec<_> = cases
        .iter()
        .filter(|(size, input, crc)| crc32(&letterboxed_rgb(*size, *input, &identity())) != *crc)
        .map(|(size, input, _)| (size, input))
        .collect();
    let samples = &different[..different.len().min(8)];
    assert!(different.is_empty(), "{} of {} differ, among them {samples:?}", different.len(), cases.len());
}

#[test]
fn it_equals_opencv_in_each_byte() {
    // The same as above for a few sizes, but a failure says by how much.
    let input = [32, 32];
    for size in [[16, 5], [127, 95], [3, 64]] {
        let name = format!("{}x{}-{}x{}.rgb", size[0], size[1], input[0], input[1]);
        let expected = std::fs::read(fixtures().join(&name)).expect("a golden file");
        let found = letterboxed_rgb(size, input, &identity());
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        let count = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(count, 0, "{name}: bytes differ by up to {largest:?}");
    }
}

#[test]
fn every_format_and_stride_gives_the_same_levels() {
    for (size, input) in [([81, 60], [64, 96]), ([20, 31], [64, 64]), ([64, 64], [64, 64])] {
        let [width, height] = size;
        let pixels = rgb(width, height);
        let expected = letterboxed_rgb(size, input, &identity());
        let mut letterbox = Letterbox::new(input[0], input[1], &identity(), FILL);

        let convert = |bytes: usize, pixel: Pixel| -> (Vec<u8>, usize) {
            // Rows 5 bytes further apart than need be, nothing behind the last.
            let stride = width * bytes + 5;
            let mut converted = Vec::new();
            for row in pixels.chunks(width * 3) {
                converted.extend(row.chunks(3).flat_map(pixel));
                converted.extend([0xA5; 5]);
            }
            converted.truncate(converted.len() - 5);
            (converted, stride)
        };
        let formats: [(PixelFormat, Pixel); 4] = [
            (PixelFormat::Rgb, |p| p.to_vec()),
            (PixelFormat::Bgr, |p| vec![p[2], p[1], p[0]]),
            (PixelFormat::Rgba, |p| vec![p[0], p[1], p[2], p[0] ^ 0x55]),
            (PixelFormat::Bgra, |p| vec![p[2], p[1], p[0], p[0] ^ 0x55]),
        ];
        for (format, pixel) in formats {
            let (pixels, stride) = convert(format.bytes(), pixel);
            let picture = Picture::with_stride(&pixels, width, height, stride, format);
            let found = letterboxed(&mut letterbox, &picture.expect("valid"), input);
            assert!(found == expected, "{format:?} of {size:?}");
        }

        // Grey is the same as RGB with three equal bytes.
        let (grey, stride) = convert(1, |p| vec![p[1]]);
        let picture = Picture::with_stride(&grey, width, height, stride, PixelFormat::Gray);
        let from_grey = letterboxed(&mut letterbox, &picture.expect("valid"), input);
        let (equal, stride) = convert(3, |p| vec![p[1]; 3]);
        let picture = Picture::with_stride(&equal, width, height, stride, PixelFormat::Rgb);
        let from_rgb = letterboxed(&mut letterbox, &picture.expect("valid"), input);
        assert!(from_grey == from_rgb, "Gray of {size:?}");
    }
}

#[test]
fn bytes_and_border_become_levels() {
    let table: [u8; 256] = std::array::from_fn(|byte| (byte / 17) as u8);
    for size in [[50, 30], [64, 64], [30, 50]] {
        let bytes = letterboxed_rgb(size, [64, 64], &identity());
        let expected: Vec<u8> = bytes.iter().map(|&byte| table[usize::from(byte)]).collect();
        assert!(letterboxed_rgb(size, [64, 64], &table) == expected, "{size:?}");
    }
}

#[test]
fn bands_make_the_whole_and_leave_gaps_alone() {
    let input = [64, 50];
    let row_stride = 3 * 64 + 13;
    for size in [[90, 33], [33, 90], [64, 50], [10, 9]] {
        let pixels = rgb(size[0], size[1]);
        let picture = Picture::new(&pixels, size[0], size[1], PixelFormat::Rgb).expect("valid");
        let mut letterbox = Letterbox::new(input[0], input[1], &identity(), FILL);
        let expected = letterboxed(&mut letterbox, &picture, input);
        let mut cache = letterbox.row_cache();
        for band_rows in [1, 7, 50] {
            let mut levels = vec![0xA5; 50 * row_stride];
            // The last band first: order does not matter.
            for start in (0..50).step_by(band_rows).collect::<Vec<_>>().into_iter().rev() {
                let end = (start + band_rows).min(50);
                // The slice ends with the last pixel.
                let slice = start * row_stride..(end - 1) * row_stride + 3 * 64;
                let band = Band { rows: start..end, levels: &mut levels[slice], row_stride };
                letterbox.fill(&picture, band, &mut cache);
            }
            for (y, row) in levels.chunks(row_stride).enumerate() {
                let (pixels, gap) = row.split_at(3 * 64);
                assert!(pixels == &expected[y * 3 * 64..][..3 * 64], "{size:?} row {y}");
                assert!(gap.iter().all(|&byte| byte == 0xA5), "{size:?} row {y}");
            }
        }
    }
}

#[test]
fn one_letterbox_serves_pictures_of_any_size() {
    let mut letterbox = Letterbox::new(64, 64, &identity(), FILL);
    for size in [[200, 3], [10, 10], [64, 64], [3, 200], [200, 3]] {
        let pixels = rgb(size[0], size[1]);
        let picture = Picture::new(&pixels, size[0], size[1], PixelFormat::Rgb).expect("valid");
        let found = letterboxed(&mut letterbox, &picture, [64, 64]);
        assert!(found == letterboxed_rgb(size, [64, 64], &identity()), "{size:?}");
    }
}

#[test]
fn placement_is_that_of_yolov5() {
    // picture, input, size, offset; sizes of 12.5 and 37.5 go to the even neighbour.
    let table = [
        ([1280, 720], [640, 640], [640, 360], [0, 140]),
        ([810, 1080], [640, 640], [480, 640], [80, 0]),
        ([320, 240], [640, 640], [640, 480], [0, 80]),
        ([100, 75], [50, 50], [50, 38], [0, 6]),
        ([200, 50], [50, 50], [50, 12], [0, 19]),
        ([500, 375], [416, 416], [416, 312], [0, 52]),
        ([1, 1000], [64, 64], [1, 64], [31, 0]),
    ];
    for (picture, input, size, offset) in table {
        let placement = Placement::new(picture, input);
        assert_eq!(placement.size, size, "{picture:?} in {input:?}");
        assert_eq!(placement.offset, offset, "{picture:?} in {input:?}");
    }
}

#[test]
fn points_are_mapped_back_and_clipped() {
    let placement = Placement::new([1280, 720], [640, 640]);
    assert_eq!(placement.to_picture(320.0, 320.0), (640.0, 360.0));
    assert_eq!(placement.to_picture(10.0, 150.0), (20.0, 20.0));
    assert_eq!(placement.to_picture(-5.0, 139.0), (0.0, 0.0));
    assert_eq!(placement.to_picture(700.0, 1000.0), (1280.0, 720.0));
    // 50 × 37.5 are placed in 50 × 38, and the padding stays 6.25.
    let placement = Placement::new([100, 75], [50, 50]);
    assert_eq!(placement.to_picture(25.0, 6.25), (50.0, 0.0));
    assert_eq!(placement.to_picture(25.0, 25.0), (50.0, 37.5));
}

#[test]
fn pictures_with_contradictory_sizes_are_refused() {
    let bytes = [0; 100];
    let picture = |width, height, stride| {
        Picture::with_stride(&bytes, width, height, stride, PixelFormat::Rgb).map(|_| ())
    };
    let kind = |width, height, stride| *picture(width, height, stride).unwrap_err().kind();
    assert!(picture(11, 3, 33).is_ok());
    assert!(picture(10, 3, 35).is_ok(), "the last row needs no gap behind it");
    assert_eq!(kind(0, 3, 33), PictureErrorKind::Empty { width: 0, height: 3 });
    assert_eq!(kind(3, 0, 33), PictureErrorKind::Empty { width: 3, height: 0 });
    let (width, height) = (usize::MAX, 1);
    assert_eq!(kind(width, height, 33), PictureErrorKind::TooLarge { width, height });
    let expected = PictureErrorKind::StrideTooSmall { stride: 32, width: 11, row: 33 };
    assert_eq!(kind(11, 3, 32), expected);
    let expected = PictureErrorKind::TooFewBytes { needed: 101, given: 100 };
    assert_eq!(kind(11, 3, 34), expected);
    let expected = PictureErrorKind::TooFewBytes { needed: usize::MAX, given: 100 };
    assert_eq!(kind(11, 3, usize::MAX), expected);
    assert_eq!(
        picture(11, 3, 34).unwrap_err().to_string(),
        "the picture needs 101 bytes for its sizes and stride, but 100 were given"
    );

    // The fields are public: whoever sets them wrongly hears of it too.
    let pixels = [0; 9];
    let broken = Picture { pixels: &pixels, width: 2, height: 2, stride: 6, format: PixelFormat::Rgb };
    let mut letterbox = Letterbox::new(8, 8, &identity(), FILL);
    assert!(letterbox.prepare(&broken).is_err());
}

/// Tables and borders by channel are three networks of one table, a channel of each.
#[test]
fn tables_by_channel() {
    let tables: [[u8; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|byte| (byte as u8).wrapping_mul(3 + 2 * channel as u8))
    });
    let (size, input, fill) = ([50, 21], [64, 40], [9, 114, 200]);
    let pixels = rgb(size[0], size[1]);
    let picture = Picture::new(&pixels, size[0], size[1], PixelFormat::Rgb).expect("valid");
    let [first, second, third] = &tables;
    let mut letterbox = Letterbox::by_channel(input, [first, second, third], fill);
    let all = letterboxed(&mut letterbox, &picture, input);
    for channel in 0..3 {
        let mut letterbox = Letterbox::new(input[0], input[1], &tables[channel], fill[channel]);
        let own = letterboxed(&mut letterbox, &picture, input);
        let same = |levels: &[u8]| levels.iter().skip(channel).step_by(3).copied().collect::<Vec<u8>>();
        assert_eq!(same(&all), same(&own), "{channel}");
    }
}

/// A network that takes blue first reads the same picture with red and blue exchanged, border and tables by channel of its
/// own.
#[test]
fn pictures_of_blue_green_red() {
    let (size, input, fill) = ([50, 21], [64, 40], [9, 114, 200]);
    let pixels = rgb(size[0], size[1]);
    let exchanged: Vec<u8> =
        pixels.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
    let tables: [[u8; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|byte| (byte as u8).wrapping_mul(3 + 2 * channel as u8))
    });
    let [first, second, third] = &tables;
    let plain = || Letterbox::by_channel(input, [first, second, third], fill);
    let wanted = Preprocessing { order: ChannelOrder::Bgr, ..Preprocessing::default() };
    let of = |pixels: &[u8], mut letterbox: Letterbox| {
        let picture = Picture::new(pixels, size[0], size[1], PixelFormat::Rgb).expect("valid");
        letterboxed(&mut letterbox, &picture, input)
    };
    assert_eq!(of(&pixels, plain().wanted_as(&wanted)), of(&exchanged, plain()));
    assert_ne!(of(&pixels, plain().wanted_as(&wanted)), of(&pixels, plain()));
}

/// In the corner the picture begins at the first pixel, its sizes rounded down as YOLOX's are; stretched, it fills all.
#[test]
fn pictures_in_the_corner_and_stretched() {
    let corner = |picture, input| Placement::of(picture, input, PicturePlacement::Corner);
    // Of 640 x 427.8 and 37.5 rows.
    for (picture, input, size) in [
        ([1278, 855], [640, 640], [640, 428]),
        ([100, 75], [50, 50], [50, 37]),
        ([1, 1000], [64, 64], [1, 64]),
    ] {
        let placement = corner(picture, input);
        assert_eq!((placement.size, placement.offset), (size, [0, 0]), "{picture:?}");
    }
    assert_eq!(corner([1280, 720], [640, 640]).to_picture(320.0, 180.0), (640.0, 360.0));
    assert_eq!(corner([1280, 720], [640, 640]).to_picture(640.0, 400.0), (1280.0, 720.0));
    let stretched = Placement::of([1280, 720], [640, 640], PicturePlacement::Stretch);
    assert_eq!((stretched.size, stretched.offset), ([640, 640], [0, 0]));
    assert_eq!(stretched.to_picture(320.0, 320.0), (640.0, 360.0));

    let (size, input) = ([20, 10], [40, 40]);
    let pixels = rgb(size[0], size[1]);
    let picture = Picture::new(&pixels, size[0], size[1], PixelFormat::Rgb).expect("valid");
    let of = |placement| {
        let wanted = Preprocessing { placement, ..Preprocessing::default() };
        let mut letterbox = Letterbox::new(input[0], input[1], &identity(), FILL).wanted_as(&wanted);
        letterboxed(&mut letterbox, &picture, input)
    };
    let [centre, corner] = [PicturePlacement::Centre, PicturePlacement::Corner].map(of);
    // 20 rows of picture, ten rows further up.
    let row = 3 * input[0];
    assert_eq!(corner[..20 * row], centre[10 * row..30 * row]);
    assert!(corner[20 * row..].iter().all(|&byte| byte == FILL));
    assert!(!of(PicturePlacement::Stretch).ends_with(&[FILL; 120]));
}
