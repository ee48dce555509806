//! The detection head and outputs.

use ylb_format::model::*;
use ylb_format::{HeadProblem, Violation, read, write};

use super::models;
use super::refuse::{refused, refused_in_memory};

/// Both maps with as many channels as `classes` ask for.
fn set_classes(model: &mut Model, classes: u32) {
    model.metadata.class_names.clear();
    model.detect.classes = classes;
    let fields = model.detect.fields() as u32;
    for map in &mut model.detect.maps {
        set_anchors(map, map.anchors_per_cell, fields);
    }
}

fn set_anchors(map: &mut HeadMap, anchors: u32, fields: u32) {
    map.anchors_per_cell = anchors;
    map.anchors = vec![[1.0; 2]; anchors as usize];
    let part = &mut map.parts[0];
    part.fields = 0..fields;
    part.multipliers = vec![1; (anchors * fields) as usize];
    part.bias = vec![1; part.multipliers.len()];
}

fn at(map: usize, problem: HeadProblem) -> Violation {
    Violation::Head { map, problem }
}

/// As the file `classes-2e32-no-head.ylb`, which asked for 17 GB.
#[test]
fn classes_without_a_head() {
    for classes in [65_537, u32::MAX] {
        let change = |model: &mut Model| {
            model.detect = Detect { classes, ..Detect::default() };
            model.outputs.clear();
            model.metadata.class_names.clear();
        };
        refused(change, Violation::Classes { classes, limit: 65_536 });
    }
    let mut model = models::tiny();
    for classes in [0, 65_536] {
        model.detect.classes = classes;
        assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
    }
}

#[test]
fn feature_maps() {
    refused(|model| set_classes(model, 0), Violation::Classes { classes: 0, limit: 65_536 });
    refused(|model| set_classes(model, 65_537), Violation::Classes { classes: 65_537, limit: 65_536 });
    for stride in [0, 65_537] {
        refused(
            |model| model.detect.maps[0].stride = stride,
            at(0, HeadProblem::Stride { stride, limit: 65_536 }),
        );
    }
    refused(|model| model.detect.maps[1].stride = 8, at(1, HeadProblem::SharedStride { stride: 8, map: 0 }));
    refused(
        |model| set_anchors(&mut model.detect.maps[0], 0, 7),
        at(0, HeadProblem::AnchorsPerCell { anchors: 0, limit: 16 }),
    );
    refused_in_memory(
        |model| set_anchors(&mut model.detect.maps[0], 17, 7),
        at(0, HeadProblem::AnchorsPerCell { anchors: 17, limit: 16 }),
    );
    refused_in_memory(
        |model| model.detect.maps[0].anchors.truncate(1),
        at(0, HeadProblem::AnchorsLen { len: 1, anchors: 2 }),
    );
    for [width, height] in [[0.0, 1.0], [1.0, -2.0], [f32::INFINITY, 1.0], [1.0, 0.0]] {
        refused(
            |model| model.detect.maps[0].anchors[1] = [width, height],
            at(0, HeadProblem::Anchor { anchor: 1, width, height }),
        );
    }
    for scale in [0.0, 0.999, 4.001, f32::INFINITY] {
        refused(
            |model| model.detect.maps[1].scale_xy = scale,
            at(1, HeadProblem::ScaleXy { scale, limit: 4.0 }),
        );
    }
    // The finest need not come first.
    let mut model = models::detector();
    model.detect.maps[1].stride = 4;
    assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
}

