//! From the float graph to integer operators.
//!
//! Every tensor becomes a [`Feature`]: for each stretch of channels an expression over codes of
//! values and over pending convolutions. Element-wise nodes extend expressions; a convolution reads
//! codes and starts a new expression; a quantizer cuts one: what lies before it becomes the exact
//! requantization of an integer operator, and its codes a new value.
//!
//! | module | does |
//! |---|---|
//! | `picture` | the input: what range its numbers have, and what it is as codes |
//! | `elementwise` | nodes that extend expressions |
//! | `cast` | casts, which may round |
//! | `linear` | expressions that are sums of scaled codes: what a convolution can read |
//! | `join` | concats and sums of values |
//! | `joined_floats` | which node joins what is not quantized |
//! | `channels` | channels taken out of a feature map, and channels in another order |
//! | `gathered` | channels that do not follow one another |
//! | `slices` | some channels of values, of convolutions and of functions of them |
//! | `requantized_join` | concats and sums in 8 or 16 bits, on request |
//! | `conv` | convolutions: one term for each scale of the input |
//! | `weights` | weights as integers |
//! | `attention` | products of values as matrices, and softmax |
//! | `conv_sum` | sums of convolutions |
//! | `average` | averages of fewer elements at the border |
//! | `spatial` | pooling and upsampling |
//! | `interleave` | pixels that follow one another; codes that a moved quantizer gave a name |
//! | `curves` | sums and products of what nothing quantizes |
//! | `cut` | quantizers |
//! | `table` | functions of the codes of one value |
//! | `on_grid` | few numbers that are integers of one step, whatever made them |
//! | `inline` | quantizers inside the function of one accumulator |
//! | `requantize` | the exact map of a convolution, `sum` that of a sum, `product` that of a product |
//! | `float_head` | last convolutions whose weights are floats, on request |
//! | `function_sum` | sums of functions of values |
//! | `pair_map` | any other functions of two values |
//! | `own_channel` | functions by channel of values |
//! | `head` | the detection head |

use std::collections::HashMap;
use std::rc::Rc;

use ylb_format::model::{self, Operator, ValueId};
use ylb_source::ir::{Domain, Graph, Node, TensorId};
use ylb_source::picture::PictureRange;
use ylb_source::quantizer::Rounding;
use ylb_source::window::Geometry;

use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, Expr, Unary, ValueIndex};
use crate::heads::Heads;
use crate::passes::{self, quantizers, transposed, trunc};
use crate::report::{Row, Warning};

mod attention;
mod average;
mod cast;
mod channels;
mod conv;
mod conv_sum;
mod curves;
mod cut;
mod elementwise;
mod float_head;
mod function_sum;
mod gathered;
mod head;
mod inline;
mod interleave;
mod join;
mod joined_floats;
mod linear;
mod on_grid;
mod own_channel;
mod pair_map;
mod picture;
mod product;
mod requantize;
mod requantized_join;
mod slices;
mod spatial;
mod sum;
mod table;
mod weights;

pub use conv::PendingConv;
pub use picture::understand;

/// A tensor: stretches of channels one after another.
#[derive(Clone, Debug)]
pub struct Feature {
    segments: Vec<Segment>,
    height: usize,
    width: usize,
    /// By channel, where in the segments it is; `None`: in their order.
    order: Option<Rc<[usize]>>,
}

/// A stretch of channels with one expression.
#[derive(Clone, Debug)]
pub struct Segment {
    channels: usize,
    expr: Rc<Expr>,
}

/// A value that an emitted operator writes.
#[derive(Clone, Debug)]
struct LoweredValue {
    name: String,
    shape: [usize; 3],
    low: i64,
    step: i64,
    max_level: u8,
    /// Code that stands for 0, once something reads the codes as numbers.
    zero_point: Option<i16>,
    /// 0 while unknown.
    scale: f64,
    /// The value and table it was looked up from.
    origin: Option<(ValueIndex, Vec<u8>)>,
    /// Holds accumulators instead of levels.
    accumulators: bool,
}

/// A value, and its level for each byte of a pixel in each channel.
pub type PixelTables = (ValueId, Box<[[u8; 256]; 3]>);

/// What lowering gives.
#[derive(Debug)]
pub struct Lowered {
    /// All values.
    pub values: Vec<model::Value>,
    /// All operators.
    pub nodes: Vec<model::Node>,
    /// Value of the picture's bytes.
    pub pixels: ValueId,
    /// A value that the picture's bytes become by a table for each channel.
    pub pixel_tables: Option<PixelTables>,
    /// The detection head.
    pub detect: model::Detect,
    /// A row for each node.
    pub rows: Vec<Row>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

struct Lowering<'g> {
    graph: &'g Graph,
    /// Bits of the codes that joins of different scales become: 8, 16, or none.
    requantize_joins: Option<u8>,
    /// Whether weights that no pass has found codes of are those of heads, to be taken as floats.
    float_heads: bool,
    features: Vec<Option<Rc<Feature>>>,
    values: Vec<LoweredValue>,
    nodes: Vec<model::Node>,
    convs: Vec<PendingConv>,
    rows: Vec<Row>,
    warnings: Vec<Warning>,
    pixel_tables: Option<PixelTables>,
    concats: HashMap<Vec<ValueIndex>, ValueIndex>,
    sums: HashMap<Vec<ValueIndex>, ValueIndex>,
    /// Values of ones, or of minus ones, by the value whose shape they have.
    ones: HashMap<(ValueIndex, bool), ValueIndex>,
    spatial: HashMap<(TensorId, ValueIndex), ValueIndex>,
    slices: slices::Slices,
    /// Accumulators of convolutions, where functions of them are joined.
    kept: HashMap<ConvIndex, ValueIndex>,
    /// What the codes of values are as functions of what they were cut from.
    definitions: HashMap<ValueIndex, Rc<Expr>>,
}

