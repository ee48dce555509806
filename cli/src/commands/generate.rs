//! `generate`: man pages and shell completions, from the definition of the command line.

use std::fs;

use anyhow::{Context, Result};
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Outcome;
use crate::args::{Cli, Generate, GenerateArgs};

/// Runs the command.
///
/// # Errors
/// If a file cannot be written.
pub fn run(args: &GenerateArgs) -> Result<Outcome> {
    let folder = &args.folder;
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut command = Cli::command();
        match args.what {
            Generate::Man => clap_mangen::generate_to(command, folder),
            Generate::Completions => Shell::value_variants().iter().try_for_each(|&shell| {
                clap_complete::generate_to(shell, &mut command, "yolo-lowbit", folder).map(|_| ())
            }),
        }
    };
    write().with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(Outcome::Done)
}
