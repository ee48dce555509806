//! `bench --kernels`: how fast each micro-kernel is on this CPU, beside the dispatcher's choice, and each form of
//! requantization, beside what a model takes of it.

mod forms;

use std::sync::Arc;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use ylb_kernels::families::direct::Conv;
use ylb_kernels::registry::{self, Dispatch};
use ylb_kernels::synthetic::{Shape, Special, SpecialStrip, Strip, chosen};
use ylb_runtime::Network;

use crate::commands::Outcome;
use crate::machine::Machine;
use crate::output::{self, Align, Table};
use crate::requantization::Requantization;
use forms::{TimedForm, forms_table, timed_forms};

/// Weight and activation bits.
const BITS: [[u8; 2]; 7] = [[1, 1], [1, 2], [2, 2], [2, 4], [3, 3], [4, 4], [8, 8]];

/// Pixels of a call: as many as the runtime passes at a time.
const PIXELS: usize = 32;

/// Layers of YOLOv5n: the bottlenecks of its second and third stage, and a 1x1 convolution at depth.
const SHAPES: [Shape; 3] = [
    Shape { kernel: [3, 3], channels: 32, outputs: 32, pixels: PIXELS },
    Shape { kernel: [3, 3], channels: 64, outputs: 64, pixels: PIXELS },
    Shape { kernel: [1, 1], channels: 128, outputs: 64, pixels: PIXELS },
];

/// Time that calls are repeated for, and how often; the fastest counts.
const SAMPLE: Duration = Duration::from_millis(4);
const SAMPLES: usize = 5;

#[derive(Debug, Serialize)]
struct Document {
    version: &'static str,
    machine: Machine,
    /// Of which `requantization` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    kernels: Vec<TimedKernel>,
    requantization: Vec<TimedForm>,
}

#[derive(Debug, Serialize)]
struct TimedKernel {
    weight_bits: u8,
    activation_bits: u8,
    /// Rows and columns of the convolution's kernel.
    window: [usize; 2],
    channels: usize,
    outputs: usize,
    kernel: &'static str,
    /// Of a direct convolution.
    macs_per_second: f64,
    /// Whether the dispatcher chooses it here.
    chosen: bool,
}

/// Times the micro-kernels and prints them.
///
/// # Errors
/// If the environment names micro-kernels that do not exist, or standard output cannot be written to.
pub fn run(json: bool, model: Option<(String, Arc<Network>)>) -> Result<Outcome> {
    let found = model.as_ref().map(|(_, network)| Requantization::of(network));
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::this(),
        model: model.map(|(name, _)| name),
        kernels: timed_kernels(&Dispatch::from_environment()?),
        requantization: timed_forms(found.as_ref()),
    };
    if json {
        output::print_json(&document)?;
    } else {
        output::print(document.text())?;
    }
    Ok(Outcome::Done)
}

fn timed_kernels(dispatch: &Dispatch) -> Vec<TimedKernel> {
    let mut kernels = Vec::new();
    for shape in SHAPES {
        for [weight_bits, activation_bits] in BITS {
            let operands = shape.operands(weight_bits, activation_bits);
            let choice = chosen(dispatch, shape, &operands);
            let first = kernels.len();
            let mut push = |name, macs_per_second| {
                kernels.push(TimedKernel {
                    weight_bits,
                    activation_bits,
                    window: shape.kernel,
                    channels: shape.channels,
                    outputs: shape.outputs,
                    kernel: name,
                    macs_per_second,
                    chosen: choice == Some(name),
                });
            };
            let supports = |conv: &Conv| (conv.kernel().supports)(&operands);
            for conv in registry::available().filter(supports) {
                let mut strip = Strip::new(conv, shape, &operands);
                push(conv.kernel().name, macs_per_second(strip.macs(), || strip.run()));
            }
            for special in Special::of(shape, &operands) {
                let mut strip = SpecialStrip::new(special, shape, &operands);
                push(special.name(), macs_per_second(strip.macs(), || strip.run()));
            }
            kernels[first..].sort_by(|a, b| b.macs_per_second.total_cmp(&a.macs_per_second));
        }
    }
    kernels
}

fn macs_per_second(macs: u64, run: impl FnMut()) -> f64 {
    macs as f64 / seconds(run)
}

/// What a call takes, at least.
fn seconds(mut run: impl FnMut()) -> f64 {
    let mut shortest = f64::INFINITY;
    for _ in 0..SAMPLES {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < SAMPLE {
            // Several at a time: reading the clock takes as long as a part of a short call.
            for _ in 0..16 {
                run();
            }
            calls += 16;
        }
        shortest = shortest.min(start.elapsed().as_secs_f64() / f64::from(calls));
    }
    shortest
}

impl Document {
    fn text(&self) -> String {
        let mut table = Table::new(&[
            ("layer", Align::Left),
            ("bits", Align::Left),
            ("GMAC/s", Align::Right),
            ("", Align::Left),
            ("kernel", Align::Left),
        ]);
        let mut last = None;
        for kernel in &self.kernels {
            let TimedKernel { weight_bits, activation_bits, window: [rows, columns], .. } = kernel;
            let layer = format!("{rows}x{columns}, {} to {}", kernel.channels, kernel.outputs);
            let bits = format!("W{weight_bits}A{activation_bits}");
            let group = (layer.clone(), bits.clone());
            let [layer, bits] =
                if last.as_ref() == Some(&group) { Default::default() } else { [layer, bits] };
            last = Some(group);
            table.row(vec![
                layer,
                bits,
                format!("{:.2}", kernel.macs_per_second / 1e9),
                if kernel.chosen { "chosen" } else { "" }.to_owned(),
                kernel.kernel.to_owned(),
            ]);
        }
        format!(
            "Micro-kernels on {} ({}; {}): sums of {PIXELS} pixels, one thread, in the cache.\nMultiply-\
             accumulates are those of a direct convolution; winconv and lutconv take fewer, and their rows include\n\
             what they make of the levels first.\n\n{table}\n{}",
            self.machine.cpu,
            self.machine.architecture,
            self.machine.features.join(", "),
            forms_table(&self.requantization, self.model.as_deref()),
        )
    }
}
