// yolo-lowbit: object detection with YOLO networks of 1 to 8 bit, on CPUs.
//
// Made from capi/src by cbindgen: do not edit. docs/c-api.md is the guide.
//
// Errors     Functions that can fail return a ylb_status; ylb_last_error() says in words what
//            went wrong. Results are written through pointers, only on success but where noted.
// Ownership  Who calls a ..._new, ..._open or ..._from_... calls the matching ..._free. What else is
//            handed out belongs to its handle; the comment says until when.
// Threads    A ylb_model may be shared by all threads. A ylb_session is used by one at a time.
// Texts      UTF-8, ending in a zero byte.
// Stability  Before version 1.0, types and functions may change with a minor version, and the
//            shared library's name with them.

#ifndef YOLO_LOWBIT_H
#define YOLO_LOWBIT_H

#include <stddef.h>
#include <stdint.h>

// Version of this header.
#define YLB_VERSION "0.1.0"
#define YLB_VERSION_MAJOR 0
#define YLB_VERSION_MINOR 1
#define YLB_VERSION_PATCH 0

// Whether a call succeeded, and if not, of what kind the failure is. A code never changes its
// meaning; later versions may add codes. ylb_last_error() has the details in words.
typedef enum ylb_status {
  // The call did what it says.
  YLB_OK = 0,
  // A pointer that must not be NULL was.
  YLB_ERROR_NULL = 1,
  // An argument is out of its range, or arguments contradict each other.
  YLB_ERROR_ARGUMENT = 2,
  // The model file could not be opened or read.
  YLB_ERROR_IO = 3,
  // The bytes are no valid .ylb model, or one of a version that this library does not know.
  YLB_ERROR_MODEL = 4,
  // This computer cannot run the model.
  YLB_ERROR_UNSUPPORTED = 5,
  // The system gave no more threads, or no memory for the network's tensors.
  YLB_ERROR_RESOURCES = 6,
  // The model has no detection head, or one whose anchors are unknown: there are raw outputs, but
  // no boxes.
  YLB_ERROR_NO_BOXES = 7,
  // A fault inside the library, which may have left the frame that was run unfinished. Free the
  // session; please report how it came about.
  YLB_ERROR_INTERNAL = 8,
  // The session has no frame whose results could be read: it has run none, or the last one ended in
  // YLB_ERROR_INTERNAL.
  YLB_ERROR_NO_FRAME = 9,
  // The session's threads stayed in the parent of this forked process. Make a session here.
  YLB_ERROR_FORKED = 10,
} ylb_status;

// How the bytes of a picture make pixels.
typedef enum ylb_pixel_format {
  // 3 bytes: red, green, blue.
  YLB_PIXELS_RGB = 0,
  // 3 bytes: blue, green, red, as OpenCV has it.
  YLB_PIXELS_BGR = 1,
  // 4 bytes: red, green, blue, and one that is ignored.
  YLB_PIXELS_RGBA = 2,
  // 4 bytes: blue, green, red, and one that is ignored.
  YLB_PIXELS_BGRA = 3,
  // 1 byte, grey.
  YLB_PIXELS_GRAY8 = 4,
  // 2 pixels in 4 bytes: Y, U, Y, V (V4L2's YUYV, also called YUY2). Even width. BT.601, Y from 16
  // to 235, converted as OpenCV does.
  YLB_PIXELS_YUYV = 5,
  // A plane of Y, one byte a pixel, followed at once by a plane of half as many rows with the same
  // stride: U and V, one pair for 2 x 2 pixels. Even width and height. Colours as for YUYV.
  YLB_PIXELS_NV12 = 6,
} ylb_pixel_format;

// A loaded model. It never changes: any number of sessions on any number of threads may share one,
// and all functions that take a const ylb_model may be called on any thread at any time.
typedef struct ylb_model ylb_model;

