//! The binary with limited memory, its time measured: for files that are made to break it.

use std::process::Command;

use crate::support::Folder;

/// Bytes of memory that a small file may take.
pub const MEMORY: usize = 256 << 20;

/// Seconds of a processor that a small file may take: 1 on a computer of today, optimized and with nothing else to do.
const SECONDS: f64 = 2.0;

/// How many times as long it may take through an emulator.
const EMULATED: f64 = 30.0;

/// Runs a command in at most [`MEMORY`], and says what it printed after its exit status, and how long it computed.
/// A signal's status is that of a shell, 128 and its number.
const SCRIPT: &str = r#"
ulimit -d "$1" && ulimit -t 120 && shift || exit 99
"$@"
status=$?
times >&2
exit $status
"#;

/// What such a run left behind.
pub struct Limited {
    pub status: i32,
    pub stderr: String,
    /// Seconds of a processor.
    pub seconds: f64,
    /// How many there may be.
    pub most: f64,
}

/// Runs the binary in a folder, within the limits. Through an emulator only time is limited: the memory is the
/// emulator's.
pub fn run(folder: &Folder, args: &[&str]) -> Limited {
    let command = folder.command(args);
    let emulated = command.get_program() != env!("CARGO_BIN_EXE_yolo-lowbit");
    let kilobytes = if emulated { "unlimited".to_owned() } else { (MEMORY / 1024).to_string() };
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh", &kilobytes]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(folder.path("")).env_remove("YLB_KERNELS").env_remove("RUST_BACKTRACE");
    let output = shell.stdin(std::process::Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines: Vec<&str> = stderr.lines().collect();
    let children = lines.pop().expect("what `times` says of children").to_owned();
    lines.pop();
    Limited {
        status: output.status.code().expect("the shell lives"),
        stderr: lines.iter().map(|line| format!("{line}\n")).collect(),
        seconds: children.split_whitespace().map(seconds).sum(),
        most: if emulated { SECONDS * EMULATED } else { SECONDS },
    }
}

/// `0m1.25s`.
fn seconds(text: &str) -> f64 {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').expect(text);
    60.0 * minutes.parse::<f64>().expect(text) + seconds.parse::<f64>().expect(text)
}

impl Limited {
    /// Why this is not how a run may end, if so: killed, a mistake of ours, too long, or an error that is not one line.
    pub fn fault(&self) -> Option<String> {
        let Self { status, stderr, seconds, most } = self;
        let errors: Vec<&str> =
            stderr.lines().filter(|line| !line.starts_with("yolo-lowbit: warning: ")).collect();
        let one_line = matches!(errors[..], [error] if error.starts_with("yolo-lowbit: error: "));
        if ![0, 1].contains(status) {
            return Some(format!("ended with status {status}: {stderr}"));
        }
        if stderr.contains("internal error") || stderr.contains("panicked") {
            return Some(format!("failed inside: {stderr}"));
        }
        if *status == 1 && !one_line {
            return Some(format!("failed, and did not say why in one line: {stderr:?}"));
        }
        (seconds > most).then(|| format!("took {seconds} s instead of {most}"))
    }
}

/// The limits themselves work: otherwise these tests tell nothing.
#[test]
fn limits_are_kept() {
    let shell = |limit: &str, command: &str| {
        let output =
            Command::new("sh").args(["-c", SCRIPT, "sh", limit, "sh", "-c", command]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, stderr) = shell("unlimited", "exit 7");
    assert_eq!(status, Some(7));
    assert!(stderr.lines().last().unwrap().split_whitespace().all(|time| seconds(time) < 1.0), "{stderr}");
    assert_eq!(shell("unlimited", "kill -ABRT $$").0, Some(134));
    // A shell takes more than 100 kB.
    assert_ne!(shell("100", "exit 0").0, Some(0));
    assert_eq!(seconds("1m2.5s"), 62.5);
    let limited =
        |status, stderr: &str, seconds| Limited { status, stderr: stderr.into(), seconds, most: 1.0 };
    assert_eq!(limited(0, "", 0.1).fault(), None);
    assert_eq!(limited(1, "yolo-lowbit: warning: a\nyolo-lowbit: error: b\n", 0.1).fault(), None);
    for (status, stderr, seconds) in [
        (134, "memory allocation of 17179869180 bytes failed\n", 0.1),
        (1, "yolo-lowbit: error: internal error: index out of bounds\n", 0.1),
        (1, "yolo-lowbit: error: a\nb\n", 0.1),
        (1, "", 0.1),
        (0, "", 20.0),
    ] {
        assert!(limited(status, stderr, seconds).fault().is_some(), "{status} {stderr:?} {seconds}");
    }
}
