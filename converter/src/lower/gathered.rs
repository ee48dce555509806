//! Channels of a segment that do not follow one another, in any order.
//!
//! Of a convolution that is not quantized yet the outputs are computed in that order; of a value they are taken out by a
//! convolution of one-bit weights, each output of which is one channel of it.

use std::collections::HashMap;
use std::rc::Rc;

use ylb_format::model::{Conv, ConvTerm, Operator, Requantize, WeightEncoding, Weights, Window};

use super::conv::{PendingConv, PendingKind, PendingTerm};
use super::{LoweredValue, Lowering, Segment, id_of};
use crate::error::ConvertError;
use crate::expr::{ConvIndex, Expr, ValueIndex};
use crate::report::Row;

impl Lowering<'_> {
    /// Some channels of a segment. `None` where they cannot be taken out so: of convolutions in groups.
    pub(super) fn gathered(
        &mut self,
        segment: &Segment,
        channels: &[usize],
    ) -> Result<Option<Segment>, ConvertError> {
        let leaves = segment.expr.leaves();
        let plain = |conv: &ConvIndex| {
            let pending = &self.convs[conv.0];
            pending.kind == PendingKind::Conv && pending.groups == 1
        };
        // A value beside the convolution that it is a function of has to be known as such.
        if !leaves.convs.iter().all(plain) || !(leaves.convs.is_empty() || leaves.values.is_empty()) {
            return Ok(None);
        }
        let addends = self.linear(&segment.expr).map_or(Vec::new(), |linear| linear.addends);
        let mut convs = HashMap::new();
        for conv in leaves.convs {
            convs.insert(conv, Rc::new(Expr::Conv(self.some_outputs_of(conv, channels))));
        }
        let mut values = HashMap::new();
        for value in leaves.values {
            // What has one channel for all others is the same for some.
            if self.values[value.0].shape[0] == segment.channels {
                let addend = addends.iter().find(|addend| addend.value == value);
                let own = addend.map_or(value, |addend| self.fix_zero_point(addend));
                values.insert(value, Rc::new(Expr::Codes(self.taken_out(own, channels))));
            }
        }
        let expr = segment.expr.substitute(|leaf| match leaf {
            Expr::Codes(value) => values.get(value).cloned(),
            Expr::Conv(conv) => convs.get(conv).cloned(),
            Expr::Constant(numbers) if numbers.len() > 1 => {
                Some(Rc::new(Expr::Constant(channels.iter().map(|&channel| numbers[channel]).collect())))
            }
            _ => None,
        });
        Ok(Some(Segment { channels: channels.len(), expr }))
    }

    /// A convolution that computes some outputs of another, whose input is the same.
    fn some_outputs_of(&mut self, whole: ConvIndex, channels: &[usize]) -> ConvIndex {
        let conv = self.convs[whole.0].clone();
        let some = |numbers: &[f64]| channels.iter().map(|&channel| numbers[channel]).collect::<Vec<f64>>();
        let term = |term: &PendingTerm| PendingTerm {
            ranges: channels.iter().map(|&channel| term.ranges[channel]).collect(),
            factors: term.factors.as_deref().map(some),
            weights: outputs_of(&term.weights, channels),
            ..term.clone()
        };
        self.convs.push(PendingConv {
            terms: conv.terms.iter().map(term).collect(),
            weight_scales: some(&conv.weight_scales),
            bias: conv.bias.as_deref().map(some),
            shape: [channels.len(), conv.shape[1], conv.shape[2]],
            emitted: false,
            ..conv
        });
        ConvIndex(self.convs.len() - 1)
    }

    /// A value that is some channels of another.
    fn taken_out(&mut self, source: ValueIndex, channels: &[usize]) -> ValueIndex {
        let zero_point = i64::from(*self.values[source.0].zero_point.get_or_insert(0));
        let value = self.values[source.0].clone();
        let [inputs, height, width] = value.shape;
        let one = |&channel: &usize| (0..inputs).map(move |input| u8::from(input == channel));
        let codes: Vec<u8> = channels.iter().flat_map(one).collect();
        let shape = [channels.len() as u32, inputs as u32, 1, 1];
        let weights = Weights::from_codes(shape, WeightEncoding::Unsigned, 1, &codes, Vec::new());
        // level = (integer + zero point − code of level 0) / step
        let requantize = Requantize::Scale {
            multipliers: vec![1; channels.len()],
            bias: vec![zero_point - value.low; channels.len()],
            shift: u8::from(value.step == 2),
        };
        let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
        let terms = vec![ConvTerm { input: id_of(source), weights }];
        let shape = [channels.len(), height, width];
        let output = self.add_value(LoweredValue { name: String::new(), shape, origin: None, ..value });
        let row = Row {
            kernel: Some(window.kernel),
            weight_bits: Some(1),
            macs: (channels.len() * inputs * height * width) as u64,
            bytes: channels.len() * (inputs.div_ceil(8) + 12),
            ..Row::of("Conv", "exact")
        };
        self.add_row(row, "", output, &[source]);
        let conv = Conv { terms, window, groups: 1, requantize: Some(requantize) };
        self.add_node("", output, Operator::Conv(conv));
        output
    }
}

/// The weights of some output channels.
fn outputs_of(weights: &Weights, channels: &[usize]) -> Weights {
    let [outputs, inputs, rows, columns] = weights.shape;
    let each = weights.len() / outputs as usize;
    let all = weights.codes();
    let codes: Vec<u8> =
        channels.iter().flat_map(|&channel| &all[channel * each..][..each]).copied().collect();
    let zero_points = match weights.zero_points.is_empty() {
        true => Vec::new(),
        false => channels.iter().map(|&channel| weights.zero_points[channel]).collect(),
    };
    let shape = [channels.len() as u32, inputs, rows, columns];
    Weights::from_codes(shape, weights.encoding, weights.bits, &codes, zero_points)
}
