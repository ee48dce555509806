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
use crate::requantize::{RequantizeKernel, RequantizeTile, Transform, TransformTile};
use crate::ukernel::Engine;

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
    /// Whether [`Self::convert_four`] is faster than four calls of [`Self::convert`].
    const FOUR: bool = false;

    /// What a pixel's conversion needs and does not depend on the pixel.
    type Constants;

    /// The constants of the channels from `channel` on.
    fn constants(&self, channel: usize) -> Self::Constants;

    /// The levels of a pixel.
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, T>) -> [u8; LANES];

    /// The levels of four pixels.
    #[inline(always)]
    fn convert_four(
        &self,
        constants: &Self::Constants,
        pixels: [Accumulators<'_, T>; 4],
    ) -> [[u8; LANES]; 4] {
        pixels.map(|accumulators| self.convert(constants, accumulators))
    }
}

/// An instruction set. Each has the loop over a tile as a function of its own for each arithmetic: in
/// one function for all of them, compilers run out of registers for constants.
pub(crate) trait Instructions: Copy {
    /// The proof that the CPU has them.
    ///
    /// # Safety
    /// - It has.
    unsafe fn assume() -> Self;

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
    unsafe fn assume() -> Self {
        Self
    }

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

/// A micro-kernel that is one of the functions below.
pub(crate) const fn kernel(
    name: &'static str,
    engine: Engine,
    form: &'static str,
    run: unsafe fn(&Form, bool, &mut RequantizeTile<'_>),
) -> RequantizeKernel {
    RequantizeKernel { name, engine, form, run }
}

pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS16_GENERIC: RequantizeKernel = kernel(
    "requantize_u8_i32_thresholds16_generic",
    Engine::Generic,
    "thresholds16",
    thresholds16::<Portable>,
);
pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS32_GENERIC: RequantizeKernel = kernel(
    "requantize_u8_i32_thresholds32_generic",
    Engine::Generic,
    "thresholds32",
    thresholds32::<Portable>,
);
pub(crate) static REQUANTIZE_U8_I32_NARROW_GENERIC: RequantizeKernel =
    kernel("requantize_u8_i32_narrow_generic", Engine::Generic, "narrow", narrow::<Portable>);
pub(crate) static REQUANTIZE_U8_I32_FIXED_GENERIC: RequantizeKernel =
    kernel("requantize_u8_i32_fixed_generic", Engine::Generic, "fixed", fixed::<Portable>);
pub(crate) static REQUANTIZE_U8_I32_WIDE_GENERIC: RequantizeKernel =
    kernel("requantize_u8_i32_wide_generic", Engine::Generic, "wide", wide::<Portable>);
pub(crate) static REQUANTIZE_U8_I32_CELLS_GENERIC: RequantizeKernel =
    kernel("requantize_u8_i32_cells_generic", Engine::Generic, "cells", cells::<Portable>);
pub(crate) static REQUANTIZE_U8_I32_SEARCH_GENERIC: RequantizeKernel =
    kernel("requantize_u8_i32_search_generic", Engine::Generic, "search", search::<Portable>);

pub(crate) static REQUANTIZE_U8_I32_MANY_GENERIC: RequantizeKernel =
    kernel("requantize_u8_i32_many_generic", Engine::Generic, "many", many);

/// Sums to accumulators.
pub(crate) static TRANSFORM_GENERIC: Transform = Transform { engine: Engine::Generic, run: transform };

/// The end of a micro-kernel that was called with constants of another form than its own.
#[cold]
pub(crate) fn another_form(form: &Form) -> ! {
    unreachable!("constants of the form {}", form.name())
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn thresholds16<I: Instructions>(
    form: &Form,
    one_for_all: bool,
    tile: &mut RequantizeTile<'_>,
) {
    let Form::Thresholds16(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    thresholds(unsafe { I::assume() }, form, one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn thresholds32<I: Instructions>(
    form: &Form,
    one_for_all: bool,
    tile: &mut RequantizeTile<'_>,
) {
    let Form::Thresholds32(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    thresholds(unsafe { I::assume() }, form, one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn narrow<I: Instructions>(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Narrow(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { I::assume() }.convert(form, one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn fixed<I: Instructions>(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Fixed(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { I::assume() }.convert_terms(&Fixed(form), one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn wide<I: Instructions>(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Wide(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { I::assume() }.convert_terms(&Wide(form), one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn cells<I: Instructions>(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Cells(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { I::assume() }.convert(form, one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
pub(crate) unsafe fn search<I: Instructions>(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Search(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { I::assume() }.convert_terms(form, one_for_all, tile);
}

fn many(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Many(form) = form else { another_form(form) };
    form.convert(one_for_all, tile);
}

/// Few steps have code of their own for each number of them.
pub(crate) fn thresholds<I: Instructions, E: Element>(
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

/// Converts a tile, which has been checked. The constants of its first channel are those of `first_channel`, or if
/// `one_for_all` is set, all channels have the same.
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
        let by_fours = if F::FOUR { pixels - pixels % 4 } else { 0 };
        for pixel in (0..by_fours).step_by(4) {
            // SAFETY: the last of the four is less than the number of pixels that both were made for.
            unsafe {
                let group = |pixel| std::array::from_fn(|term| terms[term].get(pixel));
                let groups = [group(pixel), group(pixel + 1), group(pixel + 2), group(pixel + 3)];
                let [a, b, c, d] = form.convert_four(&constants, groups);
                *levels.get(pixel) = a;
                *levels.get(pixel + 1) = b;
                *levels.get(pixel + 2) = c;
                *levels.get(pixel + 3) = d;
            }
        }
        for pixel in by_fours..pixels {
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
