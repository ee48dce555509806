//! The C interface of the runtime: `libyolo_lowbit.a`, `libyolo_lowbit.so` and `yolo_lowbit.h`.
//!
//! The header is made from these files by cbindgen, comments included, so the comments here speak to
//! somebody who writes C. `include/yolo_lowbit.h` is committed; a test holds it to the code.
//!
//! # Rules of the border
//!
//! 1. No panic crosses it: every entry runs inside `failure::guard`, and a panic becomes
//!    `YLB_ERROR_INTERNAL`.
//! 2. Every pointer is checked for NULL and every number for its range before it is used. What
//!    cannot be checked, such as a pointer to freed memory, stands under *Safety*.
//! 3. A code never changes its meaning. New failures get new codes.
//! 4. Enumerations and truth values arrive as plain integers: C can put any number there.
//! 5. What is handed out belongs to a handle, and the comment says until when.

#![allow(non_camel_case_types)]

mod failure;
mod model;
mod picture;
mod results;
mod session;
mod status;
mod version;

#[cfg(test)]
mod tests;

pub use model::*;
pub use picture::*;
pub use results::*;
pub use session::*;
pub use status::*;
pub use version::*;
