//! What functions are called in messages: as ONNX calls the operators that they come from.

use std::fmt::{self, Display, Formatter};

use ylb_source::quantizer::Rounding;

use super::{Binary, Unary};

impl Display for Unary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relu => "Relu",
            Self::Clip { low, high } if high.is_infinite() => return write!(f, "Clip from {low}"),
            Self::Clip { low, high } if low.is_infinite() => return write!(f, "Clip to {high}"),
            Self::Clip { low, high } => return write!(f, "Clip from {low} to {high}"),
            Self::LeakyRelu { slope } => return write!(f, "LeakyRelu of slope {slope}"),
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Softplus => "Softplus",
            Self::Exp => "Exp",
            Self::Power { .. } => "Pow",
            Self::Log => "Log",
            Self::Sqrt => "Sqrt",
            Self::Neg => "Neg",
            Self::Abs => "Abs",
            Self::Round(Rounding::Floor) => "Floor",
            Self::Round(Rounding::Ceil) => "Ceil",
            Self::Round(_) => "Round",
            Self::Sign => "Sign",
            Self::Quantize(_) => "a quantizer",
            Self::Pixel => "the picture",
        })
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Min => "Min",
            Self::Max => "Max",
            Self::Greater => "Greater",
            Self::GreaterOrEqual => "GreaterOrEqual",
            Self::Select => "Where",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No message shows how the converter writes a function down.
    #[test]
    fn functions_have_the_names_of_operators() {
        let clip = |low, high| Unary::Clip { low, high }.to_string();
        assert_eq!(clip(0.0, 15.0), "Clip from 0 to 15");
        assert_eq!(clip(-0.5, f64::INFINITY), "Clip from -0.5");
        assert_eq!(clip(f64::NEG_INFINITY, 6.0), "Clip to 6");
        assert_eq!(Unary::LeakyRelu { slope: 0.125 }.to_string(), "LeakyRelu of slope 0.125");
        assert_eq!(Unary::Round(Rounding::HalfEven).to_string(), "Round");
        assert_eq!(Binary::Mul.to_string(), "Mul");
    }
}
