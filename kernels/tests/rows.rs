//! Row functions of every engine equal their definition.

#[path = "support/case.rs"]
mod case;

use case::{Random, planes};
use ylb_kernels::rows::{PackRow, Rows, UnpackRow};
use ylb_kernels::ukernel::Engine;

const CHANNELS: [usize; 26] =
    [0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 48, 63, 64, 65, 80, 96, 127, 128, 129, 255, 256];

/// What a byte that must not be written holds.
const UNTOUCHED: u8 = 0xa5;

fn random_levels(len: usize, bits: u8, seed: usize) -> Vec<u8> {
    let mut random = Random(seed as u64);
    (0..len).map(|_| random.within(0..=(1 << bits) - 1) as u8).collect()
}

/// Calls `test` with every engine, number of planes, and gap between pixels in both forms.
fn for_all(mut test: impl FnMut(Rows, u8, usize, usize)) {
    for rows in Rows::available() {
        for bits in 1..=4 {
            for channels in CHANNELS {
                for gap in [0, 5] {
                    test(rows, bits, channels, gap);
                }
            }
        }
    }
}

#[test]
fn pack_writes_the_planes_of_the_layout() {
    for_all(|rows, bits, channels, gap| {
        let pixels = 3;
        let level_stride = channels + gap;
        let pixel_len = channels.div_ceil(8) * usize::from(bits);
        let pixel_stride = pixel_len + gap;
        let levels = random_levels(pixels * level_stride, bits, channels);
        let mut expected = vec![UNTOUCHED; pixels * pixel_stride];
        for p in 0..pixels {
            let pixel: Vec<i32> = levels[p * level_stride..][..channels].iter().map(|&l| l.into()).collect();
            expected[p * pixel_stride..][..pixel_len].copy_from_slice(&planes(&pixel, bits.into()));
        }
        let mut packed = vec![UNTOUCHED; pixels * pixel_stride];
        let planes = &mut packed[..];
        rows.pack(PackRow { levels: &levels, level_stride, pixels, channels, bits, planes, pixel_stride });
        assert_eq!(packed, expected, "{:?}, {bits} bits, {channels} channels, gap {gap}", rows.engine());
    });
}

#[test]
fn pack_ignores_bits_beyond_the_planes() {
    for_all(|rows, bits, channels, _| {
        let levels = random_levels(channels, 8, channels);
        let masked: Vec<i32> = levels.iter().map(|&level| i32::from(level) & ((1 << bits) - 1)).collect();
        let pixel_stride = channels.div_ceil(8) * usize::from(bits);
        let mut packed = vec![UNTOUCHED; pixel_stride];
        let planes_out = &mut packed[..];
        rows.pack(PackRow {
            levels: &levels,
            level_stride: channels,
            pixels: 1,
            channels,
            bits,
            planes: planes_out,
            pixel_stride,
        });
        assert_eq!(packed, planes(&masked, bits.into()), "{:?}, {bits} bits", rows.engine());
    });
}

#[test]
fn unpack_reads_the_planes_of_the_layout() {
    for_all(|rows, bits, channels, gap| {
        let pixels = 3;
        let level_stride = channels + gap;
        let pixel_len = channels.div_ceil(8) * usize::from(bits);
        let pixel_stride = pixel_len + gap;
        let mut expected = random_levels(pixels * level_stride, bits, channels);
        let mut packed = vec![UNTOUCHED; pixels * pixel_stride];
        for p in 0..pixels {
            let pixel: Vec<i32> =
                expected[p * level_stride..][..channels].iter().map(|&l| l.into()).collect();
            packed[p * pixel_stride..][..pixel_len].copy_from_slice(&planes(&pixel, bits.into()));
            expected[p * level_stride..][channels..level_stride].fill(UNTOUCHED);
        }
        let mut unpacked = vec![UNTOUCHED; pixels * level_stride];
        let (planes, levels) = (&packed[..], &mut unpacked[..]);
        rows.unpack(UnpackRow { planes, pixel_stride, pixels, channels, bits, levels, level_stride });
        assert_eq!(unpacked, expected, "{:?}, {bits} bits, {channels} channels, gap {gap}", rows.engine());
    });
}

#[test]
fn lookups_and_maxima() {
    let table: [u8; 256] = std::array::from_fn(|level| (level * 7 + 3) as u8);
    for rows in Rows::available() {
        for len in [0, 1, 15, 16, 17, 31, 33, 64, 65, 100, 200] {
            let a = random_levels(len, 4, len);
            let wide = random_levels(len, 8, len + 2);
            let mut output = vec![0; len];
            rows.lookup(&wide, &table, &mut output);
            assert_eq!(output, ylb_kernels::reference::map(&wide, &table));
            for (a_levels, b_levels) in [(4, 4), (16, 4), (16, 5), (16, 16), (3, 16), (2, 200), (256, 3)] {
                let [a, b] = [(&a, a_levels), (&wide, b_levels)].map(|(row, levels)| {
                    row.iter().map(|level| (usize::from(*level) % levels) as u8).collect()
                });
                let (a, b): (Vec<u8>, Vec<u8>) = (a, b);
                let table2: Vec<u8> = (0..a_levels * b_levels).map(|pair| (pair * 5 + 1) as u8).collect();
                rows.lookup2(&a, &b, b_levels, &table2, &mut output);
                let pair = |(&a, &b): (&u8, &u8)| table2[usize::from(a) * b_levels + usize::from(b)];
                assert_eq!(output, a.iter().zip(&b).map(pair).collect::<Vec<_>>());
            }
            let mut largest = a.clone();
            rows.max_assign(&mut largest, &wide);
            assert_eq!(largest, a.iter().zip(&wide).map(|(&a, &b)| a.max(b)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_engine_can_be_restricted() {
    let fastest = Rows::available().next().expect("generic is always available").engine();
    assert_eq!(Rows::new("").engine(), fastest);
    assert_eq!(Rows::new("mulconv").engine(), fastest);
    assert_eq!(Rows::new("generic").engine(), Engine::Generic);
    assert_eq!(Rows::new("mulconv,bsconv_i32_ux_ux_1x16_generic").engine(), Engine::Generic);
}

#[test]
fn short_rows_panic() {
    for rows in Rows::available() {
        let panics = |levels: usize, planes: usize, bits: u8| {
            let (levels, mut planes) = (vec![0; levels], vec![0; planes]);
            let row = PackRow {
                levels: &levels,
                level_stride: 16,
                pixels: 2,
                channels: 9,
                bits,
                planes: &mut planes,
                pixel_stride: 8,
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rows.pack(row))).is_err()
        };
        assert!(!panics(25, 12, 2));
        assert!(panics(24, 12, 2));
        assert!(panics(25, 11, 2));
        assert!(panics(25, 100, 0));
        assert!(panics(25, 100, 5));
    }
}
