//! Codes of success and failure.

use std::ffi::c_char;

use crate::failure;

/// Whether a call succeeded, and if not, of what kind the failure is. A code never changes its
/// meaning; later versions may add codes. ylb_last_error() has the details in words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ylb_status {
    /// The call did what it says.
    YLB_OK = 0,
    /// A pointer that must not be NULL was.
    YLB_ERROR_NULL = 1,
    /// An argument is out of its range, or arguments contradict each other.
    YLB_ERROR_ARGUMENT = 2,
    /// The model file could not be opened or read.
    YLB_ERROR_IO = 3,
    /// The bytes are no valid .ylb model, or one of a version that this library does not know.
    YLB_ERROR_MODEL = 4,
    /// This computer cannot run the model.
    YLB_ERROR_UNSUPPORTED = 5,
    /// The system gave no more threads, or no memory for the network's tensors.
    YLB_ERROR_RESOURCES = 6,
    /// The model has no detection head, or one whose anchors are unknown: there are raw outputs, but
    /// no boxes.
    YLB_ERROR_NO_BOXES = 7,
    /// A fault inside the library, which may have left the frame that was run unfinished. Free the
    /// session; please report how it came about.
    YLB_ERROR_INTERNAL = 8,
    /// The session has no frame whose results could be read: it has run none, or the last one ended in
    /// YLB_ERROR_INTERNAL.
    YLB_ERROR_NO_FRAME = 9,
    /// The session's threads stayed in the parent of this forked process. Make a session here.
    YLB_ERROR_FORKED = 10,
}

/// What went wrong in the last call that failed on this thread, in one line of English without a
/// line end; an empty text if none has failed yet. Never NULL. Valid until the next call of this
/// thread fails. In destructors of a thread's data (pthread_key_create) texts may be cut after 255
/// bytes, and those of calls before are gone.
#[unsafe(no_mangle)]
pub extern "C" fn ylb_last_error() -> *const c_char {
    failure::last_text()
}
