//! The command `yolo-lowbit`: converts, runs, inspects and times low-bit YOLOv5 networks. A library only to be
//! optimized apart from the rest, see `scripts/build-command.sh`: nothing but [`main`] is meant to be called.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`commands`] | one file for each command |
//! | [`images`], [`draw`] | pictures: reading, drawing |
//! | [`model`] | opening models, and what their layers look like to people |
//! | [`dataset`], [`metrics`] | pictures with labels; how good detections are |
//! | [`proof`] | a model beside its ONNX file |
//! | [`npy`], [`files`] | NumPy's files; writing files safely |
//! | [`output`], [`progress`], [`stages`] | tables, units and JSON; progress bars; times |
//! | [`machine`] | what computer this is |
//!
//! Results go to standard output; progress, notes, warnings and errors to standard error.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod dataset;
mod draw;
mod files;
mod images;
mod machine;
mod metrics;
mod model;
mod npy;
mod output;
mod progress;
mod proof;
mod stages;

use std::io;
use std::panic::{self, PanicHookInfo};
use std::process::{self, ExitCode};

use clap::Parser;

use args::Cli;
use commands::{Outcome, UsageError};

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Does what the process's arguments say, and returns its exit status. A panic ends the process from then on.
pub fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        report_panic(info);
        // Whatever thread it is; the profile `dist` would abort, and leave a core file.
        process::exit(FAILED.into());
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help is no error for clap's user, but an Err here. If nobody reads it, nothing is lost.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match commands::run(&cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete | Outcome::Different) => ExitCode::from(FAILED),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::report_error(&error);
            ExitCode::from(if error.is::<UsageError>() { WRONG_USAGE } else { FAILED })
        }
    }
}

/// Whether whoever reads our output has stopped to, as `head` does: they have what they wanted.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// A panic is a mistake of ours: one line that says so, and where.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place =
        info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("unknown");
    output::report_error(&anyhow::anyhow!(
        "internal error: {message}{place}; please report it at {}/issues",
        env!("CARGO_PKG_REPOSITORY")
    ));
}
