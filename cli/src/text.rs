//! Text that comes from elsewhere: names in models, names of files, labels. Nobody vouches for it.
//!
//! A terminal obeys control characters: a class called `ESC [31m` would colour everything after it, and others move the
//! cursor over what was said before, or turn words round. So nothing is printed as it is. What is text for people
//! passes [`line`] or [`lines`]; a document for programs passes [`json`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// Whether a character does something to its neighbours, or cannot be seen: controls of ASCII and of ISO 8859-1 (C1),
/// separators of lines, overrides of the direction of writing (Unicode Standard Annex #9), and the byte order mark.
fn deceives(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text as a part of one line: line breaks and all else that deceives are spelled out, as `\n` and `\u{1b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, deceives, |text, letter| write!(text, "{}", letter.escape_default()))
}

/// A path as a part of one line, see [`line`].
pub fn path(path: &Path) -> String {
    line(&path.display().to_string()).into_owned()
}

/// Text of several lines, each of them as in [`line`].
pub fn lines(text: &str) -> Cow<'_, str> {
    let deceives = |letter| letter != '\n' && deceives(letter);
    escaped(text, deceives, |text, letter| write!(text, "{}", letter.escape_default()))
}

/// A JSON document that means the same: serde_json leaves controls beyond ASCII in its strings.
pub fn json(document: &str) -> Cow<'_, str> {
    // ASCII's own are white space between values here, but for DEL; within strings they are escaped.
    let deceives = |letter| letter >= '\u{7f}' && deceives(letter);
    escaped(document, deceives, |text, letter| write!(text, "\\u{:04x}", u32::from(letter)))
}

fn escaped(
    text: &str,
    deceives: impl Fn(char) -> bool,
    spell: impl Fn(&mut String, char) -> std::fmt::Result,
) -> Cow<'_, str> {
    if !text.contains(&deceives) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if deceives(letter) {
            spell(&mut escaped, letter).expect("a String takes everything");
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_spelled_out() {
        for (text, expected) in [
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}2J\u{7f}\0", "\\u{9b}2J\\u{7f}\\u{0}"),
            ("gpj.\u{202e}exe\u{2066}\u{2028}", "gpj.\\u{202e}exe\\u{2066}\\u{2028}"),
            ("\u{feff}cat", "\\u{feff}cat"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\n\u{1b}b\r\n"), "a\n\\u{1b}b\\r\n");
    }

    #[test]
    fn other_text_stays_as_it_is() {
        // Letters, joiners and marks of right-to-left scripts belong to words.
        for text in ["größer 血小板", "C:\\new \"x\"", "👩\u{200d}🔬", "שלום\u{200f}", "\u{fffd}"]
        {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn documents_mean_the_same() {
        let value = serde_json::json!({"a\u{9b}\u{7f}": ["\u{202e}\u{1b}\n", "ü"]});
        let document = serde_json::to_string_pretty(&value).unwrap();
        let escaped = json(&document);
        assert!(escaped.contains("\\u009b\\u007f") && escaped.contains("\\u202e\\u001b\\n"), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
