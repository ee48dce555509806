//! YOLOv5 and v7: anchors times squares of sigmoids.

use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place, sigmoid};

/// The family.
#[derive(Debug)]
pub struct YoloV5;

impl Family for YoloV5 {
    fn name(&self) -> &'static str {
        "yolov5"
    }

    fn title(&self) -> &'static str {
        "YOLOv5"
    }

    fn formula(&self) -> &'static str {
        "xy = (2σ − 0.5 + grid)·stride, wh = (2σ)²·anchor"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::AnchorsSigmoid
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::ObjectnessTimesClass
    }

    fn scale_xy(&self, _: f64) -> Option<f32> {
        Some(2.0)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        let [y, x] = place.cell.map(|cell| cell as f64);
        let Place { stride, anchor: [width, height], .. } = *place;
        let centre = |logit: f64, cell: f64| (2.0 * sigmoid(logit) - 0.5 + cell) * stride;
        let side = |logit: f64, anchor: f64| (2.0 * sigmoid(logit)).powi(2) * anchor;
        [centre(logits[0], x), centre(logits[1], y), side(logits[2], width), side(logits[3], height)]
    }
}
