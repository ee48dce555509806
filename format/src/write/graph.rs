//! The four sections of a valid model.

use super::Sections;
use super::section::{Section, narrow};
use crate::container::codes;
use crate::model::{
    Along, Conv, ConvTerm, Metadata, Model, Node, Operator, Requantize, Value, ValueId, ValueKind,
    WeightEncoding, Window,
};

/// METADATA, GRAPH, QUANT, WEIGHTS.
pub(super) fn sections(model: &Model) -> [Section; 4] {
    let mut sections = Sections::default();
    sections.model(model);
    let Sections { graph, quant, weights } = sections;
    [metadata(&model.metadata), graph, quant, weights]
}

fn metadata(metadata: &Metadata) -> Section {
    let mut section = Section::default();
    section.text(&metadata.converter);
    section.text(&metadata.source_name);
    section.text(&metadata.source_format);
    section.bytes.extend(metadata.source_sha256);
    section.count(metadata.class_names.len());
    metadata.class_names.iter().for_each(|name| section.text(name));
    section
}

impl Sections {
    fn model(&mut self, model: &Model) {
        self.graph.input(&model.input);
        self.graph.count(model.values.len());
        model.values.iter().for_each(|value| self.graph.value(value));
        self.graph.count(model.nodes.len());
        model.nodes.iter().for_each(|node| self.node(node));
        self.detect(&model.detect);
        self.graph.small_count(model.outputs.len());
        model.outputs.iter().for_each(|output| self.graph.output(output));
    }

    fn node(&mut self, node: &Node) {
        self.graph.text(&node.name);
        self.graph.u32(node.output.0);
        match &node.operator {
            Operator::Conv(conv) => {
                self.graph.u8(codes::CONV);
                self.conv(conv);
            }
            Operator::Add { inputs, requantize } => {
                self.graph.u8(codes::ADD);
                self.graph.inputs(inputs);
                self.requantize(Some(requantize));
            }
            Operator::Map { input, table } => {
                self.graph.u8(codes::MAP);
                self.graph.u32(input.0);
                self.quant.u16(narrow(table.len()));
                self.quant.bytes.extend_from_slice(table);
            }
            Operator::MaxPool { input, window } => {
                self.graph.u8(codes::MAX_POOL);
                self.graph.u32(input.0);
                self.graph.window(window);
            }
            Operator::Upsample { input, factor } => {
                self.graph.u8(codes::UPSAMPLE);
                self.graph.u32(input.0);
                self.graph.u32(*factor);
            }
            Operator::Concat { inputs } => {
                self.graph.u8(codes::CONCAT);
                self.graph.inputs(inputs);
            }
            Operator::Interleave { inputs } => {
                self.graph.u8(codes::INTERLEAVE);
                self.graph.inputs(inputs);
            }
            Operator::Mul { inputs, requantize } => {
                self.graph.u8(codes::MUL);
                inputs.iter().for_each(|input| self.graph.u32(input.0));
                self.requantize(Some(requantize));
            }
            Operator::Slice { input, first } => {
                self.graph.u8(codes::SLICE);
                self.graph.u32(input.0);
                self.graph.u32(*first);
            }
            Operator::ChannelMax { input } => {
                self.graph.u8(codes::CHANNEL_MAX);
                self.graph.u32(input.0);
            }
            Operator::Pad { input, padding } => {
                self.graph.u8(codes::PAD);
                self.graph.u32(input.0);
                self.graph.u32s(padding);
            }
            Operator::PairMap { inputs, table } => {
                self.graph.u8(codes::PAIR_MAP);
                inputs.iter().for_each(|input| self.graph.u32(input.0));
                self.quant.u32(narrow(table.len()));
                self.quant.bytes.extend_from_slice(table);
            }
            Operator::MatMul { inputs, groups, areas, along, requantize } => {
                self.graph.u8(codes::MAT_MUL);
                inputs.iter().for_each(|input| self.graph.u32(input.0));
                self.graph.u32(*groups);
                self.graph.u8(match (along, areas) {
                    (Along::Channels, 1) => codes::ALONG_CHANNELS,
                    (Along::Positions, 1) => codes::ALONG_POSITIONS,
                    (Along::Channels, _) => codes::ALONG_CHANNELS_BY_AREA,
                    (Along::Positions, _) => codes::ALONG_POSITIONS_BY_AREA,
                });
                if *areas != 1 {
                    self.graph.u32(*areas);
                }
                self.requantize(Some(requantize));
            }
            Operator::Softmax { input, groups, exponentials, thresholds, levels } => {
                self.graph.u8(codes::SOFTMAX);
                self.graph.u32(input.0);
                self.graph.u32(*groups);
                self.quant.u16(narrow(exponentials.len()));
                self.quant.numbers(exponentials, u64::to_le_bytes);
                self.quant.staircase(thresholds, levels);
            }
            Operator::Curves(curves) => {
                self.graph.u8(codes::CURVES);
                self.curves(curves);
            }
            Operator::AddTables { inputs, tables, requantize } => {
                self.graph.u8(codes::ADD_TABLES);
                self.graph.inputs(inputs);
                for table in tables {
                    self.quant.u16(narrow(table.len()));
                    self.quant.numbers(table, i32::to_le_bytes);
                }
                self.requantize(Some(requantize));
            }
        }
    }

