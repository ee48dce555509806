//! Nodes that work element by element: they only extend expressions.

use std::rc::Rc;

use ylb_source::eval;
use ylb_source::ir::{Node, Tensor, TensorId};

use super::channels::joined_order;
use super::{Feature, Lowering, Segment};
use crate::error::ConvertError;
use crate::expr::{Binary, Expr, Unary, hard_sigmoid};

/// A function of one tensor, applied to the expression of each segment.
type Function = Box<dyn Fn(&Rc<Expr>) -> Rc<Expr>>;

impl Lowering<'_> {
    pub(super) fn elementwise(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let binary = match node.op_type.as_str() {
            "Add" => Some(Binary::Add),
            "Sub" => Some(Binary::Sub),
            "Mul" => Some(Binary::Mul),
            "Div" => Some(Binary::Div),
            "Min" | "And" => Some(Binary::Min),
            "Max" | "Or" => Some(Binary::Max),
            "Greater" | "Less" => Some(Binary::Greater),
            "GreaterOrEqual" | "LessOrEqual" => Some(Binary::GreaterOrEqual),
            _ => None,
        };
        if let Some(function) = binary {
            let swapped = node.op_type.starts_with("Less");
            return self.binary(node, function, swapped);
        }
        match node.op_type.as_str() {
            "Where" => return self.conditional(node),
            "Pow" => return self.power(node),
            _ => {}
        }
        if node.op_type == "BatchNormalization" {
            return self.batch_normalization(node);
        }
        if node.op_type == "PRelu" {
            return self.parametric_relu(node);
        }
        let feature = self.feature(node.required_input(0)?)?;
        let slope = |slope: f32| -> Result<Unary, ConvertError> {
            if (0.0..=1e6).contains(&slope) {
                return Ok(Unary::LeakyRelu { slope: f64::from(slope) });
            }
            Err(ConvertError::unsupported(format!("a slope of {slope}; expected 0 or more")))
        };
        let number = |name: &str, default: f32| f64::from(node.float(name, default));
        let apply: Function = match node.op_type.as_str() {
            "Relu" => Box::new(|x| x.unary(Unary::Relu)),
            "Clip" => {
                let (low, high) = self.clip_bounds(node)?;
                Box::new(move |x| x.unary(Unary::Clip { low, high }))
            }
            "LeakyRelu" => {
                let function = slope(node.float("alpha", 0.01))?;
                Box::new(move |x| x.unary(function.clone()))
            }
            "Sigmoid" => Box::new(|x| x.unary(Unary::Sigmoid)),
            "Tanh" => Box::new(|x| x.unary(Unary::Tanh)),
            "Softplus" => Box::new(|x| x.unary(Unary::Softplus)),
            "Exp" => Box::new(|x| x.unary(Unary::Exp)),
            "Log" => Box::new(|x| x.unary(Unary::Log)),
            "Sqrt" => Box::new(|x| x.unary(Unary::Sqrt)),
            "Not" => Box::new(|x| Expr::number(1.0).binary(Binary::Sub, x)),
            "Neg" => Box::new(|x| x.unary(Unary::Neg)),
            "Abs" => Box::new(|x| x.unary(Unary::Abs)),
            "HardSigmoid" => {
                let (alpha, beta) = (number("alpha", 0.2), number("beta", 0.5));
                Box::new(move |x| hard_sigmoid(x, alpha, beta))
            }
            "HardSwish" => Box::new(|x| x.binary(Binary::Mul, &hard_sigmoid(x, 1.0 / 6.0, 0.5))),
            "Mish" => Box::new(|x| x.binary(Binary::Mul, &x.unary(Unary::Softplus).unary(Unary::Tanh))),
            _ => {
                return Err(ConvertError::unsupported(
                    "an operator that the converter does not know in the body of a detector",
                ));
            }
        };
        feature.map(|segment, _| Ok(apply(&segment.expr)))
    }

    fn clip_bounds(&self, node: &Node) -> Result<(f64, f64), ConvertError> {
        let constants: Vec<Option<&Tensor>> =
            (0..node.inputs.len()).map(|k| self.graph.constant_input(node, k).map(AsRef::as_ref)).collect();
        if (1..node.inputs.len()).any(|k| node.input(k).is_some() && constants[k].is_none()) {
            return Err(ConvertError::unsupported("expected constant bounds"));
        }
        match eval::known_clip(node, &constants)? {
            Some((low, high)) if low <= high => Ok((low, high)),
            _ => Err(ConvertError::unsupported("expected bounds in ascending order")),
        }
    }

    /// `swapped`: the second operand comes first.
    fn binary(&mut self, node: &Node, function: Binary, swapped: bool) -> Result<Feature, ConvertError> {
        let (first, second) = (node.required_input(0)?, node.required_input(1)?);
        if node.inputs.len() > 2 {
            return Err(ConvertError::unsupported("expected two operands"));
        }
        let (left, right) = if swapped { (second, first) } else { (first, second) };
        self.pair(function, left, right)
    }

    /// A function of two tensors, of which one may be constant.
    fn pair(&mut self, function: Binary, left: TensorId, right: TensorId) -> Result<Feature, ConvertError> {
        match (self.graph.constant(left).cloned(), self.graph.constant(right).cloned()) {
            (None, None) => {
                let (mut a, mut b) = (self.feature(left)?, self.feature(right)?);
                if a.order != b.order && a.channels() == b.channels() {
                    (a, b) = (self.in_order(&a)?, self.in_order(&b)?);
                }
                self.combine(&a, &b, function)
            }
            (None, Some(constant)) => {
                let feature = self.feature(left)?;
                let numbers = feature.as_they_lie(&by_channel(&constant, feature.channels())?);
                feature.map(|segment, range| Ok(segment.expr.binary(function, &slice(&numbers, range))))
            }
            (Some(constant), None) => {
                let feature = self.feature(right)?;
                let numbers = feature.as_they_lie(&by_channel(&constant, feature.channels())?);
                feature.map(|segment, range| Ok(slice(&numbers, range).binary(function, &segment.expr)))
            }
            (Some(_), Some(_)) => Err(ConvertError::unsupported("expected a feature map")),
        }
    }

    /// `condition ? a : b`, as the sum of `a` where it holds and of `b` where it does not.
    fn conditional(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let [condition, a, b] = [node.required_input(0)?, node.required_input(1)?, node.required_input(2)?];
        let holds = self.feature(condition)?;
        let holds = self.in_order(&holds)?;
        let fails = holds.map(|segment, _| Ok(Expr::number(1.0).binary(Binary::Sub, &segment.expr)))?;
        let fails = Rc::new(fails);
        let own = self.selected(&holds, a)?;
        let other = self.selected(&fails, b)?;
        self.combine(&own, &other, Binary::Add)
    }

    /// A tensor, or numbers, where a condition holds, and 0 elsewhere.
    fn selected(&mut self, condition: &Rc<Feature>, id: TensorId) -> Result<Feature, ConvertError> {
        match self.graph.constant(id).cloned() {
            Some(constant) => {
                let numbers = by_channel(&constant, condition.channels())?;
                condition
                    .map(|segment, range| Ok(segment.expr.binary(Binary::Select, &slice(&numbers, range))))
            }
            None => {
                let feature = self.feature(id)?;
                let feature = self.in_order(&feature)?;
                self.combine(condition, &feature, Binary::Select)
            }
        }
    }

    /// A constant to the power of a tensor, or its square or square root.
    fn power(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let number =
            |position: usize| self.graph.constant_input(node, position).and_then(|tensor| tensor.scalar());
        let refused = || {
            ConvertError::unsupported(
                "expected a positive constant to the power of a feature map, or its square or root",
            )
        };
        match (number(0), number(1)) {
            (Some(base), None) if base > 0.0 && base.is_finite() => {
                let feature = self.feature(node.required_input(1)?)?;
                feature.map(|segment, _| Ok(segment.expr.unary(Unary::Power { base })))
            }
            (None, Some(exponent)) if [0.5, 1.0, 2.0].contains(&exponent) => {
                let feature = self.feature(node.required_input(0)?)?;
                feature.map(|segment, _| {
                    let x = &segment.expr;
                    Ok(match exponent {
                        0.5 => x.unary(Unary::Sqrt),
                        2.0 => x.binary(Binary::Mul, x),
                        _ => Rc::clone(x),
                    })
                })
            }
            _ => Err(refused()),
        }
    }

    /// Combines two tensors. A factor may be a gate, which has an extent of 1 along some axes.
    fn combine(&mut self, a: &Feature, b: &Feature, function: Binary) -> Result<Feature, ConvertError> {
        let shape = |f: &Feature| [f.channels(), f.height, f.width];
        let is_gate = |gate: [usize; 3], whole: [usize; 3]| {
            function == Binary::Mul && gate.iter().zip(whole).all(|(&own, extent)| own == extent || own == 1)
        };
        let [own, other] = [shape(a), shape(b)];
        if own != other && !is_gate(own, other) && !is_gate(other, own) {
            return Err(ConvertError::unsupported(format!(
                "operands of shape {own:?} and {other:?}; expected equal shapes, or a product with one that has an \
                 extent of 1 along some axes"
            )));
        }
        let whole = if is_gate(other, own) || own == other { a } else { b };
        // One channel for all.
        if own[0] != other[0]
            && let [gate] = &(if own[0] == 1 { a } else { b }).segments[..]
        {
            return whole.map(|segment, _| {
                let of = [&segment.expr, &gate.expr];
                let [first, second] = if own[0] == 1 { [of[1], of[0]] } else { of };
                Ok(first.binary(function, second))
            });
        }
        let order = whole.order.clone();
        let (height, width) = (whole.height, whole.width);
        let [a, b] = self.aligned(a, b)?;
        let pairs = a.segments.iter().zip(&b.segments);
        let segments = pairs
            .map(|(x, y)| Segment { channels: x.channels, expr: x.expr.binary(function, &y.expr) })
            .collect();
        Ok(Feature { segments, height, width, order })
    }

    /// `(x − mean) / sqrt(var + eps) · gamma + beta`, in the framework's order.
    fn batch_normalization(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let channels = feature.channels();
        let parameter = |position: usize| -> Result<Vec<f64>, ConvertError> {
            let tensor = self.graph.constant_input(node, position).ok_or_else(|| {
                ConvertError::unsupported("expected constant gamma, beta, mean and variance")
            })?;
            if tensor.shape() != [channels] {
                return Err(ConvertError::malformed(format!(
                    "a parameter of shape {:?} for {channels} channels",
                    tensor.shape()
                )));
            }
            Ok(feature.as_they_lie(&finite(tensor)?))
        };
        let (gamma, beta, mean) = (parameter(1)?, parameter(2)?, parameter(3)?);
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let mut deviation = parameter(4)?;
        for value in &mut deviation {
            *value = (*value + epsilon).sqrt();
            if !(value.is_finite() && *value > 0.0) {
                return Err(ConvertError::unsupported("a variance that is not positive"));
            }
        }
        feature.map(|segment, range| {
            Ok(segment
                .expr
                .binary(Binary::Sub, &slice(&mean, range.clone()))
                .binary(Binary::Div, &slice(&deviation, range.clone()))
                .binary(Binary::Mul, &slice(&gamma, range.clone()))
                .binary(Binary::Add, &slice(&beta, range)))
        })
    }

    /// `max(x, 0) + slope · min(x, 0)`, with one slope or one a channel, of either sign. Both parts are exact: one of them
    /// is 0.
    fn parametric_relu(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let Some(slopes) = self.graph.constant_input(node, 1).cloned() else {
            return Err(ConvertError::unsupported("expected constant slopes"));
        };
        let slopes = feature.as_they_lie(&by_channel(&slopes, feature.channels())?);
        feature.map(|segment, range| {
            let negative = segment.expr.binary(Binary::Min, &Expr::number(0.0));
            let sloped = negative.binary(Binary::Mul, &slice(&slopes, range));
            Ok(segment.expr.unary(Unary::Relu).binary(Binary::Add, &sloped))
        })
    }

    pub(super) fn concat(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        if !matches!(node.int("axis", 0), 1 | -3) {
            return Err(ConvertError::unsupported("expected a concat of channels, axis 1"));
        }
        let mut parts = Vec::with_capacity(node.inputs.len());
        for position in 0..node.inputs.len() {
            parts.push(self.feature(node.required_input(position)?)?);
        }
        let Some(first) = parts.first() else {
            return Err(ConvertError::malformed("a concat of nothing"));
        };
        let (height, width) = (first.height, first.width);
        if parts.iter().any(|part| (part.height, part.width) != (height, width)) {
            return Err(ConvertError::malformed("operands of different height or width"));
        }
        let segments = parts.iter().flat_map(|part| part.segments.iter().cloned()).collect();
        Ok(Feature { segments, height, width, order: None }.ordered(joined_order(&parts)))
    }
}

/// Numbers of a constant operand: one, or one a channel.
fn by_channel(constant: &Tensor, channels: usize) -> Result<Vec<f64>, ConvertError> {
    let numbers = finite(constant)?;
    let fits = match *constant.shape() {
        _ if constant.len() == 1 => true,
        [c, 1, 1] | [1, c, 1, 1] => c == channels,
        _ => false,
    };
    if !fits {
        return Err(ConvertError::unsupported(format!(
            "a constant operand of shape {:?}; expected one number, or one for each of {channels} \
             channels",
            constant.shape()
        )));
    }
    Ok(numbers)
}

fn finite(constant: &Tensor) -> Result<Vec<f64>, ConvertError> {
    let numbers = constant.to_f64();
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(ConvertError::malformed("a parameter that is infinite or not a number"));
    }
    Ok(numbers)
}

/// Numbers of some channels as a constant; a single number stays one.
pub(super) fn slice(numbers: &[f64], range: std::ops::Range<usize>) -> Rc<Expr> {
    let numbers = if numbers.len() == 1 { numbers } else { &numbers[range] };
    Rc::new(Expr::Constant(Rc::from(numbers)))
}
