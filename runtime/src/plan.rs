//! From a model to memory: in which forms each value is kept, and where.
//!
//! 1. [`choice`](crate::choice) has picked a micro-kernel, and so the form of its input, for every
//!    convolution. A value is stored in every form that some convolution reads; operators that work
//!    on levels read whatever there is.
//! 2. Inputs of a concat are written into slices of its output directly where nothing forbids it
//!    ([`placement`]).
//! 3. Every buffer lives from the step that first writes it to the step that last reads it;
//!    [`arena`] gives buffers that never live at the same time the same bytes.

pub mod arena;
pub mod placement;

use ylb_format::model::{Encoding, Model, Node, Operator, ValueId, ValueKind};
use ylb_kernels::layout::{Border, Form, Layout, READ_SLACK};

use crate::accumulators::fit_16_bits;
use crate::choice::ConvChoice;
use crate::requantize;
use crate::storage::{AccumulatorStore, BufferId, Segment, Store, ValueStorage};
use arena::Buffer;
use placement::Placement;

/// Where everything lives.
#[derive(Debug)]
pub struct Plan {
    /// By value.
    pub storage: Vec<ValueStorage>,
    /// Bytes of the arena.
    pub arena_len: usize,
}

/// What the plan gathers about a value before it makes stores.
#[derive(Clone, Debug, Default)]
struct Demand {
    forms: Vec<Form>,
    border: Border,
    /// Whether an operator goes through its levels one by one, for which bytes are best.
    by_level: bool,
}

/// Who writes each value, as a position in the model's list of nodes.
#[derive(Debug)]
pub struct Uses {
    producers: Vec<Option<usize>>,
}

impl Uses {
    fn new(model: &Model) -> Self {
        let mut producers = vec![None; model.values.len()];
        for (position, node) in model.nodes.iter().enumerate() {
            producers[node.output.index()] = Some(position);
        }
        Self { producers }
    }

    /// The node that writes a value; the network's input has none.
    pub fn producer<'a>(&self, model: &'a Model, value: ValueId) -> Option<&'a Node> {
        self.producers[value.index()].map(|position| &model.nodes[position])
    }
}

/// Plans the memory of a model. `choices` has one entry for each node, `None` for those that are no
/// convolutions. With `keep_values` no two buffers share bytes, so that every value can be read after
/// the frame.
pub fn plan(model: &Model, choices: &[Option<ConvChoice>], keep_values: bool) -> Plan {
    let mut demands = demands(model, choices);
    let uses = Uses::new(model);
    let placements = placement::place(model, &uses);
    share_demands(model, &placements, &mut demands);
    let storage = vec![ValueStorage::default(); model.values.len()];
    let mut planner = Planner { model, choices, uses, buffers: Vec::new(), storage };
    // A concat's output first: its inputs may lie in it.
    let outputs = std::iter::once(model.input.value).chain(model.nodes.iter().map(|node| node.output));
    let (shared, own): (Vec<ValueId>, Vec<ValueId>) =
        outputs.partition(|value| placements[value.index()].is_some());
    for value in own.into_iter().chain(shared) {
        planner.make_stores(value, &demands[value.index()], placements[value.index()]);
    }
    planner.find_lifetimes(keep_values);
    let (offsets, arena_len) = arena::assign_offsets(&planner.buffers);
    let mut storage = planner.storage;
    for value in &mut storage {
        for store in &mut value.stores {
            let start = offsets[store.buffer.0];
            store.range = start..start + planner.buffers[store.buffer.0].len;
        }
        if let Some(accumulators) = &mut value.accumulators {
            let start = offsets[accumulators.buffer.0];
            accumulators.range = start..start + planner.buffers[accumulators.buffer.0].len;
        }
    }
    Plan { storage, arena_len }
}

/// The level that stands for a padded position: that of real zero, or 0 where no level does. In the
/// latter case convolutions correct what the border contributed.
pub fn border_level(encoding: &Encoding) -> u8 {
    encoding.zero_level().unwrap_or(0)
}

