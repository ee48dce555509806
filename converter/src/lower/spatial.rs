//! Pooling, padding and upsampling. All commute with what an expression does to codes, so they are applied to
//! the codes themselves.

use std::collections::HashMap;
use std::rc::Rc;

use ylb_format::model::{Encoding, Operator};
use ylb_source::eval::{self, Padding};
use ylb_source::ir::{Node, Tensor};
use ylb_source::window;

use super::interleave::codes_name;
use super::join::Joined;
use super::{Feature, LoweredValue, Lowering, Segment, format_window, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, Expr, ValueIndex};
use crate::report::Row;

impl Lowering<'_> {
    pub(super) fn max_pool(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        self.bring_on_grids(node, node.required_input(0)?)?;
        let feature = self.feature(node.required_input(0)?)?;
        let shape = [1, feature.channels(), feature.height, feature.width];
        let geometry = window::of_node(node, &shape, None)?;
        let window = format_window(geometry);
        let [height, width] = geometry.output_size([feature.height, feature.width])?;
        let mut segments = Vec::with_capacity(feature.segments.len());
        for segment in &feature.segments {
            let linear = self.linear(&segment.expr)?;
            let [addend] = linear.addends.as_slice() else {
                return Err(ConvertError::new(
                    ErrorKind::NotQuantized,
                    "the maximum of a sum of different scales; expected a quantizer before it",
                ));
            };
            // Codes keep their zero point, so it must be known before they are moved.
            let input = self.fix_zero_point(addend);
            let pooled = self.moved(node, &feature, input, [height, width], |lowering, output| {
                let operator = Operator::MaxPool { input: id_of(input), window };
                let row = Row { kernel: Some(window.kernel), ..Row::of("MaxPool", "") };
                lowering.add_row(row, &node.name, output, &[input]);
                lowering.add_node(&node.name, output, operator);
            })?;
            let expr = segment.expr.substitute(|leaf| match leaf {
                Expr::Codes(_) => Some(Rc::new(Expr::Codes(pooled))),
                _ => None,
            });
            segments.push(Segment { channels: segment.channels, expr });
        }
        Ok(Feature { segments, height, width, order: feature.order.clone() })
    }

    /// The maximum of all channels. Values of one scale are one value for that.
    pub(super) fn channel_max(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        if self.graph.tensor(node.output()?).shape != Some(vec![1, 1, feature.height, feature.width]) {
            return Err(ConvertError::unsupported(
                "expected a maximum of rows and columns, or of all channels, that keeps extents of 1",
            ));
        }
        let Joined { operands, offsets } = self.operands(&feature, 1, false)?;
        let ([operand], []) = (&operands[..], &offsets[..]) else {
            return Err(different_scales());
        };
        if operand.factors.is_some() {
            return Err(different_scales());
        }
        let input = operand.value;
        let zero_point = *self.values[input.0].zero_point.get_or_insert(0);
        let shape = [1, feature.height, feature.width];
        let value = LoweredValue { name: String::new(), shape, origin: None, ..self.values[input.0].clone() };
        let output = self.add_value(value);
        self.add_row(Row::of("ChannelMax", ""), &node.name, output, &[input]);
        self.add_node(&node.name, output, Operator::ChannelMax { input: id_of(input) });
        let real = Rc::new(Expr::Codes(output))
            .binary(Binary::Sub, &Expr::number(f64::from(zero_point)))
            .binary(Binary::Mul, &Expr::number(operand.scale));
        let segments = vec![Segment { channels: 1, expr: real }];
        Ok(Feature { segments, height: feature.height, width: feature.width, order: None })
    }

    /// Zeros around a feature map that are numbers like others to what reads them.
    pub(super) fn pad(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let padding = self.zeros_around(node)?;
        let [top, left, bottom, right] = padding.map(|extent| extent as usize);
        let (height, width) = (feature.height + top + bottom, feature.width + left + right);
        let mut segments = Vec::with_capacity(feature.segments.len());
        for segment in &feature.segments {
            let linear = self.linear(&segment.expr)?;
            let ([addend], true) = (&linear.addends[..], linear.is_centred()) else {
                return Err(ConvertError::new(
                    ErrorKind::NotQuantized,
                    "pads a sum of different scales, or numbers of which 0 is none; expected a quantizer before it",
                ));
            };
            let input = self.fix_zero_point(addend);
            let value = self.values[input.0].clone().into_model();
            if value.encoding().and_then(Encoding::zero_level).is_none() {
                return Err(ConvertError::unsupported("pads codes of which none stands for 0"));
            }
            let padded = self.moved(node, &feature, input, [height, width], |lowering, output| {
                lowering.add_row(Row::of("Pad", ""), &node.name, output, &[input]);
                lowering.add_node(&node.name, output, Operator::Pad { input: id_of(input), padding });
            })?;
            let expr = segment.expr.substitute(|leaf| match leaf {
                Expr::Codes(_) => Some(Rc::new(Expr::Codes(padded))),
                _ => None,
            });
            segments.push(Segment { channels: segment.channels, expr });
        }
        Ok(Feature { segments, height, width, order: feature.order.clone() })
    }

    /// Rows and columns of zeros that a `Pad` adds: top, left, bottom, right.
    fn zeros_around(&self, node: &Node) -> Result<[u32; 4], ConvertError> {
        let constants: Vec<Option<&Tensor>> =
            (0..node.inputs.len()).map(|at| self.graph.constant_input(node, at).map(AsRef::as_ref)).collect();
        let Padding { before, after, value } = eval::padding_of(node, &constants, 4)?;
        let around = [before[2], before[3], after[2], after[3]];
        let planar = before[..2] == [0, 0] && after[..2] == [0, 0] && value == 0.0;
        if !planar || around.iter().any(|extent| !(0..1 << 14).contains(extent)) {
            return Err(ConvertError::unsupported("expected zeros in rows and columns around the map"));
        }
        Ok(around.map(|extent| extent as u32))
    }

    pub(super) fn resize(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let floats = |feature: &Feature| {
            feature.segments.iter().any(|segment| !segment.expr.leaves().convs.is_empty())
        };
        if floats(&*self.feature(node.required_input(0)?)?) {
            self.bring_on_grids(node, node.required_input(0)?)?;
        }
        let feature = self.feature(node.required_input(0)?)?;
        let factor = self.repeat_factor(node, &feature)?;
        let (height, width) = (feature.height * factor, feature.width * factor);
        let mut segments = Vec::with_capacity(feature.segments.len());
        for segment in &feature.segments {
            let leaves = segment.expr.leaves();
            if !leaves.convs.is_empty() {
                return Err(ConvertError::new(
                    ErrorKind::NotQuantized,
                    "its input is not quantized: expected a quantizer before it",
                ));
            }
            let addends = self.linear(&segment.expr).map_or(Vec::new(), |linear| linear.addends);
            let mut enlarged = HashMap::new();
            for source in leaves.values {
                // A gate, one pixel for all, is the same for more of them.
                match self.values[source.0].shape {
                    [_, 1, 1] if (feature.height, feature.width) != (1, 1) => continue,
                    [_, height, width] if (height, width) == (feature.height, feature.width) => {}
                    _ => {
                        return Err(ConvertError::unsupported(
                            "enlarges a product with a row or a column; expected a quantizer behind the product",
                        ));
                    }
                }
                let addend = addends.iter().find(|addend| addend.value == source);
                let input = addend.map_or(source, |addend| self.fix_zero_point(addend));
                let output = self.moved(node, &feature, input, [height, width], |lowering, output| {
                    let operator = Operator::Upsample { input: id_of(input), factor: factor as u32 };
                    lowering.add_row(Row::of("Upsample", ""), &node.name, output, &[input]);
                    lowering.add_node(&node.name, output, operator);
                })?;
                enlarged.insert(source, Rc::new(Expr::Codes(output)));
            }
            let expr = segment.expr.substitute(|leaf| match leaf {
                Expr::Codes(value) => enlarged.get(value).cloned(),
                _ => None,
            });
            segments.push(Segment { channels: segment.channels, expr });
        }
        Ok(Feature { segments, height, width, order: feature.order.clone() })
    }

    /// A value with the codes of `input` moved in space. Made once for each node and input.
    fn moved(
        &mut self,
        node: &Node,
        feature: &Feature,
        input: ValueIndex,
        [height, width]: [usize; 2],
        emit: impl FnOnce(&mut Self, ValueIndex),
    ) -> Result<ValueIndex, ConvertError> {
        let tensor = node.output()?;
        if let Some(&output) = self.spatial.get(&(tensor, input)) {
            return Ok(output);
        }
        // Codes of a part have no name.
        let whole = feature.segments.len() == 1 && feature.segments[0].expr.leaves().values.len() == 1;
        let name = if whole { codes_name(node) } else { String::new() };
        let source = &self.values[input.0];
        let value =
            LoweredValue { name, shape: [source.shape[0], height, width], origin: None, ..source.clone() };
        let output = self.add_value(value);
        emit(self, output);
        self.spatial.insert((tensor, input), output);
        Ok(output)
    }

    /// How often a `Resize` repeats rows and columns.
    fn repeat_factor(&self, node: &Node, feature: &Feature) -> Result<usize, ConvertError> {
        let output = self.graph.tensor(node.output()?).shape.clone().unwrap_or_default();
        let refused = || {
            ConvertError::unsupported(format!(
                "from {}x{} to {output:?} by {} / {} / {}; expected nearest neighbours, repeated 2 \
                 to 8 times",
                feature.height,
                feature.width,
                node.text("mode", "nearest"),
                node.text("coordinate_transformation_mode", "half_pixel"),
                node.text("nearest_mode", "round_prefer_floor"),
            ))
        };
        let [1, channels, height, width] = output[..] else { return Err(refused()) };
        let factor = height / feature.height.max(1);
        let scaled = factor * feature.height == height && factor * feature.width == width;
        if node.text("mode", "nearest") != "nearest"
            || channels != feature.channels()
            || !scaled
            || !(2..=8).contains(&factor)
            || !(0..factor * 4).all(|x| source_of(node, self.graph.opset, x, factor) == Some(x / factor))
        {
            return Err(refused());
        }
        self.check_scales(node, factor)?;
        Ok(factor)
    }

    /// Scales that are not quite integers would move some positions.
    fn check_scales(&self, node: &Node, factor: usize) -> Result<(), ConvertError> {
        let four = |tensor: &&std::sync::Arc<Tensor>| tensor.len() == 4 && tensor.element().is_float();
        let scales = [2, 1].into_iter().find_map(|k| self.graph.constant_input(node, k).filter(four));
        match scales.map(|scales| scales.to_f64()) {
            Some(scales) if scales != [1.0, 1.0, factor as f64, factor as f64] => {
                Err(ConvertError::unsupported(format!("scales {scales:?}; expected integers")))
            }
            _ => Ok(()),
        }
    }
}

fn different_scales() -> ConvertError {
    ConvertError::new(
        ErrorKind::NotQuantized,
        "the maximum of channels of different scales; expected a quantizer before it",
    )
}

/// The source position of an output position, by the node's rounding rules; `None` for rules that
/// are not known. Position 0 stands for all positions cut off at the edge.
fn source_of(node: &Node, opset: i64, x: usize, factor: usize) -> Option<usize> {
    let (x, scale) = (x as f64, factor as f64);
    if opset < 11 || node.op_type == "Upsample" {
        return Some((x / scale).floor() as usize);
    }
    let position = match node.text("coordinate_transformation_mode", "half_pixel") {
        "asymmetric" => x / scale,
        "half_pixel" | "pytorch_half_pixel" => (x + 0.5) / scale - 0.5,
        _ => return None,
    };
    let rounded = match node.text("nearest_mode", "round_prefer_floor") {
        "floor" => position.floor(),
        "ceil" => position.ceil(),
        "round_prefer_floor" => (position - 0.5).ceil(),
        "round_prefer_ceil" => (position + 0.5).floor(),
        _ => return None,
    };
    Some(rounded.max(0.0) as usize)
}
