//! Runs a network of YOLOv5n's shape at 640×640 so many times, on one thread: what `make arm-cycles` counts.
//!
//! ```text
//! frames w2a2 FRAMES          random weights of so many bits, 80 classes, as `yolo-lowbit bench --net yolov5n` has
//! frames w2a2-silu FRAMES     with another activation function than ReLU, on a signed grid
//! frames MODEL.ylb FRAMES     a model file
//! ```
//!
//! The command itself does the same with the same code of the runtime; this has neither the converter nor the decoders of
//! pictures to compile.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{env, process};

use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

fn main() {
    if let Err(error) = run() {
        eprintln!("frames: {error}");
        process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, frames] = &arguments[..] else {
        return Err("usage: frames BITS[-ACTIVATION]|MODEL.ylb FRAMES".into());
    };
    let network = match made_up(what) {
        Some(([weight_bits, activation_bits], activation)) => {
            let model = synthetic::network(&Specification {
                net: Net::Yolov5(Size::N),
                input: [640, 640],
                weight_bits,
                activation_bits,
                edge_weight_bits: 8,
                classes: 80,
                activation,
                grid: Grid::Signed,
                seed: 1,
            });
            Network::new(model, &Dispatch::from_environment()?)?
        }
        None => Network::open(Path::new(what))?,
    };
    let mut session = Session::new(Arc::new(network), SessionOptions { threads: 1, ..Default::default() })?;
    let input = session.network().model().picture();
    let pixels: Vec<u8> =
        (0..input.height as usize * input.width as usize * 3).map(|i| (i * 37 % 251) as u8).collect();
    for _ in 0..frames.parse::<u32>()? {
        session.run_pixels(&pixels)?;
    }
    Ok(())
}

/// Bits of weights and activations with an activation function, such as `w2a4` or `w8a8-silu`.
fn made_up(text: &str) -> Option<([u8; 2], Activation)> {
    let (bits, activation) = text.split_once('-').unwrap_or((text, "relu"));
    let (weights, activations) = bits.strip_prefix('w')?.split_once('a')?;
    Some(([weights.parse().ok()?, activations.parse().ok()?], activation.parse().ok()?))
}