#[test]
fn parts() {
    refused(|model| model.detect.maps[1].parts.clear(), at(1, HeadProblem::Parts { parts: 0, limit: 8 }));
    refused_in_memory(
        |model| model.detect.maps[1].parts = vec![model.detect.maps[1].parts[0].clone(); 9],
        at(1, HeadProblem::Parts { parts: 9, limit: 8 }),
    );
    for (fields, expected) in [(1..7, 0), (0..6, 6), (0..8, 0), (0..0, 0)] {
        let (start, end) = (fields.start, fields.end);
        let change = |model: &mut Model| {
            let part = &mut model.detect.maps[1].parts[0];
            part.fields = fields.clone();
            let fields = (end - start) as usize;
            (part.multipliers, part.bias) = (vec![1; fields], vec![1; fields]);
            let id = part.value.index();
            // Only the numbers of the fields are wrong: the value has as many channels.
            if fields == 6 && start == 0 {
                model.values[id].channels = 6;
                let Operator::Conv(conv) = &mut model.nodes[9].operator else { panic!() };
                conv.terms[0].weights = models::cyclic([6, 6, 1, 1], WeightEncoding::Bipolar, 3);
                let (multipliers, bias) = (vec![70_000; 6], vec![1 << 23; 6]);
                conv.requantize = Some(Requantize::Scale { multipliers, bias, shift: 24 });
            }
        };
        refused(change, at(1, HeadProblem::Fields { part: 0, start, end, all: 7, expected }));
    }
    refused(
        |model| model.detect.maps[1].parts[0].value = ValueId(11),
        at(1, HeadProblem::UnknownValue { part: 0, value: 11, values: 11 }),
    );
    refused(
        |model| model.detect.maps[1].parts[0].value = ValueId(9),
        at(1, HeadProblem::SharedValue { part: 0, value: 9 }),
    );
    refused(
        |model| set_anchors(&mut model.detect.maps[1], 2, 7),
        at(1, HeadProblem::Channels { value: 10, channels: 7, anchors: 2, fields: 7 }),
    );
    refused_in_memory(
        |model| model.detect.maps[1].parts[0].multipliers.truncate(6),
        at(1, HeadProblem::MultipliersLen { len: 6, channels: 7 }),
    );
    refused_in_memory(
        |model| model.detect.maps[1].parts[0].bias.push(1),
        at(1, HeadProblem::BiasLen { len: 8, channels: 7 }),
    );
    refused(
        |model| model.detect.maps[1].parts[0].shift = 63,
        at(1, HeadProblem::Shift { shift: 63, limit: 62 }),
    );
    for bias in [i64::MIN, i64::MAX] {
        refused(
            |model| model.detect.maps[0].parts[0].bias[3] = bias,
            at(0, HeadProblem::Overflow { part: 0, channel: 3 }),
        );
    }
}

/// Every rule is written and read, each field in a part of its own.
#[test]
fn families() {
    let boxes = [
        (BoxRule::AnchorsSigmoid, 4),
        (BoxRule::AnchorsExp, 4),
        (BoxRule::GridExp, 4),
        (BoxRule::Distributions { bins: 16 }, 64),
        (BoxRule::Distances, 4),
    ];
    let scores = [
        (ScoreRule::ObjectnessTimesClass, 3, 8),
        (ScoreRule::Class, 2, 7),
        (ScoreRule::ObjectnessTimesSoftmax, 3, 8),
        (ScoreRule::ConstantObjectness, 2, 8),
    ];
    for (boxes, fields) in boxes {
        for (scores, parts, columns) in scores {
            let model = models::in_parts(boxes, scores);
            assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
            let detect = &model.detect;
            assert_eq!(detect.maps[0].parts.len(), parts);
            assert_eq!((boxes.fields(), detect.columns()), (fields, columns));
            let objectness = u32::from(scores.has_objectness());
            assert_eq!(
                (detect.first_class(), detect.fields()),
                (fields + objectness, (fields + objectness + 3).into())
            );
        }
    }
}

