use super::*;

/// Levels 5, 6, 7, 6 with thresholds that were rounded to 100, 200 and 300.
const ROUNDED: [i64; 3] = [100, 200, 300];
const LEVELS: [u8; 4] = [5, 6, 7, 6];

fn narrowed(channels: &[&[(i64, i64, u8)]]) -> Option<Vec<i64>> {
    let mut windows = Windows::all(ROUNDED.len());
    for plateaus in channels {
        windows.narrow(plateaus, &ROUNDED, &LEVELS)?;
    }
    windows.thresholds(&ROUNDED)
}

#[test]
fn thresholds_stay_where_they_are_right() {
    let channel = [(0, 99, 5), (100, 199, 6), (200, 290, 7)];
    assert_eq!(narrowed(&[&channel]), Some(ROUNDED.to_vec()));
    assert_eq!(narrowed(&[&[(250, 290, 7)]]), Some(ROUNDED.to_vec()));
}

#[test]
fn a_threshold_moves_to_where_it_is_right_for_all_channels() {
    // The sum 203 is still below the second threshold, and 98 is above the first.
    let first = [(0, 97, 5), (104, 203, 6), (204, 290, 7)];
    let second = [(98, 190, 6), (210, 299, 7), (304, 310, 6)];
    assert_eq!(narrowed(&[&first, &second]), Some(vec![98, 204, 300]));
}

#[test]
fn channels_that_contradict_each_other_have_no_common_staircase() {
    let first = [(0, 103, 5), (105, 190, 6)];
    let second = [(0, 97, 5), (103, 190, 6)];
    assert!(narrowed(&[&first]).is_some() && narrowed(&[&second]).is_some());
    assert_eq!(narrowed(&[&first, &second]), None);
}

#[test]
fn levels_in_another_order_have_no_common_staircase() {
    assert_eq!(narrowed(&[&[(110, 190, 6), (210, 290, 5)]]), None);
    assert_eq!(narrowed(&[&[(210, 290, 7), (291, 295, 7)]]), None);
    // One more step than there are.
    assert_eq!(narrowed(&[&[(0, 99, 4), (100, 150, 5), (151, 190, 6)]]), None);
}

#[test]
fn a_channel_may_step_over_a_level() {
    // No accumulator lies between the first and the second threshold: both may be anywhere up to 210.
    assert_eq!(narrowed(&[&[(0, 40, 5), (210, 290, 7)]]), Some(ROUNDED.to_vec()));
    assert_eq!(narrowed(&[&[(0, 40, 5), (199, 290, 7)]]), Some(vec![100, 199, 300]));
    let other = [(0, 97, 5), (98, 190, 6)];
    assert_eq!(narrowed(&[&[(0, 40, 5), (99, 290, 7)], &other]), None);
}

#[test]
fn thresholds_ascend() {
    // A channel pushes the first threshold up to the second one, which another channel pins.
    let first = [(0, 199, 5), (201, 250, 6)];
    assert_eq!(narrowed(&[&first]), Some(vec![200, 251, 300]));
    let second = [(0, 50, 5), (60, 198, 6), (199, 250, 7)];
    assert_eq!(narrowed(&[&first, &second]), None);
}

#[test]
fn falling_channels_are_read_backwards() {
    let staircase = Staircase { steps: vec![(-10, 7), (0, 6), (10, 5)], last: 20 };
    assert_eq!(plateaus(&staircase, -3, 100), [(40, 70, 5), (73, 100, 6), (103, 130, 7)]);
    assert_eq!(plateaus(&staircase, 3, 100), [(70, 97, 7), (100, 127, 6), (130, 160, 5)]);
}