// A model with memory and threads of its own. One thread at a time may use a session, not always
// the same; for more, make more sessions from one model. Results do not depend on the number of
// threads.
//
// ylb_session_detect(), ylb_session_run() and ylb_session_run_tensor() run one frame each. What they
// cannot run they refuse beforehand: a call that fails has run no frame and changed nothing, so what
// the last frame handed out stays valid. Only YLB_ERROR_INTERNAL is the end of a frame that was begun.
//
// fork(): a session of two or more threads does not work in a forked child, which has none of its
// parent's threads. Frames fail there with YLB_ERROR_FORKED; the results of the last frame can be read,
// and ylb_session_free() is safe. Make sessions after fork(), and after daemon(), which forks. Models
// and sessions of one thread work on both sides.
typedef struct ylb_session ylb_session;

// What counts as a detection. ylb_detect_options_default() has the usual values.
typedef struct ylb_detect_options {
  // Objects are kept whose confidence is greater than this; 0 to 1. Compared is the exact
  // confidence, a multiple of 2^-30; the one that is reported is rounded to a float, and so may be
  // equal to this.
  float confidence;
  // Of two boxes of one class whose intersection over union exceeds this, the better stays; 0 to 1.
  float iou;
  // Only so many of the best objects are kept. More than 30000 are never found.
  uint32_t max_detections;
  // Not 0: one box may be reported for several classes, as accuracy measurements want it.
  uint32_t multi_label;
  // Only these classes are reported; NULL: all. Their order does not matter, and neither do
  // classes that the model has not.
  const uint32_t *classes;
  // Number of classes there; 0 if that is NULL.
  size_t class_count;
} ylb_detect_options;

// How a session runs. ylb_session_options_default() has the usual values.
typedef struct ylb_session_options {
  // Threads; 0: as many as the system offers.
  uint32_t threads;
  // Not 0: measure the time of every layer, for ylb_session_layers().
  uint32_t profile;
} ylb_session_options;

// A picture. Its pixels stay the caller's: they are read during the call and not kept.
typedef struct ylb_picture {
  // The first byte of the top row.
  const uint8_t *pixels;
  // Columns, from 1 to 2^24.
  uint32_t width;
  // Rows, from 1 to 2^24.
  uint32_t height;
  // Bytes from a row to the next; 0 if the rows follow one another without a gap.
  size_t stride;
  // A ylb_pixel_format.
  uint32_t format;
} ylb_picture;

// A found object. Coordinates are pixels of the picture, from its top left corner, clipped to it.
typedef struct ylb_detection {
  // Class, counted from 0; ylb_model_class_name() has its name.
  uint32_t class_id;
  // Score of the class, 0 to 1: times the objectness, where the network has one.
  float confidence;
  // Left edge.
  float left;
  // Top edge.
  float top;
  // Right edge.
  float right;
  // Bottom edge.
  float bottom;
} ylb_detection;

// An output of the source model, restored in floating point.
typedef struct ylb_output {
  // The elements, the last axis fastest.
  const float *data;
  // Number of elements.
  size_t length;
  // Extent of each axis; the first is the batch, 1.
  const size_t *shape;
  // Number of axes.
  size_t rank;
} ylb_output;

// Where the time of a frame went, in seconds.
typedef struct ylb_times {
  // Bringing the picture, resized, or the tensor into the input.
  double preprocess;
  // The network.
  double inference;
  // From the network's numbers to boxes; 0 for a frame that was not ylb_session_detect()'s.
  double postprocess;
} ylb_times;

// A layer of the last frame.
typedef struct ylb_layer {
  // Name of the layer in the source model, UTF-8.
  const char *name;
  // Name of the micro-kernel of a convolution, otherwise what is done.
  const char *kernel;
  // Multiply-accumulates of a frame; 0 for what is no convolution.
  uint64_t macs;
  // Seconds that the layer took.
  double seconds;
} ylb_layer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Opens a .ylb file.
//
// path: UTF-8 or whatever bytes the system's paths have, ending in a zero byte.
// model: receives the model, which ylb_model_free() frees. Not changed on failure.
//
// Errors: YLB_ERROR_NULL, YLB_ERROR_IO, YLB_ERROR_MODEL, YLB_ERROR_UNSUPPORTED (also if the
// environment variable YLB_KERNELS names micro-kernels that do not exist), YLB_ERROR_RESOURCES.
//
// Must hold:
// * path is NULL or a text that ends in a zero byte; model is NULL or may be written to.
enum ylb_status ylb_model_open(const char *path, struct ylb_model **model);

