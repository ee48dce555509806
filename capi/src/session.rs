//! Sessions: a model with memory and threads of its own.

use std::sync::Arc;

use ylb_runtime::{DetectOptions, Detection, OutputTensor, Session, SessionError, SessionOptions};

use crate::failure::{Failure, borrow, borrow_mut, guard, guard_value, hand_out, need, slice};
use crate::model::ylb_model;
use crate::picture::{ClassList, ylb_detect_options, ylb_picture};
use crate::results::{ylb_detection, ylb_layer, ylb_output, ylb_times};
use crate::status::ylb_status;

/// A model with memory and threads of its own. One thread at a time may use a session, not always
/// the same; for more, make more sessions from one model. Results do not depend on the number of
/// threads.
///
/// ylb_session_detect(), ylb_session_run() and ylb_session_run_tensor() run one frame each. What they
/// cannot run they refuse beforehand: a call that fails has run no frame and changed nothing, so what
/// the last frame handed out stays valid. Only YLB_ERROR_INTERNAL is the end of a frame that was begun.
///
/// fork(): a session of two or more threads does not work in a forked child, which has none of its
/// parent's threads. Frames fail there with YLB_ERROR_FORKED; the results of the last frame can be read,
/// and ylb_session_free() is safe. Make sessions after fork(), and after daemon(), which forks. Models
/// and sessions of one thread work on both sides.
pub struct ylb_session {
    session: Session,
    detections: Vec<ylb_detection>,
    classes: ClassList,
    /// Restored when first asked for after a frame.
    outputs: Option<Vec<OutputTensor>>,
    layers: Vec<ylb_layer>,
    /// Names in `layers` point into these, which may outlive the model's handle.
    names: Vec<[std::ffi::CString; 2]>,
}

/// How a session runs. ylb_session_options_default() has the usual values.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ylb_session_options {
    /// Threads; 0: as many as the system offers.
    pub threads: u32,
    /// Not 0: measure the time of every layer, for ylb_session_layers().
    pub profile: u32,
}

/// As many threads as the system offers, no times of layers.
#[unsafe(no_mangle)]
pub extern "C" fn ylb_session_options_default() -> ylb_session_options {
    ylb_session_options { threads: 0, profile: 0 }
}

/// Most threads that a session may ask for.
const MAX_THREADS: u32 = 1024;

/// Allocates memory and starts threads. Frames allocate nothing, not even the first: whatever the
/// picture's size and format, the options and the number of objects. Only ylb_session_output()
/// allocates, and a call that fails, for its text.
///
/// model: may be freed afterwards.
/// options: NULL for the default. At most 1024 threads.
/// session: receives the session, which ylb_session_free() frees. Not changed on failure.
///
/// Errors: YLB_ERROR_NULL, YLB_ERROR_ARGUMENT, YLB_ERROR_RESOURCES.
///
/// # Safety
/// * `model` is NULL or a model that was not freed; `options` is NULL or points to options;
///   `session` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_new(
    model: *const ylb_model,
    options: *const ylb_session_options,
    session: *mut *mut ylb_session,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let model = unsafe { borrow(model, "model") }?;
        need(session, "session")?;
        // SAFETY: the caller's promise.
        let given = unsafe { options.as_ref() }.copied().unwrap_or_else(|| ylb_session_options_default());
        if given.threads > MAX_THREADS {
            let text = format!("options.threads is {}: at most {MAX_THREADS}", given.threads);
            return Err(Failure::argument(text));
        }
        let threads = usize::try_from(given.threads).unwrap_or(usize::MAX);
        let options = SessionOptions { threads, profile: given.profile != 0, keep_values: false };
        let network = model.network.model();
        let classes = if network.detect.maps.is_empty() { 0 } else { network.detect.classes };
        let layers = if options.profile { model.layers.len() } else { 0 };
        let made = Session::new(Arc::clone(&model.network), options)?;
        let new = ylb_session {
            detections: Vec::with_capacity(made.max_detections()),
            session: made,
            classes: ClassList::new(usize::try_from(classes).unwrap_or_default()),
            outputs: None,
            layers: Vec::with_capacity(layers),
            names: model.layers.clone(),
        };
        // SAFETY: the caller's promise.
        unsafe { hand_out(session, Box::into_raw(Box::new(new)), "session") }
    })
}

