//! Element-wise operators with broadcasting.

use super::{Inputs, required};
use crate::error::SourceError;
use crate::ir::{Data, ElementType, Node, Tensor, element_count};

/// The common shape of operands under numpy's broadcasting.
///
/// # Errors
/// If there is none.
pub fn broadcast_shape(shapes: &[&[usize]]) -> Result<Vec<usize>, SourceError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (extent, &own) in result[rank - shape.len()..].iter_mut().zip(*shape) {
            if *extent == 1 {
                *extent = own;
            } else if own != 1 && own != *extent {
                return Err(SourceError::malformed(format!("shapes {shapes:?} do not broadcast")));
            }
        }
    }
    Ok(result)
}

/// Flat index into an operand for every element of the broadcast result.
pub(super) fn broadcast_indices(shape: &[usize], result: &[usize]) -> Vec<usize> {
    let len = result.iter().product();
    if shape == result {
        return (0..len).collect();
    }
    let mut strides = vec![0; result.len()];
    let mut stride = 1;
    for (dimension, &extent) in shape.iter().enumerate().rev() {
        if extent != 1 {
            strides[result.len() - shape.len() + dimension] = stride;
        }
        stride *= extent;
    }
    let mut indices = Vec::with_capacity(len);
    let mut position = vec![0; result.len()];
    let mut index = 0;
    while indices.len() < len {
        indices.push(index);
        for dimension in (0..result.len()).rev() {
            position[dimension] += 1;
            index += strides[dimension];
            if position[dimension] < result[dimension] {
                break;
            }
            index -= strides[dimension] * position[dimension];
            position[dimension] = 0;
        }
    }
    indices
}

/// The result of an element-wise operator; `None` if it is none that we know.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>) -> Result<Option<Tensor>, SourceError> {
    let op = node.op_type.as_str();
    Ok(Some(match op {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" => binary(op, required(inputs, 0)?, required(inputs, 1)?)?,
        "Min" | "Max" => {
            let mut result = required(inputs, 0)?.clone();
            for position in 1..inputs.len() {
                result = binary(op, &result, required(inputs, position)?)?;
            }
            result
        }
        "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" | "And" | "Or" => {
            compare(op, required(inputs, 0)?, required(inputs, 1)?)?
        }
        "Where" => select(inputs)?,
        "Clip" => clip(node, inputs)?,
        "Not" => {
            let input = required(inputs, 0)?;
            let values = input.to_integers().into_iter().map(|value| i64::from(value == 0));
            Tensor::integers(input.shape(), ElementType::Bool, values)?
        }
        "LeakyRelu" => {
            let alpha = f64::from(node.float("alpha", 0.01));
            map(required(inputs, 0)?, |x| if x < 0.0 { alpha * x } else { x })?
        }
        _ => match unary(op) {
            Some(function) => map(required(inputs, 0)?, function)?,
            None => return Ok(None),
        },
    }))
}

/// Functions of one number. They are computed in 64 bits and rounded once to the element's type,
/// which for the exact ones (`Neg`, `Round`, ...) is what 32-bit arithmetic gives.
fn unary(op: &str) -> Option<fn(f64) -> f64> {
    Some(match op {
        "Neg" => |x| -x,
        "Abs" => f64::abs,
        "Sqrt" => f64::sqrt,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Tanh" => f64::tanh,
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "Reciprocal" => |x| 1.0 / x,
        "Relu" => |x| if x < 0.0 { 0.0 } else { x },
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Sign" => |x| if x == 0.0 { 0.0 } else { x.signum() },
        _ => return None,
    })
}

fn map(input: &Tensor, function: impl Fn(f64) -> f64) -> Result<Tensor, SourceError> {
    let results = (0..input.len()).map(|index| function(input.get(index)));
    match input.data() {
        Data::F32(_) => Tensor::f32(input.shape(), results.map(|x| x as f32).collect()),
        Data::F64(_) => Tensor::f64(input.shape(), results.collect()),
        _ => Tensor::integers(input.shape(), input.element(), results.map(|x| x as i64)),
    }
}

/// The operands' common type: 64-bit floats win over 32-bit floats, which win over integers.
fn common(a: &Tensor, b: &Tensor) -> ElementType {
    match (a.element(), b.element()) {
        (ElementType::F64, _) | (_, ElementType::F64) => ElementType::F64,
        (ElementType::F32, _) | (_, ElementType::F32) => ElementType::F32,
        (element, _) => element,
    }
}