#[test]
fn rules() {
    for bins in [0, 1, 65, 255] {
        let mut model = models::in_parts(BoxRule::Distances, ScoreRule::Class);
        model.detect.boxes = BoxRule::Distributions { bins };
        assert_eq!(ylb_format::validate(&model), Err(Violation::Bins { bins, limit: 64 }));
    }
    let changes: [fn(&mut HeadMap); 3] =
        [|map| map.scale_xy = 2.0, |map| map.anchors_per_cell = 2, |map| map.anchors = vec![[1.0, 2.0]]];
    for change in changes {
        let mut model = models::in_parts(BoxRule::GridExp, ScoreRule::ObjectnessTimesClass);
        change(&mut model.detect.maps[0]);
        assert_eq!(ylb_format::validate(&model), Err(at(0, HeadProblem::AnchorsWithoutRule)));
    }
    // The objectness has a column more than the boxes.
    let mut model = models::in_parts(BoxRule::GridExp, ScoreRule::ObjectnessTimesClass);
    let Operator::Conv(conv) = &mut model.nodes[1].operator else { panic!() };
    (conv.window.kernel, conv.window.padding) = ([1, 2], [0, 1, 0, 1]);
    conv.terms[0].weights = models::cyclic([1, 3, 1, 2], WeightEncoding::Unsigned, 1);
    model.values[2].width = 2;
    let problem = HeadProblem::Cells { part: 1, height: 1, width: 2, rows: 1, columns: 1 };
    assert_eq!(ylb_format::validate(&model), Err(at(0, problem)));
}

/// The largest bias that any accumulator, and any integer of levels, leaves room for.
#[test]
fn largest_logits() {
    // Value 10 holds levels 0..=15 of code −8 and zero point −3: integers of at most 10.
    for (map, bound) in [(0, i64::from(i32::MAX)), (1, 10)] {
        let mut model = models::detector();
        let part = &mut model.detect.maps[map].parts[0];
        part.multipliers[0] = -7;
        part.bias[0] = i64::MAX - 7 * bound;
        assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
        model.detect.maps[map].parts[0].bias[0] += 1;
        let problem = HeadProblem::Overflow { part: 0, channel: 0 };
        assert_eq!(ylb_format::validate(&model), Err(at(map, problem)));
    }
}

#[test]
fn outputs() {
    let name = || "by anchor".to_owned();
    refused(|model| model.outputs[0].name = name(), Violation::DuplicateOutput { name: name() });
    for (map, part) in [(2, 0), (255, 0), (1, 1)] {
        for kind in [OutputKind::Head, OutputKind::HeadByAnchor] {
            refused(
                |model| model.outputs[1].kind = kind(MapPart { map, part }),
                Violation::UnknownPart { name: name(), map, part },
            );
        }
    }
    let arranged = Arranged {
        numbers: Numbers::Logistic,
        layout: Layout::Columns,
        of: Scope::Part(MapPart::whole(1)),
        first: 0,
        count: 4,
    };
    for wrong in [
        Arranged { count: 0, ..arranged },
        Arranged { first: 4, ..arranged },
        Arranged { first: u32::MAX, ..arranged },
        Arranged { layout: Layout::Planes, of: Scope::Maps, ..arranged },
        Arranged { numbers: Numbers::Boxes, ..arranged },
        Arranged { numbers: Numbers::Boxes, of: Scope::Map(1), ..arranged },
        Arranged { numbers: Numbers::Corners, of: Scope::Maps, count: 8, ..arranged },
        Arranged { numbers: Numbers::RawBoxes, of: Scope::Maps, count: 8, ..arranged },
    ] {
        let violation = Violation::Arrangement { name: name() };
        refused(|model| model.outputs[1].kind = OutputKind::Arranged(wrong), violation);
    }
    for of in [Scope::Part(MapPart { map: 2, part: 0 }), Scope::Map(2)] {
        let beyond = Arranged { of, ..arranged };
        let violation = Violation::UnknownPart { name: name(), map: 2, part: 0 };
        refused(|model| model.outputs[1].kind = OutputKind::Arranged(beyond), violation);
    }
    let no_anchors = || Violation::NoAnchors { name: "boxes".to_owned() };
    refused(|model| model.detect.maps[1].anchors.clear(), no_anchors());
    // Nor without any map.
    let mut model = models::tiny();
    model.outputs.push(Output { name: "boxes".to_owned(), kind: OutputKind::Decoded });
    assert_eq!(ylb_format::validate(&model), Err(no_anchors()));
    // Where boxes have no anchors, none are missing.
    let mut model = models::in_parts(BoxRule::Distances, ScoreRule::Class);
    model.outputs.push(Output { name: "boxes".to_owned(), kind: OutputKind::Decoded });
    assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
}