// Loads the bytes of a .ylb file, for example one that is linked into the program. They are not
// needed afterwards.
//
// bytes, length: the file's contents.
// model: receives the model, which ylb_model_free() frees. Not changed on failure.
//
// Errors: as ylb_model_open() without YLB_ERROR_IO.
//
// Must hold:
// * bytes is NULL or points to length bytes; model is NULL or may be written to.
enum ylb_status ylb_model_from_bytes(const uint8_t *bytes, size_t length, struct ylb_model **model);

// Frees a model; NULL does nothing. Sessions made from it go on working. Texts that it handed out
// are gone.
//
// Must hold:
// * model is NULL, or came from this library, was not freed before and is not used on another
//   thread.
void ylb_model_free(struct ylb_model *model);

// Width of the network's input in pixels; 0 if model is NULL. Pictures of any size are resized to it.
//
// Must hold:
// * model is NULL or a model that was not freed.
uint32_t ylb_model_input_width(const struct ylb_model *model);

// Height of the network's input in pixels; 0 if model is NULL.
//
// Must hold:
// * model is NULL or a model that was not freed.
uint32_t ylb_model_input_height(const struct ylb_model *model);

// Number of classes; 0 if model is NULL.
//
// Must hold:
// * model is NULL or a model that was not freed.
uint32_t ylb_model_class_count(const struct ylb_model *model);

// Name of a class in UTF-8, counted from 0; NULL if model is NULL, there is no such class or the file has
// no names. Valid until the model is freed.
//
// Must hold:
// * model is NULL or a model that was not freed.
const char *ylb_model_class_name(const struct ylb_model *model,
                                 uint32_t class_id);

// Number of the source model's outputs, which ylb_session_output() restores; 0 if model is NULL.
//
// Must hold:
// * model is NULL or a model that was not freed.
uint32_t ylb_model_output_count(const struct ylb_model *model);

// Name of an output in UTF-8, counted from 0; NULL if model is NULL or there is no such output. Valid
// until the model is freed.
//
// Must hold:
// * model is NULL or a model that was not freed.
const char *ylb_model_output_name(const struct ylb_model *model,
                                  uint32_t index);

// YOLOv5's options: confidence 0.25, IoU 0.45, at most 300 objects of all classes, one class a box.
struct ylb_detect_options ylb_detect_options_default(void);

// As many threads as the system offers, no times of layers.
struct ylb_session_options ylb_session_options_default(void);

// Allocates memory and starts threads. Frames allocate nothing, not even the first: whatever the
// picture's size and format, the options and the number of objects. Only ylb_session_output()
// allocates, and a call that fails, for its text.
//
// model: may be freed afterwards.
// options: NULL for the default. At most 1024 threads.
// session: receives the session, which ylb_session_free() frees. Not changed on failure.
//
// Errors: YLB_ERROR_NULL, YLB_ERROR_ARGUMENT, YLB_ERROR_RESOURCES.
//
// Must hold:
// * model is NULL or a model that was not freed; options is NULL or points to options;
//   session is NULL or may be written to.
enum ylb_status ylb_session_new(const struct ylb_model *model,
                                const struct ylb_session_options *options,
                                struct ylb_session **session);

// Stops a session's threads and frees it with everything that it handed out; NULL does nothing.
//
// Must hold:
// * session is NULL, or came from ylb_session_new(), was not freed before and is not used on
//   another thread.
void ylb_session_free(struct ylb_session *session);

// Number of a session's threads; 0 if session is NULL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use.
uint32_t ylb_session_threads(const struct ylb_session *session);

