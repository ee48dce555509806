//! What a calibration has to say: in a report, in tables and in sentences.

use serde::Serialize;
use ylb_calibrate::{Afforded, Budget, Layer, Trial};

use super::Calibration;
use crate::output::{Align, Table};

/// The calibration in a report.
#[derive(Debug, Serialize)]
pub struct Document {
    bits: String,
    pictures: usize,
    /// `null` where it was not measured.
    agreement: Option<Agreement>,
    /// `null` without `--data`.
    accuracy: Option<Accuracies>,
    /// `null` without --budget.
    budget: Option<BudgetDocument>,
    layers: Vec<LayerDocument>,
    /// Empty where it was not measured what fewer bits cost a layer.
    sensitivity: Vec<TrialDocument>,
}

/// mAP on labelled pictures.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Accuracies {
    /// Of the model in floats: mAP50 and mAP50-95.
    pub float: [Option<f64>; 2],
    /// Of the converted model.
    pub converted: [Option<f64>; 2],
    /// The pictures that it was measured on.
    pub pictures: usize,
}

/// How well the converted model finds what the model in floats finds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Agreement {
    /// mAP50-95 with the detections of the model in floats for labels.
    pub map50_95: f64,
    /// The pictures that it was measured on.
    pub pictures: usize,
    /// Whether these are others than those of the calibration.
    pub held_out: bool,
}

#[derive(Debug, Serialize)]
struct BudgetDocument {
    /// Bytes, or cycles of a Cortex-A72 by a model.
    unit: &'static str,
    asked: f64,
    estimated: f64,
    head_signal_to_noise_db: f64,
}

#[derive(Debug, Serialize)]
struct TrialDocument {
    layer: String,
    of: &'static str,
    bits: Vec<u32>,
    head_signal_to_noise_db: Vec<f64>,
    chosen: Option<u32>,
}

#[derive(Debug, Serialize)]
struct LayerDocument {
    layer: String,
    weight_bits: Option<u32>,
    weight_signal_to_noise_db: Option<f64>,
    activation_bits: Option<u32>,
    activation_signal_to_noise_db: Option<f64>,
}

impl Calibration {
    /// What a report says.
    pub fn document(&self, agreement: Option<Agreement>, accuracy: Option<Accuracies>) -> Document {
        let trial = |trial: &Trial| TrialDocument {
            layer: trial.name.clone(),
            of: what(trial),
            bits: trial.tried.iter().map(|tried| tried.bits).collect(),
            head_signal_to_noise_db: trial.tried.iter().map(|tried| tried.signal_to_noise).collect(),
            chosen: trial.chosen,
        };
        let layer = |layer: &Layer| LayerDocument {
            layer: layer.name.clone(),
            weight_bits: layer.weights.map(|error| error.bits),
            weight_signal_to_noise_db: layer.weights.map(|error| error.signal_to_noise),
            activation_bits: layer.activations.map(|error| error.bits),
            activation_signal_to_noise_db: layer.activations.map(|error| error.signal_to_noise),
        };
        Document {
            bits: self.wanted.to_string(),
            pictures: self.pictures,
            agreement,
            accuracy,
            budget: self.wanted.budget.zip(self.afforded).map(|(budget, afforded)| {
                let (unit, asked) = match budget {
                    Budget::Bytes(bytes) => ("bytes", bytes),
                    Budget::Cycles(cycles) => ("cycles", cycles),
                };
                let head_signal_to_noise_db = afforded.signal_to_noise;
                BudgetDocument { unit, asked, estimated: afforded.cost, head_signal_to_noise_db }
            }),
            layers: self.layers.iter().map(layer).collect(),
            sensitivity: self.trials.iter().map(trial).collect(),
        }
    }

    /// What fewer bits cost the heads, where it was measured.
    pub fn sensitivity(&self) -> Option<Table> {
        let mut widths: Vec<u32> =
            self.trials.iter().flat_map(|trial| &trial.tried).map(|tried| tried.bits).collect();
        widths.sort_unstable_by_key(|&bits| std::cmp::Reverse(bits));
        widths.dedup();
        let titles: Vec<String> = widths.iter().map(|bits| format!("{bits} bits")).collect();
        let mut columns = vec![("head SNR in dB with fewer bits in", Align::Left), ("of", Align::Left)];
        columns.extend(titles.iter().map(|title| (title.as_str(), Align::Right)));
        columns.push(("chosen", Align::Right));
        let mut table = Table::new(&columns);
        for trial in &self.trials {
            let cell = |bits: &u32| {
                let tried = trial.tried.iter().find(|tried| tried.bits == *bits);
                tried.map(|tried| format!("{:.1}", tried.signal_to_noise)).unwrap_or_default()
            };
            let chosen = trial.chosen.map(|bits| bits.to_string()).unwrap_or_default();
            let ends = [trial.name.clone(), what(trial).to_owned()];
            table.row(ends.into_iter().chain(widths.iter().map(cell)).chain([chosen]).collect());
        }
        (!self.trials.is_empty()).then_some(table)
    }

    /// What a budget bought, in a sentence.
    pub fn afforded(&self) -> Option<String> {
        let (budget, Afforded { cost, signal_to_noise }) = self.wanted.budget.zip(self.afforded)?;
        let (cost, by) = match budget {
            Budget::Bytes(_) => (Budget::Bytes(cost), "by an estimate of its file"),
            Budget::Cycles(_) => (Budget::Cycles(cost), "of a Cortex-A72 by a model"),
        };
        Some(format!(
            "{cost} of {budget}, {by}; heads with {signal_to_noise:.1} dB before the layers make up for each other"
        ))
    }

    /// Bits and errors of the layers.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&[
            ("calibrated layer", Align::Left),
            ("weight bits", Align::Right),
            ("SNR in dB", Align::Right),
            ("output bits", Align::Right),
            ("SNR in dB", Align::Right),
        ]);
        for layer in &self.layers {
            let cells = [layer.weights, layer.activations].into_iter().flat_map(|error| {
                let bits = error.map(|error| error.bits.to_string());
                let ratio = error.map(|error| format!("{:.1}", error.signal_to_noise));
                [bits.unwrap_or_default(), ratio.unwrap_or_default()]
            });
            table.row(std::iter::once(layer.name.clone()).chain(cells).collect());
        }
        table
    }

    /// What was done, in a sentence.
    pub fn summary(&self, agreement: Option<Agreement>) -> String {
        let agreement = match agreement {
            None => String::new(),
            Some(Agreement { map50_95, pictures, held_out }) => format!(
                "; agreement with it {map50_95:.3} (mAP50-95 of its own detections, {} that it was {}calibrated on)",
                crate::output::count(pictures, "picture"),
                if held_out { "not " } else { "" },
            ),
        };
        let pictures = crate::output::count(self.pictures, "picture");
        format!("calibrated from floats to {} on {pictures}{agreement}", self.wanted)
    }
}

impl Accuracies {
    /// In a sentence.
    pub fn summary(self) -> String {
        let number = |x: Option<f64>| x.map_or_else(|| "none".to_owned(), |x| format!("{x:.4}"));
        let both =
            |[coarse, fine]: [Option<f64>; 2]| format!("mAP50 {}, mAP50-95 {}", number(coarse), number(fine));
        let pictures = crate::output::count(self.pictures, "labelled picture");
        format!("on {pictures}: in floats {}; converted {}", both(self.float), both(self.converted))
    }
}

/// What of a layer had fewer bits.
fn what(trial: &Trial) -> &'static str {
    if trial.of_weights { "weights" } else { "output" }
}
