//! Loaded models.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::Arc;

use ylb_runtime::Network;

use crate::failure::{Failure, guard, guard_value, hand_out, need, slice};
use crate::status::ylb_status;

/// A loaded model. It never changes: any number of sessions on any number of threads may share one,
/// and all functions that take a const ylb_model may be called on any thread at any time.
pub struct ylb_model {
    pub(crate) network: Arc<Network>,
    class_names: Vec<CString>,
    output_names: Vec<CString>,
    /// Name and kernel of every layer.
    pub(crate) layers: Vec<[CString; 2]>,
}

impl ylb_model {
    pub(crate) fn new(network: Network) -> Self {
        let model = network.model();
        let texts = |names: &mut dyn Iterator<Item = &str>| names.map(text).collect::<Vec<_>>();
        Self {
            class_names: texts(&mut model.metadata.class_names.iter().map(String::as_str)),
            output_names: texts(&mut model.outputs.iter().map(|output| output.name.as_str())),
            layers: network.steps().map(|step| [text(&step.node.name), text(step.kernel)]).collect(),
            network: Arc::new(network),
        }
    }
}

/// A text for C; a zero byte inside it would end it early.
pub(crate) fn text(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// Opens a .ylb file.
///
/// path: UTF-8 or whatever bytes the system's paths have, ending in a zero byte.
/// model: receives the model, which ylb_model_free() frees. Not changed on failure.
///
/// Errors: YLB_ERROR_NULL, YLB_ERROR_IO, YLB_ERROR_MODEL, YLB_ERROR_UNSUPPORTED (also if the
/// environment variable YLB_KERNELS names micro-kernels that do not exist), YLB_ERROR_RESOURCES.
///
/// # Safety
/// * `path` is NULL or a text that ends in a zero byte; `model` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_open(path: *const c_char, model: *mut *mut ylb_model) -> ylb_status {
    guard(|| {
        need(path, "path")?;
        // SAFETY: not NULL, and the caller promises an end.
        let path = unsafe { CStr::from_ptr(path) };
        need(model, "model")?;
        let network = Network::open(system_path(path)?)?;
        // SAFETY: the caller's promise.
        unsafe { hand_out(model, Box::into_raw(Box::new(ylb_model::new(network))), "model") }
    })
}

#[cfg(unix)]
fn system_path(path: &CStr) -> Result<&Path, Failure> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

#[cfg(not(unix))]
fn system_path(path: &CStr) -> Result<&Path, Failure> {
    path.to_str().map(Path::new).map_err(|_| Failure::argument("path is not UTF-8"))
}

/// Loads the bytes of a .ylb file, for example one that is linked into the program. They are not
/// needed afterwards.
///
/// bytes, length: the file's contents.
/// model: receives the model, which ylb_model_free() frees. Not changed on failure.
///
/// Errors: as ylb_model_open() without YLB_ERROR_IO.
///
/// # Safety
/// * `bytes` is NULL or points to `length` bytes; `model` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_from_bytes(
    bytes: *const u8,
    length: usize,
    model: *mut *mut ylb_model,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice(bytes, length, "bytes") }?;
        need(model, "model")?;
        let network = Network::from_bytes(bytes)?;
        // SAFETY: the caller's promise.
        unsafe { hand_out(model, Box::into_raw(Box::new(ylb_model::new(network))), "model") }
    })
}

/// Frees a model; NULL does nothing. Sessions made from it go on working. Texts that it handed out
/// are gone.
///
/// # Safety
/// * `model` is NULL, or came from this library, was not freed before and is not used on another
///   thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_free(model: *mut ylb_model) {
    guard_value((), || {
        if !model.is_null() {
            // SAFETY: made by `Box::into_raw`, and the caller promises that it is the first time.
            drop(unsafe { Box::from_raw(model) });
        }
        Some(())
    });
}

/// Width of the network's input in pixels; 0 if model is NULL. Pictures of any size are resized to it.
///
/// # Safety
/// * `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_input_width(model: *const ylb_model) -> u32 {
    // SAFETY: the caller's promise.
    guard_value(0, || unsafe { model.as_ref() }.map(|model| input_size(model)[0]))
}

/// Height of the network's input in pixels; 0 if model is NULL.
///
/// # Safety
/// * `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_input_height(model: *const ylb_model) -> u32 {
    // SAFETY: the caller's promise.
    guard_value(0, || unsafe { model.as_ref() }.map(|model| input_size(model)[1]))
}

fn input_size(model: &ylb_model) -> [u32; 2] {
    let model = model.network.model();
    let value = usize::try_from(model.input.value.0).ok().and_then(|index| model.values.get(index));
    value.map_or([0, 0], |value| [value.width, value.height])
}

/// Number of classes; 0 if model is NULL.
///
/// # Safety
/// * `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_class_count(model: *const ylb_model) -> u32 {
    // SAFETY: the caller's promise.
    guard_value(0, || unsafe { model.as_ref() }.map(|model| model.network.model().detect.classes))
}

/// Name of a class in UTF-8, counted from 0; NULL if model is NULL, there is no such class or the file has
/// no names. Valid until the model is freed.
///
/// # Safety
/// * `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_class_name(model: *const ylb_model, class_id: u32) -> *const c_char {
    guard_value(std::ptr::null(), || {
        // SAFETY: the caller's promise.
        let model = unsafe { model.as_ref() }?;
        model.class_names.get(usize::try_from(class_id).ok()?).map(|name| name.as_ptr())
    })
}

/// Number of the source model's outputs, which ylb_session_output() restores; 0 if model is NULL.
///
/// # Safety
/// * `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_output_count(model: *const ylb_model) -> u32 {
    // SAFETY: the caller's promise.
    let count = || unsafe { model.as_ref() }.and_then(|model| u32::try_from(model.output_names.len()).ok());
    guard_value(0, count)
}

/// Name of an output in UTF-8, counted from 0; NULL if model is NULL or there is no such output. Valid
/// until the model is freed.
///
/// # Safety
/// * `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_model_output_name(model: *const ylb_model, index: u32) -> *const c_char {
    guard_value(std::ptr::null(), || {
        // SAFETY: the caller's promise.
        let model = unsafe { model.as_ref() }?;
        model.output_names.get(usize::try_from(index).ok()?).map(|name| name.as_ptr())
    })
}
