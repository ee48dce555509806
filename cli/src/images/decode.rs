//! Reading a picture, whatever it claims: one file must not cost the others.

use std::cell::Cell;
use std::fs::File;
use std::hint;
use std::io::{Cursor, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::{formats, jpeg};

/// Bytes that tell a file's format.
const START: usize = 16;

/// Bytes that the decoder of PNG may take beside the picture's own: for a colour profile, a row.
const PNG_WORKING_MEMORY: u64 = 1 << 27;

/// Bytes that a file may have beside its pixels: thumbnails, a second picture, sound.
const METADATA: u64 = 1 << 26;

/// Below this nobody asks whether the system has so much.
const SMALL: u64 = 1 << 24;

/// A picture, upright and in colours.
#[derive(Debug)]
pub struct Picture {
    /// 8-bit RGB.
    pub pixels: RgbImage,
    /// What the user should know about the file.
    pub warning: Option<&'static str>,
}

/// Reads a picture as 8-bit RGB, upright: the EXIF orientation is applied, transparency dropped and
/// grey repeated, as OpenCV's `imread` does by default.
///
/// # Errors
/// If the file cannot be read, is not a whole JPEG or PNG picture, has more pixels than `max_pixels`, or
/// needs more memory than there is.
pub fn read(path: &Path, max_pixels: u64) -> Result<Picture> {
    let mut file = File::open(path).context("cannot be opened")?;
    // A look at the start first: what is not a picture may go on for ever, as /dev/zero does.
    let mut bytes = Vec::new();
    let unreadable = "cannot be read";
    file.by_ref().take(START as u64).read_to_end(&mut bytes).context(unreadable)?;
    ensure!(!bytes.is_empty(), "the file is empty");
    match image::guess_format(&bytes) {
        Ok(ImageFormat::Jpeg | ImageFormat::Png) => {}
        _ => return Err(formats::not_readable(&bytes, path)),
    }
    // No picture of so few pixels is larger, with 8 bytes for each; that of a pipe or device is not known before.
    let most = max_pixels.saturating_mul(8).saturating_add(METADATA);
    let is_small = file.metadata().is_ok_and(|metadata| metadata.len() <= most);
    if is_small {
        file.take(most).read_to_end(&mut bytes).context(unreadable)?;
    }
    ensure!(
        is_small && bytes.len() as u64 <= most,
        "the file has more than {} MB, which no picture of {max_pixels} pixels (--max-pixels) needs",
        most / 1_000_000
    );
    guarded(|| decode(&bytes, max_pixels))
}

fn decode(bytes: &[u8], max_pixels: u64) -> Result<Picture> {
    // By contents, not by name: cameras and browsers get extensions wrong.
    let format = image::guess_format(bytes)?;
    if format == ImageFormat::Png {
        return Ok(Picture { pixels: pixels(bytes, format, max_pixels, 0)?, warning: None });
    }
    let jpeg = jpeg::prepare(bytes)?;
    let pixels = pixels(&jpeg.bytes, format, max_pixels, jpeg.working_memory)?;
    Ok(Picture { pixels, warning: jpeg.warning })
}

/// The pixels. `working_memory`: bytes that the decoder takes beside the file and the pixels.
fn pixels(bytes: &[u8], format: ImageFormat, max_pixels: u64, working_memory: u64) -> Result<RgbImage> {
    let damaged = "the picture is damaged";
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(PNG_WORKING_MEMORY);
    reader.limits(limits);
    // Reads headers only.
    let mut decoder = reader.into_decoder().context(damaged)?;
    let (width, height) = decoder.dimensions();
    let count = u64::from(width) * u64::from(height);
    ensure!(
        count <= max_pixels,
        "{width}x{height} are more pixels than are read: allow it with --max-pixels {count} (now {max_pixels})"
    );
    let orientation = decoder.orientation().context(damaged)?;
    let decoded = decoder.total_bytes();
    let rgb = count.saturating_mul(3);
    // While being decoded; or becoming RGB, unless it is; or being turned, which takes a second copy.
    let decoding = decoded.saturating_add(working_memory + bytes.len() as u64);
    let converting = if decoder.color_type() == ColorType::Rgb8 { 0 } else { decoded.saturating_add(rgb) };
    let turning = if orientation == Orientation::NoTransforms { 0 } else { rgb.saturating_mul(2) };
    reserve(decoding.max(converting).max(turning))?;

    // As RGB it takes the least memory to turn.
    let picture = DynamicImage::from_decoder(decoder).context(damaged)?.into_rgb8();
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Asks the system for memory and gives it back: where that fails, so would the decoder, and with it the process.
fn reserve(bytes: u64) -> Result<()> {
    let mut memory = Vec::<u8>::new();
    let there =
        bytes < SMALL || usize::try_from(bytes).is_ok_and(|bytes| memory.try_reserve_exact(bytes).is_ok());
    // Not used, but not to be left out either.
    hint::black_box(&memory);
    ensure!(
        there,
        "decoding the picture takes {} MB of memory, which the system does not have",
        bytes / 1_000_000
    );
    Ok(())
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread will be caught, and reported by the one who catches it.
pub fn panic_is_caught() -> bool {
    cfg!(panic = "unwind") && GUARDED.get()
}

/// Makes a decoder's panic an error, where panics unwind at all: not in the packaged command. So what is
/// known to panic is refused before.
fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    GUARDED.set(true);
    // What the closure leaves behind is dropped, broken or not.
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(false);
    result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(anyhow!("the picture cannot be decoded: internal error of the decoder: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MAX_PIXELS: u64 = 1 << 20;

    fn decoded(bytes: &[u8]) -> RgbImage {
        decode(bytes, MAX_PIXELS).unwrap().pixels
    }

    /// Three by two pixels of different colours.
    fn sample() -> RgbImage {
        RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8 * 100, y as u8 * 200, 50]))
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    /// Inserts an EXIF segment with nothing but an orientation after the JPEG's start marker.
    fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"\xff\xe1\x00\x22Exif\0\0".to_vec();
        exif.extend_from_slice(b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0");
        exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
        [&jpeg[..2], &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn every_orientation_is_made_upright() {
        let gradient =
            RgbImage::from_fn(32, 16, |x, y| if x < 16 && y < 8 { Rgb([255; 3]) } else { Rgb([0; 3]) });
        let jpeg = encoded(&DynamicImage::ImageRgb8(gradient), ImageFormat::Jpeg);
        // The white quarter is stored top left; the orientation says which corner that is.
        let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
        for (orientation, (right, bottom)) in (1..=8).zip(corners) {
            let picture = decoded(&with_orientation(&jpeg, orientation));
            let (width, height) = if orientation <= 4 { (32, 16) } else { (16, 32) };
            assert_eq!(picture.dimensions(), (width, height), "orientation {orientation}");
            let (x, y) = (2 + right * (width - 5), 2 + bottom * (height - 5));
            assert!(picture.get_pixel(x, y).0[0] > 200, "orientation {orientation}");
            assert!(picture.get_pixel(width - 1 - x, height - 1 - y).0[0] < 50, "orientation {orientation}");
        }
    }

    #[test]
    fn transparency_is_dropped_and_grey_repeated() {
        let colours = DynamicImage::ImageRgb8(sample());
        let mut transparent = colours.to_rgba8();
        transparent.pixels_mut().for_each(|pixel| pixel.0[3] = 7);
        let png = encoded(&DynamicImage::ImageRgba8(transparent), ImageFormat::Png);
        assert_eq!(decoded(&png), sample());

        let grey = colours.into_luma8();
        let picture = decoded(&encoded(&DynamicImage::ImageLuma8(grey.clone()), ImageFormat::Png));
        assert!(picture.pixels().zip(grey.pixels()).all(|(rgb, grey)| rgb.0 == [grey.0[0]; 3]));
    }

    /// The message of a file of these bytes.
    fn error_of(bytes: &[u8]) -> String {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("yolo-lowbit-decode-{}-{number}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path, MAX_PIXELS).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        format!("{error:#}")
    }

    #[test]
    fn what_is_not_a_picture_has_a_reason() {
        let jpeg = encoded(&DynamicImage::ImageRgb8(RgbImage::new(64, 64)), ImageFormat::Jpeg);
        let png = encoded(&DynamicImage::ImageRgb8(sample()), ImageFormat::Png);
        let cases: [(&[u8], &str); 5] = [
            (b"", "empty"),
            (b"hello, this is text", "not a JPEG or PNG"),
            (&jpeg[..jpeg.len() / 3], "damaged"),
            (&jpeg[..jpeg.len() - 3], "end is missing"),
            (&png[..png.len() / 2], "damaged"),
        ];
        for (bytes, reason) in cases {
            let error = error_of(bytes);
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }

    /// A PNG of 16-bit RGBA that claims an extent, without pixels.
    fn claiming(width: u32, height: u32) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in [
            (b"IHDR", [&width.to_be_bytes()[..], &height.to_be_bytes(), &[16, 6, 0, 0, 0]].concat()),
            (b"IDAT", Vec::new()),
        ] {
            let chunk = [&name[..], &data].concat();
            png.extend_from_slice(&(data.len() as u32).to_be_bytes());
            png.extend_from_slice(&chunk);
            png.extend_from_slice(&crc32fast::hash(&chunk).to_be_bytes());
        }
        png
    }

    #[test]
    fn claimed_sizes_are_checked_before_memory_is_taken() {
        let error = error_of(&claiming(65500, 65500));
        assert_eq!(
            error,
            "65500x65500 are more pixels than are read: allow it with --max-pixels 4290250000 (now 1048576)"
        );
        let error = error_of(&claiming(1 << 10, (1 << 10) + 1));
        assert!(error.contains("--max-pixels 1049600"), "{error}");
        // As many as are read.
        let error = error_of(&claiming(1 << 10, 1 << 10));
        assert!(error.contains("damaged"), "{error}");

        // The extent is in the frame header, after its marker, length and precision.
        let mut jpeg = encoded(&DynamicImage::ImageRgb8(sample()), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        let error = error_of(&jpeg);
        assert!(error.contains("65535x65535") && error.contains("--max-pixels 4294836225"), "{error}");
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert!(reserve(SMALL).is_ok());
        // More than addresses: no system gives it.
        let error = reserve(u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("9223372036854 MB of memory"), "{error}");
    }

    #[test]
    fn frames_without_huffman_tables_or_end_are_read() {
        let colours = RgbImage::from_fn(40, 24, |x, y| Rgb([x as u8 * 6, y as u8 * 9, 77]));
        let jpeg = encoded(&DynamicImage::ImageRgb8(colours), ImageFormat::Jpeg);
        let whole = decoded(&jpeg);
        let mut without = jpeg.clone();
        while let Some(at) = without.windows(2).position(|pair| pair == [0xff, 0xc4]) {
            let length = usize::from(u16::from_be_bytes([without[at + 2], without[at + 3]]));
            without.drain(at..at + 2 + length);
        }
        assert!(without.len() + 400 < jpeg.len());
        assert_eq!(decoded(&without), whole);

        for jpeg in [jpeg, without] {
            let picture = decode(&jpeg[..jpeg.len() - 2], MAX_PIXELS).unwrap();
            assert_eq!(picture.pixels, whole);
            assert_eq!(picture.warning, Some("its end mark is missing, but every pixel is there"));
        }
    }

    #[test]
    fn a_panic_of_the_decoder_is_an_error_of_the_picture() {
        let error = guarded::<()>(|| panic!("on purpose, number {}", 7)).unwrap_err().to_string();
        assert!(error.ends_with("internal error of the decoder: on purpose, number 7"), "{error}");
        assert!(!panic_is_caught());
        assert!(guarded(|| Ok(panic_is_caught())).unwrap());
    }
}
