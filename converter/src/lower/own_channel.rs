//! Functions by channel of quantized values, such as a batch normalization of them: a depthwise convolution of 1×1 with
//! weights of 1, whose requantization is one staircase a channel like any other.

use std::rc::Rc;

use ylb_format::limits::MAX_TERMS;
use ylb_format::model::{WeightEncoding, Weights, Window};

use super::conv::{PendingKind, PendingTerm};
use super::linear::{Addend, Linear};
use super::{LoweredValue, Lowering, PendingConv};
use crate::error::ConvertError;
use crate::expr::{Binary, ConvIndex, Expr, ValueIndex};
use crate::staircase::Levels;

impl Lowering<'_> {
    /// Cuts a function by channel of one value, or of a sum of values.
    pub(super) fn cut_by_channel(
        &mut self,
        node_name: &str,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        if let &[value] = values {
            // The convolution gives integers, codes without the zero point.
            let zero_point = *self.values[value.0].zero_point.get_or_insert(0);
            let addend = Addend { value, scale: 1.0, factors: None, zero_point: f64::from(zero_point) };
            let linear = Linear { addends: vec![addend], offset: 0.0, offsets: None };
            let conv = self.own_channels(node_name, &linear)?;
            let codes = Rc::new(Expr::Conv(conv)).binary(Binary::Add, &Expr::number(f64::from(zero_point)));
            let whole = expr.substitute(|leaf| match leaf {
                Expr::Codes(_) => Some(Rc::clone(&codes)),
                _ => None,
            });
            return self.cut_conv(conv, &whole, levels, output);
        }
        let (sum, linear) = self.inner_sum(values, expr)?;
        let conv = self.own_channels(node_name, &linear)?;
        let whole = expr.with_leaf(&sum, &Rc::new(Expr::Conv(conv)));
        let leaves = whole.leaves();
        if !leaves.values.is_empty() {
            return Err(refused());
        }
        self.cut_conv(conv, &whole, levels, output)
    }

    /// The innermost node that reads all values, which must be a sum of them with a scale each.
    fn inner_sum(&self, values: &[ValueIndex], expr: &Rc<Expr>) -> Result<(Rc<Expr>, Linear), ConvertError> {
        let reads_all = |node: &Rc<Expr>| node.leaves().values.iter().eq(values);
        let sum = expr.nodes().into_iter().find(reads_all).ok_or_else(refused)?;
        let linear = self.linear(&sum).map_err(|_| refused())?;
        let plain = linear.addends.iter().all(|addend| addend.factors.is_none());
        if !plain || linear.addends.len() > MAX_TERMS {
            return Err(refused());
        }
        Ok((sum, linear))
    }

    /// A pending convolution that computes `Σ scale · integer + offset` of each element.
    fn own_channels(&mut self, node_name: &str, linear: &Linear) -> Result<ConvIndex, ConvertError> {
        let Linear { addends, offset, offsets } = linear;
        let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
        let mut terms = Vec::with_capacity(addends.len());
        let mut shape = [0; 3];
        for addend in addends {
            let value = self.fix_zero_point(addend);
            let own = self.values[value.0].shape;
            if shape != [0; 3] && own != shape {
                return Err(refused());
            }
            shape = own;
            terms.push(self.sum_of_window(value, addend.scale, window)?);
        }
        self.convs.push(PendingConv {
            name: node_name.to_owned(),
            kind: PendingKind::Conv,
            terms,
            weight_scales: vec![1.0; shape[0]],
            bias: match offsets {
                Some(offsets) => Some(offsets.iter().map(|own| own + offset).collect()),
                None => (*offset != 0.0).then(|| vec![*offset; shape[0]]),
            },
            window,
            groups: shape[0],
            shape,
            emitted: false,
        });
        Ok(ConvIndex(self.convs.len() - 1))
    }

    /// A term that sums the integers of each channel that a window covers.
    pub(super) fn sum_of_window(
        &self,
        value: ValueIndex,
        scale: f64,
        window: Window,
    ) -> Result<PendingTerm, ConvertError> {
        let read = self.values[value.0].clone().into_model();
        let Some(encoding) = read.encoding() else { return Err(refused()) };
        let [rows, columns] = window.kernel;
        let ones = vec![1; read.channels as usize * (rows * columns) as usize];
        let extents = [read.channels, 1, rows, columns];
        let weights = Weights::from_codes(extents, WeightEncoding::TwosComplement, 2, &ones, Vec::new());
        let padded = window.padding.iter().any(|&extent| extent > 0);
        let sums = weights.channel_sums();
        let ranges =
            sums.iter().map(|sum| sum.accumulators(encoding, padded)).map(|r| (*r.start(), *r.end()));
        let ranges = ranges.collect();
        Ok(PendingTerm { value, scale, factors: None, ranges, weights })
    }
}

fn refused() -> ConvertError {
    ConvertError::unsupported(
        "quantizes a function that differs between channels, of several quantized activations that are not summed \
         first; train with a quantizer behind what joins them",
    )
}
