//! Detectors of one class whose boxes have an objectness and no class, such as those of faces: the objectness is the score.

use ylb_format::model::{BoxRule, ScoreRule};

use super::v3::YoloV3;
use super::v5::YoloV5;
use super::{Family, Place};

/// The family that has the boxes of another.
#[derive(Debug)]
pub struct Objectness {
    of: &'static dyn Family,
    name: &'static str,
    title: &'static str,
}

/// Boxes of YOLOv5.
pub static YOLOV5: Objectness =
    Objectness { of: &YoloV5, name: "yolov5-objectness", title: "YOLOv5 without classes" };

/// Boxes of YOLOv3.
pub static YOLOV3: Objectness =
    Objectness { of: &YoloV3, name: "yolov3-objectness", title: "YOLOv3 without classes" };

impl Family for Objectness {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn formula(&self) -> &'static str {
        self.of.formula()
    }

    fn boxes(&self) -> BoxRule {
        self.of.boxes()
    }

    /// The only class has the objectness for its number.
    fn scores(&self) -> ScoreRule {
        ScoreRule::Class
    }

    fn scale_xy(&self, measured: f64) -> Option<f32> {
        self.of.scale_xy(measured)
    }

    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4] {
        self.of.sides(place, logits)
    }
}
