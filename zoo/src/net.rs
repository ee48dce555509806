//! The detectors that have a name.

use std::fmt;
use std::str::FromStr;

use ylb_format::model::{BoxRule, ScoreRule};

use crate::layer::Layer;
use crate::yolov5::Size;
use crate::{yolov5, yolov7_tiny, yolov8, yolox_nano};

/// A detector as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// YOLOv5, release 6.0 and later.
    Yolov5(Size),
    /// YOLOv7-tiny.
    Yolov7Tiny,
    /// YOLOv8.
    Yolov8(Size),
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

/// The detection head of an architecture, whose feature maps have strides of 8, 16 and 32.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// From numbers to boxes.
    pub boxes: BoxRule,
    /// From numbers to scores.
    pub scores: ScoreRule,
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
        sizes(Self::Yolov5).chain([Self::Yolov7Tiny]).chain(sizes(Self::Yolov8)).chain([Self::YoloxNano])
    }

    /// Its layers and its head, for so many classes.
    pub fn architecture(self, classes: usize) -> Architecture {
        let anchors = || ANCHORS.map(Vec::from).to_vec();
        let sigmoids = |layers, anchors| Architecture {
            layers,
            head: Head {
                boxes: BoxRule::AnchorsSigmoid,
                scores: ScoreRule::ObjectnessTimesClass,
                anchors,
                cuts: Vec::new(),
            },
        };
        match self {
            Self::Yolov5(size) => {
                let layers = yolov5::p5(size.multiples()).expect("multiples of the family");
                sigmoids(layers, anchors())
            }
            Self::Yolov7Tiny => sigmoids(yolov7_tiny::layers(), anchors()),
            Self::Yolov8(size) => Architecture {
                layers: yolov8::layers(size, classes),
                head: Head {
                    boxes: BoxRule::Distributions { bins: yolov8::BINS },
                    scores: ScoreRule::Class,
                    anchors: Vec::new(),
                    cuts: vec![4 * u32::from(yolov8::BINS)],
                },
            },
            Self::YoloxNano => Architecture {
                layers: yolox_nano::layers(),
                head: Head {
                    boxes: BoxRule::GridExp,
                    scores: ScoreRule::ObjectnessTimesClass,
                    anchors: Vec::new(),
                    cuts: vec![4, 5],
                },
            },
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter =
            |size: &Size| SIZES.iter().find(|(_, known)| known == size).map_or("", |(letter, _)| letter);
        match self {
            Self::Yolov5(size) => write!(f, "yolov5{}", letter(size)),
            Self::Yolov7Tiny => f.write_str("yolov7-tiny"),
            Self::Yolov8(size) => write!(f, "yolov8{}", letter(size)),
            Self::YoloxNano => f.write_str("yolox-nano"),
        }
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::all().find(|net| net.to_string() == text);
        known.ok_or_else(|| {
            "expected yolov5n, -s, -m, -l or -x, yolov8n, -s, -m, -l or -x, yolov7-tiny or yolox-nano"
                .to_owned()
        })
    }
}