pub(super) fn binary(op: &str, a: &Tensor, b: &Tensor) -> Result<Tensor, SourceError> {
    let shape = broadcast_shape(&[a.shape(), b.shape()])?;
    element_count(&shape)?;
    let pairs = broadcast_indices(a.shape(), &shape).into_iter().zip(broadcast_indices(b.shape(), &shape));
    match common(a, b) {
        ElementType::F64 => {
            let function = float_function::<f64>(op)?;
            Tensor::f64(&shape, pairs.map(|(i, j)| function(a.get(i), b.get(j))).collect())
        }
        ElementType::F32 => {
            let function = float_function::<f32>(op)?;
            let values = pairs.map(|(i, j)| function(a.get(i) as f32, b.get(j) as f32));
            Tensor::f32(&shape, values.collect())
        }
        element => {
            let pairs: Vec<_> = pairs.collect();
            let mut values = Vec::with_capacity(pairs.len());
            for (i, j) in pairs {
                values.push(integer_function(op, a.get_integer(i), b.get_integer(j))?);
            }
            Tensor::integers(&shape, element, values.into_iter())
        }
    }
}

trait Float:
    Copy
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
    fn pow(self, exponent: Self) -> Self;
    fn is_nan(self) -> bool;
}

impl Float for f32 {
    fn pow(self, exponent: Self) -> Self {
        f64::from(self).powf(f64::from(exponent)) as f32
    }

    fn is_nan(self) -> bool {
        Self::is_nan(self)
    }
}

impl Float for f64 {
    fn pow(self, exponent: Self) -> Self {
        self.powf(exponent)
    }

    fn is_nan(self) -> bool {
        Self::is_nan(self)
    }
}

fn float_function<T: Float>(op: &str) -> Result<fn(T, T) -> T, SourceError> {
    Ok(match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => T::pow,
        // What is no number stays none.
        "Min" => |a, b| if b < a || b.is_nan() { b } else { a },
        "Max" => |a, b| if b > a || b.is_nan() { b } else { a },
        _ => return Err(SourceError::unsupported("expected an arithmetic operator")),
    })
}

fn integer_function(op: &str, a: i64, b: i64) -> Result<i64, SourceError> {
    let result = match op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        "Pow" => u32::try_from(b).ok().and_then(|exponent| a.checked_pow(exponent)),
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        _ => None,
    };
    result.ok_or_else(|| SourceError::malformed(format!("integer {op} of {a} and {b} overflows")))
}

fn compare(op: &str, a: &Tensor, b: &Tensor) -> Result<Tensor, SourceError> {
    let shape = broadcast_shape(&[a.shape(), b.shape()])?;
    let function: fn(f64, f64) -> bool = match op {
        "Equal" => |a, b| a == b,
        "Less" => |a, b| a < b,
        "Greater" => |a, b| a > b,
        "LessOrEqual" => |a, b| a <= b,
        "GreaterOrEqual" => |a, b| a >= b,
        "And" => |a, b| a != 0.0 && b != 0.0,
        _ => |a, b| a != 0.0 || b != 0.0,
    };
    element_count(&shape)?;
    let left = broadcast_indices(a.shape(), &shape);
    let right = broadcast_indices(b.shape(), &shape);
    let values = (0..left.len()).map(|k| i64::from(function(a.get(left[k]), b.get(right[k]))));
    Tensor::integers(&shape, ElementType::Bool, values)
}

fn select(inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let [condition, yes, no] = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
    let shape = broadcast_shape(&[condition.shape(), yes.shape(), no.shape()])?;
    element_count(&shape)?;
    let [c, y, n] = [condition, yes, no].map(|tensor| broadcast_indices(tensor.shape(), &shape));
    let pick = |k: usize| if condition.get(c[k]) != 0.0 { yes.get(y[k]) } else { no.get(n[k]) };
    match common(yes, no) {
        ElementType::F64 => Tensor::f64(&shape, (0..c.len()).map(pick).collect()),
        ElementType::F32 => Tensor::f32(&shape, (0..c.len()).map(|k| pick(k) as f32).collect()),
        element => {
            let pick = |k: usize| {
                if condition.get(c[k]) != 0.0 { yes.get_integer(y[k]) } else { no.get_integer(n[k]) }
            };
            Tensor::integers(&shape, element, (0..c.len()).map(pick))
        }
    }
}

/// Bounds of a `Clip`: attributes up to opset 6, inputs from opset 11.
///
/// # Errors
/// If a bound is not a single number.
pub fn clip_bounds(node: &Node, inputs: &Inputs<'_>) -> Result<(f64, f64), SourceError> {
    let bound = |position: usize, attribute: &str, default: f32| match inputs.get(position).copied().flatten()
    {
        Some(tensor) => tensor
            .scalar()
            .ok_or_else(|| SourceError::malformed(format!("a bound of shape {:?}", tensor.shape()))),
        None => Ok(f64::from(node.float(attribute, default))),
    };
    Ok((bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?))
}

fn clip(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let (low, high) = clip_bounds(node, inputs)?;
    // ONNX defines min(max(x, low), high), which has a meaning where low exceeds high.
    // What is no number stays none: rounded, it would be a code like any other.
    map(input, |x| if x.is_nan() { x } else { x.max(low).min(high) })
}
