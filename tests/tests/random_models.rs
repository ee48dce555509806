//! The runtime against the reference executor, level by level, on random models.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_converter::reference::execute;
use ylb_format::model::{Model, ValueId};
use ylb_kernels::registry::{Dispatch, all_kernels};
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_tests::random_model::{random_model, whole_map_model};
use ylb_tests::rng::Rng;

/// A restriction to each micro-kernel, to some families and to portable code, and the choice without any.
fn dispatches() -> Vec<Dispatch> {
    let mut restrictions = vec![String::new(), "mulconv".to_owned(), "bsconv".to_owned()];
    restrictions.extend(all_kernels().map(|kernel| kernel.name().to_owned()));
    restrictions.push("generic".to_owned());
    // A name of another CPU is an error, and then there is nothing to test.
    restrictions.iter().filter_map(|restriction| Dispatch::restricted_to(restriction).ok()).collect()
}

#[test]
fn every_value_equals_the_reference() {
    let models = if cfg!(target_arch = "x86_64") { 150 } else { 40 };
    let dispatches = dispatches();
    for seed in 0..models {
        let model = random_model(seed);
        ylb_format::write(&model).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        check(&model, seed, &dispatches[seed as usize % dispatches.len()]);
    }
}

/// Means and maxima of maps of more rows and columns than any other window has.
#[test]
fn windows_of_whole_maps() {
    let dispatches = dispatches();
    for (seed, size) in (0..).zip([[80, 80], [1, 256], [181, 182], [129, 65]]) {
        for dispatch in dispatches.iter().take(4) {
            let model = whole_map_model(seed, size);
            ylb_format::write(&model).unwrap_or_else(|error| panic!("{size:?}: {error}"));
            check(&model, seed, dispatch);
        }
    }
}

fn check(model: &Model, seed: u64, dispatch: &Dispatch) {
    let input = model.picture();
    let area = input.height as usize * input.width as usize;
    let planes = Rng::new(seed).bytes(3 * area);
    let pixels: Vec<u8> = (0..3 * area).map(|index| planes[index % 3 * area + index / 3]).collect();
    let reference = execute(model, &planes);
    let network = Arc::new(Network::new(model.clone(), dispatch).expect("a network"));
    for threads in [1, 3] {
        let options = SessionOptions { threads, keep_values: true, profile: false };
        let mut session = Session::new(Arc::clone(&network), options).expect("a session");
        session.run_pixels(&pixels).expect("a frame");
        let codes: BTreeMap<_, _> =
            session.codes().into_iter().map(|codes| (codes.name.clone(), codes.data)).collect();
        for (index, value) in model.values.iter().enumerate() {
            let Some(expected) = reference.codes(ValueId(index as u32)) else {
                continue;
            };
            let ours = &codes[&value.name];
            let different = ours.iter().zip(&expected).position(|(a, b)| a != b);
            assert!(
                different.is_none() && ours.len() == expected.len(),
                "seed {seed}, {threads} threads, {}: element {different:?} of {} x {} x {} differs; written by {:?}",
                value.name,
                value.channels,
                value.height,
                value.width,
                model.nodes.iter().find(|node| node.output.0 as usize == index).map(|node| &node.name),
            );
        }
        // Outputs, also with memory reused.
        let options = SessionOptions { threads, ..SessionOptions::default() };
        let mut reusing = Session::new(Arc::clone(&network), options).expect("a session");
        for _ in 0..2 {
            reusing.run_pixels(&pixels).expect("a frame");
            assert_eq!(
                reusing.outputs().expect("outputs"),
                session.outputs().expect("outputs"),
                "seed {seed}"
            );
        }
        let expected = reference.outputs();
        for (ours, theirs) in session.outputs().expect("outputs").iter().zip(&expected) {
            assert_eq!(ours.data, theirs.data, "seed {seed}");
        }
    }
}
