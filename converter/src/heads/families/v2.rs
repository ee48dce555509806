//! YOLOv2 and YOLO-LITE: the boxes of YOLOv3, and classes that share one probability.

use ylb_format::model::{BoxRule, ScoreRule};

use super::v3::YoloV3;
use super::{Family, Place};

/// The family.
#[derive(Debug)]
pub struct YoloV2;

impl Family for YoloV2 {
    fn name(&self) -> &'static str {
        "yolov2"
    }

    fn title(&self) -> &'static str {
        "YOLOv2"
    }

    fn formula(&self) -> &'static str {
        "the boxes of yolov3, classes by softmax"
    }

    fn boxes(&self) -> BoxRule {
        YoloV3.boxes()
    }

    fn scores(&self) -> ScoreRule {
        ScoreRule::ObjectnessTimesSoftmax
    }

    fn scale_xy(&self, measured: f64) -> Option<f32> {
        YoloV3.scale_xy(measured)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        YoloV3.sides(place, logits)
    }
}
