//! The command `yolo-lowbit`: converts, runs, inspects and times low-bit YOLO networks. A library only to be
//! optimized apart from the rest, see `scripts/build-command.sh`: nothing but [`main`] is meant to be called.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`commands`] | one file for each command |
//! | [`images`], [`draw`] | pictures: finding, checking and reading, drawing |
//! | [`pipeline`] | pictures through the network, for every command that finds objects |
//! | [`model`] | opening models, and what their layers look like to people |
//! | [`proof`] | a model beside its ONNX file |
//! | [`npy`], [`files`] | NumPy's files; writing files safely |
//! | [`output`], [`progress`], [`stages`] | tables, units and JSON; progress bars; times |
//! | [`text`] | text from elsewhere, shown on a terminal |
//! | [`machine`] | what computer this is |
//!
//! Results go to standard output; progress, notes, warnings and errors to standard error.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod draw;
mod files;
mod images;
mod machine;
mod model;
mod npy;
mod output;
mod pipeline;
mod progress;
mod proof;
mod requantization;
mod stages;
mod text;

use std::panic::{self, PanicHookInfo};
use std::process::{self, ExitCode};

use clap::Parser;

use args::Cli;
use commands::{Outcome, UsageError};

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
/// As a shell reports a process that SIGPIPE has ended, so that `pipefail` sees it.
const READER_LEFT: u8 = 128 + 13;

/// Does what the process's arguments say, and returns its exit status. A panic ends the process from then on.
pub fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        if images::panic_is_caught() {
            return;
        }
        report_panic(info);
        // Whatever thread it is; the profile `dist` would abort, and leave a core file.
        process::exit(FAILED.into());
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help is not an error for clap's user, but an Err here.
            let printed = output::report_usage(&error);
            return match printed {
                _ if error.use_stderr() => ExitCode::from(WRONG_USAGE),
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => status_of(&anyhow::Error::from(error).context("cannot print")),
            };
        }
    };
    match commands::run(&cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete | Outcome::Different) => ExitCode::from(FAILED),
        Ok(Outcome::ReaderLeft) => ExitCode::from(READER_LEFT),
        Err(error) => status_of(&error),
    }
}

/// Reports an error, and says how the process ends. There is nobody to tell that nobody reads.
fn status_of(error: &anyhow::Error) -> ExitCode {
    if output::reader_left(error) {
        return ExitCode::from(READER_LEFT);
    }
    output::report_error(error);
    ExitCode::from(if error.is::<UsageError>() { WRONG_USAGE } else { FAILED })
}

/// A panic is a mistake of ours: one line that says so, and where.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place =
        info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("unknown");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    output::report_error(&anyhow::anyhow!(
        "internal error: {message}{place}; please report it at {}/issues",
        env!("CARGO_PKG_REPOSITORY")
    ));
}
