//! Networks that are made up for measuring take the same arithmetic, layer by layer, as converted ones.

use std::collections::BTreeMap;

use ylb_converter::Options;
use ylb_format::model::Operator;
use ylb_kernels::registry::Dispatch;
use ylb_runtime::Network;
use ylb_tests::shared;
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

fn made_up(bits: u8, activation: Activation, grid: Grid) -> Network {
    let model = synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: [640, 640],
        weight_bits: bits,
        activation_bits: bits,
        edge_weight_bits: 8,
        classes: 3,
        activation,
        grid,
        seed: 1,
    });
    ylb_format::validate(&model).expect("a valid model");
    Network::new(model, &Dispatch::from_environment().unwrap()).unwrap()
}

/// Forms of requantization by the names of convolutions, as YOLOv5's modules are called.
fn forms(network: &Network) -> BTreeMap<String, &'static str> {
    let convs = network.steps().filter(|step| matches!(step.node.operator, Operator::Conv(_)));
    let form = |step: ylb_runtime::StepInfo<'_>| Some((step.node.name.clone(), step.requantization?.form));
    convs.filter_map(form).collect()
}

fn count(forms: &BTreeMap<String, &'static str>) -> BTreeMap<&'static str, usize> {
    forms.values().fold(BTreeMap::new(), |mut counts, &form| {
        *counts.entry(form).or_default() += 1;
        counts
    })
}

/// Layers of a made-up network that fall to the search are no more than these.
fn at_most(searched: usize, counts: &BTreeMap<&'static str, usize>) -> bool {
    counts.get("search").is_none_or(|&found| found <= searched)
}

#[test]
fn silu_takes_cells_and_thresholds() {
    // On ARM cells are faster than more than seven comparisons.
    let four_bits: &[&str] =
        if cfg!(target_arch = "aarch64") { &["cells"] } else { &["cells", "thresholds16"] };
    for grid in [Grid::Signed, Grid::ZeroPoint] {
        for (bits, expected) in [(8, &["cells"][..]), (4, four_bits), (2, &[])] {
            let counts = count(&forms(&made_up(bits, Activation::Silu, grid)));
            println!("silu W{bits}A{bits}, {}: {counts:?}", grid.name());
            assert_eq!(counts.values().sum::<usize>(), 57);
            assert!(expected.iter().all(|form| counts.contains_key(form)), "{counts:?}");
            let steps = ["cells", "thresholds16", "thresholds32", "planes"];
            assert!(counts.keys().all(|form| steps.contains(form)), "{counts:?}");
            assert!(at_most(0, &counts), "{counts:?}");
        }
    }
}

#[test]
fn other_functions_take_what_is_published() {
    for activation in [Activation::LeakyRelu, Activation::Hardswish, Activation::Mish, Activation::Sigmoid] {
        for bits in [8, 4] {
            let counts = count(&forms(&made_up(bits, activation, Grid::Signed)));
            println!("{} W{bits}A{bits}, signed: {counts:?}", activation.name());
            // With 8 bits the steps below 0 of a leaky ReLU take most of an axis of 32 bits; what is left is too coarse for
            // some layers.
            let searched = if activation == Activation::LeakyRelu && bits == 8 { 7 } else { 0 };
            assert!(at_most(searched, &counts), "{} W{bits}A{bits}: {counts:?}", activation.name());
        }
    }
}

/// The project's own detectors, which took the search before there were cells.
#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "minutes in an emulator, and forms depend on no CPU")]
fn made_up_networks_take_the_forms_of_converted_ones() {
    for bits in [8, 4, 2] {
        let name = format!("yolov5n-silu-w{bits}a{bits}-640.onnx");
        let Some(path) = shared::path(&format!("models/{name}")) else { return };
        let onnx = std::fs::read(path).unwrap();
        let converted = ylb_converter::convert(&onnx, &name, &Options::default(), &mut |_| {}).unwrap();
        let network = Network::new(converted.model, &Dispatch::from_environment().unwrap()).unwrap();
        // A module's name, of that of the node: /network/model.2/m/m.0/cv1/conv/Conv
        let module = |node: &str| {
            let path = node.strip_prefix("/network/")?.strip_suffix("/conv/Conv")?;
            Some(path.replace("/m/m.", ".m.").replace('/', "."))
        };
        let theirs: BTreeMap<_, _> =
            forms(&network).into_iter().map(|(node, form)| (module(&node).unwrap(), form)).collect();
        let ours = forms(&made_up(bits, Activation::Silu, Grid::Signed));
        println!("W{bits}A{bits}: {:?}, made up {:?}", count(&theirs), count(&ours));
        assert!(theirs.keys().eq(ours.keys()), "{theirs:?} {ours:?}");
        // A layer that fell to the search is the converted network's defect, and not to be made up.
        let differ: Vec<_> =
            ours.iter().filter(|&(name, form)| theirs[name] != *form && theirs[name] != "search").collect();
        assert!(differ.is_empty(), "W{bits}A{bits}: {differ:?}");
    }
}
