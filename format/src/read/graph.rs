//! Section GRAPH, which says what to take from QUANT and WEIGHTS.

use super::cursor::Cursor;
use super::staircase::staircase;
use super::{Result, Sections, curves, head, input, quant};
use crate::container::codes;
use crate::limits::{MAX_ADDENDS, MAX_CONCAT_INPUTS, MAX_OUTPUTS, MAX_TERMS, MAX_VALUES};
use crate::model::{
    Along, Conv, ConvTerm, Encoding, Metadata, Model, Node, Operator, Requantize, Value, ValueId, ValueKind,
    WeightEncoding, Weights, Window,
};
use crate::weights::to_usize;

/// Bytes of the shortest value: no name, accumulators.
const MIN_VALUE_LEN: usize = 2 + 12 + 1;
/// Bytes of the shortest node: no name, a look-up table.
const MIN_NODE_LEN: usize = 2 + 4 + 1 + 4;

pub(super) fn read(sections: &mut Sections<'_>, metadata: Metadata) -> Result<Model> {
    let input = input::input(&mut sections.graph)?;
    let count = sections.graph.count("values", MAX_VALUES, MIN_VALUE_LEN)?;
    let values = (0..count).map(|_| value(&mut sections.graph)).collect::<Result<_>>()?;
    let count = sections.graph.count("nodes", MAX_VALUES, MIN_NODE_LEN)?;
    let nodes = (0..count).map(|_| node(sections)).collect::<Result<_>>()?;
    let detect = head::detect(sections)?;
    let count = sections.graph.small_count("outputs", MAX_OUTPUTS)?;
    let outputs = (0..count).map(|_| head::output(&mut sections.graph)).collect::<Result<_>>()?;
    Ok(Model { metadata, input, values, nodes, outputs, detect })
}

pub(super) fn value_id(fields: &mut Cursor<'_>) -> Result<ValueId> {
    fields.u32().map(ValueId)
}

fn value(fields: &mut Cursor<'_>) -> Result<Value> {
    let name = fields.text()?;
    let [channels, height, width] = fields.u32s()?;
    let offset = fields.offset();
    let kind = match fields.u8()? {
        codes::VALUE_LEVELS => ValueKind::Levels(Encoding {
            max_level: fields.u8()?,
            step: fields.u8()?,
            low: fields.i16()?,
            zero_point: fields.i16()?,
            scale: fields.f64()?,
        }),
        codes::VALUE_ACCUMULATORS => ValueKind::Accumulators,
        code => return Err(fields.unknown_code(offset, "kind of value", code)),
    };
    Ok(Value { name, channels, height, width, kind })
}

fn node(sections: &mut Sections<'_>) -> Result<Node> {
    let name = sections.graph.text()?;
    let output = value_id(&mut sections.graph)?;
    let offset = sections.graph.offset();
    let operator = match sections.graph.u8()? {
        codes::CONV => Operator::Conv(conv(sections)?),
        codes::ADD => add(sections)?,
        codes::MAP => {
            let input = value_id(&mut sections.graph)?;
            Operator::Map { input, table: quant::table(&mut sections.quant)? }
        }
        codes::MAX_POOL => {
            let input = value_id(&mut sections.graph)?;
            Operator::MaxPool { input, window: window(&mut sections.graph)? }
        }
        codes::UPSAMPLE => {
            let input = value_id(&mut sections.graph)?;
            Operator::Upsample { input, factor: sections.graph.u32()? }
        }
        codes::MUL => mul(sections)?,
        codes::SLICE => {
            let input = value_id(&mut sections.graph)?;
            Operator::Slice { input, first: sections.graph.u32()? }
        }
        codes::CHANNEL_MAX => Operator::ChannelMax { input: value_id(&mut sections.graph)? },
        codes::PAD => {
            let input = value_id(&mut sections.graph)?;
            Operator::Pad { input, padding: sections.graph.u32s()? }
        }
        codes::ADD_TABLES => add_tables(sections)?,
        codes::CURVES => Operator::Curves(curves::read(sections)?),
        codes::MAT_MUL => mat_mul(sections)?,
        codes::PAIR_MAP => {
            let inputs = [value_id(&mut sections.graph)?, value_id(&mut sections.graph)?];
            Operator::PairMap { inputs, table: quant::pairs(&mut sections.quant)? }
        }
        codes::SOFTMAX => {
            let input = value_id(&mut sections.graph)?;
            let groups = sections.graph.u32()?;
            let exponentials = quant::exponentials(&mut sections.quant)?;
            let (thresholds, levels) = staircase(&mut sections.quant)?;
            Operator::Softmax { input, groups, exponentials, thresholds, levels }
        }
        codes::CONCAT => Operator::Concat { inputs: inputs(&mut sections.graph, MAX_CONCAT_INPUTS)? },
        codes::INTERLEAVE => Operator::Interleave { inputs: inputs(&mut sections.graph, MAX_CONCAT_INPUTS)? },
        code => return Err(sections.graph.unknown_code(offset, "operator", code)),
    };
    Ok(Node { name, output, operator })
}

