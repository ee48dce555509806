//! Which version this is.

use std::ffi::{CStr, c_char};

/// The version of the crate, with an end for C.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no zero byte"),
};

/// Version of the library that the program runs with, such as "0.1.0". Compare it with the macro
/// YLB_VERSION, the version of the header that the program was compiled with. The text is constant.
#[unsafe(no_mangle)]
pub extern "C" fn ylb_version() -> *const c_char {
    VERSION.as_ptr()
}
