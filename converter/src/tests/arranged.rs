//! Outputs that have the numbers of boxes otherwise than YOLOv5's own export, through the whole converter, and compared
//! with the export's own.

use ylb_format::model::{Arranged, Layout, Numbers, OutputKind, Scope};

use super::heads::{Decode, anchors, decoded, detector, heads};
use super::pictures::verdict;
use super::*;
use crate::compare::Verdict;

fn slice(net: &mut Net, from: TensorId, axis: i64, start: i64, end: i64) -> TensorId {
    let bounds = [start, end, axis].map(|value| net.builder.constant(Tensor::indices(&[value])));
    net.builder.node("Slice", &[from, bounds[0], bounds[1], bounds[2]], &[])
}

fn reshape(net: &mut Net, from: TensorId, shape: &[i64]) -> TensorId {
    let shape = net.builder.constant(Tensor::indices(shape));
    net.builder.node("Reshape", &[from, shape], &[])
}

fn transpose(net: &mut Net, from: TensorId, order: &[i64]) -> TensorId {
    net.builder.node("Transpose", &[from], &[("perm", ints(order))])
}

fn convert(net: &Net, anchors_given: bool) -> Result<Model, ConvertError> {
    let given = [1, 2].map(|stride| anchors(stride).to_vec()).to_vec();
    let options = Options {
        class_names: vec!["thing".into()],
        anchors: anchors_given.then_some(given),
        ..Options::default()
    };
    let graph = net.builder.graph.clone();
    Ok(convert_graph(graph, Metadata::default(), &options, &mut |_| {})?.model)
}

/// Converts, compares, and returns what the outputs are.
fn kinds(net: &Net, anchors_given: bool) -> Vec<Arranged> {
    let model = convert(net, anchors_given).unwrap();
    assert_eq!(verdict(net, &model), Verdict::Equal);
    for map in &model.detect.maps {
        assert_eq!(map.anchors, anchors(map.stride as usize));
    }
    let kind = |output: &ylb_format::model::Output| match output.kind {
        OutputKind::Arranged(arranged) => arranged,
        other => panic!("{other:?}"),
    };
    model.outputs.iter().map(kind).collect()
}

#[test]
fn boxes_in_columns() {
    for coarse_first in [false, true] {
        let mut net = detector(Decode::Squares, coarse_first);
        let rows = net.builder.graph.outputs[0];
        net.builder.graph.outputs = vec![transpose(&mut net, rows, &[0, 2, 1])];
        let expected = Arranged {
            numbers: Numbers::Boxes,
            layout: Layout::Columns,
            of: Scope::Maps,
            first: 0,
            count: 6,
        };
        assert_eq!(kinds(&net, false), [expected]);
    }
}

#[test]
fn boxes_and_scores_apart() {
    for decode in [Decode::Squares, Decode::Exponentials(1.0)] {
        let mut net = detector(decode, false);
        let rows = net.builder.graph.outputs[0];
        net.builder.graph.outputs =
            [(0, 4), (4, 5), (5, 6)].map(|(start, end)| slice(&mut net, rows, 2, start, end)).to_vec();
        let found = kinds(&net, false);
        let columns: Vec<(Numbers, u32, u32)> =
            found.iter().map(|kind| (kind.numbers, kind.first, kind.count)).collect();
        assert_eq!(columns, [(Numbers::Boxes, 0, 4), (Numbers::Logistic, 4, 1), (Numbers::Logistic, 5, 1)]);
    }
}

