//! YOLOv6 m and l: distributions of distances, and rows with an objectness of 1.

use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place, USUAL_BINS, distances_of};

/// The family.
#[derive(Debug)]
pub struct YoloV6M;

impl Family for YoloV6M {
    fn name(&self) -> &'static str {
        "yolov6m"
    }

    fn title(&self) -> &'static str {
        "YOLOv6 m"
    }

    fn formula(&self) -> &'static str {
        "ltrb = mean of softmax, objectness 1"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::Distributions { bins: USUAL_BINS }
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::ConstantObjectness
    }

    fn scale_xy(&self, _: f64) -> Option<f32> {
        Some(1.0)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        distances_of(place, logits)
    }
}