/// Stops a session's threads and frees it with everything that it handed out; NULL does nothing.
///
/// # Safety
/// * `session` is NULL, or came from ylb_session_new(), was not freed before and is not used on
///   another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_free(session: *mut ylb_session) {
    guard_value((), || {
        if !session.is_null() {
            // SAFETY: made by `Box::into_raw`, and the caller promises that it is the first time.
            drop(unsafe { Box::from_raw(session) });
        }
        Some(())
    });
}

/// Number of a session's threads; 0 if session is NULL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_threads(session: *const ylb_session) -> u32 {
    // SAFETY: the caller's promise.
    let threads = || unsafe { session.as_ref() }.and_then(|it| u32::try_from(it.session.threads()).ok());
    guard_value(0, threads)
}

/// Finds objects in a picture of any size, which is resized with its proportions kept.
///
/// options: NULL for the defaults of the model's family: those of ylb_detect_options_default(), but an IoU of 0.7 for
/// YOLOv8 and its successors.
/// detections, count: receive the objects, the most confident first, and their number. They belong
/// to the session, until its next frame. Not changed on failure.
///
/// Errors: YLB_ERROR_NULL; YLB_ERROR_ARGUMENT if sizes contradict each other or a threshold is not
/// between 0 and 1; YLB_ERROR_NO_BOXES; YLB_ERROR_FORKED; YLB_ERROR_INTERNAL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `picture` is NULL or a
///   picture whose pixels are there as its sizes say; `options` is NULL or points to options whose
///   classes are there; `detections` and `count` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_detect(
    session: *mut ylb_session,
    picture: *const ylb_picture,
    options: *const ylb_detect_options,
    detections: *mut *const ylb_detection,
    count: *mut usize,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise, for this and all that follow.
        let session = unsafe { borrow_mut(session, "session") }?;
        // SAFETY: as above.
        let picture = unsafe { ylb_picture::view(picture) }?;
        need(detections, "detections")?;
        need(count, "count")?;
        let default = DetectOptions::of(&session.session.network().model().detect);
        // SAFETY: as above.
        let options = unsafe { ylb_detect_options::read(options, default, &mut session.classes) }?;
        let found = session.session.detect(&picture, &options);
        session.classes.recycle(options);
        // What was handed out goes only now that there is a new frame.
        let found = found?;
        session.outputs = None;
        session.detections.clear();
        session.detections.extend(found.iter().map(detection));
        // SAFETY: as above.
        unsafe { hand_out(detections, session.detections.as_ptr(), "detections") }?;
        // SAFETY: as above.
        unsafe { hand_out(count, session.detections.len(), "count") }
    })
}

fn detection(found: &Detection) -> ylb_detection {
    let Detection { class, confidence, left, top, right, bottom } = *found;
    ylb_detection { class_id: class, confidence, left, top, right, bottom }
}

/// Runs the network alone on a picture of any size, for those who decode ylb_session_output()
/// themselves; ylb_session_to_picture() brings their boxes back.
///
/// Errors: YLB_ERROR_NULL, YLB_ERROR_ARGUMENT, YLB_ERROR_FORKED, YLB_ERROR_INTERNAL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `picture` is NULL or a
///   picture whose pixels are there as its sizes say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_run(
    session: *mut ylb_session,
    picture: *const ylb_picture,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow_mut(session, "session") }?;
        // SAFETY: the caller's promise.
        let picture = unsafe { ylb_picture::view(picture) }?;
        session.session.run_picture(&picture)?;
        session.outputs = None;
        Ok(())
    })
}

/// Runs the network alone on the tensor that the source model takes: [1, 3, height, width], red
/// first, every element k/255 with an integer k from 0 to 255.
///
/// length: number of elements, 3 x height x width.
///
/// Errors: YLB_ERROR_NULL; YLB_ERROR_ARGUMENT if the length or an element is wrong; YLB_ERROR_FORKED;
/// YLB_ERROR_INTERNAL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `tensor` is NULL or points
///   to `length` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_run_tensor(
    session: *mut ylb_session,
    tensor: *const f32,
    length: usize,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow_mut(session, "session") }?;
        // SAFETY: the caller's promise.
        let tensor = unsafe { slice(tensor, length, "tensor") }?;
        session.session.run_tensor(tensor)?;
        session.outputs = None;
        Ok(())
    })
}

