//! Reading YAML of unknown origin.

use saphyr::{LoadableYamlNode, Yaml};
use saphyr_parser::{Event, Parser};

use crate::error::{DatasetError, Result, bail};

/// Most lists and maps inside one another. A data set needs three; the library calls itself for each, and some
/// thousands would take more stack than there is.
const MAX_DEPTH: usize = 64;

/// The documents of a text.
///
/// # Errors
/// If it is not YAML, or nested too deeply.
pub fn load(text: &str) -> Result<Vec<Yaml<'_>>> {
    check_depth(text)?;
    Yaml::load_from_str(text).map_err(|error| DatasetError::new(format!("it is not YAML: {error}")))
}

/// Reads the text as events, for which nothing is called by itself.
fn check_depth(text: &str) -> Result<()> {
    let mut depth = 0usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| DatasetError::new(format!("it is not YAML: {error}")))?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            bail!("line {} has more than {MAX_DEPTH} lists and maps inside one another", span.start.line());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_has_a_limit() {
        for (open, inside, close) in
            [("- ", "a", ""), ("[", "a", "]"), ("{a: ", "b", "}"), ("? ", "a", ""), ("- ? ", "a", "")]
        {
            let nested = |depth: usize| open.repeat(depth) + inside + &close.repeat(depth);
            let half = MAX_DEPTH / 2;
            assert!(load(&nested(half)).is_ok(), "{open}");
            for depth in [2 * half + 1, 200, 20_000] {
                let error = load(&nested(depth)).unwrap_err().to_string();
                // The library has a limit of its own for brackets.
                let limit = if depth > 255 { "limit exceeded" } else { "line 1 has" };
                assert!(
                    error.contains("line 1 has more than 64 lists and maps") || error.contains(limit),
                    "{error}"
                );
            }
        }
        // What is not deep may be as long as it likes.
        assert_eq!(load(&"- [a, {b: c}]\n".repeat(1000)).unwrap()[0].as_sequence().unwrap().len(), 1000);
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
        }
        assert!(load(&text).unwrap_err().to_string().contains("it is not YAML"));
    }
}