/// Objectness times class, either first, sliced before or behind the product, transposed, of each map or of all.
#[test]
fn products_of_objectness_and_class() {
    type Product = fn(&mut Net, TensorId) -> TensorId;
    let apart: Product = |net, rows| {
        let [objectness, class] = [(4, 5), (5, 6)].map(|(start, end)| slice(net, rows, 2, start, end));
        net.builder.node("Mul", &[class, objectness], &[])
    };
    let swapped: Product = |net, rows| {
        let [objectness, class] = [(4, 5), (5, 6)].map(|(start, end)| slice(net, rows, 2, start, end));
        net.builder.node("Mul", &[objectness, class], &[])
    };
    let sliced_behind: Product = |net, rows| {
        let objectness = slice(net, rows, 2, 4, 5);
        let products = net.builder.node("Mul", &[rows, objectness], &[]);
        slice(net, products, 2, 5, 6)
    };
    let in_columns: Product = |net, rows| {
        let columns = transpose(net, rows, &[0, 2, 1]);
        let [objectness, class] = [(4, 5), (5, 6)].map(|(start, end)| slice(net, columns, 1, start, end));
        let product = net.builder.node("Mul", &[objectness, class], &[]);
        transpose(net, product, &[0, 2, 1])
    };
    for (index, product) in [apart, swapped, sliced_behind, in_columns].into_iter().enumerate() {
        for (decode, maps) in [(Decode::Squares, 2), (Decode::Exponentials(1.0), 2), (Decode::Squares, 1)] {
            let mut net = detector(decode, false);
            let mut rows = net.builder.graph.outputs[0];
            if maps == 1 {
                let (other, image) = Net::new();
                net = other;
                let [fine, _] = heads(&mut net, image);
                rows = decoded(&mut net, fine, decode);
            }
            let (sides, scores) = (slice(&mut net, rows, 2, 0, 4), product(&mut net, rows));
            net.builder.graph.outputs = vec![sides, scores];
            let found = kinds(&net, false);
            let columns: Vec<(Numbers, u32, u32)> =
                found.iter().map(|kind| (kind.numbers, kind.first, kind.count)).collect();
            assert_eq!(columns, [(Numbers::Boxes, 0, 4), (Numbers::ScoredBoxes, 4, 1)], "{index}");
        }
    }
}

/// The same beside their boxes, in rows and in columns, by centre and size or by edges.
#[test]
fn boxes_beside_products() {
    for (corners, layout) in [(false, Layout::Rows), (true, Layout::Rows), (true, Layout::Columns)] {
        let mut net = detector(Decode::Squares, false);
        let rows = net.builder.graph.outputs[0];
        let parts = [(0, 2), (2, 4), (4, 5), (5, 6)].map(|(start, end)| slice(&mut net, rows, 2, start, end));
        let [centre, size, objectness, class] = parts;
        let product = net.builder.node("Mul", &[class, objectness], &[]);
        let sides = if corners {
            let two = net.builder.float(2.0);
            let half = net.builder.node("Div", &[size, two], &[]);
            ["Sub", "Add"].map(|edge| net.builder.node(edge, &[centre, half], &[]))
        } else {
            [centre, size]
        };
        let all = [sides[0], sides[1], product];
        let joined = net.builder.node("Concat", &all, &[("axis", Attribute::Int(2))]);
        let last = if layout == Layout::Columns { transpose(&mut net, joined, &[0, 2, 1]) } else { joined };
        net.builder.graph.outputs = vec![last];
        let [found] = kinds(&net, false)[..] else { panic!("one output") };
        let numbers = if corners { Numbers::ScoredCorners } else { Numbers::ScoredBoxes };
        assert_eq!((found.numbers, found.layout, found.first, found.count), (numbers, layout, 0, 5));
    }
}

#[test]
fn boxes_as_parts_of_the_picture() {
    let mut net = detector(Decode::Squares, false);
    let rows = net.builder.graph.outputs[0];
    let [sides, scores] = [(0, 4), (4, 6)].map(|(start, end)| slice(&mut net, rows, 2, start, end));
    let extent = net.builder.float(SIZE as f32);
    let sides = net.builder.node("Div", &[sides, extent], &[]);
    let joined = net.builder.node("Concat", &[sides, scores], &[("axis", Attribute::Int(2))]);
    net.builder.graph.outputs = vec![joined];
    let [found] = kinds(&net, false)[..] else { panic!("one output") };
    assert_eq!((found.numbers, found.layout), (Numbers::UnitBoxes, Layout::Rows));
}

