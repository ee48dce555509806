//! x86-64 with AVX-512 as of Ice Lake and Zen 4: VNNI multiplies bytes, VPOPCNTDQ and BITALG count bits.
//!
//! GMAC/s of one thread; on Intel these micro-kernels over a layer (`docs/kernels.md`), on AMD prototypes of the
//! same loops with all operands in the L1 cache:
//!
//! | | VPDPBUSD, 8 bits | 1 × 1 bit | 1 × 2 | 2 × 2 |
//! |---|---|---|---|---|
//! | AMD Zen 5 at 4.3 GHz: four vector pipes | 537 | 2800 | 1430 | 715 |
//! | Intel Xeon with AMX at 2.5 GHz: two | 218 | 694 | 328 | 165 |
//!
//! A step of 512 products of bits is an AND, a count and an addition. On two pipes, counting bits therefore loses
//! to multiplying bytes at 2 × 2 bits already: see [`counting_cycles`].

pub(crate) mod bsconv;
pub(crate) mod combine;
pub(crate) mod lookup;
pub(crate) mod mulconv;
pub(crate) mod pack;
pub(crate) mod planes;
pub(crate) mod requantize;

use std::arch::x86_64::__cpuid;
use std::sync::OnceLock;

/// Proof that the CPU has the AVX-512 extensions that this folder uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// `None` if this CPU lacks one of them.
    pub(crate) fn new() -> Option<Self> {
        let available = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512bitalg")
            && is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("popcnt");
        available.then_some(Self(()))
    }

    /// The proof without the check.
    ///
    /// # Safety
    /// - The CPU has all of them.
    pub(crate) unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

/// Whether this is one of AMD's CPUs, which have four vector pipes, and gather words one after another.
fn amd() -> bool {
    static AMD: OnceLock<bool> = OnceLock::new();
    *AMD.get_or_init(|| {
        let vendor = __cpuid(0);
        // "AuthenticAMD".
        [vendor.ebx, vendor.edx, vendor.ecx] == [0x6874_7541, 0x6974_6e65, 0x444d_4163]
    })
}

/// Cycles of a step of bit-serial convolution: AND, count and addition of 512 bits.
fn counting_cycles() -> f32 {
    // Four pipes count faster than two; whatever is not known is taken for the slower.
    if amd() { 0.78 } else { 1.55 }
}

/// Calls `$body` with the first of `$pixels` pixels and how many to compute together, a constant, until all
/// are done. The last of the counts is 1.
macro_rules! for_pixels {
    ($pixels:expr, [$($count:literal),+], |$pixel:ident, $together:ident| $body:expr) => {{
        let pixels = $pixels;
        let mut $pixel = 0;
        $(
            while pixels - $pixel >= $count {
                const $together: usize = $count;
                $body;
                $pixel += $count;
            }
        )+
    }};
}
pub(crate) use for_pixels;
