//! The worked example of `docs/ylb-format.md` is what the writer writes.

use std::fmt::Write;
use std::fs;
use std::path::Path;

#[path = "support/models.rs"]
#[allow(dead_code)]
mod models;

#[test]
fn worked_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ylb-format.md");
    let page = fs::read_to_string(&path).unwrap();
    let (_, example) = page.split_once("<!-- example -->\n```text\n").expect("the example");
    let (documented, _) = example.split_once("```").expect("the example's end");
    let expected = dump(&ylb_format::write(&models::tiny()).unwrap());
    assert!(documented == expected, "docs/ylb-format.md should say:\n{expected}");
}

/// 16 bytes a line, as `hexdump -C` prints them.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut previous: Option<&[u8]> = None;
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if previous == Some(chunk) {
            if !text.ends_with("*\n") {
                text.push_str("*\n");
            }
            continue;
        }
        previous = Some(chunk);
        write!(text, "{:08x} ", 16 * line).unwrap();
        for index in 0..16 {
            let gap = if index == 8 { " " } else { "" };
            match chunk.get(index) {
                Some(byte) => write!(text, "{gap} {byte:02x}").unwrap(),
                None => write!(text, "{gap}   ").unwrap(),
            }
        }
        let printable = |byte: &u8| {
            if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }
        };
        writeln!(text, "  |{}|", chunk.iter().map(printable).collect::<String>()).unwrap();
    }
    writeln!(text, "{:08x}", bytes.len()).unwrap();
    text
}
