//! Functions of two levels, such as residual sums with their quantizer, on bit planes.
//!
//! A bit of `f(a, b)` is a polynomial over the field of two elements in the bits of `a` and `b` (its
//! algebraic normal form, or Zhegalkin polynomial): an exclusive or of products. Evaluated on whole
//! vectors of planes, one AND and one EOR for each product give 128 bits of the result; nothing is
//! unpacked.

/// A function of two levels of 1 or 2 bits, with a value of as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneFunction {
    pub(crate) bits: u8,
    /// `[product][plane]`: all ones if the product occurs in the plane's polynomial. Bit `i` of a
    /// product's number says whether bit `i` of `a + b · 2^bits` is a factor.
    pub(crate) coefficients: [[u8; 2]; 16],
}

impl PlaneFunction {
    /// Finds the polynomials. Of the values of `function`, only the lowest `bits` bits count.
    ///
    /// # Panics
    /// If `bits` is not 1 or 2.
    pub fn new(bits: u8, function: impl Fn(u8, u8) -> u8) -> Self {
        assert!((1..=2).contains(&bits), "functions of levels of {bits} bits");
        let variables = 2 * u32::from(bits);
        let mask = (1 << bits) - 1;
        let mut coefficients = [[0; 2]; 16];
        for plane in 0..usize::from(bits) {
            let value = |index: usize| function(index as u8 & mask, index as u8 >> bits);
            let mut polynomial: [u8; 16] =
                std::array::from_fn(
                    |index| {
                        if index < 1 << variables { value(index) >> plane & 1 } else { 0 }
                    },
                );
            // The Möbius transform: from values to coefficients.
            for variable in 0..variables {
                for index in 0..1 << variables {
                    if index >> variable & 1 == 1 {
                        polynomial[index] ^= polynomial[index & !(1 << variable)];
                    }
                }
            }
            for (coefficient, occurs) in coefficients.iter_mut().zip(polynomial) {
                coefficient[plane] = if occurs == 1 { u8::MAX } else { 0 };
            }
        }
        Self { bits, coefficients }
    }

    /// Bits of a level.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

/// A row of pixels of two tensors in planes to one of a third.
#[derive(Debug)]
pub struct CombineRow<'a> {
    /// What is computed.
    pub function: &'a PlaneFunction,
    /// The planes of pixel `p` of the first begin at `p · strides[0]`.
    pub a: &'a [u8],
    /// The second, by `strides[1]`.
    pub b: &'a [u8],
    /// The result, by `strides[2]`.
    pub output: &'a mut [u8],
    /// Bytes from a pixel to the next.
    pub strides: [usize; 3],
    /// Number of pixels.
    pub pixels: usize,
    /// Bytes of a pixel: a multiple of the bits.
    pub pixel_len: usize,
}

impl CombineRow<'_> {
    /// Panics unless all pixels are inside their slices.
    pub(crate) fn check(&self) {
        assert!(self.pixel_len.is_multiple_of(usize::from(self.function.bits)), "half a level");
        for (len, stride) in [self.a.len(), self.b.len(), self.output.len()].into_iter().zip(self.strides) {
            let before = self.pixels.saturating_sub(1).checked_mul(stride);
            let end = before.and_then(|before| before.checked_add(self.pixel_len));
            assert!(self.pixels == 0 || end.is_some_and(|end| end <= len), "a row is too short");
        }
    }

    /// Calls `stretch(a, b, output)` for stretches of equal length: pixels, or all of them at once if
    /// nothing lies between them.
    #[inline(always)]
    pub(crate) fn for_each(&mut self, mut stretch: impl FnMut(&[u8], &[u8], &mut [u8])) {
        let [a, b, output] = self.strides;
        let (pixels, len) = if self.strides == [self.pixel_len; 3] {
            (self.pixels.min(1), self.pixels * self.pixel_len)
        } else {
            (self.pixels, self.pixel_len)
        };
        for pixel in 0..pixels {
            let output = &mut self.output[pixel * output..][..len];
            stretch(&self.a[pixel * a..][..len], &self.b[pixel * b..][..len], output);
        }
    }
}
