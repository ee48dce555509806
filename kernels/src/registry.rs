//! THE list of micro-kernels, and the choice among them.
//!
//! One line adds a micro-kernel: dispatch, conformance tests, benches and listings walk
//! [`CONV_KERNELS`]. Order does not matter, except that of two equally fast ones the first is taken.

use crate::arch;
use crate::cpu;
use crate::lookup::{self, Lookup, LookupKernel};
use crate::rows::Rows;
use crate::ukernel::{Conv, ConvKernel, Engine, Operands};
use crate::winograd::{self, Winograd, WinogradKernel};

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
    &arch::aarch64::bsconv::tables::BSCONV_2X64_NEON,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::bsconv::tables::BSCONV_4X32_NEON,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::bsconv::tables::BSCONV_4X16_NEON,
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
    &arch::x86_64::amx::MULCONV_32X32_AMX,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::amx::MULCONV_32X64_AMX,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::amx::MULCONV_32X128_AMX,
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

/// Every Winograd micro-kernel of this architecture.
pub static WINOGRAD_KERNELS: &[&WinogradKernel] = &[
    &arch::generic::winconv::WINCONV_GENERIC,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::winconv::WINCONV_NEON,
];

/// Every micro-kernel of this architecture that looks up.
pub static LOOKUP_KERNELS: &[&LookupKernel] = &[
    &arch::generic::lutconv::LUTCONV_GENERIC,
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::lutconv::LUTCONV_NEON,
];

/// The micro-kernels that may be chosen on this CPU.
#[derive(Clone, Debug)]
pub struct Dispatch {
    preferred: Vec<Conv>,
    all: Vec<Conv>,
    /// Those that the restriction leaves.
    winograd: Vec<Winograd>,
    /// Likewise.
    lookup: Vec<Lookup>,
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
        let mut winograd: Vec<Winograd> =
            WINOGRAD_KERNELS.iter().copied().filter_map(Winograd::new).collect();
        let mut lookup: Vec<Lookup> = LOOKUP_KERNELS.iter().copied().filter_map(Lookup::new).collect();
        let names = || {
            let convs = all.iter().map(|conv| conv.kernel().name);
            let convs = convs.chain(winograd.iter().map(|winograd| winograd.kernel().name));
            convs.chain(lookup.iter().map(|lookup| lookup.kernel().name))
        };
        let fits = |part: &str| names().any(|name| name.contains(part));
        if let Some(part) = parts.iter().find(|part| !fits(part)) {
            return Err(UnknownKernel { part: (*part).to_owned() });
        }
        let wanted = |name: &str| parts.iter().any(|part| name.contains(part));
        let preferred = all.iter().filter(|conv| wanted(conv.kernel().name)).copied().collect();
        winograd.retain(|winograd| parts.is_empty() || wanted(winograd.kernel().name));
        lookup.retain(|lookup| parts.is_empty() || wanted(lookup.kernel().name));
        Ok(Self { preferred, all, winograd, lookup, restriction: restriction.to_owned() })
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

    /// All Winograd micro-kernels that this CPU can run.
    pub fn available_winograd(&self) -> impl Iterator<Item = Winograd> {
        WINOGRAD_KERNELS.iter().copied().filter_map(Winograd::new)
    }

    /// All micro-kernels that look up and that this CPU can run.
    pub fn available_lookup(&self) -> impl Iterator<Item = Lookup> {
        LOOKUP_KERNELS.iter().copied().filter_map(Lookup::new)
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

    /// The fastest Winograd micro-kernel for a 3×3 convolution of stride 1 with one term, and its rate, if there
    /// is one that is exact and faster than what [`conv`](Self::conv) gave, or what the restriction names
    /// instead of that.
    pub fn winograd(&self, term: &Operands, conv: Conv) -> Option<(Winograd, f32)> {
        let rates = self.winograd.iter().map(|winograd| (*winograd, (winograd.kernel().rate)(term)));
        self.fastest(rates, term, conv).filter(|_| winograd::supports(term))
    }

    /// The same for a micro-kernel that looks up. `window` levels meet a weight each, of which `fresh` are in no
    /// window before; weights have `planes` planes.
    pub fn lookup(
        &self,
        term: &Operands,
        [window, fresh]: [usize; 2],
        planes: usize,
        conv: Conv,
    ) -> Option<(Lookup, f32)> {
        if term.max_level > lookup::MAX_LEVEL {
            return None;
        }
        let rate = |lookup: &Lookup| {
            let cost = lookup.kernel().cost;
            let lookups = window * planes * term.outputs.next_multiple_of(lookup::OUTPUTS);
            let cycles = lookups as f32 / cost.rate + fresh as f32 * cost.table;
            (window * term.outputs) as f32 / cycles
        };
        self.fastest(self.lookup.iter().map(|lookup| (*lookup, rate(lookup))), term, conv)
    }

    /// The first of the largest rates, unless what [`conv`](Self::conv) gave is as fast and named as well.
    fn fastest<T>(
        &self,
        rates: impl Iterator<Item = (T, f32)>,
        term: &Operands,
        conv: Conv,
    ) -> Option<(T, f32)> {
        let same = |other: &Conv| std::ptr::eq(other.kernel(), conv.kernel());
        let unrestricted = self.restriction.trim().is_empty();
        let rival = (unrestricted || self.preferred.iter().any(same)).then(|| (conv.kernel().rate)(term));
        rates
            .filter(|(_, rate)| rival.is_none_or(|rival| *rate > rival))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
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
