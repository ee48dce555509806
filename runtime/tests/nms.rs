//! What suppression promises for any boxes.

use proptest::prelude::*;
use ylb_runtime::DetectOptions;
use ylb_runtime::detect::{Candidate, Nms};
use ylb_runtime::picture::Placement;

const CLASSES: usize = 4;

fn candidate() -> impl Strategy<Value = Candidate> {
    // Coordinates of a few pixels and of any size; a box may be inside out.
    let side = prop_oneof![4 => -1000..1000i32, 1 => any::<i32>()];
    (1..1u32 << 30, 0..CLASSES as u32, [side.clone(), side.clone(), side.clone(), side]).prop_map(
        |(score, class, [left, top, right, bottom])| Candidate {
            score,
            class,
            row: 0,
            left,
            top,
            right,
            bottom,
        },
    )
}

/// Up to 60 boxes in rows of their own.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(candidate(), 0..60).prop_map(|mut candidates| {
        for (row, candidate) in candidates.iter_mut().enumerate() {
            candidate.row = row as u32;
        }
        candidates
    })
}

/// Intersection and union, exactly.
fn overlap(a: &Candidate, b: &Candidate) -> (u128, u128) {
    let extent = |low: i32, high: i32| (i128::from(high) - i128::from(low)).max(0) as u128;
    let area = |c: &Candidate| extent(c.left, c.right) * extent(c.top, c.bottom);
    let common =
        extent(a.left.max(b.left), a.right.min(b.right)) * extent(a.top.max(b.top), a.bottom.min(b.bottom));
    (common, area(a) + area(b) - common)
}

fn exceeds(a: &Candidate, b: &Candidate, sixteenths: u32) -> bool {
    let (common, union) = overlap(a, b);
    a.class == b.class && 16 * common > u128::from(sixteenths) * union
}

fn suppress(candidates: &mut [Candidate], sixteenths: u32, limit: usize) -> Vec<Candidate> {
    let options =
        DetectOptions { iou: sixteenths as f32 / 16.0, max_detections: limit, ..Default::default() };
    let mut nms = Nms::new(CLASSES);
    nms.survivors(candidates, &options).copied().collect()
}

proptest! {
    #[test]
    fn kept_boxes_of_a_class_do_not_overlap(mut boxes in candidates(), iou in 0..17u32) {
        let kept = suppress(&mut boxes, iou, usize::MAX);
        for (index, a) in kept.iter().enumerate() {
            for b in &kept[..index] {
                prop_assert!(b.rank() < a.rank());
                prop_assert!(!exceeds(a, b, iou), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn a_dropped_box_overlaps_a_better_one_that_stays(mut boxes in candidates(), iou in 0..17u32) {
        let kept = suppress(&mut boxes, iou, usize::MAX);
        for dropped in boxes.iter().filter(|&candidate| !kept.contains(candidate)) {
            let better = |k: &&Candidate| k.rank() < dropped.rank();
            let suppressed = kept.iter().filter(better).any(|kept| exceeds(kept, dropped, iou));
            prop_assert!(suppressed, "{dropped:?}");
        }
    }

    #[test]
    fn the_order_of_candidates_does_not_matter(
        (mut boxes, mut shuffled) in candidates().prop_flat_map(|boxes| {
            (Just(boxes.clone()), Just(boxes).prop_shuffle())
        }),
        iou in 0..17u32,
    ) {
        prop_assert_eq!(suppress(&mut boxes, iou, 300), suppress(&mut shuffled, iou, 300));
    }

    #[test]
    fn a_limit_takes_the_best(mut boxes in candidates(), iou in 0..17u32, limit in 0..20usize) {
        let mut all = suppress(&mut boxes, iou, usize::MAX);
        all.truncate(limit);
        prop_assert_eq!(suppress(&mut boxes, iou, limit), all);
    }

    #[test]
    fn detections_lie_in_the_picture(mut boxes in candidates(), size in [1..200usize, 1..200usize]) {
        let placement = Placement::new(size, [64, 48]);
        let mut nms = Nms::new(CLASSES);
        for found in nms.detections(&mut boxes, &DetectOptions::default(), &placement) {
            prop_assert!((0.0..=1.0).contains(&found.confidence));
            for (side, extent) in [(found.left, 0), (found.right, 0), (found.top, 1), (found.bottom, 1)] {
                prop_assert!((0.0..=size[extent] as f32).contains(&side), "{found:?}");
            }
        }
    }
}

#[test]
fn options_out_of_range_are_refused_and_taken_as_the_nearer_end() {
    let options = |confidence, iou| DetectOptions { confidence, iou, ..Default::default() };
    assert!(options(0.0, 1.0).check().is_ok());
    assert_eq!(
        options(0.25, 1.5).check().unwrap_err().to_string(),
        "the IoU threshold is 1.5, but it must be between 0 and 1"
    );
    for value in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert!(options(value, 0.5).check().is_err());
        assert!(options(0.5, value).check().is_err());
    }
    // Two equal boxes: above 1 nothing is suppressed, at NaN, which counts as 0, one is.
    let one = Candidate { score: 5, class: 0, row: 0, left: 0, top: 0, right: 9, bottom: 9 };
    let mut nms = Nms::new(1);
    let mut boxes = [one, Candidate { row: 1, ..one }];
    assert_eq!(nms.survivors(&mut boxes, &options(0.25, 7.0)).count(), 2);
    assert_eq!(nms.survivors(&mut boxes, &options(0.25, f32::NAN)).count(), 1);
}
