//! From errors and panics to a code and a text for each thread.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ylb_runtime::{LoadError, LoadErrorKind, SessionError};

use crate::status::ylb_status;

/// A failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    status: ylb_status,
    text: String,
}

/// Bytes of a text, and the zero at its end, where there is no [`LAST`].
const SHORT: usize = 256;

thread_local! {
    /// The last text. It is gone before the thread is: its destructor may run before those of C's data,
    /// which may call us still.
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
    /// The last text while the thread ends. What needs no destructor stays until the memory goes.
    static ENDING: Cell<[c_char; SHORT]> = const { Cell::new([0; SHORT]) };
}

impl Failure {
    /// A failure of that kind.
    pub(crate) fn new(status: ylb_status, text: impl Display) -> Self {
        Self { status, text: text.to_string() }
    }

    /// An argument out of range.
    pub(crate) fn argument(text: impl Display) -> Self {
        Self::new(ylb_status::YLB_ERROR_ARGUMENT, text)
    }

    fn null(what: &str) -> Self {
        Self::new(ylb_status::YLB_ERROR_NULL, format_args!("{what} is NULL"))
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::new(load_status(error.kind()), error)
    }
}

fn load_status(kind: &LoadErrorKind) -> ylb_status {
    match kind {
        LoadErrorKind::Io(_) => ylb_status::YLB_ERROR_IO,
        LoadErrorKind::Format(_) => ylb_status::YLB_ERROR_MODEL,
        LoadErrorKind::TooLarge { .. } | LoadErrorKind::Memory(_) => ylb_status::YLB_ERROR_RESOURCES,
        _ => ylb_status::YLB_ERROR_UNSUPPORTED,
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let status = match &error {
            SessionError::Threads(_) | SessionError::Memory(_) => ylb_status::YLB_ERROR_RESOURCES,
            SessionError::Decode(_) => ylb_status::YLB_ERROR_NO_BOXES,
            SessionError::TensorLength { .. }
            | SessionError::TensorValue { .. }
            | SessionError::Picture(_)
            | SessionError::Options(_) => ylb_status::YLB_ERROR_ARGUMENT,
            SessionError::Program(kind) => load_status(kind),
            SessionError::NoFrame => ylb_status::YLB_ERROR_NO_FRAME,
            SessionError::Forked => ylb_status::YLB_ERROR_FORKED,
            _ => ylb_status::YLB_ERROR_INTERNAL,
        };
        Self::new(status, error)
    }
}

/// Runs the body of an entry: what it returns, or panics with, becomes a code, and the thread's last
/// text.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> ylb_status {
    // The handles that a panic may leave half-changed answer `Broken` afterwards: the runtime
    // takes care of its own state.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return ylb_status::YLB_OK,
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(
            ylb_status::YLB_ERROR_INTERNAL,
            "a fault inside yolo-lowbit; free this handle, and please report how it came about",
        ),
    };
    keep_text(&failure.text.replace(['\0', '\n'], " "));
    failure.status
}

/// Makes a text without a zero byte the thread's last.
fn keep_text(text: &str) {
    let kept = LAST.try_with(|last| last.replace(CString::new(text).ok()));
    if kept.is_err() {
        let mut short = [0; SHORT];
        let bytes = text[..text.floor_char_boundary(SHORT - 1)].bytes();
        short.iter_mut().zip(bytes).for_each(|(to, byte)| *to = c_char::from_ne_bytes([byte]));
        ENDING.set(short);
    }
}

/// Runs a body that cannot fail but by a panic, which gives `fallback`.
pub(crate) fn guard_value<T>(fallback: T, body: impl FnOnce() -> Option<T>) -> T {
    catch_unwind(AssertUnwindSafe(body)).ok().flatten().unwrap_or(fallback)
}

/// The thread's last text.
pub(crate) fn last_text() -> *const c_char {
    let last = LAST.try_with(|last| match last.try_borrow() {
        Ok(text) => text.as_deref().unwrap_or_default().as_ptr(),
        // In a handler of a signal that came while the text was set.
        Err(_) => c"".as_ptr(),
    });
    last.unwrap_or_else(|_| ENDING.with(|short| short.as_ptr().cast()))
}

/// The failure that names a pointer that is NULL.
pub(crate) fn need<T>(pointer: *const T, what: &str) -> Result<(), Failure> {
    if pointer.is_null() { Err(Failure::null(what)) } else { Ok(()) }
}

/// What a pointer points to, or the failure that names it.
///
/// # Safety
/// * `pointer` is NULL or points to a `T` that lives and is not changed while the reference is used.
pub(crate) unsafe fn borrow<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::null(what))
}

/// As [`borrow`], to change it.
///
/// # Safety
/// * `pointer` is NULL or points to a `T` that lives and that nobody else uses meanwhile.
pub(crate) unsafe fn borrow_mut<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::null(what))
}

/// The `len` elements at `pointer`; NULL is an empty slice if `len` is 0.
///
/// # Safety
/// * `pointer` is NULL or points to `len` elements that live and are not changed while the slice is
///   used.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    need(pointer, what)?;
    if !pointer.is_aligned() {
        return Err(Failure::argument(format_args!("{what} is not aligned to its type")));
    }
    let limit = isize::MAX as usize / size_of::<T>().max(1);
    if len > limit {
        return Err(Failure::argument(format_args!(
            "{what} has {len} elements: no address space has that many"
        )));
    }
    // SAFETY: not NULL, aligned, no longer than an allocation can be; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// * `target` is NULL or may be written to.
pub(crate) unsafe fn hand_out<T>(target: *mut T, value: T, what: &str) -> Result<(), Failure> {
    need(target, what)?;
    // SAFETY: not NULL; the rest is the caller's promise. Nothing is dropped: C's memory may be
    // uninitialized.
    unsafe { target.write(value) };
    Ok(())
}
