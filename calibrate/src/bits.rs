//! How many bits which layers get.

use std::fmt;
use std::str::FromStr;

/// A choice of widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Weights and activations of so many bits; the first and the last layers have weights of 8.
    Uniform {
        /// 2 to 8.
        weights: u32,
        /// 2 to 8.
        activations: u32,
    },
    /// As W8A8, but 3×3 convolutions of stride 1 whose input nobody else reads have weights of −14 to 14 over 5 bits: what the
    /// runtime's Winograd convolution computes exactly.
    Fast,
    /// As W8A8, but weights of 4 bits where a layer has more than one in a hundred of all weights.
    Small,
}

impl Default for Bits {
    fn default() -> Self {
        Self::Uniform { weights: 8, activations: 8 }
    }
}

/// What is asked of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether it is the first or one of the last.
    pub is_end: bool,
    /// Whether Winograd's algorithm computes it, and nobody else reads its input.
    pub is_winograd: bool,
    /// Its weights, and those of the whole network.
    pub parameters: [usize; 2],
}

/// The largest weight code of Winograd's algorithm, and the bits of its input.
const WINOGRAD: (i32, u32) = (14, 5);

impl Bits {
    /// The largest code of a convolution's weights; the smallest is its opposite.
    pub fn largest_code(self, asked: Asked) -> i32 {
        let of_bits = |bits: u32| (1 << (bits - 1)) - 1;
        let [own, all] = asked.parameters;
        match self {
            _ if asked.is_end => of_bits(8),
            Self::Uniform { weights, .. } => of_bits(weights),
            Self::Fast if asked.is_winograd => WINOGRAD.0,
            Self::Small if own * 100 > all => of_bits(4),
            Self::Fast | Self::Small => of_bits(8),
        }
    }

    /// Bits of a grid of activations; `for_winograd`: whether all that read it are such convolutions.
    pub fn activations(self, for_winograd: bool) -> u32 {
        match self {
            Self::Uniform { activations, .. } => activations,
            Self::Fast if for_winograd => WINOGRAD.1,
            Self::Fast | Self::Small => 8,
        }
    }

    /// Whether some layer gets weights of less than 8 bits, which are worth more than rounding to the nearest.
    pub fn is_low(self) -> bool {
        self != Self::default()
    }

    /// Whether so few bits lose much of what a network has learned, if it is not trained with them.
    pub fn loses_much(self) -> bool {
        matches!(self, Self::Uniform { weights, activations } if weights < 4 || activations < 6)
    }
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected w8a8, fast, small, or wNaM with N and M from 2 to 8, such as w4a8".to_owned();
        match text.to_ascii_lowercase().as_str() {
            "fast" => Ok(Self::Fast),
            "small" => Ok(Self::Small),
            other => {
                let widths = other.strip_prefix('w').and_then(|rest| rest.split_once('a'));
                let width = |text: &str| text.parse().ok().filter(|bits| (2..=8).contains(bits));
                let (weights, activations) = widths.ok_or_else(expected)?;
                match (width(weights), width(activations)) {
                    (Some(weights), Some(activations)) => Ok(Self::Uniform { weights, activations }),
                    _ => Err(expected()),
                }
            }
        }
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform { weights, activations } => write!(f, "w{weights}a{activations}"),
            Self::Fast => f.write_str("fast"),
            Self::Small => f.write_str("small"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["w8a8", "fast", "small", "w4a4", "w2a8"] {
            assert_eq!(name.parse::<Bits>().unwrap().to_string(), name);
        }
        assert_eq!("W8A8".parse(), Ok(Bits::default()));
        for bad in ["w1a8", "w9a8", "w8", "a8", "w8a", "int8", "", "w4a4a4", "w+4a4x"] {
            assert!(bad.parse::<Bits>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ends_and_small_layers_keep_8_bits() {
        let asked = |own, is_end| Asked { is_end, is_winograd: false, parameters: [own, 1000] };
        let w4: Bits = "w4a4".parse().unwrap();
        assert_eq!([w4.largest_code(asked(1, false)), w4.largest_code(asked(1, true))], [7, 127]);
        assert_eq!(Bits::Small.largest_code(asked(10, false)), 127);
        assert_eq!(Bits::Small.largest_code(asked(11, false)), 7);
        assert_eq!(Bits::Small.largest_code(asked(500, true)), 127);
    }

    #[test]
    fn only_winograd_layers_are_fast() {
        let asked = |is_winograd| Asked { is_end: false, is_winograd, parameters: [500, 1000] };
        assert_eq!([true, false].map(|own| Bits::Fast.largest_code(asked(own))), [14, 127]);
        assert_eq!([true, false].map(|own| Bits::Fast.activations(own)), [5, 8]);
        assert!(Bits::Fast.is_low() && !Bits::default().is_low());
    }
}
