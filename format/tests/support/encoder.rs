//! A second writer, made from `docs/ylb-format.md` alone and as plain as it: it checks nothing, so it
//! also writes models that the crate's writer refuses.

use ylb_format::model::*;

/// The sections of a file without their container.
#[derive(Clone, Default)]
pub struct Sections {
    pub metadata: Vec<u8>,
    pub graph: Vec<u8>,
    pub quant: Vec<u8>,
    pub weights: Vec<u8>,
}

/// The bytes of a whole file of version 2.0.
pub fn encode(model: &Model) -> Vec<u8> {
    sections(model).file()
}

impl Sections {
    pub fn file(&self) -> Vec<u8> {
        assemble((2, 0), &self.list())
    }

    pub fn list(&self) -> Vec<(u32, Vec<u8>)> {
        let Self { metadata, graph, quant, weights } = self.clone();
        vec![(1, metadata), (2, graph), (3, quant), (4, weights)]
    }
}

/// Header, section table and sections.
pub fn assemble((major, minor): (u16, u16), sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let table_end = 32 + 32 * sections.len();
    let mut table = vec![];
    let mut body = vec![];
    for (kind, bytes) in sections {
        while !(table_end + body.len()).is_multiple_of(64) {
            body.push(0);
        }
        let offset = (table_end + body.len()) as u64;
        table.extend(kind.to_le_bytes());
        table.extend([0; 4]);
        table.extend(offset.to_le_bytes());
        table.extend((bytes.len() as u64).to_le_bytes());
        table.extend([0; 8]);
        body.extend(bytes);
    }
    let mut file = b"\x8eYLB\r\n\x1a\n".to_vec();
    file.extend(major.to_le_bytes());
    file.extend(minor.to_le_bytes());
    file.extend((sections.len() as u32).to_le_bytes());
    file.extend(((table_end + body.len()) as u64).to_le_bytes());
    file.extend([0; 8]);
    file.extend(table);
    file.extend(body);
    fix_section_checksums(&mut file);
    file
}

/// Makes the checksum of every section whose bytes exist right, and the header's.
pub fn fix_section_checksums(file: &mut [u8]) {
    for entry in (32..).step_by(32).take(count(file)) {
        let field = |at| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
        let (offset, len) = (field(entry + 8), field(entry + 16));
        let crc = crc32(&file[offset..offset + len]);
        file[entry + 4..entry + 8].copy_from_slice(&crc.to_le_bytes());
    }
    fix_header_checksum(file);
}

/// Makes the checksum of header and section table right.
pub fn fix_header_checksum(file: &mut [u8]) {
    file[24..28].fill(0);
    let crc = crc32(&file[..32 + 32 * count(file)]);
    file[24..28].copy_from_slice(&crc.to_le_bytes());
}

fn count(file: &[u8]) -> usize {
    u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize
}

/// CRC-32 bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320))
    })
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
}

