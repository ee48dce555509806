//! The list of micro-kernels, and the choice among them.
//!
//! One line adds a micro-kernel, in the list of its instruction set (`arch/generic.rs`, `arch/aarch64.rs`,
//! `arch/x86_64.rs`): dispatch, conformance tests, benches and listings walk these lists. Order does not matter,
//! except that of two equally fast ones the first is taken.

use crate::arch;
use crate::cpu;
use crate::families::depthwise::DepthwiseKernel;
use crate::families::direct::ConvKernel;
use crate::families::lookup::LookupKernel;
use crate::families::winograd::WinogradKernel;
use crate::requantize::{RequantizeKernel, Transform};
use crate::rows::Rows;
use crate::ukernel::{Available, Engine, Family, MicroKernel};

/// The micro-kernels of an instruction set, by family.
#[derive(Debug)]
pub struct Listed {
    pub(crate) direct: &'static [&'static ConvKernel],
    pub(crate) winograd: &'static [&'static WinogradKernel],
    pub(crate) lookup: &'static [&'static LookupKernel],
    pub(crate) depthwise: &'static [&'static DepthwiseKernel],
    pub(crate) requantize: &'static [&'static RequantizeKernel],
    /// Not a family of its own: whatever is restricted, the best is taken.
    pub(crate) transform: &'static [Transform],
}

impl Listed {
    fn all(&self) -> impl Iterator<Item = &'static dyn MicroKernel> {
        fn described<K: MicroKernel>(
            kernels: &'static [&'static K],
        ) -> impl Iterator<Item = &'static dyn MicroKernel> {
            kernels.iter().map(|&kernel| kernel as &dyn MicroKernel)
        }
        described(self.direct)
            .chain(described(self.winograd))
            .chain(described(self.lookup))
            .chain(described(self.depthwise))
            .chain(described(self.requantize))
    }
}

/// Every micro-kernel of a family that this architecture has, whether or not this CPU can run it.
pub fn kernels<F: Family>() -> impl Iterator<Item = &'static F> {
    arch::LISTS.iter().flat_map(|list| F::listed(list)).copied()
}

/// Every micro-kernel of a family that this CPU can run.
pub fn available<F: Family>() -> impl Iterator<Item = Available<F>> {
    kernels().filter_map(Available::new)
}

/// Every micro-kernel that this architecture has, of all families.
pub fn all_kernels() -> impl Iterator<Item = &'static dyn MicroKernel> {
    arch::LISTS.iter().flat_map(|list| list.all())
}

/// The choice among the micro-kernels of this CPU.
#[derive(Clone, Debug)]
pub struct Dispatch {
    restriction: String,
}

/// The best micro-kernel of a family for something.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<K: 'static> {
    /// The micro-kernel.
    pub kernel: Available<K>,
    /// How good it is.
    pub preference: Preference,
}

impl<K: MicroKernel> Candidate<K> {
    /// The micro-kernel's name, and how good it is.
    pub fn described(&self) -> (&'static str, Preference) {
        (self.kernel.kernel().name(), self.preference)
    }
}

/// What the choice goes by: first whether the restriction names a micro-kernel, and then how fast it is.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Preference {
    /// Whether the restriction names it, or there is none.
    pub named: bool,
    /// Estimated multiply-accumulates of a direct convolution per cycle: only ratios matter.
    pub rate: f32,
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
        let dispatch = Self { restriction: restriction.to_owned() };
        let runs = |kernel: &&dyn MicroKernel| kernel.engine().is_available();
        let fits = |part: &str| all_kernels().filter(runs).any(|kernel| kernel.name().contains(part));
        let unknown = dispatch.parts().find(|part| !fits(part)).map(str::to_owned);
        unknown.map_or(Ok(dispatch), |part| Err(UnknownKernel { part }))
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.restriction.split(',').map(str::trim).filter(|part| !part.is_empty())
    }

    /// Whether the restriction names a micro-kernel, or there is none.
    pub fn names(&self, kernel: &dyn MicroKernel) -> bool {
        self.parts().next().is_none() || self.parts().any(|part| kernel.name().contains(part))
    }

    /// The micro-kernel of a family with the highest rate, among those that the restriction names, or where it names none
    /// that has a rate, among all. `rate` is `None` for micro-kernels that cannot compute what is wanted.
    pub fn best<F: Family>(&self, rate: impl Fn(&Available<F>) -> Option<f32>) -> Option<Candidate<F>> {
        let candidate = |kernel: Available<F>| {
            let preference = Preference { named: self.names(kernel.kernel()), rate: rate(&kernel)? };
            Some(Candidate { kernel, preference })
        };
        let better = |best: Candidate<F>, next: Candidate<F>| {
            if next.preference > best.preference { next } else { best }
        };
        available().filter_map(candidate).reduce(better)
    }

    /// Row operations under the same restriction.
    pub fn rows(&self) -> Rows {
        Rows::new(&self.restriction)
    }

    /// The instructions that row operations and requantization are to use under the same restriction.
    pub fn engine(&self) -> Engine {
        self.rows().engine()
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
