//! THE list of micro-kernels, and the choice among them.
//!
//! One line adds a micro-kernel: dispatch, conformance tests, benches and listings walk
//! [`CONV_KERNELS`]. Order does not matter, except that of two equally fast ones the first is taken.

use crate::arch;
use crate::cpu;
use crate::rows::Rows;
use crate::ukernel::{Conv, ConvKernel, Engine, Operands};

/// Every convolution micro-kernel of this architecture, whether or not this CPU can run it.
pub static CONV_KERNELS: &[&ConvKernel] = &[
    &arch::generic::bsconv::BSCONV_GENERIC,
    &arch::generic::mulconv::MULCONV_GENERIC,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::bsconv::BSCONV_1X64_NEON,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::bsconv::BSCONV_1X32_NEON,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::bsconv::BSCONV_1X16_NEON,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::mulconv::MULCONV_NEON,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::mulconv::MULCONV_NEON_FULL_RANGE,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::mulconv::masks::MULCONV_NEON_MASKS,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::mulconv::two_bits::MULCONV_NEON_TWO_BITS,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::dotprod::MULCONV_DOTPROD,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::avx512::bsconv::BSCONV_8X32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::avx512::bsconv::BSCONV_8X16_AVX512,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::avx512::mulconv::MULCONV_8X32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::avx512::mulconv::MULCONV_16X16_AVX512,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::bsconv::BSCONV_1X64_AVX2,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::bsconv::BSCONV_1X32_AVX2,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::mulconv::MULCONV_AVX2,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::mulconv::MULCONV_AVX2_7BIT,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::mulconv::MULCONV_AVX2_4BIT,
];

/// The micro-kernels that may be chosen on this CPU.
#[derive(Clone, Debug)]
pub struct Dispatch {
    preferred: Vec<Conv>,
    all: Vec<Conv>,
    restriction: String,
}

/// A part of the override that no micro-kernel's name contains, or none that this CPU can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernel {
    /// The part.
    pub part: String,
}

impl Dispatch {
    /// What this CPU can run, restricted by the environment variable [`cpu::KERNELS_VARIABLE`].
    ///
    /// # Errors
    /// If a part of the variable fits no micro-kernel that this CPU can run.
    pub fn from_environment() -> Result<Self, UnknownKernel> {
        Self::restricted_to(&cpu::kernels_override())
    }

    /// What this CPU can run, restricted to names that contain one of the comma-separated parts
    /// of `restriction`.
    ///
    /// # Errors
    /// If a part fits no micro-kernel that this CPU can run.
    pub fn restricted_to(restriction: &str) -> Result<Self, UnknownKernel> {
        let all: Vec<Conv> = CONV_KERNELS.iter().copied().filter_map(Conv::new).collect();
        let parts: Vec<&str> =
            restriction.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let fits = |part: &str| all.iter().any(|conv| conv.kernel().name.contains(part));
        if let Some(part) = parts.iter().find(|part| !fits(part)) {
            return Err(UnknownKernel { part: (*part).to_owned() });
        }
        let wanted = |conv: &&Conv| parts.iter().any(|part| conv.kernel().name.contains(part));
        let preferred = all.iter().filter(wanted).copied().collect();
        Ok(Self { preferred, all, restriction: restriction.to_owned() })
    }

    /// Row operations under the same restriction.
    pub fn rows(&self) -> Rows {
        Rows::new(&self.restriction)
    }

    /// Whether everything that has a portable form shall use it: row operations are restricted to it.
    pub fn is_portable(&self) -> bool {
        self.rows().engine() == Engine::Generic
    }

    /// All micro-kernels that this CPU can run.
    pub fn available(&self) -> &[Conv] {
        &self.all
    }

    /// The fastest micro-kernel for all terms of a convolution. `None` does not happen for a valid
    /// model: the generic multiplying micro-kernel takes everything.
    pub fn conv(&self, terms: &[Operands]) -> Option<Conv> {
        let time = |conv: &Conv| -> f32 {
            terms.iter().map(|term| term.depth as f32 / (conv.kernel().rate)(term)).sum()
        };
        let fastest = |kernels: &[Conv]| {
            kernels
                .iter()
                .filter(|conv| terms.iter().all(|term| (conv.kernel().supports)(term)))
                .map(|conv| (*conv, time(conv)))
                .reduce(|best, next| if next.1 < best.1 { next } else { best })
                .map(|(conv, _)| conv)
        };
        fastest(&self.preferred).or_else(|| fastest(&self.all))
    }
}

impl std::fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no micro-kernel of this CPU has \"{}\" in its name (set by {})",
            self.part,
            cpu::KERNELS_VARIABLE
        )
    }
}

impl std::error::Error for UnknownKernel {}
