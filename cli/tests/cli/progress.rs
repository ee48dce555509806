//! Progress bars: on a terminal, and nowhere else.

use std::path::Path;
use std::process::Command;

use crate::support::{Folder, squares};
use crate::tiny;

/// Words of the bars of `convert --verify` and of `compare`.
const BAR: &str = "nodes interpreted";

/// What ends every bar.
const BAR_END: &str = " left)";

fn export() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports/lsq_w4a4.onnx");
    path.to_str().unwrap().to_owned()
}

#[test]
fn no_bar_where_standard_error_is_no_terminal() {
    let folder = Folder::new("progress_pipe");
    let onnx = export();
    for args in [
        &["convert", &onnx, "-o", "model.ylb", "--verify"][..],
        &["compare", &onnx, "model.ylb"],
        &["compare", &onnx, "model.ylb", "--json"],
        &["-q", "compare", &onnx, "model.ylb"],
    ] {
        let finished = folder.run(args);
        assert_eq!(finished.status, 0, "{}", finished.stderr);
        let traces = [BAR, "\r", "\u{1b}"];
        assert!(
            !traces.iter().any(|trace| finished.stderr.contains(trace)),
            "{args:?}: {:?}",
            finished.stderr
        );
    }
}

/// On a pseudo-terminal, which util-linux's `script` opens.
#[test]
fn bars_on_a_terminal_unless_unwanted() {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: util-linux's `script` is missing");
        return;
    }
    let folder = Folder::new("progress_terminal");
    let onnx = export();
    let shown = |args: &[&str]| {
        let command = folder.command(args);
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let output = Command::new("script")
            .args(["-qec", &words.join(" "), "/dev/null"])
            .current_dir(folder.path("."))
            .env("TERM", "xterm")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        text.contains(if args.contains(&"run") { BAR_END } else { BAR })
    };
    let convert = ["convert", &onnx, "-o", "model.ylb", "--verify"];
    let compare = ["compare", &onnx, "model.ylb"];
    assert!(shown(&convert));
    assert!(shown(&compare));
    assert!(!shown(&[&["-q"][..], &convert].concat()));
    assert!(!shown(&[&["-q"][..], &compare].concat()));
    // Standard output may go to a file or a program: that is no reason to leave people without a sign of life.
    assert!(shown(&[&compare[..], &["--json"]].concat()));

    folder.write("tiny.ylb", tiny::file());
    folder.save("in/a.png", &squares(64, 64, &[]));
    folder.save("in/b.png", &squares(64, 64, &[]));
    let run = ["run", "tiny.ylb", "in", "--no-save"];
    for form in [&[][..], &["--json"], &["--jsonl"]] {
        assert!(shown(&[&run[..], form].concat()), "{form:?}");
        assert!(!shown(&[&run[..], form, &["--quiet"]].concat()), "{form:?}");
    }
    assert!(!shown(&["run", "tiny.ylb", "in/a.png", "--no-save"]), "one picture needs no bar");
}
