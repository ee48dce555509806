//! Accumulators to levels, in loops over [`LANES`] channels that compilers vectorise.
//!
//! The loop over pixels is inside the loop over channels, so that constants stay in registers.

mod scale;
mod thresholds;

use std::marker::PhantomData;

use self::scale::{Fixed, Wide};
use self::thresholds::{Element, Few};
use crate::requantize::cells::Cells;
use crate::requantize::forms::{Form, LANES, Thresholds};
use crate::requantize::search::Search;
use crate::requantize::{RequantizeTile, TransformTile};

/// Sums to accumulators, in place. The tile has been checked, but for the lengths of `sums` and
/// `totals`.
#[inline(always)]
pub(crate) fn transform(tile: &TransformTile<'_>, sums: &mut [i32], totals: &[i32]) {
    for pixel in 0..tile.pixels {
        let sums = &mut sums[pixel * tile.stride..][..tile.constants.len()];
        if tile.total_scales.is_empty() {
            for (sum, &constant) in sums.iter_mut().zip(tile.constants) {
                *sum = sum.wrapping_mul(tile.scale).wrapping_add(constant);
            }
        } else {
            let total = totals[pixel];
            for ((sum, &constant), &scale) in sums.iter_mut().zip(tile.constants).zip(tile.total_scales) {
                let scaled = sum.wrapping_mul(tile.scale).wrapping_add(constant);
                *sum = scaled.wrapping_add(total.wrapping_mul(scale));
            }
        }
    }
}

/// Accumulators of [`LANES`] channels, a term each.
pub(crate) type Accumulators<'a, const T: usize> = [&'a [i32; LANES]; T];

/// Arithmetic for [`LANES`] channels of `T` terms.
pub(crate) trait Convert<const T: usize> {
    /// What a pixel's conversion needs and does not depend on the pixel.
    type Constants;

    /// The constants of the channels from `channel` on.
    fn constants(&self, channel: usize) -> Self::Constants;

    /// The levels of a pixel.
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, T>) -> [u8; LANES];
}

/// An instruction set. Each has the loop over a tile as a function of its own for each arithmetic: in
/// one function for all of them, compilers run out of registers for constants.
pub(crate) trait Instructions: Copy {
    /// Calls [`convert`].
    fn convert<F: Convert<T>, const T: usize>(
        self,
        form: &F,
        one_for_all: bool,
        tile: &mut RequantizeTile<'_>,
    );

    /// Converts a tile of one to eight terms.
    #[inline(always)]
    fn convert_terms<F>(self, form: &F, one_for_all: bool, tile: &mut RequantizeTile<'_>)
    where
        F: Convert<1> + Convert<2> + Convert<3> + Convert<4>,
        F: Convert<5> + Convert<6> + Convert<7> + Convert<8>,
    {
        match tile.accumulators.len() {
            1 => self.convert::<F, 1>(form, one_for_all, tile),
            2 => self.convert::<F, 2>(form, one_for_all, tile),
            3 => self.convert::<F, 3>(form, one_for_all, tile),
            4 => self.convert::<F, 4>(form, one_for_all, tile),
            5 => self.convert::<F, 5>(form, one_for_all, tile),
            6 => self.convert::<F, 6>(form, one_for_all, tile),
            7 => self.convert::<F, 7>(form, one_for_all, tile),
            _ => self.convert::<F, 8>(form, one_for_all, tile),
        }
    }
}

/// What every CPU can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Instructions for Portable {
    #[inline(never)]
    fn convert<F: Convert<T>, const T: usize>(
        self,
        form: &F,
        one_for_all: bool,
        tile: &mut RequantizeTile<'_>,
    ) {
        convert(form, one_for_all, tile);
    }
}

/// Converts a tile, which has been checked. The constants of its first channel are those of
/// `first_channel`, or if `one_for_all` is set, all channels have the same.
pub(crate) fn requantize<I: Instructions>(
    instructions: I,
    form: &Form,
    one_for_all: bool,
    tile: &mut RequantizeTile<'_>,
) {
    match form {
        Form::Thresholds16(form) => thresholds(instructions, form, one_for_all, tile),
        Form::Thresholds32(form) => thresholds(instructions, form, one_for_all, tile),
        Form::Narrow(form) => instructions.convert(form, one_for_all, tile),
        Form::Fixed(form) => instructions.convert_terms(&Fixed(form), one_for_all, tile),
        Form::Wide(form) => instructions.convert_terms(&Wide(form), one_for_all, tile),
        Form::Cells(form) => instructions.convert(form, one_for_all, tile),
        Form::Search(form) => instructions.convert_terms(form, one_for_all, tile),
        Form::Many(form) => form.convert(one_for_all, tile),
    }
}

