//! The detectors that have a name.

use std::fmt;
use std::str::FromStr;

use ylb_format::model::{BoxRule, ScoreRule};

use crate::layer::Layer;
use crate::yolo11::Version;
use crate::yolov5::Size;
use crate::{mobilenet_v3, yolo11, yolov3_tiny, yolov5, yolov7_tiny, yolov8, yolox_nano};

/// A detector as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// YOLOv3-tiny.
    Yolov3Tiny,
    /// YOLOv5, release 6.0 and later.
    Yolov5(Size),
    /// YOLOv5n on MobileNetV3-Small.
    Yolov5nMobilenetV3,
    /// YOLOv7-tiny.
    Yolov7Tiny,
    /// YOLOv8.
    Yolov8(Size),
    /// YOLO11.
    Yolo11(Size),
    /// YOLO26, with the head that stays in exports.
    Yolo26(Size),
    /// YOLOX-nano, of depthwise convolutions.
    YoloxNano,
}

/// Layers, and what the numbers of the last ones stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The layers, in the order of computation.
    pub layers: Vec<Layer>,
    /// What [`crate::Op::Detect`] computes of what it reads.
    pub head: Head,
}

/// The detection head of an architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// From numbers to boxes.
    pub boxes: BoxRule,
    /// From numbers to scores.
    pub scores: ScoreRule,
    /// Pixels of a cell of each feature map, rows and columns.
    pub strides: Vec<u32>,
    /// Of each feature map, in pixels; empty for rules without anchors.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// A feature map comes from one convolution more than there are cuts: each of these is the first field of another.
    /// [`crate::Op::Detect`] reads what these convolutions read, feature map by feature map.
    pub cuts: Vec<u32>,
}

/// Sizes with their letters.
const SIZES: [(&str, Size); 5] =
    [("n", Size::N), ("s", Size::S), ("m", Size::M), ("l", Size::L), ("x", Size::X)];

/// Of COCO at 640: YOLOv5 and YOLOv7-tiny.
const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

impl Net {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let sizes = |net: fn(Size) -> Self| SIZES.iter().map(move |(_, size)| net(*size));
        let others = [Self::Yolov3Tiny, Self::Yolov5nMobilenetV3, Self::Yolov7Tiny, Self::YoloxNano];
        let families = [Self::Yolov5, Self::Yolov8, Self::Yolo11, Self::Yolo26];
        families.into_iter().flat_map(sizes).chain(others)
    }

    /// Its layers and its head, for so many classes.
    pub fn architecture(self, classes: usize) -> Architecture {
        let layers = match self {
            Self::Yolov3Tiny => yolov3_tiny::layers(),
            Self::Yolov5(size) => yolov5::p5(size.multiples()).expect("multiples of the family"),
            Self::Yolov5nMobilenetV3 => mobilenet_v3::layers(),
            Self::Yolov7Tiny => yolov7_tiny::layers(),
            Self::Yolov8(size) => yolov8::layers(size, classes),
            Self::Yolo11(size) => yolo11::layers(Version::Eleven, size, classes),
            Self::Yolo26(size) => yolo11::layers(Version::TwentySix, size, classes),
            Self::YoloxNano => yolox_nano::layers(),
        };
        let head = match self {
            Self::Yolov3Tiny => Head {
                strides: vec![16, 32],
                anchors: yolov3_tiny::ANCHORS.map(Vec::from).to_vec(),
                ..Head::of(BoxRule::AnchorsExp, ScoreRule::ObjectnessTimesClass)
            },
            Self::Yolov5(_) | Self::Yolov5nMobilenetV3 | Self::Yolov7Tiny => Head {
                anchors: ANCHORS.map(Vec::from).to_vec(),
                ..Head::of(BoxRule::AnchorsSigmoid, ScoreRule::ObjectnessTimesClass)
            },
            Self::Yolov8(_) | Self::Yolo11(_) => Head {
                cuts: vec![4 * u32::from(yolov8::BINS)],
                ..Head::of(BoxRule::Distributions { bins: yolov8::BINS }, ScoreRule::Class)
            },
            Self::Yolo26(_) => Head { cuts: vec![4], ..Head::of(BoxRule::Distances, ScoreRule::Class) },
            Self::YoloxNano => {
                Head { cuts: vec![4, 5], ..Head::of(BoxRule::GridExp, ScoreRule::ObjectnessTimesClass) }
            }
        };
        Architecture { layers, head }
    }
}

impl Head {
    /// One of strides 8, 16 and 32, without anchors and cuts.
    fn of(boxes: BoxRule, scores: ScoreRule) -> Self {
        Self { boxes, scores, strides: vec![8, 16, 32], anchors: Vec::new(), cuts: Vec::new() }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter =
            |size: &Size| SIZES.iter().find(|(_, known)| known == size).map_or("", |(letter, _)| letter);
        match self {
            Self::Yolov3Tiny => f.write_str("yolov3-tiny"),
            Self::Yolov5(size) => write!(f, "yolov5{}", letter(size)),
            Self::Yolov5nMobilenetV3 => f.write_str("yolov5n-mobilenetv3"),
            Self::Yolov7Tiny => f.write_str("yolov7-tiny"),
            Self::Yolov8(size) => write!(f, "yolov8{}", letter(size)),
            Self::Yolo11(size) => write!(f, "yolo11{}", letter(size)),
            Self::Yolo26(size) => write!(f, "yolo26{}", letter(size)),
            Self::YoloxNano => f.write_str("yolox-nano"),
        }
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::all().find(|net| net.to_string() == text);
        known.ok_or_else(|| {
            "expected yolov5, yolov8, yolo11 or yolo26 with n, s, m, l or x behind it, yolov3-tiny, yolov5n-mobilenetv3, \
             yolov7-tiny or yolox-nano"
                .to_owned()
        })
    }
}
