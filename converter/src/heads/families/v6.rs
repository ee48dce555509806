//! YOLOv6 n and s: distances of the sides, and rows with an objectness of 1.

use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place, beside};

/// The family.
#[derive(Debug)]
pub struct YoloV6;

impl Family for YoloV6 {
    fn name(&self) -> &'static str {
        "yolov6"
    }

    fn title(&self) -> &'static str {
        "YOLOv6"
    }

    fn formula(&self) -> &'static str {
        "ltrb = t, objectness 1"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::Distances
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::ConstantObjectness
    }

    fn scale_xy(&self, _: f64) -> Option<f32> {
        Some(1.0)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        beside(place, [logits[0], logits[1], logits[2], logits[3]])
    }
}
