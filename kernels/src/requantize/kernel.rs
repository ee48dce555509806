//! Micro-kernels that turn accumulators into levels, and sums into accumulators.

use super::forms::Form;
use super::{RequantizeTile, TransformTile};
use crate::arch;
use crate::registry;
use crate::ukernel::{Engine, Family, Listed, MicroKernel};

/// A requantization micro-kernel: one form of arithmetic with the instructions of one engine.
#[derive(Debug)]
pub struct RequantizeKernel {
    /// `requantize_u8_i32_<form>_<engine>`, see `docs/kernels.md`.
    pub name: &'static str,
    /// What the CPU must have.
    pub engine: Engine,
    /// The form of arithmetic: [`Requantizer::form`](super::Requantizer::form).
    pub form: &'static str,
    /// Converts a tile; `one_for_all` if all channels have the constants of the first.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The tile has been checked by `RequantizeTile::check`.
    pub(crate) run: unsafe fn(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>),
}

impl MicroKernel for RequantizeKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn engine(&self) -> Engine {
        self.engine
    }

    fn op(&self) -> &'static str {
        "requantize"
    }

    fn tile(&self) -> Option<[usize; 2]> {
        None
    }
}

impl Family for RequantizeKernel {
    fn listed(list: &Listed) -> &'static [&'static Self] {
        list.requantize
    }
}

impl RequantizeKernel {
    /// Every one that this CPU can run.
    pub(super) fn all() -> impl Iterator<Item = &'static Self> {
        registry::available().map(|available| available.kernel())
    }

    /// The one for a form with the largest of the engine's instructions that there is code for.
    ///
    /// # Panics
    /// If there is no portable one, which a test excludes.
    pub(super) fn best(form: &str, engine: Engine) -> &'static Self {
        let of = |engine: Engine| Self::all().find(|kernel| kernel.engine == engine && kernel.form == form);
        engine.and_bases().find_map(of).expect("every form has portable code")
    }
}

/// Turns sums into accumulators, with the instructions of one engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transform {
    pub(crate) engine: Engine,
    /// # Safety
    /// - The CPU has the engine's instructions.
    pub(crate) run: unsafe fn(&TransformTile<'_>, sums: &mut [i32], totals: &[i32]),
}

impl Transform {
    /// The one with the largest of this CPU's instructions that there is code for.
    pub(super) fn best() -> Self {
        let all = || arch::LISTS.iter().flat_map(|list| list.transform).copied();
        let of = |engine: Engine| all().find(|transform| transform.engine == engine && engine.is_available());
        Engine::best().and_bases().find_map(of).expect("there is portable code")
    }
}
