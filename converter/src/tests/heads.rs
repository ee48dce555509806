//! Detection heads with their decode, through the whole converter, and compared with the export's own.

use ylb_format::model::{BoxRule, ScoreRule};

use super::pictures::verdict;
use super::*;
use crate::compare::Verdict;
use crate::families::{self, Family};

/// How boxes are decoded.
#[derive(Clone, Copy)]
pub(super) enum Decode {
    /// `(2σ − 0.5 + grid)·stride`, `(2σ)²·anchor`.
    Squares,
    /// `(kσ − (k − 1)/2 + grid)·stride`, `e^t·anchor`.
    Exponentials(f32),
}

/// Widths and heights of the anchors of a map of this stride.
pub(super) fn anchors(stride: usize) -> [[f32; 2]; 3] {
    [[1.0, 1.25], [2.5, 3.0], [3.5, 2.0]].map(|size| size.map(|side| side * stride as f32))
}

/// Two heads of one class: a finer one of stride 1 and a coarser one of stride 2.
pub(super) fn heads(net: &mut Net, image: TensorId) -> [(TensorId, usize); 2] {
    let input = net.input(image);
    let fine = net.layer(input, [4, 3, 3, 3], 0.25);
    let weights = net.weights([4, 4, 3, 3]);
    let attributes = [("pads", ints(&[1; 4])), ("strides", ints(&[2, 2]))];
    let coarse = net.builder.node("Conv", &[fine, weights], &attributes);
    let coarse = net.builder.node("Relu", &[coarse], &[]);
    let coarse = net.builder.quant(coarse, 0.25, 0.0, 4.0, false);
    [(fine, 1), (coarse, 2)].map(|(feature, stride)| {
        let weights = net.weights([18, 4, 1, 1]);
        (net.conv(feature, weights), stride)
    })
}

/// The decode of a head: `[1, rows, 6]`.
pub(super) fn decoded(net: &mut Net, (head, stride): (TensorId, usize), decode: Decode) -> TensorId {
    let side = SIZE / stride;
    let builder = &mut net.builder;
    let shape = builder.constant(Tensor::indices(&[1, 3, 6, side as i64, side as i64]));
    let reshaped = builder.node("Reshape", &[head, shape], &[]);
    let rows = builder.node("Transpose", &[reshaped], &[("perm", ints(&[0, 1, 3, 4, 2]))]);
    let part = |builder: &mut Builder, from: i64, to: i64| {
        let bounds = [from, to, -1].map(|value| builder.constant(Tensor::indices(&[value])));
        builder.node("Slice", &[rows, bounds[0], bounds[1], bounds[2]], &[])
    };
    let [xy, wh, scores] = [(0, 2), (2, 4), (4, i64::MAX)].map(|(from, to)| part(builder, from, to));
    let [xy, scores] = [xy, scores].map(|logits| builder.node("Sigmoid", &[logits], &[]));
    let scale = match decode {
        Decode::Squares => 2.0,
        Decode::Exponentials(scale) => scale,
    };
    let cells = (0..side * side).flat_map(|cell| [cell % side, cell / side]);
    let grid: Vec<f32> = cells.map(|cell| cell as f32 - (scale - 1.0) / 2.0).collect();
    let grid = builder.floats(&[1, 1, side, side, 2], &grid);
    let (scale, pixels) = (builder.float(scale), builder.float(stride as f32));
    let anchors = builder.floats(&[1, 3, 1, 1, 2], anchors(stride).as_flattened());
    let xy = builder.node("Mul", &[xy, scale], &[]);
    let xy = builder.node("Add", &[xy, grid], &[]);
    let xy = builder.node("Mul", &[xy, pixels], &[]);
    let wh = match decode {
        Decode::Squares => {
            let sigma = builder.node("Sigmoid", &[wh], &[]);
            let two = builder.float(2.0);
            let doubled = builder.node("Mul", &[sigma, two], &[]);
            builder.node("Mul", &[doubled, doubled], &[])
        }
        Decode::Exponentials(_) => builder.node("Exp", &[wh], &[]),
    };
    let wh = builder.node("Mul", &[wh, anchors], &[]);
    let joined = builder.node("Concat", &[xy, wh, scores], &[("axis", Attribute::Int(4))]);
    let shape = builder.constant(Tensor::indices(&[1, 3 * (side * side) as i64, 6]));
    builder.node("Reshape", &[joined, shape], &[])
}

/// A network whose output is the boxes of both heads, the coarser first if asked for.
pub(super) fn detector(decode: Decode, coarse_first: bool) -> Net {
    let (mut net, image) = Net::new();
    let mut heads = heads(&mut net, image);
    if coarse_first {
        heads.reverse();
    }
    let boxes = heads.map(|head| decoded(&mut net, head, decode));
    let output = net.builder.node("Concat", &boxes, &[("axis", Attribute::Int(1))]);
    net.builder.graph.outputs = vec![output];
    net
}