/// As pytorch-YOLOv4 exports v3 and v4: edges in parts of the picture, one row of them for all classes, beside the products
/// of objectness and class; either output first.
#[test]
fn boxes_that_all_classes_share() {
    for (scale, coarse_first, scores_first) in [(1.0, false, false), (1.05, true, false), (1.2, false, true)]
    {
        let mut net = detector(Decode::Exponentials(scale), coarse_first);
        let rows = net.builder.graph.outputs[0];
        let parts = [(0, 2), (2, 4), (4, 5), (5, 6)].map(|(start, end)| slice(&mut net, rows, 2, start, end));
        let [two, extent] = [2.0, SIZE as f32].map(|number| net.builder.float(number));
        let [centre, size] = [parts[0], parts[1]].map(|part| net.builder.node("Div", &[part, extent], &[]));
        let half = net.builder.node("Div", &[size, two], &[]);
        let low = net.builder.node("Sub", &[centre, half], &[]);
        let high = net.builder.node("Add", &[low, size], &[]);
        let edges = net.builder.node("Concat", &[low, high], &[("axis", Attribute::Int(2))]);
        let count = 3 * (SIZE * SIZE + SIZE * SIZE / 4) as i64;
        let boxes = reshape(&mut net, edges, &[1, count, 1, 4]);
        let products = net.builder.node("Mul", &[parts[3], parts[2]], &[]);
        let mut outputs = vec![boxes, products];
        let mut expected = vec![
            (Numbers::UnitCorners, Layout::SharedRows, 0, 4),
            (Numbers::ScoredBoxes, Layout::Rows, 4, 1),
        ];
        if scores_first {
            outputs.reverse();
            expected.reverse();
        }
        net.builder.graph.outputs = outputs;
        let found = kinds(&net, false);
        let found = found.iter().map(|kind| (kind.numbers, kind.layout, kind.first, kind.count));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{scale}");
    }
}

/// Boxes that their maps' strides have not been multiplied with yet.
#[test]
fn boxes_in_cells() {
    for decode in [Decode::Exponentials(1.0), Decode::Exponentials(1.1), Decode::Squares] {
        let (mut net, image) = Net::new();
        let rows = heads(&mut net, image).map(|(head, stride)| {
            let rows = decoded(&mut net, (head, stride), decode);
            let [sides, scores] = [(0, 4), (4, 6)].map(|(start, end)| slice(&mut net, rows, 2, start, end));
            let pixels = net.builder.float(stride as f32);
            let sides = net.builder.node("Div", &[sides, pixels], &[]);
            net.builder.node("Concat", &[sides, scores], &[("axis", Attribute::Int(2))])
        });
        let joined = net.builder.node("Concat", &rows, &[("axis", Attribute::Int(1))]);
        net.builder.graph.outputs = vec![joined];
        let [found] = kinds(&net, false)[..] else { panic!("one output") };
        assert_eq!((found.numbers, found.layout, found.count), (Numbers::CellBoxes, Layout::Rows, 6));
    }
}

/// Each way of writing a head of one map: the output of the map's tensor, 18 channels of `side` cells a side.
type Write = fn(&mut Net, TensorId, i64) -> TensorId;

#[test]
fn heads_in_every_arrangement() {
    let by_anchor: Write = |net, id, side| reshape(net, id, &[1, 3, 6, side, side]);
    let writes: [(Layout, Write); 6] = [
        (Layout::Planes, |_, id, _| id),
        (Layout::FlatPlanes, |net, id, side| reshape(net, id, &[1, 18, side * side])),
        (Layout::PlanesByAnchor, by_anchor),
        (Layout::ChannelsLast, |net, id, _| transpose(net, id, &[0, 2, 3, 1])),
        (Layout::ByAnchor, |net, id, side| {
            let split = reshape(net, id, &[1, 3, 6, side, side]);
            transpose(net, split, &[0, 1, 3, 4, 2])
        }),
        (Layout::AnchorsLast, |net, id, side| {
            let split = reshape(net, id, &[1, 3, 6, side, side]);
            transpose(net, split, &[0, 3, 4, 1, 2])
        }),
    ];
    for (layout, write) in writes {
        for sigmoid in [true, false] {
            // Logits by anchor, and as they are, have kinds of their own.
            if !sigmoid && [Layout::Planes, Layout::ByAnchor].contains(&layout) {
                continue;
            }
            let (mut net, image) = Net::new();
            let maps = heads(&mut net, image);
            net.builder.graph.outputs = maps
                .map(|(head, stride)| {
                    let head = if sigmoid { net.builder.node("Sigmoid", &[head], &[]) } else { head };
                    write(&mut net, head, (SIZE / stride) as i64)
                })
                .to_vec();
            let numbers = if sigmoid { Numbers::Logistic } else { Numbers::Logits };
            for found in kinds(&net, true) {
                assert_eq!((found.numbers, found.layout, found.count), (numbers, layout, 6));
            }
        }
    }
}

