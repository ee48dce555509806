//! What a file is that is not a JPEG or PNG picture, and what to do about it.

use std::path::Path;

use anyhow::{Error, anyhow};
use image::ImageFormat;

/// The reason why a file cannot be read, by its first bytes.
pub fn not_readable(start: &[u8], path: &Path) -> Error {
    let Some((kind, program)) = kind(start) else { return anyhow!("this is not a JPEG or PNG picture") };
    anyhow!(
        "this is a {kind} file; JPEG and PNG pictures are read: convert it, with \"{}\"",
        program.call(path)
    )
}

/// What converts a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Ffmpeg,
    FfmpegFrames,
    HeifConvert,
}

impl Program {
    fn call(self, path: &Path) -> String {
        let name = path.to_str().filter(|name| name.chars().all(is_plain)).unwrap_or("FILE");
        let stem = Path::new(name).with_extension("");
        let stem = stem.display();
        match self {
            Self::Ffmpeg => format!("ffmpeg -i {name} {stem}.png"),
            Self::FfmpegFrames => format!("ffmpeg -i {name} {stem}-%05d.jpg"),
            Self::HeifConvert => format!("heif-convert {name} {stem}.png"),
        }
    }
}

/// Whether a shell takes the letter as it is.
fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || "/._-+".contains(letter)
}

fn kind(start: &[u8]) -> Option<(&'static str, Program)> {
    if let Some(b"ftyp") = start.get(4..8) {
        return Some(match start.get(8..12)? {
            b"avif" | b"avis" => ("AVIF", Program::Ffmpeg),
            b"heic" | b"heix" | b"hevc" | b"heim" | b"mif1" | b"msf1" => ("HEIC", Program::HeifConvert),
            _ => ("video", Program::FfmpegFrames),
        });
    }
    let kind = match image::guess_format(start).ok()? {
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF (or a camera's raw)",
        ImageFormat::Pnm => "PPM, PGM or PBM",
        ImageFormat::Qoi => "QOI",
        ImageFormat::OpenExr => "OpenEXR",
        ImageFormat::Hdr => "Radiance HDR",
        ImageFormat::Dds => "DDS",
        ImageFormat::Ico => "ICO",
        ImageFormat::Farbfeld => "farbfeld",
        _ => return None,
    };
    Some((kind, Program::Ffmpeg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named_with_what_converts_it() {
        let cases: [(&[u8], &str, &str); 5] = [
            (
                b"RIFF\x10\0\0\0WEBPVP8 ",
                "in/a.webp",
                "WebP file; JPEG and PNG pictures are read: convert it, with \"ffmpeg -i in/a.webp in/a.png\"",
            ),
            (
                b"BM\x10\0\0\0",
                "a b.bmp",
                "BMP file; JPEG and PNG pictures are read: convert it, with \"ffmpeg -i FILE FILE.png\"",
            ),
            (
                b"\0\0\0\x18ftypheic\0\0",
                "a.heic",
                "HEIC file; JPEG and PNG pictures are read: convert it, with \"heif-convert a.heic a.png\"",
            ),
            (
                b"\0\0\0\x18ftypisom\0\0",
                "v.mp4",
                "video file; JPEG and PNG pictures are read: convert it, with \"ffmpeg -i v.mp4 v-%05d.jpg\"",
            ),
            (
                b"GIF89a",
                "a",
                "GIF file; JPEG and PNG pictures are read: convert it, with \"ffmpeg -i a a.png\"",
            ),
        ];
        for (start, path, expected) in cases {
            assert_eq!(not_readable(start, Path::new(path)).to_string(), format!("this is a {expected}"));
        }
        assert_eq!(
            not_readable(b"hello", Path::new("a.jpg")).to_string(),
            "this is not a JPEG or PNG picture"
        );
    }
}
