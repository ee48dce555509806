//! Words for networks that are made up instead of read from a file.

use std::str::FromStr;

/// Bits of weights and activations, such as `w2a2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bits of a weight, 1 to 8.
    pub weights: u8,
    /// Bits of an activation, 1 to 8.
    pub activations: u8,
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (weights, activations) = text.strip_prefix(['w', 'W'])?.split_once(['a', 'A'])?;
            let bits = |text: &str| text.parse().ok().filter(|bits| (1..=8).contains(bits));
            Some(Self { weights: bits(weights)?, activations: bits(activations)? })
        };
        parse().ok_or_else(|| "expected bits of weights and activations, 1 to 8, such as w2a2".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_or_refused() {
        assert_eq!("w2a4".parse(), Ok(Bits { weights: 2, activations: 4 }));
        assert_eq!("W1A8".parse(), Ok(Bits { weights: 1, activations: 8 }));
        for text in ["", "w2", "a2", "w0a2", "w2a9", "w2a2x", "2a2"] {
            assert!(text.parse::<Bits>().is_err(), "{text}");
        }
    }
}
