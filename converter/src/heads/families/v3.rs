//! YOLOv3, and v4 with its factor of the centre: anchors times exponentials.

use ylb_format::limits::MAX_SCALE_XY;
use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place, sigmoid};

/// The family.
#[derive(Debug)]
pub struct YoloV3;

/// Decimals of a factor: those that are in use have one or two.
const DECIMALS: f64 = 1000.0;

/// Largest distance of a measured factor from one with so many decimals: decodes are written in 32-bit constants.
const TOLERANCE: f64 = 1e-4;

impl Family for YoloV3 {
    fn name(&self) -> &'static str {
        "yolov3"
    }

    fn title(&self) -> &'static str {
        "YOLOv3"
    }

    fn formula(&self) -> &'static str {
        "xy = (kσ − (k − 1)/2 + grid)·stride, wh = e^t·anchor"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::AnchorsExp
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::ObjectnessTimesClass
    }

    fn scale_xy(&self, measured: f64) -> Option<f32> {
        let scale = (measured * DECIMALS).round() / DECIMALS;
        let known = (scale - measured).abs() < TOLERANCE && (1.0..=f64::from(MAX_SCALE_XY)).contains(&scale);
        known.then_some(scale as f32)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        let [y, x] = place.cell.map(|cell| cell as f64);
        let Place { stride, scale_xy, anchor: [width, height], .. } = *place;
        let centre =
            |logit: f64, cell: f64| (scale_xy * sigmoid(logit) - (scale_xy - 1.0) / 2.0 + cell) * stride;
        let side = |logit: f64, anchor: f64| logit.exp() * anchor;
        [centre(logits[0], x), centre(logits[1], y), side(logits[2], width), side(logits[3], height)]
    }
}