/// Index of the picture's value.
const PIXELS: ValueIndex = ValueIndex(0);

/// Lowers a graph whose outputs are heads. `picture`: what the numbers of its input are. `requantize_joins`: sums and concats of different scales that a
/// convolution reads become codes of so many bits, 8 or 16, instead of terms of the convolution; `float_heads`: weights that are floats are those of heads. `progress`
/// is told how many of how many nodes are done.
///
/// # Errors
/// If a node has no exact integer form that the file format knows.
pub fn run(
    graph: &Graph,
    heads: &Heads,
    picture: PictureRange,
    (requantize_joins, float_heads): (Option<u8>, bool),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Lowered, ConvertError> {
    let mut lowering = Lowering { float_heads, ..Lowering::new(graph, requantize_joins) };
    lowering.picture(picture)?;
    for (index, node) in graph.nodes.iter().enumerate() {
        progress(index, graph.nodes.len());
        lowering.node(node).map_err(|error| node.blame(error))?;
    }
    let detect = lowering.detect(heads)?;
    Ok(lowering.finish(detect))
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, requantize_joins: Option<u8>) -> Self {
        Self {
            graph,
            requantize_joins,
            float_heads: false,
            features: vec![None; graph.tensors.len()],
            values: Vec::new(),
            nodes: Vec::new(),
            convs: Vec::new(),
            rows: Vec::new(),
            warnings: Vec::new(),
            pixel_tables: None,
            concats: HashMap::new(),
            sums: HashMap::new(),
            ones: HashMap::new(),
            spatial: HashMap::new(),
            slices: slices::Slices::default(),
            kept: HashMap::new(),
            definitions: HashMap::new(),
        }
    }
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Result<(), ConvertError> {
        let output = node.output()?;
        let feature = match (&node.domain, node.op_type.as_str()) {
            (Domain::Converter, quantizers::FAKE_QUANT) => self.fake_quant(node)?,
            (Domain::Converter, trunc::ROUND) => self.rounded_in_passing(node)?,
            (Domain::Converter, trunc::TRUNC) => {
                self.written_out(node, Unary::Round(Rounding::named(node.text("rounding_mode", "FLOOR"))?))?
            }
            (Domain::Converter, passes::channels::CHANNELS) => self.channels(node)?,
            (Domain::Converter, passes::attention::MAT_MUL) => self.mat_mul(node)?,
            (Domain::Converter, passes::attention::SOFTMAX) => self.softmax(node)?,
            (Domain::Onnx | Domain::Microsoft, "DequantizeLinear") => self.dequantized_picture(node)?,
            (Domain::Onnx, "Conv") => self.conv(node)?,
            (Domain::Converter, transposed::INTERLEAVE) => self.interleave(node)?,
            (Domain::Converter, passes::averages::BORDER_AVERAGE) => self.border_average(node)?,
            (Domain::Onnx, "Concat") => {
                let joined = self.concat(node)?;
                self.named_concat(node, joined)?
            }
            (Domain::Onnx, "MaxPool") => self.max_pool(node)?,
            (Domain::Onnx, "ReduceMax") => self.channel_max(node)?,
            (Domain::Onnx, "Pad") => self.pad(node)?,
            (Domain::Onnx, "Resize" | "Upsample") => self.resize(node)?,
            (Domain::Onnx, "Round") => self.written_out(node, Unary::Round(Rounding::HalfEven))?,
            (Domain::Onnx, "Floor") => self.written_out(node, Unary::Round(Rounding::Floor))?,
            (Domain::Onnx, "Ceil") => self.written_out(node, Unary::Round(Rounding::Ceil))?,
            (Domain::Onnx, "Sign") => self.written_out(node, Unary::Sign)?,
            (Domain::Onnx, "Cast") => self.cast(node)?,
            (Domain::Onnx, "Transpose") => {
                return Err(ConvertError::unsupported(
                    "nothing behind it undoes this transposition; expected layers over [1, channels, height, width]",
                ));
            }
            (Domain::Onnx, "Identity" | "Dropout") => self.feature(node.required_input(0)?)?.as_ref().clone(),
            (Domain::Onnx, _) => self.elementwise(node)?,
            _ => return Err(passes::why_without_shape(self.graph, node)),
        };
        self.features[output.0] = Some(Rc::new(feature));
        Ok(())
    }

    /// What a tensor is.
    fn feature(&self, id: TensorId) -> Result<Rc<Feature>, ConvertError> {
        self.features[id.0].clone().ok_or_else(|| {
            let info = self.graph.tensor(id);
            let what = if info.constant.is_some() { "a constant" } else { "not a feature map" };
            ConvertError::unsupported(format!("tensor \"{}\" is {what}", info.name))
        })
    }

    /// Appends a value.
    fn add_value(&mut self, value: LoweredValue) -> ValueIndex {
        self.values.push(value);
        ValueIndex(self.values.len() - 1)
    }

    /// Appends an operator that writes a value.
    fn add_node(&mut self, name: &str, output: ValueIndex, operator: Operator) {
        let node = model::Node { name: name.to_owned(), output: id_of(output), operator };
        self.nodes.push(node);
    }

    /// Appends a row, completed by what the values say.
    fn add_row(&mut self, row: Row, node: &str, output: ValueIndex, inputs: &[ValueIndex]) {
        let written = &self.values[output.0];
        let input_bits = inputs.iter().map(|value| self.values[value.0].bits()).max().unwrap_or(0);
        self.rows.push(Row {
            node: node.to_owned(),
            output_shape: written.shape,
            input_bits,
            output_bits: (!written.accumulators).then(|| written.bits()),
            ..row
        });
    }

    /// Values whose codes were written out as arithmetic learn their zero point from who reads them, which may
    /// be on the other side of an operator that hands levels on: both sides have the same.
    fn settle_zero_points(&mut self) {
        for node in self.nodes.iter().rev() {
            let own = self.values[node.output.index()].zero_point;
            let Some(zero_point) = own.filter(|_| node.operator.hands_levels_on()) else {
                continue;
            };
            for input in node.operator.inputs() {
                self.values[input.index()].zero_point.get_or_insert(zero_point);
            }
        }
    }

    fn finish(mut self, detect: model::Detect) -> Lowered {
        self.settle_zero_points();
        let values = self.values.into_iter().map(LoweredValue::into_model).collect();
        Lowered {
            values,
            nodes: self.nodes,
            pixels: id_of(PIXELS),
            pixel_tables: self.pixel_tables,
            detect,
            rows: self.rows,
            warnings: self.warnings,
        }
    }
}

