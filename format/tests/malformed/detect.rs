//! The detection head and outputs.

use ylb_format::model::*;
use ylb_format::{DetectProblem, Violation, read, write};

use super::models;
use super::refuse::{refused, refused_in_memory};

/// Both levels with as many channels as `classes` ask for.
fn set_classes(model: &mut Model, classes: u32) {
    model.metadata.class_names.clear();
    model.detect.classes = classes;
    for level in &mut model.detect.levels {
        set_anchors(level, level.anchors_per_cell, classes);
    }
}

fn set_anchors(level: &mut DetectLevel, anchors: u32, classes: u32) {
    level.anchors_per_cell = anchors;
    level.anchors = vec![[1.0; 2]; anchors as usize];
    level.multipliers = vec![1; (anchors * (5 + classes)) as usize];
    level.bias = vec![1; level.multipliers.len()];
}

/// As the file `classes-2e32-no-head.ylb`, which asked for 17 GB.
#[test]
fn classes_without_a_head() {
    for classes in [65_537, u32::MAX] {
        let change = |model: &mut Model| {
            model.detect = Detect { classes, levels: Vec::new() };
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
fn detection_head() {
    let at = |level, problem| Violation::Detect { level, problem };
    refused(|model| set_classes(model, 0), Violation::Classes { classes: 0, limit: 65_536 });
    refused(|model| set_classes(model, 65_537), Violation::Classes { classes: 65_537, limit: 65_536 });
    refused(
        |model| model.detect.levels[1].value = ValueId(11),
        at(1, DetectProblem::UnknownValue { value: 11, values: 11 }),
    );
    refused(
        |model| model.detect.levels[1].value = ValueId(9),
        at(1, DetectProblem::SharedValue { value: 9, level: 0 }),
    );
    for stride in [0, 65_537] {
        refused(
            |model| model.detect.levels[0].stride = stride,
            at(0, DetectProblem::Stride { stride, limit: 65_536 }),
        );
    }
    for stride in [7, 8] {
        refused(
            |model| model.detect.levels[1].stride = stride,
            at(1, DetectProblem::StrideOrder { stride, previous: 8 }),
        );
    }
    refused(
        |model| set_anchors(&mut model.detect.levels[0], 0, 2),
        at(0, DetectProblem::AnchorsPerCell { anchors: 0, limit: 16 }),
    );
    refused_in_memory(
        |model| set_anchors(&mut model.detect.levels[0], 17, 2),
        at(0, DetectProblem::AnchorsPerCell { anchors: 17, limit: 16 }),
    );
    refused_in_memory(
        |model| model.detect.levels[0].anchors.truncate(1),
        at(0, DetectProblem::AnchorsLen { len: 1, anchors: 2 }),
    );
    for [width, height] in [[0.0, 1.0], [1.0, -2.0], [f32::INFINITY, 1.0], [1.0, 0.0]] {
        refused(
            |model| model.detect.levels[0].anchors[1] = [width, height],
            at(0, DetectProblem::Anchor { anchor: 1, width, height }),
        );
    }
    refused(
        |model| set_anchors(&mut model.detect.levels[1], 2, 2),
        at(1, DetectProblem::Channels { value: 10, channels: 7, anchors: 2, classes: 2 }),
    );
    refused_in_memory(
        |model| model.detect.levels[1].multipliers.truncate(6),
        at(1, DetectProblem::MultipliersLen { len: 6, channels: 7 }),
    );
    refused_in_memory(
        |model| model.detect.levels[1].bias.push(1),
        at(1, DetectProblem::BiasLen { len: 8, channels: 7 }),
    );
    refused(|model| model.detect.levels[1].shift = 63, at(1, DetectProblem::Shift { shift: 63, limit: 62 }));
    for bias in [i64::MIN, i64::MAX] {
        refused(|model| model.detect.levels[0].bias[3] = bias, at(0, DetectProblem::Overflow { channel: 3 }));
    }
}

/// The largest bias that any accumulator, and any integer of levels, leaves room for.
#[test]
fn largest_logits() {
    // Value 10 holds levels 0..=15 of code −8 and zero point −3: integers of at most 10.
    for (level, bound) in [(0, i64::from(i32::MAX)), (1, 10)] {
        let mut model = models::detector();
        model.detect.levels[level].multipliers[0] = -7;
        model.detect.levels[level].bias[0] = i64::MAX - 7 * bound;
        assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
        model.detect.levels[level].bias[0] += 1;
        let problem = DetectProblem::Overflow { channel: 0 };
        assert_eq!(ylb_format::validate(&model), Err(Violation::Detect { level, problem }));
    }
}

#[test]
fn outputs() {
    let name = || "by anchor".to_owned();
    refused(|model| model.outputs[0].name = name(), Violation::DuplicateOutput { name: name() });
    for (kind, level) in [(OutputKind::Head(2), 2), (OutputKind::HeadByAnchor(u32::MAX), u32::MAX)] {
        refused(
            |model| model.outputs[1].kind = kind,
            Violation::UnknownLevel { name: name(), level, levels: 2 },
        );
    }
    let no_anchors = || Violation::NoAnchors { name: "boxes".to_owned() };
    refused(|model| model.detect.levels[1].anchors.clear(), no_anchors());
    // Nor without any level.
    let mut model = models::tiny();
    model.outputs.push(Output { name: "boxes".to_owned(), kind: OutputKind::Decoded });
    assert_eq!(ylb_format::validate(&model), Err(no_anchors()));
}