fn converted(net: &Net, head: Option<&'static dyn Family>) -> Result<Converted, ConvertError> {
    let options = Options { class_names: vec!["thing".into()], head, ..Options::default() };
    convert_graph(net.builder.graph.clone(), Metadata::default(), &options, &mut |_| {})
}

/// Decoded boxes are joined in any order of the maps, and rows stay where the export has them.
#[test]
fn maps_in_any_order() {
    for coarse_first in [false, true] {
        let net = detector(Decode::Squares, coarse_first);
        let model = converted(&net, None).unwrap().model;
        let strides: Vec<u32> = model.detect.maps.iter().map(|map| map.stride).collect();
        assert_eq!(strides, if coarse_first { [2, 1] } else { [1, 2] });
        for map in &model.detect.maps {
            assert_eq!((&map.anchors[..], map.scale_xy), (&anchors(map.stride as usize)[..], 2.0));
        }
        assert_eq!(verdict(&net, &model), Verdict::Equal);
    }
}

#[test]
fn raw_heads_are_taken_for_yolov5_unless_told() {
    let (mut net, image) = Net::new();
    net.builder.graph.outputs = heads(&mut net, image).map(|(head, _)| head).to_vec();
    let anchors = Some([1, 2].map(|stride| anchors(stride).to_vec()).to_vec());
    let options = |head| Options {
        class_names: vec!["thing".into()],
        anchors: anchors.clone(),
        head,
        ..Options::default()
    };
    let converted =
        |head| convert_graph(net.builder.graph.clone(), Metadata::default(), &options(head), &mut |_| {});
    let told = |report: &Report| {
        report.warnings.iter().any(|warning| {
            warning.message.contains("taken for YOLOv5's") && warning.message.contains("--head")
        })
    };
    let Converted { model, report } = converted(None).unwrap();
    assert!(told(&report));
    assert_eq!((model.detect.boxes, model.detect.maps[0].scale_xy), (BoxRule::AnchorsSigmoid, 2.0));
    let error = converted(families::by_name("yolov8")).unwrap_err().to_string();
    assert!(error.contains("of which yolov8 has several (--head)"), "{error}");
    let by_anchors =
        |family: &&dyn Family| family.boxes().has_anchors() && family.scores() != ScoreRule::Class;
    for family in families::ALL.into_iter().filter(by_anchors) {
        let Converted { model, report } = converted(Some(family)).unwrap();
        assert!(!told(&report));
        assert_eq!(model.detect.boxes, family.boxes());
        assert_eq!(verdict(&net, &model), Verdict::Equal);
    }
}

/// v3 has no factor of the centre, v4 one of 1.05 to 2.
#[test]
fn exponentials_are_those_of_yolov3() {
    for scale in [1.0, 1.05, 1.2, 2.0] {
        let net = detector(Decode::Exponentials(scale), scale == 1.2);
        let Converted { model, report } = converted(&net, None).unwrap();
        assert_eq!((model.detect.boxes, model.detect.maps.len()), (BoxRule::AnchorsExp, 2));
        for map in &model.detect.maps {
            assert_eq!((&map.anchors[..], map.scale_xy), (&anchors(map.stride as usize)[..], scale));
        }
        assert!(
            report.passes.iter().any(|pass| pass.starts_with("heads: yolov3, 1 classes")),
            "{:?}",
            report.passes
        );
        assert_eq!(verdict(&net, &model), Verdict::Equal, "{scale}");
        // The guard: what is compared with the export tells the families apart.
        let mut other = model;
        other.detect.boxes = BoxRule::AnchorsSigmoid;
        assert_eq!(verdict(&net, &other), Verdict::Different, "{scale}");
    }
}

#[test]
fn factors_that_no_family_has_are_refused() {
    for scale in [0.9, 1.0507, 4.5] {
        let error = converted(&detector(Decode::Exponentials(scale), false), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADetector);
        assert!(error.to_string().contains("yolov3 (xy = "), "{error}");
    }
}

#[test]
fn a_family_that_the_decode_contradicts_is_refused() {
    for (decode, right, wrong) in
        [(Decode::Squares, "yolov5", "yolov3"), (Decode::Exponentials(1.0), "yolov3", "yolov5")]
    {
        let net = detector(decode, false);
        assert!(converted(&net, families::by_name(right)).is_ok());
        let error = converted(&net, families::by_name(wrong)).unwrap_err().to_string();
        assert!(error.contains(&format!("those of {right}, not of {wrong} as was said")), "{error}");
    }
}
