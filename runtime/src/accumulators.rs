//! Accumulators of a head as they are kept until boxes are made of them: in 16 bits where all fit, which halves
//! the largest thing that a frame writes.

use ylb_kernels::requantize::AccumulatorRange;

/// Accumulators of some rows, `[row][column][channel]`.
pub enum Accumulators<'a> {
    /// 32 bits each.
    Wide(&'a mut [i32]),
    /// 16 bits each.
    Narrow(&'a mut [i16]),
}

/// A number that an accumulator is kept in.
pub trait Accumulator: Copy {
    /// The number of an accumulator that is in its range.
    fn new(accumulator: i32) -> Self;

    /// Accumulators as a micro-kernel writes them, if they are kept so.
    fn as_sums(accumulators: &mut [Self]) -> Option<&mut [i32]>;
}

/// Whether 16 bits suffice for accumulators of these ranges.
pub fn fit_16_bits(ranges: &[AccumulatorRange]) -> bool {
    ranges.iter().all(|range| range.min >= i16::MIN.into() && range.max <= i16::MAX.into())
}

impl Accumulators<'_> {
    /// None, for a value that holds levels.
    pub const fn none() -> Self {
        Self::Wide(&mut [])
    }

    /// Cuts after so many of the rows that these are.
    pub fn split(self, rows: usize, after: usize) -> (Self, Self) {
        fn halves<T>(all: &mut [T], rows: usize, after: usize) -> (&mut [T], &mut [T]) {
            all.split_at_mut(all.len() / rows.max(1) * after)
        }
        match self {
            Self::Wide(all) => {
                let (before, behind) = halves(all, rows, after);
                (Self::Wide(before), Self::Wide(behind))
            }
            Self::Narrow(all) => {
                let (before, behind) = halves(all, rows, after);
                (Self::Narrow(before), Self::Narrow(behind))
            }
        }
    }
}

impl Accumulator for i32 {
    fn new(accumulator: i32) -> Self {
        accumulator
    }

    fn as_sums(accumulators: &mut [Self]) -> Option<&mut [i32]> {
        Some(accumulators)
    }
}

impl Accumulator for i16 {
    fn new(accumulator: i32) -> Self {
        // The bounds change nothing; with them, a conversion of many is one instruction of SSE2.
        accumulator.clamp(Self::MIN.into(), Self::MAX.into()) as Self
    }

    fn as_sums(_: &mut [Self]) -> Option<&mut [i32]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_suffice_up_to_their_ends() {
        let range = |min, max| AccumulatorRange { min, max };
        assert!(fit_16_bits(&[]));
        assert!(fit_16_bits(&[range(0, 1), range(-32768, 32767)]));
        assert!(!fit_16_bits(&[range(0, 1), range(-32768, 32768)]));
        assert!(!fit_16_bits(&[range(-32769, 0), range(0, 1)]));
        for accumulator in [-32768, -1, 0, 255, 32767] {
            assert_eq!(i32::from(i16::new(accumulator)), accumulator);
        }
    }

    #[test]
    fn bands_are_whole_rows() {
        let mut numbers: Vec<i16> = (0..12).collect();
        let Accumulators::Narrow(all) = Accumulators::Narrow(&mut numbers).split(4, 1).1 else {
            panic!("they stay narrow");
        };
        assert_eq!(all, &[3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert!(matches!(Accumulators::none().split(7, 3), (Accumulators::Wide([]), Accumulators::Wide([]))));
    }
}
