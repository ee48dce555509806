//! What a conversion did, for people.

use ylb_format::model::Operator;

use crate::lower::PendingConv;

/// A conversion's account of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The kind of export, such as `QONNX`.
    pub format: String,
    /// Picture height and width.
    pub image_size: [usize; 2],
    /// A row for each operator of the model, in its order.
    pub rows: Vec<Row>,
    /// Things worth knowing that did not stop the conversion.
    pub warnings: Vec<Warning>,
    /// What each pass did, one sentence a pass.
    pub passes: Vec<String>,
}

/// One operator of the converted model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Name of the source node; empty for operators that the converter introduced.
    pub node: String,
    /// Operator, such as `Conv`.
    pub operator: &'static str,
    /// Output channels, rows and columns.
    pub output_shape: [usize; 3],
    /// Rows and columns of the window, for convolutions and poolings.
    pub kernel: Option<[u32; 2]>,
    /// Bits of the weights, for convolutions.
    pub weight_bits: Option<u8>,
    /// Bits of the levels read: of the widest input.
    pub input_bits: u32,
    /// Bits of the levels written; `None` where accumulators are.
    pub output_bits: Option<u32>,
    /// Multiplications for one picture.
    pub macs: u64,
    /// Bytes of weights and requantization in the file, headers aside.
    pub bytes: usize,
    /// How accumulators become levels: `scale`, `staircase`, `scaled staircase`, `table`, `exact`, or
    /// nothing where they do not.
    pub requantize: &'static str,
    /// 0 where every level is proven to be that of 64-bit floats, which is everywhere but in
    /// convolutions over several scales and in joins of what nothing quantizes. There, a value closer to a step than this part of the mean
    /// distance between steps may get the level on the other side. (Of a single step: than this part
    /// of what one integer of the coarsest scale adds.)
    pub tie_bound: f64,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// Outputs are raw heads, and nobody said their anchors.
    NoAnchors,
    /// Outputs are raw heads, and the anchors are those of [`Options`](crate::Options).
    AnchorsByOption,
    /// Raw heads of which nobody says what is computed of them.
    HeadByDefault,
    /// Class names of the metadata do not fit the head and were ignored.
    ClassNames,
    /// What the picture's numbers are had to be found out, or little of the picture is left.
    Picture,
    /// Quantizers inside the decode of the boxes were dropped, as asked.
    DecodeQuantizers,
    /// Quantizers are written as straight-through estimators, which floats round.
    StraightThrough,
    /// Values of different scales were requantized, as asked.
    RequantizedJoin,
    /// A last convolution's weights are floats, and taken as such, as asked.
    FloatHead,
    /// Values near a step may get the neighbouring code.
    NearTies,
    /// A convolution is computed once for each of many scales.
    ManyScales,
    /// A convolution is computed more than once.
    ComputedTwice,
    /// A bipolar quantizer that sees no negative number.
    ReluBeforeBipolar,
    /// A layer is no faster than with 8 bits, though one side is narrow.
    NarrowSide,
    /// Outputs that no box needs.
    UnneededOutputs,
}

/// Something worth knowing about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// Name of the node; empty where it concerns the model.
    pub node: String,
    /// What to know.
    pub message: String,
}

impl Warning {
    /// One that concerns the model.
    pub(crate) fn of_model(kind: WarningKind, message: impl Into<String>) -> Self {
        Self::at("", kind, message)
    }

    /// One about a node.
    pub(crate) fn at(node: &str, kind: WarningKind, message: impl Into<String>) -> Self {
        Self { kind, node: node.to_owned(), message: message.into() }
    }
}

impl Row {
    /// A row of an operator without weights.
    pub(crate) fn of(operator: &'static str, requantize: &'static str) -> Self {
        Self { operator, requantize, ..Self::default() }
    }

    /// A row of a convolution.
    pub(crate) fn of_conv(conv: &PendingConv, operator: &Operator, requantize: &'static str) -> Self {
        use ylb_format::model::Requantize;
        let [channels, height, width] = conv.shape;
        let weights = conv.terms.iter().map(|term| term.weights.len()).sum::<usize>();
        let planes = conv.terms.iter().map(|term| term.weights.planes.len()).sum::<usize>();
        let table = match operator {
            Operator::Conv(conv) => match &conv.requantize {
                Some(Requantize::Scale { multipliers, bias, .. }) => 4 * multipliers.len() + 8 * bias.len(),
                Some(Requantize::Staircase { thresholds, .. }) => {
                    thresholds.iter().map(|list| 5 * list.len() + 1).sum()
                }
                Some(Requantize::ScaledStaircase { multipliers, bias, thresholds, .. }) => {
                    4 * multipliers.len() + 8 * bias.len() + 9 * thresholds.len() + 1
                }
                None => 0,
            },
            _ => 0,
        };
        Self {
            operator: if conv.groups == channels && channels > 1 { "DepthwiseConv" } else { "Conv" },
            kernel: Some(conv.window.kernel),
            weight_bits: conv.terms.first().map(|term| term.weights.bits),
            macs: weights as u64 * (height * width) as u64,
            bytes: planes + table,
            requantize,
            ..Self::default()
        }
    }
}
