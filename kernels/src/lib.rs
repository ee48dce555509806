//! Micro-kernels for low-bit convolutional networks.
//!
//! A network's tensors are small unsigned integers, *levels* of 1 to 8 bits. Three families of
//! convolution micro-kernels multiply them with weights:
//!
//! * `bsconv`, bit-serial: levels and weights of 1 to 4 bits lie as bit planes, and a dot product is
//!   `Σ_{i,j} 2^{i+j} · popcount(weight plane i AND activation plane j)`;
//! * `mulconv`, multiplying: levels lie as bytes and weights as signed bytes. `winconv` is its relative for 3×3
//!   kernels;
//! * `lutconv`, looking up: levels become tables of sums, and weights of 2 or 3 bits choose among them.
//!
//! | module | holds |
//! |---|---|
//! | [`encoding`], [`bitplanes`] | what bits mean; the canonical planes of a file |
//! | [`layout`] | where the levels of a tensor lie in memory |
//! | [`ukernel`] | the contract between a micro-kernel and its caller |
//! | [`registry`] | THE list of micro-kernels, and the choice among them |
//! | [`winograd`] | 3×3 convolutions of few bits with 16 multiplications instead of 36 |
//! | [`lookup`] | convolution by tables of sums of four levels, for weights of 2 and 3 bits |
//! | [`depthwise`] | convolution of every channel by itself |
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
pub mod depthwise;
pub mod encoding;
pub mod layout;
pub mod lookup;
pub mod reference;
pub mod registry;
pub mod requantize;
pub mod rows;
pub mod sum;
pub mod synthetic;
pub mod ukernel;
pub mod winograd;

mod arch;
mod simd;