/// Restores an output of the source model for the last frame.
///
/// index: from 0 to ylb_model_output_count() - 1.
/// output: receives the tensor, which belongs to the session, until its next frame. Not changed on
/// failure.
///
/// Errors: YLB_ERROR_NULL; YLB_ERROR_ARGUMENT if there is no such output; YLB_ERROR_NO_FRAME;
/// YLB_ERROR_NO_BOXES if the output needs anchors that are unknown; YLB_ERROR_INTERNAL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `output` is NULL or may be
///   written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_output(
    session: *mut ylb_session,
    index: u32,
    output: *mut ylb_output,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow_mut(session, "session") }?;
        need(output, "output")?;
        let count = session.session.network().model().outputs.len();
        let position = usize::try_from(index).ok().filter(|&position| position < count).ok_or_else(|| {
            Failure::argument(format_args!("there is no output {index}: the model has {count}"))
        })?;
        // Those that are kept may be of a frame before one that failed.
        session.session.placement().ok_or(SessionError::NoFrame)?;
        let outputs = match &session.outputs {
            Some(outputs) => outputs,
            None => session.outputs.insert(session.session.outputs()?),
        };
        let tensor = &outputs[position];
        let view = ylb_output {
            data: tensor.data.as_ptr(),
            length: tensor.data.len(),
            shape: tensor.shape.as_ptr(),
            rank: tensor.shape.len(),
        };
        // SAFETY: the caller's promise.
        unsafe { hand_out(output, view, "output") }
    })
}

/// Brings a point of the network's input back into the last frame's picture, and the nearest point
/// of it if it lies in the border. The tensor of ylb_session_run_tensor() is its own picture.
///
/// x, y: pixels of the input; changed to pixels of the picture. Not changed on failure.
///
/// Errors: YLB_ERROR_NULL, YLB_ERROR_NO_FRAME.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `x` and `y` are NULL or may
///   be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_to_picture(
    session: *const ylb_session,
    x: *mut f32,
    y: *mut f32,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(session, "session") }?;
        // SAFETY: the caller's promise.
        let point = unsafe { (*borrow(x, "x")?, *borrow(y, "y")?) };
        let placement = session.session.placement().ok_or(SessionError::NoFrame)?;
        let point = placement.to_picture(f64::from(point.0), f64::from(point.1));
        // SAFETY: the caller's promise.
        unsafe { hand_out(x, point.0 as f32, "x") }?;
        // SAFETY: the caller's promise.
        unsafe { hand_out(y, point.1 as f32, "y") }
    })
}

/// Where the time of the last frame went; all 0 before the first frame, and after one that ended in
/// YLB_ERROR_INTERNAL.
///
/// Errors: YLB_ERROR_NULL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `times` is NULL or may be
///   written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_times(session: *const ylb_session, times: *mut ylb_times) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(session, "session") }?;
        let stages = session.session.times();
        let seconds = ylb_times {
            preprocess: stages.preprocess.as_secs_f64(),
            inference: stages.inference.as_secs_f64(),
            postprocess: stages.postprocess.as_secs_f64(),
        };
        // SAFETY: the caller's promise.
        unsafe { hand_out(times, seconds, "times") }
    })
}

/// The layers of the last frame in the order in which they ran, with the time each took.
///
/// layers, count: receive the layers and their number; none if the session does not measure, before
/// its first frame, and after one that ended in YLB_ERROR_INTERNAL. They belong to the session, until
/// its next frame or the next call.
///
/// Errors: YLB_ERROR_NULL.
///
/// # Safety
/// * `session` is NULL or a session that was not freed and is not in use; `layers` and `count` are
///   NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ylb_session_layers(
    session: *mut ylb_session,
    layers: *mut *const ylb_layer,
    count: *mut usize,
) -> ylb_status {
    guard(|| {
        // SAFETY: the caller's promise, for this and all that follow.
        let session = unsafe { borrow_mut(session, "session") }?;
        need(layers, "layers")?;
        need(count, "count")?;
        let network = Arc::clone(session.session.network());
        let measured = network.steps().zip(session.session.profile()).zip(&session.names);
        session.layers.clear();
        session.layers.extend(measured.map(|((step, time), [name, kernel])| ylb_layer {
            name: name.as_ptr(),
            kernel: kernel.as_ptr(),
            macs: step.macs,
            seconds: time.as_secs_f64(),
        }));
        // SAFETY: as above.
        unsafe { hand_out(layers, session.layers.as_ptr(), "layers") }?;
        // SAFETY: as above.
        unsafe { hand_out(count, session.layers.len(), "count") }
    })
}
