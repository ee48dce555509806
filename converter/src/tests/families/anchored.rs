//! Families with anchors: classes by softmax, an objectness alone, implicit knowledge.

use super::*;

/// YOLOv2: the boxes of YOLOv3, and classes by softmax.
#[test]
fn classes_by_softmax_are_those_of_yolov2() {
    let (mut net, image) = Net::new();
    let (head, stride) = heads(&mut net, image)[1];
    let side = SIZE / stride;
    // Three anchors of four numbers of a box, an objectness, one class: a share of one.
    let split = net.reshaped(head, &[1, 2, 9, side as i64, side as i64]);
    let rows = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 1, 3, 4, 2]))]);
    let [xy, wh, objectness, classes] =
        [(0, 2), (2, 4), (4, 5), (5, 9)].map(|(start, end)| net.part(rows, 4, start, end));
    let cells = (0..side * side).flat_map(|cell| [(cell % side) as f32, (cell / side) as f32]);
    let grid = net.builder.floats(&[1, 1, side, side, 2], &cells.collect::<Vec<_>>());
    let sizes: Vec<f32> = anchors(stride)[..2].as_flattened().to_vec();
    let sizes = net.builder.floats(&[1, 2, 1, 1, 2], &sizes);
    let (xy, pixels) = (net.sigmoid(xy), net.builder.float(stride as f32));
    let xy = net.two("Add", xy, grid);
    let xy = net.two("Mul", xy, pixels);
    let wh = net.builder.node("Exp", &[wh], &[]);
    let wh = net.two("Mul", wh, sizes);
    let objectness = net.sigmoid(objectness);
    let classes = net.builder.node("Softmax", &[classes], &[("axis", Attribute::Int(-1))]);
    let joined = net.joined_at(&[xy, wh, objectness, classes], 4);
    net.builder.graph.outputs = vec![net.reshaped(joined, &[1, 2 * (side * side) as i64, 9])];
    let model = convert(&net, &Options::default()).unwrap().model;
    let detect = &model.detect;
    assert_eq!((detect.boxes, detect.classes), (BoxRule::AnchorsExp, 4));
    assert_eq!(detect.scores, ScoreRule::ObjectnessTimesSoftmax);
    assert_eq!(detect.maps[0].anchors, anchors(stride)[..2]);
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    let mut other = model;
    other.detect.scores = ScoreRule::ObjectnessTimesClass;
    assert_eq!(verdict(&net, &other), Verdict::Different);
}

/// Boxes with an objectness and no class, as detectors of faces have them: the objectness is the score of one class.
#[test]
fn an_objectness_alone_is_the_score_of_one_class() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let feature = net.layer(input, [4, 3, 3, 3], 0.25);
    let weights = net.weights([15, 4, 1, 1]);
    let head = net.conv(feature, weights);
    let side = SIZE as i64;
    let split = net.reshaped(head, &[1, 3, 5, side, side]);
    let rows = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 1, 3, 4, 2]))]);
    let sigmas = net.sigmoid(rows);
    let [xy, wh, objectness] = [(0, 2), (2, 4), (4, 5)].map(|(start, end)| net.part(sigmas, 4, start, end));
    let cells = (0..SIZE * SIZE).flat_map(|cell| [cell % SIZE, cell / SIZE].map(|at| at as f32 - 0.5));
    let grid = net.builder.floats(&[1, 1, SIZE, SIZE, 2], &cells.collect::<Vec<_>>());
    let sizes = net.builder.floats(&[1, 3, 1, 1, 2], anchors(1).as_flattened());
    let two = net.builder.float(2.0);
    let [xy, wh] = [xy, wh].map(|sigmas| net.two("Mul", sigmas, two));
    let (xy, wh) = (net.two("Add", xy, grid), net.two("Mul", wh, wh));
    let wh = net.two("Mul", wh, sizes);
    let joined = net.joined_at(&[xy, wh, objectness], 4);
    net.builder.graph.outputs = vec![net.reshaped(joined, &[1, 3 * side * side, 5])];
    for name in [None, Some("yolov5"), Some("yolov5-objectness")] {
        let options = Options { head: name.and_then(families::by_name), ..Options::default() };
        let model = convert(&net, &options).unwrap().model;
        assert_eq!((model.detect.boxes, model.detect.classes), (BoxRule::AnchorsSigmoid, 1));
        assert_eq!((model.detect.scores, model.outputs[0].kind), (ScoreRule::Class, OutputKind::Decoded));
        assert_eq!(verdict(&net, &model), Verdict::Equal);
    }
    let options = Options { head: families::by_name("yolov3"), ..Options::default() };
    let error = convert(&net, &options).unwrap_err().to_string();
    assert!(error.contains("those of yolov5-objectness, not of yolov3 as was said"), "{error}");
    // Who says that there is no class where there is one is told.
    let decoded = detector(ByAnchors::Squares, false);
    let options = Options { head: families::by_name("yolov5-objectness"), ..Options::default() };
    let error = convert(&decoded, &options).unwrap_err().to_string();
    assert!(error.contains("those of yolov5, not of yolov5-objectness as was said"), "{error}");
}

/// YOLOv7's implicit knowledge, added before the last convolution and multiplied behind it, by channel.
#[test]
fn implicit_knowledge_is_part_of_the_head() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let feature = net.layer(input, [4, 3, 3, 3], 0.25);
    let numbers = net.numbers(4);
    let added = net.builder.floats(&[1, 4, 1, 1], &numbers);
    let before = net.two("Add", added, feature);
    let weights = net.weights([18, 4, 1, 1]);
    let head = net.conv(before, weights);
    let factors: Vec<f32> = net.numbers(18).iter().map(|number| 1.0 + number / 8.0).collect();
    let factors = net.builder.floats(&[1, 18, 1, 1], &factors);
    let head = net.two("Mul", factors, head);
    let output = boxes_by_anchors(&mut net, (head, 1), ByAnchors::Squares);
    net.builder.graph.outputs = vec![output];
    let model = convert(&net, &Options::default()).unwrap().model;
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    // The guard: the numbers count.
    let mut other = model;
    other.detect.maps[0].parts[0].bias[0] += 1 << other.detect.maps[0].parts[0].shift;
    assert_eq!(verdict(&net, &other), Verdict::Different);
}

/// Numbers by channel before a window that sees positions outside of the tensor do not fit.
#[test]
fn implicit_knowledge_before_padded_convolutions_is_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let feature = net.layer(input, [4, 3, 3, 3], 0.25);
    let numbers = net.numbers(4);
    let added = net.builder.floats(&[1, 4, 1, 1], &numbers);
    let before = net.two("Add", added, feature);
    let weights = net.weights([18, 4, 3, 3]);
    let head = net.builder.node("Conv", &[before, weights], &[("pads", ints(&[1; 4]))]);
    net.builder.graph.outputs = vec![head];
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("offsets by channel"), "{error}");
}
