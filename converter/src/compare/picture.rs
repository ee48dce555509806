//! Pictures to compare on.

/// Red, green and blue planes of a picture whose pixels are stored one after the other.
pub fn planar(rgb: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|colour| rgb.iter().skip(colour).step_by(3).copied()).collect()
}

/// A picture with slopes, edges and noise, always the same: RGB pixels, row by row.
pub fn synthetic_picture([height, width]: [usize; 2]) -> Vec<u8> {
    let mut state = 1u64;
    let mut noise = |amplitude: i32| {
        // A linear congruential generator (Knuth's MMIX constants).
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as i32 % (2 * amplitude + 1) - amplitude
    };
    let mut pixels = Vec::with_capacity(3 * height * width);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        // Objects of several sizes on a slope; the noise grows from left to right.
        let (row, column) = (16 * y / height, 16 * x / width);
        let object = (row * 7 + column * 3) % 11 < 3;
        let slope = [256 * x / width, 256 * y / height, 128 * (x + y) / (height + width) + 64];
        let amplitude = (48 * x / width) as i32;
        for (colour, slope) in slope.into_iter().enumerate() {
            let base = if object { ((row + column) * 53 + colour * 97) % 256 } else { slope };
            pixels.push((base as i32 + noise(amplitude)).clamp(0, 255) as u8);
        }
    }
    pixels
}
