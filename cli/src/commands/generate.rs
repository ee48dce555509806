//! `generate`: man pages and shell completions, from the definition of the command line.

use std::fs;

use anyhow::{Context, Result};
use clap::{CommandFactory, ValueEnum};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;

use super::Outcome;
use crate::args::{Cli, Generate, GenerateArgs};
use crate::files;

/// What the completed command is called.
const NAME: &str = "yolo-lowbit";

/// Runs the command.
///
/// # Errors
/// If a file cannot be written.
pub fn run(args: &GenerateArgs) -> Result<Outcome> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut command = Cli::command();
    match args.what {
        Generate::Man => {
            command = command.disable_help_subcommand(true);
            command.build();
            for page in command.get_subcommands().chain([&command]).filter(|command| !command.is_hide_set()) {
                let page = Man::new(page.clone());
                files::write(&folder.join(page.get_filename()), |writer| Ok(page.render(writer)?))?;
            }
        }
        Generate::Completions => {
            for shell in Shell::value_variants() {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut command, NAME, &mut script);
                files::write(&folder.join(shell.file_name(NAME)), |writer| Ok(writer.write_all(&script)?))?;
            }
        }
    }
    Ok(Outcome::Done)
}