// Finds objects in a picture of any size, which is resized with its proportions kept.
//
// options: NULL for the defaults of the model's family: those of ylb_detect_options_default(), but an IoU of 0.7 for
// YOLOv8 and its successors.
// detections, count: receive the objects, the most confident first, and their number. They belong
// to the session, until its next frame. Not changed on failure.
//
// Errors: YLB_ERROR_NULL; YLB_ERROR_ARGUMENT if sizes contradict each other or a threshold is not
// between 0 and 1; YLB_ERROR_NO_BOXES; YLB_ERROR_FORKED; YLB_ERROR_INTERNAL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; picture is NULL or a
//   picture whose pixels are there as its sizes say; options is NULL or points to options whose
//   classes are there; detections and count are NULL or may be written to.
enum ylb_status ylb_session_detect(struct ylb_session *session,
                                   const struct ylb_picture *picture,
                                   const struct ylb_detect_options *options,
                                   const struct ylb_detection **detections,
                                   size_t *count);

// Runs the network alone on a picture of any size, for those who decode ylb_session_output()
// themselves; ylb_session_to_picture() brings their boxes back.
//
// Errors: YLB_ERROR_NULL, YLB_ERROR_ARGUMENT, YLB_ERROR_FORKED, YLB_ERROR_INTERNAL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; picture is NULL or a
//   picture whose pixels are there as its sizes say.
enum ylb_status ylb_session_run(struct ylb_session *session, const struct ylb_picture *picture);

// Runs the network alone on the tensor that the source model takes: [1, 3, height, width], red
// first, every element k/255 with an integer k from 0 to 255.
//
// length: number of elements, 3 x height x width.
//
// Errors: YLB_ERROR_NULL; YLB_ERROR_ARGUMENT if the length or an element is wrong; YLB_ERROR_FORKED;
// YLB_ERROR_INTERNAL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; tensor is NULL or points
//   to length elements.
enum ylb_status ylb_session_run_tensor(struct ylb_session *session,
                                       const float *tensor,
                                       size_t length);

// Restores an output of the source model for the last frame.
//
// index: from 0 to ylb_model_output_count() - 1.
// output: receives the tensor, which belongs to the session, until its next frame. Not changed on
// failure.
//
// Errors: YLB_ERROR_NULL; YLB_ERROR_ARGUMENT if there is no such output; YLB_ERROR_NO_FRAME;
// YLB_ERROR_NO_BOXES if the output needs anchors that are unknown; YLB_ERROR_INTERNAL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; output is NULL or may be
//   written to.
enum ylb_status ylb_session_output(struct ylb_session *session,
                                   uint32_t index,
                                   struct ylb_output *output);

// Brings a point of the network's input back into the last frame's picture, and the nearest point
// of it if it lies in the border. The tensor of ylb_session_run_tensor() is its own picture.
//
// x, y: pixels of the input; changed to pixels of the picture. Not changed on failure.
//
// Errors: YLB_ERROR_NULL, YLB_ERROR_NO_FRAME.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; x and y are NULL or may
//   be read and written.
enum ylb_status ylb_session_to_picture(const struct ylb_session *session,
                                       float *x,
                                       float *y);

// Where the time of the last frame went; all 0 before the first frame, and after one that ended in
// YLB_ERROR_INTERNAL.
//
// Errors: YLB_ERROR_NULL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; times is NULL or may be
//   written to.
enum ylb_status ylb_session_times(const struct ylb_session *session, struct ylb_times *times);

// The layers of the last frame in the order in which they ran, with the time each took.
//
// layers, count: receive the layers and their number; none if the session does not measure, before
// its first frame, and after one that ended in YLB_ERROR_INTERNAL. They belong to the session, until
// its next frame or the next call.
//
// Errors: YLB_ERROR_NULL.
//
// Must hold:
// * session is NULL or a session that was not freed and is not in use; layers and count are
//   NULL or may be written to.
enum ylb_status ylb_session_layers(struct ylb_session *session,
                                   const struct ylb_layer **layers,
                                   size_t *count);

// What went wrong in the last call that failed on this thread, in one line of English without a
// line end; an empty text if none has failed yet. Never NULL. Valid until the next call of this
// thread fails. In destructors of a thread's data (pthread_key_create) texts may be cut after 255
// bytes, and those of calls before are gone.
const char *ylb_last_error(void);

// Version of the library that the program runs with, such as "0.1.0". Compare it with the macro
// YLB_VERSION, the version of the header that the program was compiled with. The text is constant.
const char *ylb_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* YOLO_LOWBIT_H */