fn demands(model: &Model, choices: &[Option<ConvChoice>]) -> Vec<Demand> {
    let mut demands = vec![Demand::default(); model.values.len()];
    for (node, choice) in model.nodes.iter().zip(choices) {
        let (Operator::Conv(conv), Some(choice)) = (&node.operator, choice) else {
            continue;
        };
        let [top, left, bottom, right] = conv.window.padding.map(|extent| extent as usize);
        for (term, &form) in conv.terms.iter().zip(&choice.forms) {
            let demand = &mut demands[term.input.index()];
            demand.add_form(form);
            demand.border = demand.border.max(Border { top, left, bottom, right });
        }
    }
    // The picture is written as bytes, and quantized heads are read as bytes.
    demands[model.input.value.index()].add_form(Form::Bytes);
    for level in &model.detect.levels {
        demands[level.value.index()].add_form(Form::Bytes);
    }
    let read_as = forms_read(model, &demands);
    for node in &model.nodes {
        match &node.operator {
            Operator::Map { input, .. } | Operator::MaxPool { input, .. } => {
                demands[input.index()].by_level = true;
            }
            Operator::Add { inputs, .. } => {
                // Where convolutions read an addend or the sum as bytes, a sum on planes would ask for both forms.
                let mut values = inputs.iter().chain([&node.output]);
                let form = sum_form(model, inputs, node.output)
                    .filter(|form| values.all(|value| !reads_other(&read_as[value.index()], *form)));
                for input in inputs {
                    let demand = &mut demands[input.index()];
                    match form {
                        Some(form) if demand.forms.is_empty() => demand.forms.push(form),
                        Some(_) => {}
                        None => demand.by_level = true,
                    }
                }
            }
            _ => {}
        }
    }
    demands
}

/// The forms in which convolutions read each value, be it as a part of a concat.
fn forms_read(model: &Model, demands: &[Demand]) -> Vec<Vec<Form>> {
    let mut forms: Vec<Vec<Form>> = demands.iter().map(|demand| demand.forms.clone()).collect();
    for node in model.nodes.iter().rev() {
        if let Operator::Concat { inputs } = &node.operator {
            let whole = forms[node.output.index()].clone();
            for input in inputs {
                // Each once: what many concats read in turn would have a form for each way to it.
                let forms = &mut forms[input.index()];
                forms.extend(whole.iter().filter(|form| !forms.contains(form)).copied().collect::<Vec<_>>());
            }
        }
    }
    forms
}

/// Whether a value that is read in some forms is read in others only.
fn reads_other(forms: &[Form], form: Form) -> bool {
    !forms.is_empty() && !forms.contains(&form)
}

/// The planes on which a sum can be computed without unpacking them: whole groups of channels of one or
/// two bits everywhere.
pub fn sum_form(model: &Model, inputs: &[ValueId], output: ValueId) -> Option<Form> {
    let bits = |value: ValueId| {
        let value = model.value(value);
        let bits = value.encoding()?.bits();
        (value.channels.is_multiple_of(8) && bits <= 2).then_some(bits)
    };
    let all = bits(output).filter(|_| inputs.len() == 2)?;
    inputs.iter().all(|&input| bits(input) == Some(all)).then_some(Form::Planes { bits: all })
}

/// Values that share a buffer share its border, and those that nobody reads by themselves need no copy
/// of their own.
fn share_demands(model: &Model, placements: &[Option<Placement>], demands: &mut [Demand]) {
    for (demand, placement) in demands.iter_mut().zip(placements) {
        if demand.forms.is_empty() && (demand.by_level || placement.is_none()) {
            demand.forms.push(Form::Bytes);
        }
        // Planes first: micro-kernels write them, and bytes are made of them.
        demand.forms.sort();
    }
    for (value, placement) in placements.iter().enumerate() {
        if let Some(placement) = placement {
            let border = demands[value].border;
            let whole = &mut demands[placement.concat.index()];
            whole.border = whole.border.max(border);
        }
    }
    debug_assert_eq!(placements.len(), model.values.len());
}

impl Demand {
    fn add_form(&mut self, form: Form) {
        if !self.forms.contains(&form) {
            self.forms.push(form);
        }
    }
}

struct Planner<'a> {
    model: &'a Model,
    choices: &'a [Option<ConvChoice>],
    uses: Uses,
    buffers: Vec<Buffer>,
    storage: Vec<ValueStorage>,
}

