//! Self-attention: products of values as matrices, and softmax. Both wait for their quantizer as a convolution does.

use std::rc::Rc;

use ylb_format::limits::MAX_EXPONENTIAL;
use ylb_format::model::{Along, Operator, WeightEncoding, Weights, Window};
use ylb_source::ir::Node;

use super::conv::{PendingKind, PendingTerm};
use super::join::Joined;
use super::{Feature, LoweredValue, Lowering, PendingConv, Segment, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, Expr, Program, ValueIndex};
use crate::passes::attention::{AREAS, GROUPS, POSITIONS};
use crate::report::Row;
use crate::staircase::{Levels, Staircase};

/// Fraction bits of a share.
const FRACTION: i32 = 48;

impl Lowering<'_> {
    /// A product of two feature maps as matrices.
    pub(super) fn mat_mul(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let (first, second) = (node.required_input(0)?, node.required_input(1)?);
        let (first, second) = (self.feature(first)?, self.feature(second)?);
        let ((a, a_scale), (b, b_scale)) = (self.one_value(&first)?, self.one_value(&second)?);
        let groups = usize::try_from(node.int(GROUPS, 1)).unwrap_or(1).max(1);
        let along = if node.int(POSITIONS, 0) == 0 { Along::Channels } else { Along::Positions };
        let areas = u32::try_from(node.int(AREAS, 1)).unwrap_or(1).max(1);
        let depth = first.channels() / groups;
        let channels = match along {
            Along::Channels => groups * second.height * second.width / areas as usize,
            Along::Positions => second.channels(),
        };
        let ends = |value: ValueIndex| {
            let value = &self.values[value.0];
            [value.integer(0), value.integer(value.max_level)]
        };
        let products = ends(a).into_iter().flat_map(|x| ends(b).map(|y| x * y));
        let (low, high) =
            products.fold((i64::MAX, i64::MIN), |(low, high), own| (low.min(own), high.max(own)));
        let range = (low * depth as i64, high * depth as i64);
        if range.0 < i64::from(i32::MIN) || range.1 > i64::from(i32::MAX) {
            return Err(super::too_large("its sums of products do not fit 32 bits"));
        }
        let kind = PendingKind::MatMul { inputs: [a, b], groups: groups as u32, areas, along };
        let size = [first.height, first.width];
        Ok(self.pending(node, kind, (a, a_scale * b_scale), range, (channels, size)))
    }

    /// A softmax over groups of channels.
    pub(super) fn softmax(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let (input, scale) = self.one_value(&feature)?;
        let groups = u32::try_from(node.int(GROUPS, 1)).unwrap_or(1).max(1);
        let value = &self.values[input.0];
        let unit = MAX_EXPONENTIAL as f64;
        let exponential = |distance: u8| {
            let distance = f64::from(distance) * value.step as f64 * scale;
            ((-distance).exp() * unit).round() as u64
        };
        let exponentials = (0..=value.max_level).map(exponential).collect();
        let kind = PendingKind::Softmax { input, groups, exponentials };
        let size = [feature.height, feature.width];
        let unit = f64::from(-FRACTION).exp2();
        Ok(self.pending(node, kind, (input, unit), (0, 1 << FRACTION), (feature.channels(), size)))
    }

    /// The value that a feature map is, with its scale, and without an offset.
    fn one_value(&mut self, feature: &Rc<Feature>) -> Result<(ValueIndex, f64), ConvertError> {
        let feature = self.in_order(feature)?;
        let Joined { operands, offsets } = self.operands(&feature, 1, false)?;
        match (&operands[..], &offsets[..]) {
            ([operand], []) if operand.factors.is_none() => Ok((operand.value, operand.scale)),
            _ => Err(ConvertError::new(
                ErrorKind::NotQuantized,
                "multiplies or compares activations of several scales; expected a quantizer of one scale behind them",
            )),
        }
    }

    fn pending(
        &mut self,
        node: &Node,
        kind: PendingKind,
        (value, scale): (ValueIndex, f64),
        range: (i64, i64),
        (channels, [height, width]): (usize, [usize; 2]),
    ) -> Feature {
        // It is the same for all channels, and has no weights.
        let weights = Weights::from_codes([1; 4], WeightEncoding::Unsigned, 1, &[1], Vec::new());
        self.convs.push(PendingConv {
            name: node.name.clone(),
            kind,
            terms: vec![PendingTerm { value, scale, factors: None, weights, ranges: vec![range] }],
            weight_scales: vec![1.0],
            bias: None,
            window: Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] },
            groups: 1,
            shape: [1, height, width],
            emitted: false,
        });
        let expr = Rc::new(Expr::Conv(ConvIndex(self.convs.len() - 1)));
        Feature { segments: vec![Segment { channels, expr }], height, width, order: None }
    }

    /// Cuts a function of a product of matrices or of shares.
    pub(super) fn cut_attention(
        &mut self,
        conv: ConvIndex,
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        if !expr.is_uniform() {
            return Err(ConvertError::unsupported(
                "a function that differs between channels, of a product of activations; expected one for the whole tensor",
            ));
        }
        let pending = self.convs[conv.0].clone();
        let (inputs, operator, row) = match pending.kind {
            PendingKind::Conv | PendingKind::Average => {
                return Err(ConvertError::malformed("expected a product of activations"));
            }
            PendingKind::MatMul { inputs, groups, areas, along } => {
                let requantize = self.requantize(conv, expr, levels)?.map;
                let row = Row::of("MatMul", super::requantize::kind_name(&requantize));
                let ids = inputs.map(id_of);
                (inputs.to_vec(), Operator::MatMul { inputs: ids, groups, areas, along, requantize }, row)
            }
            PendingKind::Softmax { input, groups, ref exponentials } => {
                let reading = pending.reading(0);
                let program = Program::compile(expr, 0, |_: ValueIndex| 0, |_| reading.clone());
                let Staircase { steps, .. } = Staircase::find(&program, levels, 0, 1 << FRACTION)?;
                let operator = Operator::Softmax {
                    input: id_of(input),
                    groups,
                    exponentials: exponentials.clone(),
                    thresholds: steps.iter().skip(1).map(|&(start, _)| start as u64).collect(),
                    levels: steps.iter().map(|&(_, level)| level).collect(),
                };
                (vec![input], operator, Row::of("Softmax", "table"))
            }
        };
        let output = self.add_value(output);
        self.add_row(row, &pending.name, output, &inputs);
        self.add_node(&pending.name, output, operator);
        Ok(output)
    }
}

/// The error of a use of something that is no convolution in the place of one.
pub(super) fn not_quantized(name: &str) -> ConvertError {
    ConvertError::new(
        ErrorKind::NotQuantized,
        format!("the product or softmax \"{name}\" is not quantized; expected a quantizer behind it"),
    )
}
