//! Pictures: which files of a folder are some, and how they are read.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

/// File name extensions of pictures, in lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The pictures that a command line names: files as they are, folders by their pictures in the order
/// of their names. Folders inside folders are not entered.
///
/// # Errors
/// If a path does not exist or a folder has no pictures.
pub fn collect(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for input in inputs {
        let metadata = fs::metadata(input).with_context(|| format!("cannot open {}", input.display()))?;
        if metadata.is_dir() {
            pictures.extend(pictures_of_folder(input)?);
        } else {
            pictures.push(input.clone());
        }
    }
    Ok(pictures)
}

fn pictures_of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let mut pictures = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if is_picture_name(&path) && path.is_file() {
            pictures.push(path);
        }
    }
    ensure!(
        !pictures.is_empty(),
        "{} has no pictures: name a folder with .jpg, .jpeg or .png files in it",
        folder.display()
    );
    pictures.sort();
    Ok(pictures)
}

/// Whether a file's name says that it is a picture. Hidden files are none: macOS leaves files such as
/// `._photo.jpg` on memory cards, which hold no picture.
fn is_picture_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden
        && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Reads a picture as 8-bit RGB, upright: the EXIF orientation is applied, transparency dropped and
/// grey repeated, as OpenCV's `imread` does by default.
///
/// # Errors
/// If the file cannot be read or is no whole JPEG or PNG picture.
pub fn read(path: &Path) -> Result<RgbImage> {
    decode(&fs::read(path).context("cannot be opened")?)
}

fn decode(bytes: &[u8]) -> Result<RgbImage> {
    if bytes.is_empty() {
        bail!("the file is empty");
    }
    // By contents, not by name: cameras and browsers get extensions wrong.
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    ensure!(reader.format().is_some(), "this is no JPEG or PNG picture");
    if reader.format() == Some(ImageFormat::Jpeg) {
        ensure!(jpeg_has_end(bytes), "the picture is damaged: its end is missing");
    }
    let mut decoder = reader.into_decoder().context("the picture is damaged")?;
    let orientation = decoder.orientation().context("the picture is damaged")?;
    let mut picture = DynamicImage::from_decoder(decoder).context("the picture is damaged")?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Whether a JPEG goes on to its end marker. The decoder does not ask: it fills what is missing with
/// grey, and a picture of which a camera saved a tenth would be searched as if it were whole.
///
/// Markers are `ff` with a byte other than 0 (ITU-T T.81, B.1.1). Skipping the segments by their
/// lengths keeps the markers of an embedded thumbnail from being taken for the picture's.
fn jpeg_has_end(jpeg: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    while let Some(&[first, marker]) = jpeg.get(at..at + 2) {
        match (first, marker) {
            (0xff, END_OF_IMAGE) => return true,
            // Data, an escaped ff, filling, or a marker without a segment.
            (0..0xff, _) | (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => match jpeg.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Three by two pixels of different colours.
    fn sample() -> RgbImage {
        RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8 * 100, y as u8 * 200, 50]))
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    /// Inserts an EXIF segment with nothing but an orientation behind the JPEG's start marker.
    fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"\xff\xe1\x00\x22Exif\0\0".to_vec();
        exif.extend_from_slice(b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0");
        exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
        [&jpeg[..2], &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn names_of_pictures() {
        for name in ["a.jpg", "b.JPEG", "folder.x/c.Png"] {
            assert!(is_picture_name(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "jpg", ".jpg", "._a.jpg", "a.jpg.bak", "a.gif"] {
            assert!(!is_picture_name(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn every_orientation_is_made_upright() {
        let gradient =
            RgbImage::from_fn(32, 16, |x, y| if x < 16 && y < 8 { Rgb([255; 3]) } else { Rgb([0; 3]) });
        let jpeg = encoded(&DynamicImage::ImageRgb8(gradient), ImageFormat::Jpeg);
        // The white quarter is stored top left; the orientation says which corner that is.
        let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
        for (orientation, (right, bottom)) in (1..=8).zip(corners) {
            let picture = decode(&with_orientation(&jpeg, orientation)).unwrap();
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
        assert_eq!(decode(&png).unwrap(), sample());

        let grey = colours.into_luma8();
        let picture = decode(&encoded(&DynamicImage::ImageLuma8(grey.clone()), ImageFormat::Png)).unwrap();
        assert!(picture.pixels().zip(grey.pixels()).all(|(rgb, grey)| rgb.0 == [grey.0[0]; 3]));
    }

    #[test]
    fn what_is_no_picture_has_a_reason() {
        let jpeg = encoded(&DynamicImage::ImageRgb8(RgbImage::new(64, 64)), ImageFormat::Jpeg);
        let png = encoded(&DynamicImage::ImageRgb8(sample()), ImageFormat::Png);
        let cases: [(&[u8], &str); 5] = [
            (b"", "empty"),
            (b"hello, this is text", "no JPEG or PNG"),
            (&jpeg[..jpeg.len() / 3], "damaged"),
            (&jpeg[..jpeg.len() - 2], "end is missing"),
            (&png[..png.len() / 2], "damaged"),
        ];
        for (bytes, reason) in cases {
            let error = format!("{:#}", decode(bytes).unwrap_err());
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }
}
