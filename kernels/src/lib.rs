//! Micro-kernels for low-bit convolutional networks.
//!
//! A network's tensors are small unsigned integers, *levels* of 1 to 8 bits. Families of micro-kernels convolve them
//! with weights, each in a module of [`families`]:
//!
//! | micro-kernels | levels and weights | family |
//! |---|---|---|
//! | `bsconv`, bit-serial | bit planes of 1 to 4 bits: `Σ_{i,j} 2^{i+j} · popcount(weight plane i AND level plane j)` | [`direct`](families::direct) |
//! | `mulconv`, multiplying | bytes, and signed bytes | [`direct`](families::direct) |
//! | `winconv` | few bits: 3×3 kernels with 16 multiplications instead of 36 | [`winograd`](families::winograd) |
//! | `lutconv`, looking up | levels become tables of sums, and weights of 2 or 3 bits choose among them | [`lookup`](families::lookup) |
//! | `dwconv` | bytes, each channel by itself | [`depthwise`](families::depthwise) |
//!
//! and `requantize` micro-kernels turn accumulators into levels again.
//!
//! | module | holds |
//! |---|---|
//! | [`encoding`], [`bitplanes`] | what bits mean; the canonical planes of a file |
//! | [`layout`] | where the levels of a tensor lie in memory |
//! | [`ukernel`] | what all micro-kernels have in common |
//! | [`families`] | the contracts between micro-kernels and their callers |
//! | [`registry`] | the list of micro-kernels, and the choice among them |
//! | [`cpu`] | what this CPU can do, and the override by environment variable |
//! | [`requantize`] | accumulators to levels |
//! | [`rows`] | pooling, look-up, packing: everything that works on rows of levels |
//! | [`sum`] | sums of two rows of few levels |
//! | [`mod@reference`] | the oracle: naive loops, nothing else |
//! | [`synthetic`] | calls on made-up operands, to time micro-kernels |
//! | `arch` | the micro-kernels, a folder for each instruction set |
//!
//! The crate is stateless: no thread pool, no allocation in anything that runs once a frame. A call
//! computes a slice of an output; what lies around it (loops, threads, memory) is the caller's.

#[cfg(target_arch = "arm")]
compile_error!(
    "yolo-lowbit needs a 64-bit system on ARM: install the 64-bit edition of Raspberry Pi OS (aarch64) and build \
     there; see docs/raspberry-pi.md"
);

pub mod bitplanes;
pub mod combine;
pub mod cpu;
pub mod encoding;
pub mod families;
pub mod layout;
pub mod reference;
pub mod registry;
pub mod requantize;
pub mod rows;
pub mod sum;
pub mod synthetic;
pub mod ukernel;

mod arch;
mod simd;
