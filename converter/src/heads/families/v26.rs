//! YOLO26: distances of the sides, and no objectness.

use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place, beside};

/// The family.
#[derive(Debug)]
pub struct Yolo26;

impl Family for Yolo26 {
    fn name(&self) -> &'static str {
        "yolo26"
    }

    fn title(&self) -> &'static str {
        "YOLO26"
    }

    fn formula(&self) -> &'static str {
        "ltrb = t, scores σ of classes"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::Distances
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::Class
    }

    fn scale_xy(&self, _: f64) -> Option<f32> {
        Some(1.0)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        beside(place, [logits[0], logits[1], logits[2], logits[3]])
    }
}