    fn conv(&mut self, conv: &Conv) {
        self.graph.window(&conv.window);
        self.graph.u32(conv.groups);
        self.graph.small_count(conv.terms.len());
        conv.terms.iter().for_each(|term| self.term(term));
        self.requantize(conv.requantize.as_ref());
    }

    fn term(&mut self, term: &ConvTerm) {
        let weights = &term.weights;
        self.graph.u32(term.input.0);
        self.graph.u32s(&weights.shape);
        self.graph.u8(match weights.encoding {
            WeightEncoding::Unsigned => codes::WEIGHTS_UNSIGNED,
            WeightEncoding::TwosComplement => codes::WEIGHTS_TWOS_COMPLEMENT,
            WeightEncoding::Bipolar => codes::WEIGHTS_BIPOLAR,
        });
        self.graph.u8(weights.bits);
        self.graph.u8(u8::from(!weights.zero_points.is_empty()));
        self.quant.numbers(&weights.zero_points, i16::to_le_bytes);
        self.weights.bytes.extend_from_slice(&weights.planes);
    }

    fn requantize(&mut self, requantize: Option<&Requantize>) {
        match requantize {
            None => self.graph.u8(codes::REQUANTIZE_NONE),
            Some(Requantize::Scale { multipliers, bias, shift }) => {
                self.graph.u8(codes::REQUANTIZE_SCALE);
                self.graph.u8(*shift);
                self.quant.numbers(multipliers, i32::to_le_bytes);
                self.quant.numbers(bias, i64::to_le_bytes);
            }
            Some(Requantize::Staircase { thresholds, levels }) => {
                self.graph.u8(codes::REQUANTIZE_STAIRCASE);
                for (thresholds, levels) in thresholds.iter().zip(levels) {
                    self.quant.staircase(thresholds, levels);
                }
            }
            Some(Requantize::ScaledStaircase { multipliers, bias, thresholds, levels }) => {
                self.graph.u8(codes::REQUANTIZE_SCALED_STAIRCASE);
                self.quant.numbers(multipliers, i32::to_le_bytes);
                self.quant.numbers(bias, i64::to_le_bytes);
                self.quant.staircase(thresholds, levels);
            }
        }
    }
}

impl Section {
    fn value(&mut self, value: &Value) {
        self.text(&value.name);
        self.u32s(&value.shape());
        match value.kind {
            ValueKind::Levels(encoding) => {
                self.u8(codes::VALUE_LEVELS);
                self.u8(encoding.max_level);
                self.u8(encoding.step);
                self.i16(encoding.low);
                self.i16(encoding.zero_point);
                self.f64(encoding.scale);
            }
            ValueKind::Accumulators => self.u8(codes::VALUE_ACCUMULATORS),
        }
    }

    fn inputs(&mut self, inputs: &[ValueId]) {
        self.small_count(inputs.len());
        inputs.iter().for_each(|input| self.u32(input.0));
    }

    fn window(&mut self, window: &Window) {
        self.u32s(&window.kernel);
        self.u32s(&window.stride);
        self.u32s(&window.padding);
    }
}