fn inputs(fields: &mut Cursor<'_>, limit: usize) -> Result<Vec<ValueId>> {
    let count = fields.small_count("inputs of a node", limit)?;
    (0..count).map(|_| value_id(fields)).collect()
}

fn window(fields: &mut Cursor<'_>) -> Result<Window> {
    Ok(Window { kernel: fields.u32s()?, stride: fields.u32s()?, padding: fields.u32s()? })
}

fn add(sections: &mut Sections<'_>) -> Result<Operator> {
    let inputs = inputs(&mut sections.graph, MAX_ADDENDS)?;
    let requantize = requantized(sections, "requantization of a sum", inputs.len())?;
    Ok(Operator::Add { inputs, requantize })
}

fn add_tables(sections: &mut Sections<'_>) -> Result<Operator> {
    let inputs = inputs(&mut sections.graph, MAX_ADDENDS)?;
    let tables = inputs.iter().map(|_| quant::addends(&mut sections.quant)).collect::<Result<_>>()?;
    let requantize = requantized(sections, "requantization of a sum of tables", 1)?;
    Ok(Operator::AddTables { inputs, tables, requantize })
}

fn mat_mul(sections: &mut Sections<'_>) -> Result<Operator> {
    let inputs = [value_id(&mut sections.graph)?, value_id(&mut sections.graph)?];
    let groups = sections.graph.u32()?;
    let offset = sections.graph.offset();
    let (along, by_area) = match sections.graph.u8()? {
        codes::ALONG_CHANNELS => (Along::Channels, false),
        codes::ALONG_POSITIONS => (Along::Positions, false),
        codes::ALONG_CHANNELS_BY_AREA => (Along::Channels, true),
        codes::ALONG_POSITIONS_BY_AREA => (Along::Positions, true),
        code => return Err(sections.graph.unknown_code(offset, "axis of a product", code)),
    };
    let areas = if by_area { sections.graph.u32()? } else { 1 };
    let requantize = requantized(sections, "requantization of a product of matrices", 1)?;
    Ok(Operator::MatMul { inputs, groups, areas, along, requantize })
}

fn mul(sections: &mut Sections<'_>) -> Result<Operator> {
    let inputs = [value_id(&mut sections.graph)?, value_id(&mut sections.graph)?];
    Ok(Operator::Mul { inputs, requantize: requantized(sections, "requantization of a product", 1)? })
}

/// The requantization of an operator that cannot do without, one channel for all.
fn requantized(sections: &mut Sections<'_>, what: &'static str, terms: usize) -> Result<Requantize> {
    let offset = sections.graph.offset();
    let code = sections.graph.u8()?;
    match quant::requantize(sections, code, terms, 1)? {
        Some(requantize) => Ok(requantize),
        None => Err(sections.graph.unknown_code(offset, what, code)),
    }
}

fn conv(sections: &mut Sections<'_>) -> Result<Conv> {
    let window = window(&mut sections.graph)?;
    let groups = sections.graph.u32()?;
    let count = sections.graph.small_count("terms of a convolution", MAX_TERMS)?;
    let terms: Vec<ConvTerm> = (0..count).map(|_| term(sections)).collect::<Result<_>>()?;
    let channels = terms.first().map_or(0, |term| to_usize(term.weights.shape[0]));
    let code = sections.graph.u8()?;
    let requantize = quant::requantize(sections, code, count, channels)?;
    Ok(Conv { terms, window, groups, requantize })
}

fn term(sections: &mut Sections<'_>) -> Result<ConvTerm> {
    let input = value_id(&mut sections.graph)?;
    let shape: [u32; 4] = sections.graph.u32s()?;
    let encoding = weight_encoding(&mut sections.graph)?;
    let bits = sections.graph.u8()?;
    let zero_points = if sections.graph.flag("flag for zero points")? {
        sections.quant.numbers(to_usize(shape[0]), i16::from_le_bytes)?
    } else {
        Vec::new()
    };
    let len = shape.iter().try_fold(1u64, |len, &extent| len.checked_mul(u64::from(extent)));
    let planes_len = len.and_then(|len| len.div_ceil(8).checked_mul(u64::from(bits)));
    let planes = sections.weights.take_u64(planes_len)?.to_vec();
    Ok(ConvTerm { input, weights: Weights { shape, encoding, bits, planes, zero_points } })
}

fn weight_encoding(fields: &mut Cursor<'_>) -> Result<WeightEncoding> {
    let offset = fields.offset();
    match fields.u8()? {
        codes::WEIGHTS_UNSIGNED => Ok(WeightEncoding::Unsigned),
        codes::WEIGHTS_TWOS_COMPLEMENT => Ok(WeightEncoding::TwosComplement),
        codes::WEIGHTS_BIPOLAR => Ok(WeightEncoding::Bipolar),
        code => Err(fields.unknown_code(offset, "encoding of weights", code)),
    }
}
