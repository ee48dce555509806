//! Pictures to PNG and JPEG files.
//!
//! A crate of its own for the sake of the command's size: encoders are generic, so that whoever calls them compiles them. The
//! commands are compiled for size, and these must not be: saving would take half as long again.

use std::io::Write;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult, RgbImage};

/// Writes a picture as PNG.
///
/// # Errors
/// If the writer fails, or the picture has no pixels.
pub fn write_png(picture: &RgbImage, writer: &mut dyn Write) -> ImageResult<()> {
    let (width, height) = picture.dimensions();
    PngEncoder::new(writer).write_image(picture, width, height, ExtendedColorType::Rgb8)
}

/// Writes a picture as JPEG of a quality from 1 to 100.
///
/// # Errors
/// If the writer fails, or the picture is larger than 65 535 on a side.
pub fn write_jpeg(picture: &RgbImage, quality: u8, writer: &mut dyn Write) -> ImageResult<()> {
    let (width, height) = picture.dimensions();
    JpegEncoder::new_with_quality(writer, quality).write_image(
        picture,
        width,
        height,
        ExtendedColorType::Rgb8,
    )
}