#[test]
fn logits_of_all_maps_in_rows() {
    for coarse_first in [false, true] {
        let (mut net, image) = Net::new();
        let mut maps = heads(&mut net, image);
        if coarse_first {
            maps.reverse();
        }
        let rows = maps.map(|(head, stride)| {
            let side = (SIZE / stride) as i64;
            let split = reshape(&mut net, head, &[1, 3, 6, side, side]);
            let last = transpose(&mut net, split, &[0, 1, 3, 4, 2]);
            reshape(&mut net, last, &[1, 3 * side * side, 6])
        });
        let joined = net.builder.node("Concat", &rows, &[("axis", Attribute::Int(1))]);
        net.builder.graph.outputs = vec![joined];
        let [found] = kinds(&net, true)[..] else { panic!("one output") };
        assert_eq!((found.numbers, found.layout, found.of), (Numbers::Logits, Layout::Rows, Scope::Maps));
    }
}

/// Raw heads do not say how many anchors a cell has: the anchors given do.
#[test]
fn anchors_given_tell_their_number() {
    let (mut net, image) = Net::new();
    net.builder.graph.outputs = heads(&mut net, image).map(|(head, _)| head).to_vec();
    let pairs = [[1.0, 2.0], [3.0, 4.0]].to_vec();
    let options = |anchors| Options { anchors: Some(anchors), ..Options::default() };
    let convert =
        |options| convert_graph(net.builder.graph.clone(), Metadata::default(), &options, &mut |_| {});
    let model = convert(options(vec![pairs.clone(), pairs.clone()])).unwrap().model;
    assert_eq!((model.detect.classes, model.detect.maps[0].anchors_per_cell), (4, 2));
    let error = convert(options(vec![pairs])).unwrap_err().to_string();
    assert!(error.contains("expected 2 maps, finest first, of 2, 2 pairs"), "{error}");
}

/// The guard: an arrangement of other numbers is none.
#[test]
fn other_numbers_are_refused() {
    let (mut net, image) = Net::new();
    let maps = heads(&mut net, image);
    let factor = net.builder.float(1.01);
    net.builder.graph.outputs = maps
        .map(|(head, _)| {
            let sigma = net.builder.node("Sigmoid", &[head], &[]);
            net.builder.node("Mul", &[sigma, factor], &[])
        })
        .to_vec();
    let error = convert(&net, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADetector);
    let mut net = detector(Decode::Squares, false);
    let rows = net.builder.graph.outputs[0];
    let apart = [(0, 4), (4, 6)].map(|(start, end)| slice(&mut net, rows, 2, start, end));
    let addend = net.builder.float(1.01);
    let shifted = net.builder.node("Add", &[apart[0], addend], &[]);
    net.builder.graph.outputs = vec![shifted, apart[1]];
    assert_eq!(convert(&net, false).unwrap_err().kind(), ErrorKind::NotADetector);
    // A score that is the objectness twice.
    let mut net = detector(Decode::Squares, false);
    let rows = net.builder.graph.outputs[0];
    let [sides, objectness] = [(0, 4), (4, 5)].map(|(start, end)| slice(&mut net, rows, 2, start, end));
    let square = net.builder.node("Mul", &[objectness, objectness], &[]);
    net.builder.graph.outputs = vec![sides, square];
    assert_eq!(convert(&net, false).unwrap_err().kind(), ErrorKind::NotADetector);
}
