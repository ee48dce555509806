//! One broken file for each error, and the error it must give.

#[path = "malformed/container.rs"]
mod container;
#[path = "malformed/conv.rs"]
mod conv;
#[path = "malformed/curves.rs"]
mod curves;
#[path = "malformed/detect.rs"]
mod detect;
#[path = "support/encoder.rs"]
#[allow(dead_code)]
mod encoder;
#[path = "malformed/fields.rs"]
mod fields;
#[path = "malformed/graph.rs"]
mod graph;
#[path = "support/models.rs"]
#[allow(dead_code)]
mod models;
#[path = "malformed/operators.rs"]
mod operators;
#[path = "malformed/refuse.rs"]
mod refuse;
#[path = "malformed/violations.rs"]
mod violations;

use ylb_format::ReadError;

/// Checks what a file gives, and that the message is one line.
fn assert_error(bytes: &[u8], expected: ReadError) {
    let error = ylb_format::read(bytes).expect_err(&expected.to_string());
    assert_eq!(error, expected);
    assert_eq!(error.to_string().lines().count(), 1);
}

/// A variant that is added without a case here fails this test.
#[test]
fn every_variant_has_a_case() {
    let cases = [
        include_str!("malformed/conv.rs"),
        include_str!("malformed/curves.rs"),
        include_str!("malformed/detect.rs"),
        include_str!("malformed/container.rs"),
        include_str!("malformed/fields.rs"),
        include_str!("malformed/operators.rs"),
        include_str!("malformed/graph.rs"),
        include_str!("malformed/refuse.rs"),
        include_str!("malformed/violations.rs"),
    ]
    .concat();
    let enums = [
        include_str!("../src/read/error.rs"),
        include_str!("../src/validate/violation.rs"),
        include_str!("../src/validate/head_problem.rs"),
        include_str!("../src/validate/node_problem.rs"),
    ]
    .concat();
    let mut name = "";
    let mut variants = 0;
    for line in enums.lines() {
        if let Some(rest) = line.strip_prefix("pub enum ") {
            name = rest.trim_end_matches(" {");
        }
        let variant = line.strip_prefix("    ").filter(|rest| rest.starts_with(char::is_uppercase));
        if let Some(variant) = variant {
            let end = variant.find(|letter: char| !letter.is_alphanumeric()).unwrap();
            let path = format!("{name}::{}", &variant[..end]);
            assert!(cases.contains(&path), "{path} has no case");
            variants += 1;
        }
    }
    assert!(variants > 80, "{variants} variants found");
}
