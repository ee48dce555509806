//! Arguments of `info`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit info model.ylb
  yolo-lowbit info model.ylb --json | jq .totals";

/// Arguments of `info`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InfoArgs {
    /// The model
    #[arg(value_name = "MODEL.ylb", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,

    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}