impl LoweredValue {
    /// One that holds the accumulators of a convolution.
    fn accumulators(shape: [usize; 3]) -> Self {
        Self {
            name: String::new(),
            shape,
            low: 0,
            step: 1,
            max_level: 255,
            zero_point: None,
            scale: 0.0,
            origin: None,
            accumulators: true,
        }
    }

    /// Integer of a level: its code minus the zero point.
    fn integer(&self, level: u8) -> i64 {
        self.low + self.step * i64::from(level) - i64::from(self.zero_point.unwrap_or(0))
    }

    /// Bits of a level.
    fn bits(&self) -> u32 {
        8 - self.max_level.leading_zeros()
    }

    /// Whether levels of both mean the same codes and integers.
    fn same_levels(&self, other: &Self) -> bool {
        let key = |value: &Self| (value.low, value.step, value.max_level, value.zero_point);
        key(self) == key(other)
    }

    fn into_model(self) -> model::Value {
        let [channels, height, width] = self.shape.map(|extent| extent as u32);
        let kind = if self.accumulators {
            model::ValueKind::Accumulators
        } else {
            model::ValueKind::Levels(model::Encoding {
                max_level: self.max_level,
                step: self.step as u8,
                low: self.low as i16,
                zero_point: self.zero_point.unwrap_or(0),
                scale: self.scale,
            })
        };
        model::Value { name: self.name, channels, height, width, kind }
    }
}

/// A window in the file format's terms.
fn format_window(geometry: Geometry) -> model::Window {
    model::Window {
        kernel: geometry.kernel.map(|extent| extent as u32),
        stride: geometry.stride.map(|extent| extent as u32),
        padding: geometry.padding.map(|extent| extent as u32),
    }
}

/// The model's name for a value.
fn id_of(value: ValueIndex) -> ValueId {
    ValueId(value.0 as u32)
}

impl Feature {
    /// Channels of all segments.
    fn channels(&self) -> usize {
        self.segments.iter().map(|segment| segment.channels).sum()
    }

    /// The same tensor with another expression for each segment.
    fn map(
        &self,
        mut function: impl FnMut(&Segment, std::ops::Range<usize>) -> Result<Rc<Expr>, ConvertError>,
    ) -> Result<Self, ConvertError> {
        let mut first = 0;
        let mut segments = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let range = first..first + segment.channels;
            first = range.end;
            segments.push(Segment { channels: segment.channels, expr: function(segment, range)? });
        }
        Ok(Self { segments, ..self.clone() })
    }
}

/// A number that must be what the file format can hold.
fn too_large(message: impl Into<String>) -> ConvertError {
    ConvertError::new(ErrorKind::TooLarge, message)
}

#[cfg(test)]
mod tests;
