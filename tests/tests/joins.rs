//! A real export without quantizers behind its sums and concats, with an accumulator for each scale and with
//! requantized joins: the runtime against the reference executor, value by value.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_converter::reference::execute;
use ylb_converter::{Options, convert};
use ylb_format::model::{Model, Operator, ValueId};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_tests::rng::Rng;
use ylb_tests::shared;

/// The model with a name for every value, so that the runtime tells its codes.
fn named(mut model: Model) -> Model {
    for (index, value) in model.values.iter_mut().enumerate() {
        value.name = format!("value {index}");
    }
    model
}

fn most_terms(model: &Model) -> usize {
    let terms = |operator: &Operator| if let Operator::Conv(conv) = operator { conv.terms.len() } else { 0 };
    model.nodes.iter().map(|node| terms(&node.operator)).max().unwrap_or(0)
}

#[test]
fn joins_of_every_kind_run_as_they_are_defined() {
    let Some(folder) = shared::path("cases") else { return };
    let onnx = std::fs::read(folder.join("qonnx_relu_w2a2_naive_raw/model.onnx")).expect("the case's model");
    for (requantize_joins, terms) in [(None, 5), (Some(8), 1), (Some(16), 2)] {
        let options = Options { requantize_joins, ..Options::default() };
        let converted = convert(&onnx, "model.onnx", &options, &mut |_| {});
        let model = named(converted.unwrap_or_else(|error| panic!("{requantize_joins:?}: {error}")).model);
        assert_eq!(most_terms(&model), terms, "{requantize_joins:?}");
        let input = model.picture();
        let area = input.height as usize * input.width as usize;
        let planes = Rng::new(1).bytes(3 * area);
        let pixels: Vec<u8> = (0..3 * area).map(|index| planes[index % 3 * area + index / 3]).collect();
        let reference = execute(&model, &planes);
        let network = Arc::new(
            Network::new(model.clone(), &Dispatch::restricted_to("").expect("all kernels"))
                .expect("a network"),
        );
        let options = SessionOptions { threads: 1, keep_values: true, profile: false };
        let mut session = Session::new(network, options).expect("a session");
        session.run_pixels(&pixels).expect("a frame");
        let codes: BTreeMap<_, _> =
            session.codes().into_iter().map(|codes| (codes.name.clone(), codes.data)).collect();
        for (index, value) in model.values.iter().enumerate() {
            let Some(expected) = reference.codes(ValueId(index as u32)) else { continue };
            assert!(codes[&value.name] == expected, "{requantize_joins:?}: {}", value.name);
        }
        let outputs = session.outputs().expect("outputs");
        for (ours, theirs) in outputs.iter().zip(reference.outputs()) {
            assert_eq!(ours.data, theirs.data, "{requantize_joins:?}");
        }
    }
}
