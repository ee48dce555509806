//! The commands, one file each.

mod bench;
mod compare;
mod convert;
mod eval;
mod generate;
mod info;
mod run;

use std::fmt;

use anyhow::Result;

use crate::args::{Cli, Command};
use crate::output::Messages;

/// How a command ended, if it did not fail as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// Some of the work failed, which was reported; the rest was done.
    Incomplete,
    /// Whoever read standard output has stopped to, as `head` does; all else was done.
    ReaderLeft,
    /// What was compared differs by more than it may.
    Different,
}

/// The command line asked for something that makes no sense.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Does what the command line says.
///
/// # Errors
/// If it cannot be done, with a message that says what to do.
pub fn run(cli: &Cli) -> Result<Outcome> {
    let messages = Messages { quiet: cli.quiet };
    match &cli.command {
        Command::Convert(args) => convert::run(args, messages),
        Command::Compare(args) => compare::run(args, messages),
        Command::Run(args) => run::run(args, messages),
        Command::Eval(args) => eval::run(args, messages),
        Command::Info(args) => info::run(args),
        Command::Bench(args) => bench::run(args, messages),
        Command::Generate(args) => generate::run(args),
    }
}
