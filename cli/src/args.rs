//! The command line.

mod bench;
mod bits;
mod compare;
mod convert;
mod eval;
mod generate;
mod info;
mod max_pixels;
mod run;

use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

pub use bench::BenchArgs;
pub use bits::Bits;
pub use compare::CompareArgs;
pub use convert::{ConvertArgs, GridKind, Place};
pub use eval::EvalArgs;
pub use generate::{Generate, GenerateArgs};
pub use info::InfoArgs;
pub use max_pixels::MaxPixels;
pub use run::RunArgs;

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit convert yolov5n_w4a4.onnx             make yolov5n_w4a4.ylb
  yolo-lowbit compare yolov5n_w4a4.onnx yolov5n_w4a4.ylb   prove that both compute the same
  yolo-lowbit run yolov5n_w4a4.ylb street.jpg       find objects, save runs/street.jpg
  yolo-lowbit eval yolov5n_w4a4.ylb data.yaml       mAP, precision and recall on labelled pictures
  yolo-lowbit info yolov5n_w4a4.ylb                 what is in the file
  yolo-lowbit bench yolov5n_w4a4.ylb --profile      how fast it is on this machine

Exit status: 0 done, 1 failed, 2 wrong usage, 141 if whoever reads the output stops early, as head does.
Set YLB_KERNELS=generic (or neon, dotprod, avx2, ...) to force a kind of micro-kernel.";

/// Finds objects in pictures with YOLO networks of 1 to 8 bit, fast on small ARM computers.
#[derive(Debug, Parser)]
#[command(name = "yolo-lowbit", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// Print no progress, notes or warnings: only results, of a conversion one line, and errors
    #[arg(long, short, global = true, display_order = 900)]
    pub quiet: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn an ONNX export of a YOLO detector into a .ylb file
    Convert(ConvertArgs),
    /// Prove that a .ylb file computes what its ONNX file does, layer by layer
    Compare(CompareArgs),
    /// Find objects in pictures
    Run(RunArgs),
    /// Measure how accurate a model is on labelled pictures
    Eval(EvalArgs),
    /// Show what is in a .ylb file
    Info(InfoArgs),
    /// Measure how fast a model runs on this machine
    Bench(BenchArgs),
    /// Write manual pages or shell completions, for packages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// The `--threads` option.
#[derive(Clone, Copy, Debug, Args)]
pub struct Threads {
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// The number, 0 for one thread a core.
    pub fn count(self) -> usize {
        self.threads.map_or(0, usize::from)
    }
}

/// Height and width of the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let extent = |text: &str| text.trim().parse().ok().filter(|&extent| extent > 0);
        let (height, width) = text.split_once(',').unwrap_or((text, text));
        match (extent(height), extent(width)) {
            (Some(height), Some(width)) => Ok(Self { height, width }),
            _ => Err("expected pixels as H or H,W, such as 640 or 384,640".to_owned()),
        }
    }
}

/// Widths and heights of anchors by feature-map level, finest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchors(pub Vec<Vec<[f32; 2]>>);

impl FromStr for Anchors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "expected w,h,w,h,... for each level and a slash between levels, such as 10,13,16,30/62,45";
        let number =
            |text: &str| text.trim().parse::<f32>().ok().filter(|number| *number > 0.0 && number.is_finite());
        let level = |text: &str| {
            let numbers: Vec<f32> = text.split(',').map(number).collect::<Option<_>>()?;
            let (pairs, rest) = numbers.as_chunks::<2>();
            rest.is_empty().then(|| pairs.to_vec())
        };
        text.split('/').map(level).collect::<Option<_>>().map(Self).ok_or_else(|| expected.to_owned())
    }
}

fn fraction(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| "expected a whole number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_anchors() {
        assert_eq!("640".parse(), Ok(ImageSize { height: 640, width: 640 }));
        assert_eq!("384,640".parse(), Ok(ImageSize { height: 384, width: 640 }));
        for wrong in ["", "0", "640x640", "-32", "1,2,3"] {
            assert!(wrong.parse::<ImageSize>().is_err(), "{wrong}");
        }
        let anchors = Anchors(vec![vec![[10.0, 13.0], [16.0, 30.5]], vec![[62.0, 45.0]]]);
        assert_eq!("10,13,16,30.5/62,45".parse(), Ok(anchors));
        for wrong in ["", "10", "10,13,16", "10,13/", "10,x", "10,-3", "10,inf"] {
            assert!(wrong.parse::<Anchors>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_flags_that_scripts_rely_on() {
        for line in [
            "yolo-lowbit convert a.onnx -o b.ylb --names names.txt --imgsz 640 --anchors 1,2/3,4",
            "yolo-lowbit convert a.onnx --verify --report a.json --ignore-decode-quantizers",
            "yolo-lowbit convert a.onnx --verify --close --keep-decode-quantizers",
            "yolo-lowbit convert a.onnx --head yolox --bytes --bgr --letterbox corner --fill 127",
            "yolo-lowbit compare a.onnx a.ylb --close",
            "yolo-lowbit compare a.onnx a.ylb",
            "yolo-lowbit compare a.onnx a.ylb b.jpg c --strict --threads 2 --json",
            "yolo-lowbit run a.ylb b.jpg c --conf 0.25 --iou 0.45 --max-det 300 --classes 0,cat --threads 4 --out d --json",
            "yolo-lowbit run a.ylb b.jpg --no-save --out d --quiet",
            "yolo-lowbit run a.ylb b.jpg --jsonl --max-pixels 250000000",
            "yolo-lowbit run a.ylb --tensor in.npy --raw out.npz --codes codes.npz",
            "yolo-lowbit eval a.ylb data.yaml --split test --conf 0.01 --iou 0.6 --max-det 9 --best-class --plots d --json",
            "yolo-lowbit --quiet info a.ylb --json",
            "yolo-lowbit bench a.ylb --threads 1 --warmup 0 --iterations 3 --profile --json",
            "yolo-lowbit bench --kernels --json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "yolo-lowbit run a.ylb",
            "yolo-lowbit run a.ylb b.jpg --conf 1.5",
            "yolo-lowbit run a.ylb b.jpg --iou nan",
            "yolo-lowbit run a.ylb b.jpg --max-det 0",
            "yolo-lowbit run a.ylb b.jpg --threads 0",
            "yolo-lowbit run a.ylb b.jpg --max-pixels 0",
            "yolo-lowbit run a.ylb b.jpg --max-pixels 50M",
            "yolo-lowbit run a.ylb b.jpg --json --jsonl",
            "yolo-lowbit run a.ylb --tensor in.npy --raw out.npz --jsonl",
            "yolo-lowbit run a.ylb b.jpg --raw out.npz",
            "yolo-lowbit run a.ylb --tensor in.npy",
            "yolo-lowbit run a.ylb b.jpg --tensor in.npy --raw out.npz",
            "yolo-lowbit bench a.ylb --iterations 0",
            "yolo-lowbit convert",
            "yolo-lowbit compare a.onnx",
            "yolo-lowbit eval a.ylb",
            "yolo-lowbit eval a.ylb data.yaml --conf -1",
            "yolo-lowbit convert a.onnx --letterbox left",
            "yolo-lowbit convert a.onnx --head yolov99",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