impl Planner<'_> {
    fn make_stores(&mut self, value: ValueId, demand: &Demand, placement: Option<Placement>) {
        let ValueKind::Levels(encoding) = self.model.value(value).kind else {
            self.make_accumulators(value);
            return;
        };
        let mut stores = Vec::new();
        if let Some(placement) = placement {
            let whole = &self.storage[placement.concat.index()];
            stores.extend(whole.stores.iter().map(|store| store.slice(placement.input)));
        }
        for &form in &demand.forms {
            if stores.iter().all(|store: &Store| store.layout.form != form) {
                stores.push(self.dense(value, &encoding, form, demand.border));
            }
        }
        self.storage[value.index()].stores = stores;
    }

    fn make_accumulators(&mut self, value: ValueId) {
        let shape = self.model.value(value);
        let count = shape.channels as usize * shape.height as usize * shape.width as usize;
        let narrow = self.accumulators_fit_16_bits(value);
        let buffer = self.add_buffer(count * if narrow { size_of::<i16>() } else { size_of::<i32>() });
        self.storage[value.index()].accumulators = Some(AccumulatorStore { narrow, buffer, range: 0..0 });
    }

    fn accumulators_fit_16_bits(&self, value: ValueId) -> bool {
        let producer = self.uses.producers[value.index()];
        let choice = producer.and_then(|position| self.choices[position].as_ref());
        match (producer.map(|position| &self.model.nodes[position].operator), choice) {
            (Some(Operator::Conv(conv)), Some(choice)) => {
                let mut terms = conv.terms.iter().zip(&choice.codes);
                terms.all(|(term, codes)| fit_16_bits(&requantize::conv_ranges(self.model, term, codes)))
            }
            _ => false,
        }
    }

    /// A store with a buffer of its own.
    fn dense(&mut self, value: ValueId, encoding: &Encoding, form: Form, border: Border) -> Store {
        let shape = self.model.value(value);
        let segments = self.segments(value, form);
        let channels = segments.last().map_or(0, |last| last.stored + last.len);
        let (height, width) = (shape.height as usize, shape.width as usize);
        let layout = Layout::dense(form, channels, height, width, border);
        let buffer = self.add_buffer(layout.len() + READ_SLACK);
        // A model may have very many values of very many channels.
        let border_pixel = if border == Border::default() {
            Vec::new()
        } else {
            border_pixel(form, layout.channels, &segments, border_level(encoding))
        };
        Store { buffer, layout, pixel_offset: 0, segments, border_pixel, range: 0..0 }
    }

    /// Which channels lie where in a store of a value: the inputs of a concat each start at a group
    /// of 8 channels in planes.
    fn segments(&self, value: ValueId, form: Form) -> Vec<Segment> {
        let producer = self.uses.producer(self.model, value);
        let channels_of = |value: ValueId| self.model.value(value).channels as usize;
        let parts: Vec<usize> = match producer.map(|node| &node.operator) {
            Some(Operator::Concat { inputs }) => inputs.iter().map(|&input| channels_of(input)).collect(),
            _ => vec![channels_of(value)],
        };
        let (mut stored, mut logical) = (0, 0);
        let mut segments = Vec::with_capacity(parts.len());
        for len in parts {
            segments.push(Segment { stored, logical, len });
            logical += len;
            stored += match form {
                Form::Planes { .. } => len.next_multiple_of(8),
                Form::Bytes => len,
            };
        }
        segments
    }

    fn add_buffer(&mut self, len: usize) -> BufferId {
        self.buffers.push(Buffer { len, first: usize::MAX, last: 0 });
        BufferId(self.buffers.len() - 1)
    }

    /// Time 0 is the letterbox, time `n + 1` is node `n`, and the heads are read at the very end.
    fn find_lifetimes(&mut self, keep_values: bool) {
        let end = self.model.nodes.len() + 1;
        self.touch(self.model.input.value, 0);
        for (position, node) in self.model.nodes.iter().enumerate() {
            for value in touched(node) {
                self.touch(value, position + 1);
            }
        }
        for level in &self.model.detect.levels {
            self.touch(level.value, end);
        }
        if keep_values {
            for buffer in &mut self.buffers {
                (buffer.first, buffer.last) = (0, end);
            }
        }
    }

    fn touch(&mut self, value: ValueId, time: usize) {
        let storage = &self.storage[value.index()];
        let levels = storage.stores.iter().map(|store| store.buffer);
        let accumulators = storage.accumulators.iter().map(|store| store.buffer);
        for buffer in levels.chain(accumulators) {
            let buffer = &mut self.buffers[buffer.0];
            buffer.first = buffer.first.min(time);
            buffer.last = buffer.last.max(time);
        }
    }
}

fn touched(node: &Node) -> Vec<ValueId> {
    let mut values = node.operator.inputs();
    values.push(node.output);
    values
}

/// The bytes of a border pixel: `level` in every channel, 0 in holes.
fn border_pixel(form: Form, channels: usize, segments: &[Segment], level: u8) -> Vec<u8> {
    let mut pixel = vec![0; form.pixel_len(channels)];
    for channel in segments.iter().flat_map(|segment| segment.stored..segment.stored + segment.len) {
        match form {
            Form::Bytes => pixel[channel] = level,
            Form::Planes { bits } => {
                for plane in 0..bits {
                    let byte = &mut pixel[channel / 8 * usize::from(bits) + usize::from(plane)];
                    *byte |= (level >> plane & 1) << (channel % 8);
                }
            }
        }
    }
    pixel
}
