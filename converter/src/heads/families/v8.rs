//! YOLOv8 to v12, and v5u: distributions of distances, and no objectness.

use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place, USUAL_BINS, distances_of};

/// The family.
#[derive(Debug)]
pub struct YoloV8;

impl Family for YoloV8 {
    fn name(&self) -> &'static str {
        "yolov8"
    }

    fn title(&self) -> &'static str {
        "YOLOv8"
    }

    fn formula(&self) -> &'static str {
        "ltrb = mean of softmax, scores σ of classes"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::Distributions { bins: USUAL_BINS }
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::Class
    }

    fn scale_xy(&self, _: f64) -> Option<f32> {
        Some(1.0)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        distances_of(place, logits)
    }
}
