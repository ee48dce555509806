//! The detection head and the outputs.

use super::Sections;
use super::section::Section;
use crate::container::codes;
use crate::model::{
    Arranged, BoxRule, Detect, HeadMap, HeadPart, Layout, MapPart, Numbers, Output, OutputKind, Scope,
    ScoreRule,
};

impl Sections {
    pub(super) fn detect(&mut self, detect: &Detect) {
        let graph = &mut self.graph;
        graph.u32(detect.classes);
        graph.u8(match detect.boxes {
            BoxRule::AnchorsSigmoid => codes::BOXES_ANCHORS_SIGMOID,
            BoxRule::AnchorsExp => codes::BOXES_ANCHORS_EXP,
            BoxRule::GridExp => codes::BOXES_GRID_EXP,
            BoxRule::Distributions { .. } => codes::BOXES_DISTRIBUTIONS,
            BoxRule::Distances => codes::BOXES_DISTANCES,
        });
        if let BoxRule::Distributions { bins } = detect.boxes {
            graph.u8(bins);
        }
        graph.u8(match detect.scores {
            ScoreRule::ObjectnessTimesClass => codes::SCORES_OBJECTNESS_TIMES_CLASS,
            ScoreRule::Class => codes::SCORES_CLASS,
            ScoreRule::ObjectnessTimesSoftmax => codes::SCORES_OBJECTNESS_TIMES_SOFTMAX,
            ScoreRule::ConstantObjectness => codes::SCORES_CONSTANT_OBJECTNESS,
        });
        graph.small_count(detect.maps.len());
        detect.maps.iter().for_each(|map| self.map(map, detect.boxes));
    }

    fn map(&mut self, map: &HeadMap, boxes: BoxRule) {
        self.graph.u32(map.stride);
        if boxes.has_anchors() {
            self.graph.u8(u8::try_from(map.anchors_per_cell).expect("at most MAX_ANCHORS"));
            self.graph.f32(map.scale_xy);
            self.graph.u8(u8::from(!map.anchors.is_empty()));
            map.anchors.iter().flatten().for_each(|&size| self.graph.f32(size));
        }
        self.graph.small_count(map.parts.len());
        map.parts.iter().for_each(|part| self.part(part));
    }

    fn part(&mut self, part: &HeadPart) {
        self.graph.u32(part.value.0);
        self.graph.u32(part.fields.start);
        self.graph.u32(part.fields.end - part.fields.start);
        self.graph.u8(part.shift);
        self.quant.numbers(&part.multipliers, i32::to_le_bytes);
        self.quant.numbers(&part.bias, i64::to_le_bytes);
    }
}

impl Section {
    pub(super) fn output(&mut self, output: &Output) {
        self.text(&output.name);
        match output.kind {
            OutputKind::Head(part) => {
                self.u8(codes::OUTPUT_HEAD);
                self.map_part(part);
            }
            OutputKind::HeadByAnchor(part) => {
                self.u8(codes::OUTPUT_HEAD_BY_ANCHOR);
                self.map_part(part);
            }
            OutputKind::Decoded => self.u8(codes::OUTPUT_DECODED),
            OutputKind::Arranged(arranged) => {
                self.u8(codes::OUTPUT_ARRANGED);
                self.arranged(arranged);
            }
        }
    }

    fn arranged(&mut self, arranged: Arranged) {
        // Numbers and layouts are numbered from 1 in their order.
        let numbers = Numbers::ALL.iter().position(|&numbers| numbers == arranged.numbers);
        let layout = Layout::ALL.iter().position(|&layout| layout == arranged.layout);
        for index in [numbers, layout] {
            self.u8(index.and_then(|index| u8::try_from(index + 1).ok()).expect("one of few"));
        }
        match arranged.of {
            Scope::Maps => self.u8(codes::OF_MAPS),
            Scope::Part(part) => {
                self.u8(codes::OF_PART);
                self.map_part(part);
            }
            Scope::Map(map) => {
                self.u8(codes::OF_MAP);
                self.index(map);
            }
        }
        self.u32(arranged.first);
        self.u32(arranged.count);
    }

    fn map_part(&mut self, MapPart { map, part }: MapPart) {
        [map, part].into_iter().for_each(|index| self.index(index));
    }

    fn index(&mut self, index: u32) {
        self.u8(u8::try_from(index).expect("at most MAX_MAPS and MAX_PARTS"));
    }
}
