//! `bench`: how fast a model runs on this machine.

mod kernels;
mod statistics;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde::Serialize;
use ylb_format::model::Model;
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};

use super::{Outcome, UsageError};
use crate::args::{BenchArgs, Bits};
use crate::machine::{self, Machine};
use crate::model::{self, Layer};
use crate::output::{self, Align, Messages, Table, as_ms, bytes, millions, milliseconds};
use crate::progress::Progress;
use crate::text;
use statistics::Statistics;

#[derive(Debug, Serialize)]
struct Document {
    version: &'static str,
    model: String,
    /// Of `--net`.
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<&'static str>,
    input: [u32; 2],
    macs: u64,
    machine: Machine,
    threads: usize,
    warmup: usize,
    iterations: usize,
    load_ms: f64,
    /// The first inference, which touches memory that no other has.
    first_ms: f64,
    latency_ms: Statistics,
    arena_bytes: usize,
    session_bytes: usize,
    packed_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<TimedLayer>>,
}

#[derive(Debug, Serialize)]
struct TimedLayer {
    #[serde(flatten)]
    layer: Layer,
    mean_ms: f64,
    /// Of the time of all layers, 0 to 1.
    share: f64,
    macs_per_second: f64,
    /// How well the split of its rows keeps the threads busy, 0 to 1.
    balance: f64,
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded or run.
pub fn run(args: &BenchArgs, messages: Messages) -> Result<Outcome> {
    if args.kernels {
        let given = args.model.is_some() || args.net.is_some();
        return kernels::run(args.json, given.then(|| network(args)).transpose()?);
    }
    if let Some(path) = &args.write {
        return write(args, path);
    }
    let start = Instant::now();
    let (name, network) = network(args)?;
    let options =
        SessionOptions { threads: args.threads.count(), profile: args.profile, ..Default::default() };
    let mut session = model::start(&network, options)?;
    let load = start.elapsed();

    let input = network.model().picture();
    let pixels = random_pixels(input.height as usize * input.width as usize * 3);
    let progress = Progress::new(args.iterations, !messages.quiet);
    let (first, latencies, layer_times) = measure(&mut session, &pixels, args, &progress)?;
    drop(progress);

    let layers = model::layers(&network);
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        model: name,
        activation: args.net.map(|_| args.activation.name()),
        input: [input.height, input.width],
        macs: layers.iter().map(|layer| layer.macs).sum(),
        machine: Machine::this(),
        threads: session.threads(),
        warmup: args.warmup,
        iterations: args.iterations,
        load_ms: as_ms(load),
        first_ms: as_ms(first),
        latency_ms: Statistics::of(latencies),
        arena_bytes: network.arena_len(),
        session_bytes: session.memory_len(),
        packed_bytes: layers.iter().map(|layer| layer.packed_bytes).sum(),
        peak_memory_bytes: machine::peak_memory(),
        layers: args
            .profile
            .then(|| timed_layers(&network, &layer_times, args.iterations, session.threads())),
    };
    if args.json {
        output::print_json(&document)?;
    } else if args.row {
        output::print(format_args!("{}\n", document.row()))?;
    } else {
        output::print(document.text())?;
    }
    Ok(Outcome::Done)
}

/// Writes the network that would be timed.
fn write(args: &BenchArgs, path: &Path) -> Result<Outcome> {
    let (name, model) = made_up(args)?;
    ylb_format::write_file(&model, path)?;
    output::print(format_args!("{name} written to {}\n", text::path(path)))?;
    Ok(Outcome::Done)
}

/// The network to time and what to call it.
fn network(args: &BenchArgs) -> Result<(String, Arc<Network>)> {
    if let Some(path) = &args.model {
        return Ok((path.display().to_string(), model::open(path)?));
    }
    let (name, model) = made_up(args)?;
    Ok((name, Arc::new(Network::new(model, &Dispatch::from_environment()?)?)))
}

/// A network with random weights and what to call it.
fn made_up(args: &BenchArgs) -> Result<(String, Model)> {
    let Some(net) = args.net else { return Err(UsageError("nothing to time".to_owned()).into()) };
    let Bits { weights, activations } = args.bits;
    let extent =
        |extent: usize| u32::try_from(extent).ok().filter(|extent| extent % 32 == 0 && *extent <= 8192);
    let (Some(height), Some(width)) = (extent(args.imgsz.height), extent(args.imgsz.width)) else {
        return Err(UsageError("--imgsz must be multiples of 32, up to 8192".to_owned()).into());
    };
    let specification = Specification {
        net,
        input: [height, width],
        weight_bits: weights,
        activation_bits: activations,
        edge_weight_bits: if args.all_bits { weights } else { 8 },
        classes: 80,
        activation: args.activation,
        grid: args.activation_grid,
        seed: 1,
    };
    if !specification.has_codes() {
        let message = "signed codes of 1 bit hold no positive number: give --activation-grid zero-point";
        return Err(UsageError(message.to_owned()).into());
    }
    let model = synthetic::network(&specification);
    ylb_format::validate(&model).map_err(|violation| anyhow!("cannot make this network: {violation}"))?;
    let function = match (args.activation, args.activation_grid) {
        (activation, Grid::ZeroPoint) if activation != Activation::Relu => {
            format!("{}, zero-point", activation.name())
        }
        (activation, _) => activation.name().to_owned(),
    };
    let name = format!("{net} w{weights}a{activations} {function} with random weights");
    Ok((name.to_lowercase(), model))
}

