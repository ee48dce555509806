//! The committed header is the one that cbindgen makes of the code. `make header` writes it anew.

use std::path::Path;

/// Set: write the header instead of comparing it.
const UPDATE: &str = "YLB_UPDATE_HEADER";

const INTRODUCTION: &str = "\
// yolo-lowbit: object detection with YOLO networks of 1 to 8 bit, on CPUs.
//
// Made from capi/src by cbindgen: do not edit. docs/c-api.md is the guide.
//
// Errors     Functions that can fail return a ylb_status; ylb_last_error() says in words what
//            went wrong. Results are written through pointers, only on success but where noted.
// Ownership  Who calls a ..._new, ..._open or ..._from_... calls the matching ..._free. What else is
//            handed out belongs to its handle; the comment says until when.
// Threads    A ylb_model may be shared by all threads. A ylb_session is used by one at a time.
// Texts      UTF-8, ending in a zero byte.
// Stability  Before version 1.0, types and functions may change with a minor version, and the
//            shared library's name with them.";

fn header() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("cbindgen.toml");
    let part = |name: &str, value: &str| format!("#define YLB_VERSION_{name} {value}\n");
    config.header = Some(INTRODUCTION.to_owned());
    config.after_includes = Some(format!(
        "\n// Version of this header.\n#define YLB_VERSION \"{}\"\n{}{}{}",
        env!("CARGO_PKG_VERSION"),
        part("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        part("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        part("PATCH", env!("CARGO_PKG_VERSION_PATCH")).trim_end(),
    ));
    let bindings = cbindgen::Builder::new().with_crate(folder).with_config(config).generate();
    let mut text = Vec::new();
    bindings.expect("cbindgen understands the code").write(&mut text);
    for_c(&String::from_utf8(text).expect("UTF-8"))
}

/// Takes out what speaks to Rust: the headings of safety sections.
fn for_c(header: &str) -> String {
    let line = |line: &str| match line {
        "// # Safety" => "// Must hold:\n".to_owned(),
        other => format!("{}\n", other.replace('`', "").trim_end()),
    };
    header.lines().map(line).collect()
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "cbindgen asks cargo, which an emulated program cannot")]
fn the_header_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/yolo_lowbit.h");
    let expected = header();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, expected).expect("a writable header");
        return;
    }
    let committed = std::fs::read_to_string(&path).expect("include/yolo_lowbit.h");
    let different = expected.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        expected == committed,
        "include/yolo_lowbit.h differs from the code in line {:?}: run `make header`",
        different.map(|line| line + 1)
    );
}
