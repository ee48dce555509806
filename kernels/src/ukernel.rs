//! What all micro-kernels have in common, whatever they compute: a name, an engine, and that they exist as descriptions
//! everywhere but can be called only where the CPU has their instructions.
//!
//! What a micro-kernel is asked for is a matter of its [family](crate::families).

pub use crate::arch::Engine;
pub use crate::registry::Listed;

/// A micro-kernel's description: plain data that exists on every CPU of the architecture.
pub trait MicroKernel: std::fmt::Debug + Sync {
    /// `<op>_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>]`, see `docs/kernels.md`.
    fn name(&self) -> &'static str;

    /// What the CPU must have.
    fn engine(&self) -> Engine;

    /// What its name must begin with.
    fn op(&self) -> &'static str;

    /// Output pixels and output channels that are computed together, as its name says; `None` where results do not depend
    /// on neighbours, so that the name has none.
    fn tile(&self) -> Option<[usize; 2]>;
}

/// A kind of micro-kernels, which share a contract and lie in one list.
pub trait Family: MicroKernel + Sized + 'static {
    /// Its micro-kernels in the list of an instruction set.
    fn listed(list: &Listed) -> &'static [&'static Self];
}

/// A micro-kernel that this CPU can run: the proof is that the value exists.
#[derive(Debug)]
pub struct Available<K: 'static>(&'static K);

impl<K> Clone for Available<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Available<K> {}

impl<K: MicroKernel> Available<K> {
    /// `None` if this CPU lacks the engine's instructions.
    pub fn new(kernel: &'static K) -> Option<Self> {
        kernel.engine().is_available().then_some(Self(kernel))
    }

    /// The micro-kernel's description.
    pub fn kernel(&self) -> &'static K {
        self.0
    }
}
