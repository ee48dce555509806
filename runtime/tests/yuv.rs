//! Pictures of luma and chroma, as cameras deliver them.

#[path = "support/noise.rs"]
mod noise;

use noise::noise;
use ylb_runtime::picture::PictureErrorKind;
use ylb_runtime::picture::{Band, Letterbox, Picture, PixelFormat};

/// CRC-32 that fixtures/yuv.py prints, the same for both formats.
const CUBE_CRC: u32 = 0xc7e9203c;
/// Side of its pictures.
const SIZE: usize = 512;

fn identity() -> [u8; 256] {
    std::array::from_fn(|byte| byte as u8)
}

/// A picture letterboxed into `input`, `[width, height]`.
fn letterboxed(picture: &Picture<'_>, input: [usize; 2]) -> Vec<u8> {
    let mut letterbox = Letterbox::new(input[0], input[1], &identity(), 114);
    letterbox.prepare(picture).expect("a valid picture");
    let mut levels = vec![0; 3 * input[0] * input[1]];
    let band = Band { rows: 0..input[1], levels: &mut levels, row_stride: 3 * input[0] };
    letterbox.fill(picture, band, &mut letterbox.row_cache());
    levels
}

/// Every luma with every blue chroma, and one red chroma.
fn slice_of_the_cube(format: PixelFormat, red: u8) -> Vec<u8> {
    let luma = |x: usize| (x / 2) as u8;
    let blue = |y: usize| (y / 2) as u8;
    match format {
        PixelFormat::Yuyv => (0..SIZE)
            .flat_map(|y| (0..SIZE).step_by(2).flat_map(move |x| [luma(x), blue(y), luma(x + 1), red]))
            .collect(),
        _ => {
            let chroma = (0..SIZE).step_by(2).flat_map(|y| [blue(y), red].repeat(SIZE / 2));
            (0..SIZE).flat_map(|_| (0..SIZE).map(luma)).chain(chroma).collect()
        }
    }
}

#[test]
fn colours_are_those_of_opencv() {
    for format in [PixelFormat::Yuyv, PixelFormat::Nv12] {
        let mut crc = crc32fast::Hasher::new();
        for red in (0..=255).step_by(17) {
            let pixels = slice_of_the_cube(format, red);
            let picture = Picture::new(&pixels, SIZE, SIZE, format).expect("a valid picture");
            crc.update(&letterboxed(&picture, [SIZE, SIZE]));
        }
        assert_eq!(crc.finalize(), CUBE_CRC, "{format:?}");
    }
}

#[test]
fn resizing_blends_converted_pixels() {
    // Converted first and resized as RGB, or resized as they are: the same bytes.
    for (size, input) in [([82, 60], [64, 96]), ([20, 34], [64, 64]), ([64, 64], [64, 64]), ([2, 2], [16, 9])]
    {
        let [width, height] = size;
        let byte = |index: usize| noise(7, index) as u8;
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12] {
            // Rows 6 bytes further apart than need be, nothing behind the last pixel.
            let stride = width * format.bytes() + 6;
            let mut picture = Picture { pixels: &[], width, height, stride, format };
            let pixels: Vec<u8> = (0..picture.needed()).map(byte).collect();
            picture.pixels = &pixels;
            let code = |x: usize, y: usize| match format {
                PixelFormat::Yuyv => {
                    let pair = y * stride + x / 2 * 4;
                    [pair + x % 2 * 2, pair + 1, pair + 3]
                }
                _ => {
                    let chroma = (height + y / 2) * stride + x / 2 * 2;
                    [y * stride + x, chroma, chroma + 1]
                }
            };
            let rgb: Vec<u8> = (0..width * height)
                .flat_map(|index| rgb_of(code(index % width, index / width).map(byte)))
                .collect();
            let converted = Picture::new(&rgb, width, height, PixelFormat::Rgb).expect("a valid picture");
            assert!(letterboxed(&picture, input) == letterboxed(&converted, input), "{format:?} {size:?}");
        }
    }
}

/// One pixel's RGB, by a picture of two.
fn rgb_of([luma, u, v]: [u8; 3]) -> [u8; 3] {
    let pixels = [luma, u, luma, v];
    let picture = Picture::new(&pixels, 2, 1, PixelFormat::Yuyv).expect("a valid picture");
    let levels = letterboxed(&picture, [2, 1]);
    [levels[0], levels[1], levels[2]]
}

#[test]
fn odd_sizes_are_refused() {
    let bytes = [0; 100];
    let kind = |width, height, format| {
        Picture::new(&bytes, width, height, format).map(|_| ()).map_err(|error| *error.kind())
    };
    let odd = |width, height, format| Err(PictureErrorKind::Odd { format, width, height });
    assert_eq!(kind(5, 4, PixelFormat::Yuyv), odd(5, 4, PixelFormat::Yuyv));
    assert_eq!(kind(4, 5, PixelFormat::Yuyv), Ok(()));
    assert_eq!(kind(5, 4, PixelFormat::Nv12), odd(5, 4, PixelFormat::Nv12));
    assert_eq!(kind(4, 5, PixelFormat::Nv12), odd(4, 5, PixelFormat::Nv12));
    assert_eq!(kind(10, 6, PixelFormat::Nv12), Ok(()));
    assert_eq!(
        kind(10, 8, PixelFormat::Nv12),
        Err(PictureErrorKind::TooFewBytes { needed: 120, given: 100 })
    );
    let error = Picture::new(&bytes, 4, 5, PixelFormat::Nv12).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a Nv12 picture has an even width and height, but this one has 4 x 5 pixels"
    );
}