fn u32s(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn i32s(out: &mut Vec<u8>, numbers: &[i32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn i64s(out: &mut Vec<u8>, numbers: &[i64]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

pub fn sections(model: &Model) -> Sections {
    let mut all = Sections::default();
    let metadata = &mut all.metadata;
    text(metadata, &model.metadata.converter);
    text(metadata, &model.metadata.source_name);
    text(metadata, &model.metadata.source_format);
    metadata.extend(model.metadata.source_sha256);
    u32s(metadata, &[model.metadata.class_names.len() as u32]);
    for name in &model.metadata.class_names {
        text(metadata, name);
    }

    text(&mut all.graph, &model.input.name);
    u32s(&mut all.graph, &[model.input.value.0]);
    input(&mut all.graph, &model.input);
    u32s(&mut all.graph, &[model.values.len() as u32]);
    for value in &model.values {
        text(&mut all.graph, &value.name);
        u32s(&mut all.graph, &[value.channels, value.height, value.width]);
        match value.kind {
            ValueKind::Levels(Encoding { max_level, step, low, zero_point, scale }) => {
                all.graph.extend([0, max_level, step]);
                all.graph.extend(low.to_le_bytes());
                all.graph.extend(zero_point.to_le_bytes());
                all.graph.extend(scale.to_le_bytes());
            }
            ValueKind::Accumulators => all.graph.push(1),
        }
    }
    u32s(&mut all.graph, &[model.nodes.len() as u32]);
    for node in &model.nodes {
        text(&mut all.graph, &node.name);
        u32s(&mut all.graph, &[node.output.0]);
        operator(&mut all, &node.operator);
    }
    heads(&mut all, model);
    all
}

fn input(graph: &mut Vec<u8>, input: &Input) {
    let Preprocessing { range, mean, deviation, order, layout, placement, fill } = input.preprocessing;
    graph.push(u8::from(range == PixelRange::Bytes));
    graph.extend(mean.iter().chain(&deviation).flat_map(|number| number.to_le_bytes()));
    graph.push(u8::from(order == ChannelOrder::Bgr));
    graph.push(u8::from(layout == TensorLayout::Nhwc));
    graph.push(match placement {
        PicturePlacement::Centre => 0,
        PicturePlacement::Corner => 1,
        PicturePlacement::Stretch => 2,
    });
    graph.extend(fill);
    match &input.pixel_levels {
        PixelLevels::Same(levels) => {
            graph.push(0);
            graph.extend(levels);
        }
        PixelLevels::ByChannel(tables) => {
            graph.push(1);
            tables.iter().for_each(|levels| graph.extend(levels));
        }
    }
}

fn curves(all: &mut Sections, join: &Curves) {
    all.graph.extend([16, join.operands.len() as u8]);
    for CurveOperand { input, function } in &join.operands {
        u32s(&mut all.graph, &[input.0]);
        match function {
            OperandFunction::Table(table) => {
                all.graph.push(0);
                all.quant.extend((table.len() as u16).to_le_bytes());
                i64s(&mut all.quant, table);
            }
            OperandFunction::Curve { curve, multipliers, bias, shift } => {
                all.graph.extend([1, *curve, *shift]);
                u32s(&mut all.quant, &[multipliers.len() as u32]);
                i64s(&mut all.quant, multipliers);
                i64s(&mut all.quant, bias);
            }
        }
    }
    match join.combine {
        Combine::Sum => all.graph.push(0),
        Combine::Product { shift } => all.graph.extend([1, shift]),
    }
    all.graph.push(join.curves.len() as u8);
    for Curve { width, pieces } in &join.curves {
        all.graph.push(*width);
        all.quant.extend((pieces.len() as u16).to_le_bytes());
        pieces.iter().for_each(|piece| i64s(&mut all.quant, piece));
    }
    staircase(&mut all.quant, &join.thresholds, &join.levels);
}

fn operator(all: &mut Sections, operator: &Operator) {
    let inputs = |graph: &mut Vec<u8>, inputs: &[ValueId]| {
        graph.push(inputs.len() as u8);
        inputs.iter().for_each(|input| u32s(graph, &[input.0]));
    };
    match operator {
        Operator::Conv(conv) => {
            all.graph.push(1);
            window(&mut all.graph, &conv.window);
            u32s(&mut all.graph, &[conv.groups]);
            all.graph.push(conv.terms.len() as u8);
            for ConvTerm { input, weights } in &conv.terms {
                u32s(&mut all.graph, &[input.0]);
                u32s(&mut all.graph, &weights.shape);
                all.graph.push(match weights.encoding {
                    WeightEncoding::Unsigned => 1,
                    WeightEncoding::TwosComplement => 2,
                    WeightEncoding::Bipolar => 3,
                });
                all.graph.extend([weights.bits, u8::from(!weights.zero_points.is_empty())]);
                all.quant.extend(weights.zero_points.iter().flat_map(|zero| zero.to_le_bytes()));
                all.weights.extend(&weights.planes);
            }
            requantize(all, conv.requantize.as_ref());
        }
        Operator::Add { inputs: addends, requantize: to_levels } => {
            all.graph.push(2);
            inputs(&mut all.graph, addends);
            requantize(all, Some(to_levels));
        }
        Operator::Map { input, table } => {
            all.graph.push(3);
            u32s(&mut all.graph, &[input.0]);
            all.quant.extend((table.len() as u16).to_le_bytes());
            all.quant.extend(table);
        }
        Operator::MaxPool { input, window: pooled } => {
            all.graph.push(4);
            u32s(&mut all.graph, &[input.0]);
            window(&mut all.graph, pooled);
        }
        Operator::Upsample { input, factor } => {
            all.graph.push(5);
            u32s(&mut all.graph, &[input.0, *factor]);
        }
        Operator::Concat { inputs: parts } => {
            all.graph.push(6);
            inputs(&mut all.graph, parts);
        }
        Operator::Interleave { inputs: parts } => {
            all.graph.push(14);
            inputs(&mut all.graph, parts);
        }
        Operator::Mul { inputs: [first, second], requantize: to_levels } => {
            all.graph.push(7);
            u32s(&mut all.graph, &[first.0, second.0]);
            requantize(all, Some(to_levels));
        }
        Operator::Slice { input, first } => {
            all.graph.push(8);
            u32s(&mut all.graph, &[input.0, *first]);
        }
        Operator::ChannelMax { input } => {
            all.graph.push(9);
            u32s(&mut all.graph, &[input.0]);
        }
        Operator::Pad { input, padding } => {
            all.graph.push(10);
            u32s(&mut all.graph, &[input.0]);
            u32s(&mut all.graph, padding);
        }
        Operator::PairMap { inputs: [first, second], table } => {
            all.graph.push(15);
            u32s(&mut all.graph, &[first.0, second.0]);
            all.quant.extend((table.len() as u32).to_le_bytes());
            all.quant.extend(table);
        }
        Operator::MatMul { inputs: [first, second], groups, areas, along, requantize: to_levels } => {
            all.graph.push(12);
            u32s(&mut all.graph, &[first.0, second.0, *groups]);
            let by_area = if *areas == 1 { 0 } else { 2 };
            all.graph.push(by_area + if *along == Along::Channels { 1 } else { 2 });
            if *areas != 1 {
                u32s(&mut all.graph, &[*areas]);
            }
            requantize(all, Some(to_levels));
        }
        Operator::Curves(join) => curves(all, join),
        Operator::Softmax { input, groups, exponentials, thresholds, levels } => {
            all.graph.push(13);
            u32s(&mut all.graph, &[input.0, *groups]);
            all.quant.extend((exponentials.len() as u16).to_le_bytes());
            all.quant.extend(exponentials.iter().flat_map(|number| number.to_le_bytes()));
            let thresholds: Vec<i64> = thresholds.iter().map(|&threshold| threshold as i64).collect();
            staircase(&mut all.quant, &thresholds, levels);
        }
        Operator::AddTables { inputs: addends, tables, requantize: to_levels } => {
            all.graph.push(11);
            inputs(&mut all.graph, addends);
            for table in tables {
                all.quant.extend((table.len() as u16).to_le_bytes());
                i32s(&mut all.quant, table);
            }
            requantize(all, Some(to_levels));
        }
    }
}

fn window(graph: &mut Vec<u8>, window: &Window) {
    u32s(graph, &window.kernel);
    u32s(graph, &window.stride);
    u32s(graph, &window.padding);
}

fn requantize(all: &mut Sections, requantize: Option<&Requantize>) {
    let Sections { graph, quant, .. } = all;
    match requantize {
        None => graph.push(0),
        Some(Requantize::Scale { multipliers, bias, shift }) => {
            graph.extend([1, *shift]);
            i32s(quant, multipliers);
            i64s(quant, bias);
        }
        Some(Requantize::Staircase { thresholds, levels }) => {
            graph.push(2);
            for (thresholds, levels) in thresholds.iter().zip(levels) {
                let thresholds: Vec<i64> = thresholds.iter().map(|&threshold| threshold.into()).collect();
                staircase(quant, &thresholds, levels);
            }
        }
        Some(Requantize::ScaledStaircase { multipliers, bias, thresholds, levels }) => {
            graph.push(3);
            i32s(quant, multipliers);
            i64s(quant, bias);
            staircase(quant, thresholds, levels);
        }
    }
}

/// A staircase whose levels are as many as its thresholds and one more, or which is cut there.
pub fn staircase(quant: &mut Vec<u8>, thresholds: &[i64], levels: &[u8]) {
    quant.extend((thresholds.len() as u16).to_le_bytes());
    quant.push(levels[0]);
    for k in 0..thresholds.len() {
        let before = |distance: usize| k.checked_sub(distance).map_or(0, |k| thresholds[k]);
        let bend = i128::from(thresholds[k]) - 2 * i128::from(before(1)) + i128::from(before(2));
        // Modulo 2^64, as a number with a sign.
        let bend = i128::from(bend as i64);
        varint(quant, if bend < 0 { (-2 * bend - 1) as u64 } else { (2 * bend) as u64 });
    }
    let mut rest = levels;
    while let [first, second, ..] = rest {
        let change = second.wrapping_sub(*first);
        let len = rest.windows(2).take_while(|pair| pair[1].wrapping_sub(pair[0]) == change).count();
        quant.push(change);
        varint(quant, len as u64);
        rest = &rest[len..];
    }
}

fn varint(bytes: &mut Vec<u8>, number: u64) {
    match number {
        0..128 => bytes.push(number as u8),
        _ => {
            bytes.push((number % 128 + 128) as u8);
            varint(bytes, number / 128);
        }
    }
}

fn heads(all: &mut Sections, model: &Model) {
    let Sections { graph, quant, .. } = all;
    u32s(graph, &[model.detect.classes]);
    match model.detect.boxes {
        BoxRule::AnchorsSigmoid => graph.push(1),
        BoxRule::AnchorsExp => graph.push(2),
        BoxRule::GridExp => graph.push(3),
        BoxRule::Distributions { bins } => graph.extend([4, bins]),
        BoxRule::Distances => graph.push(5),
    }
    graph.push(match model.detect.scores {
        ScoreRule::ObjectnessTimesClass => 1,
        ScoreRule::Class => 2,
        ScoreRule::ObjectnessTimesSoftmax => 3,
        ScoreRule::ConstantObjectness => 4,
    });
    graph.push(model.detect.maps.len() as u8);
    for map in &model.detect.maps {
        u32s(graph, &[map.stride]);
        if matches!(model.detect.boxes, BoxRule::AnchorsSigmoid | BoxRule::AnchorsExp) {
            graph.push(map.anchors_per_cell as u8);
            graph.extend(map.scale_xy.to_le_bytes());
            graph.push(u8::from(!map.anchors.is_empty()));
            graph.extend(map.anchors.iter().flatten().flat_map(|size| size.to_le_bytes()));
        }
        graph.push(map.parts.len() as u8);
        for part in &map.parts {
            let count = part.fields.end.wrapping_sub(part.fields.start);
            u32s(graph, &[part.value.0, part.fields.start, count]);
            graph.push(part.shift);
            i32s(quant, &part.multipliers);
            i64s(quant, &part.bias);
        }
    }
    graph.push(model.outputs.len() as u8);
    for output in &model.outputs {
        text(graph, &output.name);
        match output.kind {
            OutputKind::Head(MapPart { map, part }) => graph.extend([1, map as u8, part as u8]),
            OutputKind::HeadByAnchor(MapPart { map, part }) => graph.extend([2, map as u8, part as u8]),
            OutputKind::Decoded => graph.push(3),
            OutputKind::Arranged(Arranged { numbers, layout, of, first, count }) => {
                graph.extend([4, numbers as u8 + 1, layout as u8 + 1]);
                match of {
                    Scope::Maps => graph.push(0),
                    Scope::Part(MapPart { map, part }) => graph.extend([1, map as u8, part as u8]),
                    Scope::Map(map) => graph.extend([2, map as u8]),
                }
                u32s(graph, &[first, count]);
            }
        }
    }
}
