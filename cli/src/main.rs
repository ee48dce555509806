//! The process of `yolo-lowbit`; all of it is in `lib.rs`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ylb_cli::main()
}
