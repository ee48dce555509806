//! From a model to memory: in which forms each value is kept, and where.
//!
//! 1. Operators state their demands ([`demand`]): the micro-kernel that was chosen for a convolution decides the form
//!    of its input. A value is stored in every form that some convolution reads; operators that work
//!    on levels read whatever there is.
//! 2. Inputs of a concat are written into slices of its output directly where nothing forbids it
//!    ([`placement`]), and slices are read where they lie, in the forms in which that is possible.
//! 3. Every buffer lives from the step that first writes it to the step that last reads it;
//!    [`arena`] gives buffers that never live at the same time the same bytes.

pub mod arena;
pub mod demand;
pub mod placement;

use ylb_format::model::{Encoding, Model, Node, Operator, ValueId, ValueKind};
use ylb_kernels::layout::{Border, Form, Layout, READ_SLACK};

use crate::storage::{AccumulatorStore, BufferId, Segment, Store, ValueStorage};
use arena::Buffer;
use demand::{Demand, Demands, Planned};
use placement::Placement;

/// Where everything lives.
#[derive(Debug)]
pub struct Plan {
    /// By value.
    pub storage: Vec<ValueStorage>,
    /// Bytes of the arena.
    pub arena_len: usize,
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

    /// A value, and, if it is a slice, the value that it is a part of, and so on.
    pub fn wholes<'a>(&'a self, model: &'a Model, value: ValueId) -> impl Iterator<Item = ValueId> + 'a {
        std::iter::successors(Some(value), |value| match self.producer(model, *value)?.operator {
            Operator::Slice { input, .. } => Some(input),
            _ => None,
        })
    }

    /// The node that writes a value; the network's input has none.
    pub fn producer<'a>(&self, model: &'a Model, value: ValueId) -> Option<&'a Node> {
        self.producers[value.index()].map(|position| &model.nodes[position])
    }
}

/// Plans the memory of a model. `operators` has one entry for each node. With `keep_values` no two buffers share bytes,
/// so that every value can be read after the frame.
pub fn plan(model: &Model, operators: &[&dyn Planned], keep_values: bool) -> Plan {
    let uses = Uses::new(model);
    let placements = placement::place(model, &uses);
    let demands = Demands::gather(model, operators.iter().copied());
    let demands = demands.through_slices(model, &placements).settle(&placements);
    let storage = vec![ValueStorage::default(); model.values.len()];
    let mut planner = Planner { model, operators, uses, buffers: Vec::new(), storage };
    // A concat's output first: its inputs may lie in it. Slices last, in the order of the nodes: they may lie in any.
    let outputs = std::iter::once(model.input.value).chain(model.nodes.iter().map(|node| node.output));
    let is_shared = |value: &ValueId| placements[value.index()].is_some();
    let is_slice = |value: &ValueId| !is_shared(value) && planner.slice_of(*value).is_some();
    let (slices, others): (Vec<ValueId>, Vec<ValueId>) = outputs.partition(is_slice);
    let (shared, own): (Vec<ValueId>, Vec<ValueId>) = others.into_iter().partition(is_shared);
    for value in own.into_iter().chain(shared).chain(slices) {
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

struct Planner<'a> {
    model: &'a Model,
    operators: &'a [&'a dyn Planned],
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
        } else if let Some((input, first)) = self.slice_of(value) {
            let count = self.model.value(value).channels as usize;
            let wanted = |store: &&Store| demand.any_form || demand.forms.contains(&store.layout.form);
            let whole = self.storage[input.index()].stores.iter().filter(wanted);
            stores.extend(whole.filter_map(|store| store.view(first, count)));
        }
        if demand.any_form && !stores.is_empty() {
            self.storage[value.index()].stores = stores;
            return;
        }
        for &form in &demand.forms {
            if stores.iter().all(|store: &Store| store.layout.form != form) {
                stores.push(self.dense(value, &encoding, form, demand.border));
            }
        }
        self.storage[value.index()].stores = stores;
    }

    /// The value and its first channel that a slice is.
    fn slice_of(&self, value: ValueId) -> Option<(ValueId, usize)> {
        match self.uses.producer(self.model, value)?.operator {
            Operator::Slice { input, first } => Some((input, first as usize)),
            _ => None,
        }
    }

    fn make_accumulators(&mut self, value: ValueId) {
        let shape = self.model.value(value);
        let count = shape.channels as usize * shape.height as usize * shape.width as usize;
        let producer = self.uses.producers[value.index()];
        let narrow = producer.is_some_and(|node| self.operators[node].fits_16_bits(self.model));
        let buffer = self.add_buffer(count * if narrow { size_of::<i16>() } else { size_of::<i32>() });
        self.storage[value.index()].accumulators = Some(AccumulatorStore { narrow, buffer, range: 0..0 });
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
        for part in self.model.detect.parts() {
            self.touch(part.value, end);
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