fn thresholds<I: Instructions, E: Element>(
    instructions: I,
    form: &Thresholds<E>,
    one_for_all: bool,
    tile: &mut RequantizeTile<'_>,
) {
    match form.steps {
        0 => instructions.convert(&Few::<E, 0>(form), one_for_all, tile),
        1 => instructions.convert(&Few::<E, 1>(form), one_for_all, tile),
        2 => instructions.convert(&Few::<E, 2>(form), one_for_all, tile),
        3 => instructions.convert(&Few::<E, 3>(form), one_for_all, tile),
        _ => instructions.convert(form, one_for_all, tile),
    }
}

/// Converts a tile; see [`requantize`].
#[inline(always)]
pub(crate) fn convert<F: Convert<T>, const T: usize>(
    form: &F,
    one_for_all: bool,
    tile: &mut RequantizeTile<'_>,
) {
    let terms: [&[i32]; T] = tile.accumulators.try_into().expect("terms were checked");
    let RequantizeTile { stride, pixels, level_stride, .. } = *tile;
    let channel = |first: usize| if one_for_all { 0 } else { tile.first_channel + first };
    let rest = tile.channels % LANES;
    for first in (0..tile.channels - rest).step_by(LANES) {
        let constants = form.constants(channel(first));
        let terms = terms.map(|term| Strided::new(&term[first..], stride, pixels));
        let mut levels = StridedMut::new(&mut tile.levels[first..], level_stride, pixels);
        for pixel in 0..pixels {
            // SAFETY: `pixel` is less than the number of pixels that both were made for.
            unsafe {
                let group = std::array::from_fn(|term| terms[term].get(pixel));
                *levels.get(pixel) = form.convert(&constants, group);
            }
        }
    }
    if rest > 0 {
        let first = tile.channels - rest;
        let constants = form.constants(channel(first));
        for pixel in 0..pixels {
            let mut copies = [[0; LANES]; T];
            for (copy, term) in copies.iter_mut().zip(terms) {
                copy[..rest].copy_from_slice(&term[pixel * stride + first..][..rest]);
            }
            let levels = form.convert(&constants, std::array::from_fn(|term| &copies[term]));
            tile.levels[pixel * level_stride + first..][..rest].copy_from_slice(&levels[..rest]);
        }
    }
}

/// Groups of [`LANES`] elements at equal distances, whose bounds are checked once for all: doing it
/// for every group takes as long as converting 16 channels.
struct Strided<'a> {
    first: *const i32,
    stride: usize,
    elements: PhantomData<&'a [i32]>,
}

/// The same for levels to be written.
struct StridedMut<'a> {
    first: *mut u8,
    stride: usize,
    elements: PhantomData<&'a mut [u8]>,
}

impl<'a> Strided<'a> {
    #[inline(always)]
    fn new(elements: &'a [i32], stride: usize, groups: usize) -> Self {
        check_strided(elements.len(), stride, groups);
        Self { first: elements.as_ptr(), stride, elements: PhantomData }
    }

    /// # Safety
    /// - `group` is less than the number of groups.
    #[inline(always)]
    unsafe fn get(&self, group: usize) -> &'a [i32; LANES] {
        // SAFETY: `new` has checked that all groups are inside the slice.
        unsafe { &*self.first.add(group * self.stride).cast() }
    }
}

impl<'a> StridedMut<'a> {
    #[inline(always)]
    fn new(elements: &'a mut [u8], stride: usize, groups: usize) -> Self {
        check_strided(elements.len(), stride, groups);
        Self { first: elements.as_mut_ptr(), stride, elements: PhantomData }
    }

    /// # Safety
    /// - `group` is less than the number of groups.
    #[inline(always)]
    unsafe fn get(&mut self, group: usize) -> &mut [u8; LANES] {
        // SAFETY: `new` has checked that all groups are inside the slice, which is borrowed mutably.
        unsafe { &mut *self.first.add(group * self.stride).cast() }
    }
}

/// Panics unless `groups` groups of [`LANES`] elements lie within `len` elements.
#[inline(always)]
fn check_strided(len: usize, stride: usize, groups: usize) {
    let last = groups.saturating_sub(1).checked_mul(stride).and_then(|last| last.checked_add(LANES));
    assert!(groups == 0 || last.is_some_and(|end| end <= len), "tile is too short");
}

/// The [`LANES`] elements from `start` on.
#[inline(always)]
pub(crate) fn lanes<E>(elements: &[E], start: usize) -> &[E; LANES] {
    elements[start..][..LANES].try_into().expect("the slice has this length")
}

impl<const T: usize> Convert<T> for Search {
    type Constants = usize;

    #[inline(always)]
    fn constants(&self, channel: usize) -> usize {
        channel
    }

    #[inline(always)]
    fn convert(&self, &channel: &usize, accumulators: Accumulators<'_, T>) -> [u8; LANES] {
        std::array::from_fn(|lane| self.level(channel + lane, accumulators.map(|term| term[lane])))
    }
}

impl Convert<1> for Cells {
    type Constants = usize;

    #[inline(always)]
    fn constants(&self, channel: usize) -> usize {
        channel
    }

    #[inline(always)]
    fn convert(&self, &channel: &usize, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        std::array::from_fn(|lane| self.level(channel + lane, accumulators[lane]))
    }
}
