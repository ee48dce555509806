//! Pseudo-random numbers that the fixtures' scripts compute too (`tests/fixtures/noise.py`).

/// Number `index` of the sequence that `seed` begins.
pub fn noise(seed: u32, index: usize) -> u32 {
    let mut x = (index as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed);
    x ^= x >> 15;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}
