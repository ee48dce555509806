//! Nothing is read or written beyond an operand: each ends at a page that cannot be accessed.
#![cfg(unix)]

#[path = "support/case.rs"]
mod case;

use std::ops::{Deref, DerefMut};

use case::{Case, Fill, Random, Shape, operands_of};
use ylb_kernels::families::depthwise::{DepthwiseKernel, DepthwiseTile};
use ylb_kernels::families::direct::ConvKernel;
use ylb_kernels::families::lookup::{self, LookupKernel, LookupTile};
use ylb_kernels::families::winograd::{self, LevelsStrip, OutputsStrip, WinogradKernel};
use ylb_kernels::layout::READ_SLACK;
use ylb_kernels::registry;
use ylb_kernels::rows::{PackRow, Rows, UnpackRow};

/// Numbers that end where a protected page begins.
struct Guarded<T> {
    mapping: *mut libc::c_void,
    mapped: usize,
    start: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    fn new(values: &[T]) -> Self {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page has a size");
        let accessible = size_of_val(values).next_multiple_of(page).max(page);
        let mapped = accessible + page;
        // SAFETY: a fresh anonymous mapping, the last page of which is then protected; the values are
        // copied to where they end at that page, which is aligned as the page size is a multiple of
        // their size.
        unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let mapping = libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED, "mmap");
            let guard = mapping.cast::<u8>().add(accessible);
            assert_eq!(libc::mprotect(guard.cast(), page, libc::PROT_NONE), 0, "mprotect");
            let start = guard.cast::<T>().sub(values.len());
            start.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self { mapping, mapped, start, len: values.len() }
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` put `len` values there.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `new` put `len` values there, and nobody else has the pointer.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: unmaps what `new` mapped, once.
        unsafe { libc::munmap(self.mapping, self.mapped) };
    }
}

#[test]
fn convolution_stays_inside_its_operands() {
    for conv in registry::available::<ConvKernel>() {
        let kernel = conv.kernel();
        for (pixels, depth) in [(1, 8), (1, 24), (kernel.mr, 48), (kernel.mr + 1, 72), (3, 136)] {
            let shape = Shape { pixels, runs: 2, depth, step: 8, outputs: kernel.nr };
            for operands in operands_of(kernel, depth, kernel.nr) {
                let case = Case::new(kernel, operands, shape, Fill::Random(depth as u64));
                let input = Guarded::new(&case.input);
                let weights = Guarded::new(&case.weights);
                let mut sums = Guarded::new(&vec![0; case.expected_sums.len()]);
                let mut totals = Guarded::new(&vec![0; case.expected_totals.len()]);
                conv.run(&mut case.tile(&input, &weights, &mut sums, &mut totals));
                assert_eq!(*sums, *case.expected_sums, "{} {operands:?} {shape:?}", kernel.name);
                assert_eq!(*totals, *case.expected_totals, "{} {operands:?} {shape:?}", kernel.name);
            }
        }
    }
}

#[test]
fn winograd_stays_inside_its_operands() {
    for kernel in registry::available::<WinogradKernel>() {
        for (channels, rows, columns) in [(1, 1, 1), (16, 2, 2), (17, 1, 3), (40, 2, 7), (8, 2, 32)] {
            let (row_stride, pixel_stride) = ((columns + 2) * channels, channels);
            let input = Guarded::new(&vec![3u8; (rows + 2) * row_stride + READ_SLACK]);
            let len = winograd::transformed_len(channels, columns);
            let mut transformed = Guarded::new(&vec![0i8; len]);
            kernel.transform(&mut LevelsStrip {
                input: &input,
                input_offset: 0,
                row_stride,
                pixel_stride,
                channels,
                rows,
                columns,
                transformed: &mut transformed,
            });
            let mut weights = vec![0; kernel.packed_len(channels)];
            kernel.pack(&vec![2; winograd::OUTPUTS * 9 * channels], channels, &mut weights);
            let weights = Guarded::new(&weights);
            let mut partial = Guarded::new(&vec![0i32; winograd::partial_len(columns)]);
            let mut sums = Guarded::new(&vec![0i32; winograd::sums_len(columns)]);
            kernel.run(&mut OutputsStrip {
                transformed: &transformed,
                channels,
                columns,
                weights: &weights,
                partial: &mut partial,
                sums: &mut sums,
            });
            let expected = 9 * 3 * 2 * channels as i32;
            assert_eq!(sums[..winograd::OUTPUTS], [expected; winograd::OUTPUTS], "{}", kernel.kernel().name);
        }
    }
}

#[test]
fn look_ups_stay_inside_their_operands() {
    for kernel in registry::available::<LookupKernel>() {
        for (pixels, quads, planes) in [(1, 1, 2), (4, 3, 2), (5, 4, 3), (9, 7, 2)] {
            let levels = Guarded::new(&vec![3u8; (pixels + quads) * lookup::QUAD]);
            let mut tables = Guarded::new(&vec![0u8; (pixels + quads) * lookup::TABLE]);
            kernel.make_tables(&levels, &mut tables);
            let mut weights = vec![0; kernel.packed_len(1, quads, planes)];
            let codes = vec![1; lookup::OUTPUTS * quads * lookup::QUAD];
            kernel.pack(&codes, [1, quads, planes], &mut weights);
            let weights = Guarded::new(&weights);
            let mut sums = Guarded::new(&vec![0i32; pixels * lookup::OUTPUTS]);
            kernel.run(&mut LookupTile {
                tables: &tables,
                offset: lookup::TABLE,
                pixel_step: lookup::TABLE,
                runs: &[0],
                quads,
                planes,
                weights: &weights,
                pixels,
                sums: &mut sums,
            });
            let expected = vec![(3 * lookup::QUAD * quads) as i32; sums.len()];
            assert_eq!(*sums, *expected, "{}", kernel.kernel().name);
        }
    }
}

#[test]
fn depthwise_convolution_stays_inside_its_operands() {
    for depthwise in registry::available::<DepthwiseKernel>() {
        for (kernel, stride) in [([3, 3], 1), ([3, 3], 2), ([5, 5], 1), ([2, 1], 3)] {
            for (channels, pixels) in [(1, 1), (16, 2), (17, 5), (40, 4)] {
                let width = (pixels - 1) * stride + kernel[1];
                let input = Guarded::new(&vec![3u8; kernel[0] * width * channels + READ_SLACK]);
                let taps = kernel[0] * kernel[1];
                let mut weights = vec![0; depthwise.packed_len(channels, taps)];
                depthwise.pack(|_, _| -2, [channels, taps], &mut weights);
                let weights = Guarded::new(&weights);
                let sums_stride = channels.next_multiple_of(16);
                let mut sums = Guarded::new(&vec![0i32; pixels * sums_stride]);
                depthwise.run(&mut DepthwiseTile {
                    input: &input,
                    input_offset: 0,
                    pixel_step: stride * channels,
                    kernel,
                    row_step: width * channels,
                    column_step: channels,
                    channels,
                    weights: &weights,
                    pixels,
                    sums: &mut sums,
                    sums_stride,
                });
                let last = &sums[(pixels - 1) * sums_stride..][..channels];
                assert!(last.iter().all(|&sum| sum == -6 * taps as i32), "{}", depthwise.kernel().name);
            }
        }
    }
}

#[test]
fn rows_stay_inside_their_operands() {
    for rows in Rows::available() {
        for bits in 1..=4u8 {
            for channels in [0usize, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 40, 63, 64, 100, 128, 129, 200] {
                let pixels = 3;
                let mut random = Random(channels as u64);
                let levels: Vec<u8> =
                    (0..pixels * channels).map(|_| random.within(0..=(1 << bits) - 1) as u8).collect();
                let pixel_len = channels.div_ceil(8) * usize::from(bits);
                let levels = Guarded::new(&levels);
                let mut planes = Guarded::new(&vec![0; pixels * pixel_len]);
                rows.pack(PackRow {
                    levels: &levels,
                    level_stride: channels,
                    pixels,
                    channels,
                    bits,
                    planes: &mut planes,
                    pixel_stride: pixel_len,
                });
                let mut unpacked = Guarded::new(&vec![0xff; pixels * channels]);
                rows.unpack(UnpackRow {
                    planes: &planes,
                    pixel_stride: pixel_len,
                    pixels,
                    channels,
                    bits,
                    levels: &mut unpacked,
                    level_stride: channels,
                });
                assert_eq!(*unpacked, *levels, "{:?}, {bits} bits, {channels} channels", rows.engine());
            }
        }
    }
}

#[test]
fn the_guard_page_is_protected() {
    let values = Guarded::new(&[1u8, 2, 3]);
    // SAFETY: the child only reads a byte that it must not, and ends by that, or else by `_exit`.
    let status = unsafe {
        match libc::fork() {
            0 => {
                libc::signal(libc::SIGSEGV, libc::SIG_DFL);
                let byte = values.start.add(values.len).read_volatile();
                libc::_exit(i32::from(byte == 0));
            }
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                status
            }
        }
    };
    assert!(libc::WIFSIGNALED(status), "a read of the guard page went through: {status}");
}
