//! The detection head: which numbers the network leaves for each cell, and what they stand for.
//!
//! A head is a family of detectors in three closed choices: how a box follows from its numbers ([`BoxRule`]), how a
//! score does ([`ScoreRule`]), and where the numbers are ([`HeadMap`], [`HeadPart`]). The formulas are in
//! `docs/ylb-format.md`.

use std::ops::Range;

use super::ValueId;

/// The detection head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detect {
    /// Number of classes, 1 to 65 536; without feature maps it may be 0.
    pub classes: u32,
    /// From numbers to boxes.
    pub boxes: BoxRule,
    /// From numbers to scores.
    pub scores: ScoreRule,
    /// Feature maps, in the order in which the source model joins their boxes. Their strides differ.
    pub maps: Vec<HeadMap>,
}

/// How a box follows from the numbers `t` of its cell (column `j`, row `i`). σ is the logistic function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoxRule {
    /// Centre `(k·σ(t) − (k − 1)/2 + cell)·stride`, size `(2σ(t))²·anchor`: YOLOv5 and v7, whose `k` is 2.
    #[default]
    AnchorsSigmoid,
    /// The same centre, size `e^t·anchor`: YOLOv2 and v3, whose `k` is 1, and v4.
    AnchorsExp,
    /// Centre `(t + cell)·stride`, size `e^t·stride`: YOLOX.
    GridExp,
    /// Distances of the four sides from the cell's centre in cells, each the mean of a distribution over
    /// `0..bins`, whose logits the head gives: YOLOv8 to v12.
    Distributions {
        /// Numbers of a distribution, 2 to 64.
        bins: u8,
    },
    /// Distances of the four sides from the cell's centre in cells: YOLOv6 n and s, YOLO26.
    Distances,
}

/// How the score of a class follows from the numbers of its box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScoreRule {
    /// `σ(objectness)·σ(class)`: YOLOv3 to v5, v7, YOLOX.
    #[default]
    ObjectnessTimesClass,
    /// `σ(class)`, and there is no objectness: YOLOv8 to v12, YOLO26.
    Class,
    /// `σ(objectness)·softmax(classes)`: YOLOv2.
    ObjectnessTimesSoftmax,
    /// `σ(class)`; the source model's rows have an objectness, which is always 1: YOLOv6.
    ConstantObjectness,
}

/// One feature map of the head. Each cell has boxes of so many anchors, each box numbers called *fields*: those of
/// the box ([`BoxRule::fields`]), the objectness where there is one, the classes.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMap {
    /// Input pixels per cell, vertical and horizontal.
    pub stride: u32,
    /// Boxes of a cell, 1 to 16; 1 for rules without anchors.
    pub anchors_per_cell: u32,
    /// Width and height of each anchor in input pixels; empty if the export did not say, and for rules without.
    pub anchors: Vec<[f32; 2]>,
    /// `k` of the centre, 1 to 4; 1 for rules without anchors.
    pub scale_xy: f32,
    /// One part for each convolution that the map comes from: 1 to 8, which have all fields in their order.
    pub parts: Vec<HeadPart>,
}

/// Some of a map's fields, from one convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadPart {
    /// `anchors_per_cell · fields.len()` channels, anchor by anchor, of accumulators, or of levels where the export
    /// quantized the heads.
    pub value: ValueId,
    /// Which of the fields.
    pub fields: Range<u32>,
    /// One factor per channel: `logit = (x·multiplier + bias) / 2^shift`, where `x` is the accumulator, or the
    /// integer of a level.
    pub multipliers: Vec<i32>,
    /// One addend per channel.
    pub bias: Vec<i64>,
    /// 0 to 62.
    pub shift: u8,
}

impl BoxRule {
    /// Numbers of the head that make a box.
    pub const fn fields(self) -> u32 {
        match self {
            Self::Distributions { bins } => 4 * bins as u32,
            _ => 4,
        }
    }

    /// Whether boxes are multiples of anchors.
    pub const fn has_anchors(self) -> bool {
        matches!(self, Self::AnchorsSigmoid | Self::AnchorsExp)
    }

    /// What it is, in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnchorsSigmoid => "anchors times squares of sigmoids (YOLOv5)",
            Self::AnchorsExp => "anchors times exponentials (YOLOv3)",
            Self::GridExp => "exponentials without anchors (YOLOX)",
            Self::Distributions { .. } => "distributions of distances (YOLOv8)",
            Self::Distances => "distances (YOLOv6)",
        }
    }
}

impl ScoreRule {
    /// Whether the head has a number for the objectness.
    pub const fn has_objectness(self) -> bool {
        matches!(self, Self::ObjectnessTimesClass | Self::ObjectnessTimesSoftmax)
    }

    /// What it is, in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ObjectnessTimesClass => "objectness times class",
            Self::Class => "class alone",
            Self::ObjectnessTimesSoftmax => "objectness times softmax",
            Self::ConstantObjectness => "class with an objectness of 1",
        }
    }
}

impl Detect {
    /// The field that has the objectness.
    pub const fn objectness(&self) -> Option<u32> {
        if self.scores.has_objectness() { Some(self.boxes.fields()) } else { None }
    }

    /// The field of the first class; the others follow.
    pub const fn first_class(&self) -> u32 {
        self.boxes.fields() + self.scores.has_objectness() as u32
    }

    /// Fields of a box in the head.
    pub const fn fields(&self) -> u64 {
        self.first_class() as u64 + self.classes as u64
    }

    /// Numbers of a box in the source model's decoded rows: centre, size, objectness unless the score is that of the
    /// class alone, classes.
    pub const fn columns(&self) -> u64 {
        4 + !matches!(self.scores, ScoreRule::Class) as u64 + self.classes as u64
    }

    /// All parts of all maps, in order.
    pub fn parts(&self) -> impl Iterator<Item = &HeadPart> {
        self.maps.iter().flat_map(|map| &map.parts)
    }
}

impl HeadMap {
    /// A map of one part, which has all fields.
    ///
    /// Every channel's multiplier is 1 and its bias 0, without a shift; set [`HeadPart`]'s fields as needed.
    pub fn whole(value: ValueId, stride: u32, detect: &Detect, anchors_per_cell: u32) -> Self {
        let fields = u32::try_from(detect.fields()).expect("at most 65 536 classes");
        let channels = anchors_per_cell as usize * fields as usize;
        let (multipliers, bias) = (vec![1; channels], vec![0; channels]);
        let part = HeadPart { value, fields: 0..fields, multipliers, bias, shift: 0 };
        Self {
            stride,
            anchors_per_cell,
            anchors: Vec::new(),
            scale_xy: detect.boxes.usual_scale_xy(),
            parts: vec![part],
        }
    }
}

impl BoxRule {
    /// `k` of the family's first member.
    pub const fn usual_scale_xy(self) -> f32 {
        match self {
            Self::AnchorsSigmoid => 2.0,
            _ => 1.0,
        }
    }
}
