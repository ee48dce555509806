//! YOLOX: exponentials without anchors, of three convolutions a map.

use ylb_format::model::{BoxRule, ScoreRule};

use super::{Family, Place};

/// The family.
#[derive(Debug)]
pub struct YoloX;

impl Family for YoloX {
    fn name(&self) -> &'static str {
        "yolox"
    }

    fn title(&self) -> &'static str {
        "YOLOX"
    }

    fn formula(&self) -> &'static str {
        "xy = (t + grid)·stride, wh = e^t·stride"
    }

    fn boxes(&self) -> BoxRule {
        BoxRule::GridExp
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::ObjectnessTimesClass
    }

    fn scale_xy(&self, _: f64) -> Option<f32> {
        Some(1.0)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        let [y, x] = place.cell.map(|cell| cell as f64);
        let stride = place.stride;
        [
            (logits[0] + x) * stride,
            (logits[1] + y) * stride,
            logits[2].exp() * stride,
            logits[3].exp() * stride,
        ]
    }
}
