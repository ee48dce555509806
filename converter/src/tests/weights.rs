//! Folders made up of random numbers, converted and compared with their float graphs.

use std::fs;

use made::{ALL_QUANTIZED, Made, SMALL, made, saved};
use ylb_source::npy::{Array, Elements};
use ylb_source::weights::{self, Arrays, Network};
use ylb_source::{Described, Source, SourceError};

use super::*;
use crate::{convert_source, reference};

mod family;
mod folder;
#[allow(dead_code, reason = "the tests of damaged folders use the rest")]
#[path = "../../../source/tests/support/made.rs"]
mod made;

fn convert(source: &Source) -> Converted {
    convert_source(source, &Options::default(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a model on a synthetic picture and asserts that every code and output is the source's.
fn prove(source: &Source, converted: &Converted) {
    use crate::compare::{Bar, Codes, Executed, Reference, Verdict, planar, synthetic_picture};
    let model = &converted.model;
    let input = model.picture();
    let pixels = planar(&synthetic_picture([input.height as usize, input.width as usize]));
    let execution = reference::execute(model, &pixels);
    let value = |(index, value): (usize, &ylb_format::model::Value)| {
        let data = execution.codes(ylb_format::model::ValueId(index as u32))?;
        Some(Codes { name: value.name.clone(), data }).filter(|codes| !codes.name.is_empty())
    };
    let codes: Vec<Codes> = model.values.iter().enumerate().filter_map(value).collect();
    // A network of zeros would prove nothing.
    let alive = codes.iter().filter(|codes| codes.data.iter().any(|&code| code != codes.data[0])).count();
    assert!(alive * 10 >= codes.len() * 9, "{alive} of {} layers are alive", codes.len());
    let executed = Executed { codes, outputs: execution.outputs() };
    let reference = Reference::of_source(source, model).unwrap();
    let comparison = reference.compare(&pixels, &executed, &mut |_, _| {}).unwrap();
    assert_eq!(comparison.verdict(Bar::Strict), Verdict::Equal, "{:?}", comparison.first_divergence());
}