/// Times the network: its first inference, all timed ones, and each layer summed over the timed ones
/// (empty without profile).
fn measure(
    session: &mut Session,
    pixels: &[u8],
    args: &BenchArgs,
    progress: &Progress,
) -> Result<(Duration, Vec<Duration>, Vec<Duration>)> {
    let mut first = None;
    for _ in 0..args.warmup {
        session.run_pixels(pixels)?;
        first.get_or_insert(session.times().inference);
    }
    let mut latencies = Vec::with_capacity(args.iterations);
    let mut layer_times = Vec::new();
    for iteration in 0..args.iterations {
        session.run_pixels(pixels)?;
        latencies.push(session.times().inference);
        layer_times.resize(session.profile().len(), Duration::ZERO);
        for (sum, time) in layer_times.iter_mut().zip(session.profile()) {
            *sum += *time;
        }
        progress.set(iteration + 1, "inferences");
    }
    Ok((first.unwrap_or(latencies[0]), latencies, layer_times))
}

/// A random picture, the same on every machine: high bytes of SplitMix64 (G. L. Steele et al.,
/// "Fast Splittable Pseudorandom Number Generators", 2014).
fn random_pixels(len: usize) -> Vec<u8> {
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    (0..len).map(|_| (next() >> 56) as u8).collect()
}

fn timed_layers(network: &Network, sums: &[Duration], iterations: usize, threads: usize) -> Vec<TimedLayer> {
    let total: f64 = sums.iter().map(Duration::as_secs_f64).sum();
    let timed = |((layer, sum), balance): ((Layer, &Duration), f64)| {
        let mean = sum.as_secs_f64() / iterations as f64;
        let macs_per_second = if mean > 0.0 { layer.macs as f64 / mean } else { 0.0 };
        let share = if total > 0.0 { sum.as_secs_f64() / total } else { 0.0 };
        TimedLayer { layer, mean_ms: mean * 1e3, share, macs_per_second, balance }
    };
    model::layers(network).into_iter().zip(sums).zip(network.balance(threads)).map(timed).collect()
}

impl Document {
    /// A row of the table of boards in `docs/performance.md`.
    fn row(&self) -> String {
        let machine = &self.machine;
        let board = machine.board.as_deref().unwrap_or("-");
        let mut clock = machine.clock.words().unwrap_or_else(|| "-".to_owned());
        for reason in machine.clock.throttling.iter().flatten() {
            clock.push_str(&format!("; {reason}"));
        }
        let [height, width] = self.input;
        let cells = [
            board.to_owned(),
            machine.cpu.clone(),
            clock,
            self.threads.to_string(),
            format!("{}, {width}x{height}", text::line(&self.model)),
            format!("{:.2}", self.latency_ms.median),
        ];
        // A bar inside of a cell would end it.
        format!("| {} |", cells.map(|cell| cell.replace('|', "/")).join(" | "))
    }

    fn text(&self) -> String {
        let [height, width] = self.input;
        let machine = &self.machine;
        let board = machine.board.as_ref().map(|board| format!("{board}, ")).unwrap_or_default();
        let latency = &self.latency_ms;
        let ms = |ms: f64| milliseconds(Duration::from_secs_f64(ms / 1e3));
        let memory = self
            .peak_memory_bytes
            .map(|peak| format!(", process at most {}", bytes(peak)))
            .unwrap_or_default();
        let mut clock =
            machine.clock.words().map(|clock| format!("clock       {clock}\n")).unwrap_or_default();
        match machine.clock.throttling.as_deref() {
            None => {}
            Some([]) => clock.push_str("throttling  none since the start\n"),
            Some(reasons) => clock.push_str(&format!("throttling  {}\n", reasons.join(", "))),
        }
        let mut report = format!(
            "{}: {width}x{height} input, {} MACs\n\
             machine     {board}{} ({}; {}), {} on {}\n\
             {clock}\
             load        {}, first inference {}\n\
             inference   min {}, median {}, p95 {}, mean {} ({} iterations after {})\n\
             throughput  {:.1} images/s, {:.2} GMAC/s at the median\n\
             memory      activations {}, with working memory {}, packed weights {}{memory}\n",
            text::line(&self.model),
            millions(self.macs),
            machine.cpu,
            machine.architecture,
            machine.features.join(", "),
            output::count(self.threads, "thread"),
            output::count(machine.processors, "processor"),
            ms(self.load_ms),
            ms(self.first_ms),
            ms(latency.min),
            ms(latency.median),
            ms(latency.p95),
            ms(latency.mean),
            self.iterations,
            self.warmup,
            1e3 / latency.median,
            self.macs as f64 / latency.median / 1e6,
            bytes(self.arena_bytes as u64),
            bytes(self.session_bytes as u64),
            bytes(self.packed_bytes),
        );
        if let Some(layers) = &self.layers {
            report.push_str(&format!("\n{}", profile_table(layers)));
        }
        report
    }
}

fn profile_table(layers: &[TimedLayer]) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("operator", Align::Left),
        ("output", Align::Left),
        ("bits", Align::Left),
        ("ms", Align::Right),
        ("share", Align::Right),
        ("GMAC/s", Align::Right),
        ("balance", Align::Right),
        ("kernel", Align::Left),
    ]);
    for TimedLayer { layer, mean_ms, share, macs_per_second, balance } in layers {
        let rate = if layer.macs == 0 { String::new() } else { format!("{:.2}", macs_per_second / 1e9) };
        table.row(vec![
            layer.name.clone(),
            layer.title(),
            layer.shape(),
            layer.bits(),
            format!("{mean_ms:.3}"),
            format!("{:.1} %", 100.0 * share),
            rate,
            format!("{:.0} %", 100.0 * balance),
            layer.kernel.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_random_picture_is_the_published_generator() {
        // First outputs of SplitMix64 with seed 0: e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f.
        assert_eq!(random_pixels(3), [0xe2, 0x6e, 0x06]);
    }
}
