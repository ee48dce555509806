//! The exports in `tests/fixtures/exports`, which `generate.py` there makes with the tools that users have.

use std::path::PathBuf;

/// The folder of the exports.
pub fn exports() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/exports")
}

/// The picture of a seed, channel by channel, as `reference.py` draws it: every pixel is the mean of two
/// neighbours in a row of random bytes.
pub fn picture(seed: u64, height: usize, width: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u16
    };
    let mut last = next();
    let mut pixel = || {
        let fresh = next();
        let mean = (last + fresh) / 2;
        last = fresh;
        mean as u8
    };
    (0..3 * height * width).map(|_| pixel()).collect()
}
