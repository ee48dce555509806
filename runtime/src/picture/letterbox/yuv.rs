//! Video's luma and chroma to RGB, byte for byte as OpenCV's `cvtColor` (`COLOR_YUV2RGB_YUYV`,
//! `COLOR_YUV2RGB_NV12`): BT.601, luma from 16 to 235, in 20-bit fixed point.
//!
//! ```text
//! l = max(0, Y − 16) · 1.164          R = l + 1.596 · (V − 128)
//!                                     G = l − 0.813 · (V − 128) − 0.391 · (U − 128)
//!                                     B = l + 2.018 · (U − 128)      each rounded, cut to 0 to 255
//! ```
//!
//! Only pixels that the resizer asks for are converted, so a camera's frame costs as much as the
//! network's input has pixels, not as many as the frame has.

/// Fraction bits of the factors.
const BITS: u32 = 20;
const HALF: i32 = 1 << (BITS - 1);
const LUMA: i32 = 1_220_542;
const RED_OF_V: i32 = 1_673_527;
const GREEN_OF_V: i32 = -852_492;
const GREEN_OF_U: i32 = -409_993;
const BLUE_OF_U: i32 = 2_116_026;

/// Red, green and blue of a luma, a blue chroma and a red chroma.
#[inline(always)]
pub(super) fn rgb([luma, u, v]: [u8; 3]) -> [u8; 3] {
    // No sum exceeds 2^30: 239 · 1.164 + 128 · 2.018 < 2^10.
    let light = (i32::from(luma) - 16).max(0) * LUMA + HALF;
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [RED_OF_V * v, GREEN_OF_V * v + GREEN_OF_U * u, BLUE_OF_U * u]
        .map(|chroma| ((light + chroma) >> BITS).clamp(0, 255) as u8)
}

/// Copies the pixels of `columns` to `sides[0]` and their right neighbours to `sides[1]`, if there is
/// one, as RGB bytes. `pixel(x)` gives luma and chroma of column `x`, for any column of the source.
/// The last column of the source, which has no right neighbour, is copied itself.
#[inline(always)]
pub(super) fn gather<const SIDES: usize>(
    columns: impl Iterator<Item = usize>,
    mut sides: [&mut [u8]; SIDES],
    width: usize,
    pixel: impl Fn(usize) -> [u8; 3],
) {
    for (index, x) in columns.enumerate() {
        for (side, output) in sides.iter_mut().enumerate() {
            let rgb = rgb(pixel((x + side).min(width - 1)));
            output[3 * index..][..3].copy_from_slice(&rgb);
        }
    }
}
