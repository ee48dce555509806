//! The `--max-pixels` option, of all commands that read pictures.

use clap::{Args, value_parser};

/// The `--max-pixels` option.
#[derive(Clone, Copy, Debug, Args)]
pub struct MaxPixels {
    /// Refuse larger pictures, as their headers say, before memory is taken for them
    #[arg(long, value_name = "N", default_value = "50000000", value_parser = value_parser!(u64).range(1..))]
    pub max_pixels: u64,
}
