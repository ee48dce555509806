//! The caller's pictures and what to find in them.

use ylb_runtime::{DetectOptions, Picture, PixelFormat};

use crate::failure::{Failure, borrow, slice};

/// How the bytes of a picture make pixels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ylb_pixel_format {
    /// 3 bytes: red, green, blue.
    YLB_PIXELS_RGB = 0,
    /// 3 bytes: blue, green, red, as OpenCV has it.
    YLB_PIXELS_BGR = 1,
    /// 4 bytes: red, green, blue, and one that is ignored.
    YLB_PIXELS_RGBA = 2,
    /// 4 bytes: blue, green, red, and one that is ignored.
    YLB_PIXELS_BGRA = 3,
    /// 1 byte, grey.
    YLB_PIXELS_GRAY8 = 4,
    /// 2 pixels in 4 bytes: Y, U, Y, V (V4L2's YUYV, also called YUY2). Even width. BT.601, Y from 16
    /// to 235, converted as OpenCV does.
    YLB_PIXELS_YUYV = 5,
    /// A plane of Y, one byte a pixel, followed at once by a plane of half as many rows with the same
    /// stride: U and V, one pair for 2 x 2 pixels. Even width and height. Colours as for YUYV.
    YLB_PIXELS_NV12 = 6,
}

/// A picture. Its pixels stay the caller's: they are read during the call and not kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ylb_picture {
    /// The first byte of the top row.
    pub pixels: *const u8,
    /// Columns, from 1 to 2^24.
    pub width: u32,
    /// Rows, from 1 to 2^24.
    pub height: u32,
    /// Bytes from a row to the next; 0 if the rows follow one another without a gap.
    pub stride: usize,
    /// A ylb_pixel_format.
    pub format: u32,
}

/// What counts as a detection. ylb_detect_options_default() has the usual values.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ylb_detect_options {
    /// Objects are kept whose confidence is greater than this; 0 to 1. Compared is the exact
    /// confidence, a multiple of 2^-30; the one that is reported is rounded to a float, and so may be
    /// equal to this.
    pub confidence: f32,
    /// Of two boxes of one class whose intersection over union exceeds this, the better stays; 0 to 1.
    pub iou: f32,
    /// Only so many of the best objects are kept. More than 30000 are never found.
    pub max_detections: u32,
    /// Not 0: one box may be reported for several classes, as accuracy measurements want it.
    pub multi_label: u32,
    /// Only these classes are reported; NULL: all. Their order does not matter, and neither do
    /// classes that the model has not.
    pub classes: *const u32,
    /// Number of classes there; 0 if that is NULL.
    pub class_count: usize,
}

/// YOLOv5's options: confidence 0.25, IoU 0.45, at most 300 objects of all classes, one class a box.
#[unsafe(no_mangle)]
pub extern "C" fn ylb_detect_options_default() -> ylb_detect_options {
    let options = DetectOptions::default();
    ylb_detect_options {
        confidence: options.confidence,
        iou: options.iou,
        max_detections: u32::try_from(options.max_detections).unwrap_or(u32::MAX),
        multi_label: u32::from(options.multi_label),
        classes: std::ptr::null(),
        class_count: 0,
    }
}

impl ylb_picture {
    /// The runtime's view of a caller's picture.
    ///
    /// # Safety
    /// * `picture` is NULL or points to a picture whose pixels are there as its sizes say.
    pub(crate) unsafe fn view<'a>(picture: *const Self) -> Result<Picture<'a>, Failure> {
        // SAFETY: the caller's promise.
        let given = unsafe { borrow(picture, "picture") }?;
        let format = pixel_format(given.format)?;
        let size = |extent: u32| usize::try_from(extent).unwrap_or(usize::MAX);
        let (width, height) = (size(given.width), size(given.height));
        let stride = if given.stride == 0 { width.saturating_mul(format.bytes()) } else { given.stride };
        let mut view = Picture { pixels: &[], width, height, stride, format };
        // The sizes decide how many bytes there must be, so they are checked first.
        view.check_sizes().map_err(Failure::argument)?;
        // SAFETY: the caller's promise.
        view.pixels = unsafe { slice(given.pixels, view.needed(), "picture.pixels") }?;
        Ok(view)
    }
}

fn pixel_format(format: u32) -> Result<PixelFormat, Failure> {
    const FORMATS: [(ylb_pixel_format, PixelFormat); 7] = [
        (ylb_pixel_format::YLB_PIXELS_RGB, PixelFormat::Rgb),
        (ylb_pixel_format::YLB_PIXELS_BGR, PixelFormat::Bgr),
        (ylb_pixel_format::YLB_PIXELS_RGBA, PixelFormat::Rgba),
        (ylb_pixel_format::YLB_PIXELS_BGRA, PixelFormat::Bgra),
        (ylb_pixel_format::YLB_PIXELS_GRAY8, PixelFormat::Gray),
        (ylb_pixel_format::YLB_PIXELS_YUYV, PixelFormat::Yuyv),
        (ylb_pixel_format::YLB_PIXELS_NV12, PixelFormat::Nv12),
    ];
    let known = FORMATS.iter().find(|(code, _)| *code as u32 == format);
    known.map(|&(_, format)| format).ok_or_else(|| {
        Failure::argument(format_args!("picture.format is {format}, which is no ylb_pixel_format"))
    })
}

/// Memory for the classes of [`ylb_detect_options`], so that no call allocates any.
pub(crate) struct ClassList {
    /// Room for every class once.
    list: Vec<u32>,
    /// Which classes are in a list that is being made.
    listed: Vec<bool>,
}

impl ClassList {
    /// For a model of so many classes.
    pub(crate) fn new(classes: usize) -> Self {
        Self { list: Vec::with_capacity(classes), listed: vec![false; classes] }
    }

    /// The classes among `given` that there are, each once, in the list's memory.
    fn take(&mut self, given: &[u32]) -> Vec<u32> {
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for &class in given {
            let listed = usize::try_from(class).ok().and_then(|class| self.listed.get_mut(class));
            if listed.is_some_and(|listed| !std::mem::replace(listed, true)) {
                list.push(class);
            }
        }
        self.listed.fill(false);
        list
    }

    /// Takes the memory back.
    pub(crate) fn recycle(&mut self, options: DetectOptions) {
        if let Some(list) = options.classes {
            self.list = list;
        }
    }
}

impl ylb_detect_options {
    /// The runtime's options; NULL: `default`. Their classes are in the memory of `classes`.
    ///
    /// # Safety
    /// * `options` is NULL or points to options whose classes are there.
    pub(crate) unsafe fn read(
        options: *const Self,
        default: DetectOptions,
        classes: &mut ClassList,
    ) -> Result<DetectOptions, Failure> {
        // SAFETY: the caller's promise.
        let Some(given) = (unsafe { options.as_ref() }) else {
            return Ok(default);
        };
        let classes = if given.classes.is_null() && given.class_count == 0 {
            None
        } else {
            // SAFETY: the caller's promise.
            let given = unsafe { slice(given.classes, given.class_count, "options.classes") }?;
            Some(classes.take(given))
        };
        Ok(DetectOptions {
            confidence: given.confidence,
            iou: given.iou,
            max_detections: usize::try_from(given.max_detections).unwrap_or(usize::MAX),
            classes,
            multi_label: given.multi_label != 0,
        })
    }
}
