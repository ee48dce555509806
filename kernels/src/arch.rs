//! The micro-kernels, a folder for each instruction set.
//!
//! `generic` holds the bodies, written once over [`Simd`](crate::simd::Simd) or as loops that compilers
//! vectorise, and portable forms; the other folders instantiate the same bodies with their vectors. File
//! names are the same everywhere, so that a difference between two folders means something.
//!
//! A body, like every method of the vector trait, is `#[inline(always)]` and has no
//! `#[target_feature]`: only the outermost function, the instantiation, has the attribute. Otherwise
//! every intrinsic becomes a call.
//!
//! Each folder's own file has the list of its micro-kernels: one line adds one.

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
mod engine;
pub(crate) mod generic;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

pub use engine::Engine;
pub(crate) use engine::features;

use crate::ukernel::Listed;

/// The lists of this architecture's instruction sets.
pub(crate) static LISTS: &[&Listed] = &[
    &generic::KERNELS,
    #[cfg(target_arch = "aarch64")]
    &aarch64::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64::KERNELS,
];
