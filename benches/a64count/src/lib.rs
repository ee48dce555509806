//! QEMU plugin that counts the A64 instructions a program executes and bounds the cycles they need.
//!
//! QEMU translates a program block by block. The plugin gives every block a counter that the
//! translated code increments ([`plugin`]). When the program ends, each executed instruction is looked
//! up in a table of encodings ([`encodings`]), whose rows say which issue slots it takes on a Cortex-A72
//! and a Cortex-A76 ([`slots`]). The sums and the bounds are written as a short text ([`report`]). On demand
//! every data access goes through a model of the caches ([`cache`]), which takes several times as long.
//!
//! The counts of a program with one thread are the same in every run.

pub mod cache;
pub mod encodings;
pub mod report;
pub mod slots;

// QEMU resolves its own functions when it loads the library: an executable with tests has no QEMU.
#[cfg(not(test))]
pub mod plugin;
