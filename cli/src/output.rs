//! What people and programs read: messages, tables, units, JSON.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Error, Result};
use serde::Serialize;

use crate::text;

/// Standard error, as far as the user wants to hear it.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    /// Whether `--quiet` was given.
    pub quiet: bool,
}

impl Messages {
    /// Something that may be of interest.
    pub fn note(self, message: impl fmt::Display) {
        if !self.quiet {
            report(&message);
        }
    }

    /// Something that the user should look at, although work goes on.
    pub fn warning(self, message: impl fmt::Display) {
        if !self.quiet {
            report(&format_args!("warning: {message}"));
        }
    }
}

/// Prints an error with its causes on one line of standard error.
pub fn report_error(error: &Error) {
    report(&format_args!("yolo-lowbit: error: {}", one_line(error)));
}

/// An error with its causes as text for a terminal, without line breaks. Causes that repeat what was said are left out.
pub fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = text::line(cause.trim());
        if !line.ends_with(&*cause) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&cause);
        }
    }
    line
}

fn report(message: &dyn fmt::Display) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{}", text::line(&message.to_string()));
}

/// Prints what is wrong with a command line, or help.
///
/// # Errors
/// If it cannot be written.
pub fn report_usage(error: &clap::Error) -> io::Result<()> {
    // What was typed may be a file's name, and the message repeats it. Only a message without colours can be told from it.
    let foreign = env::args_os().any(|arg| matches!(text::line(&arg.to_string_lossy()), Cow::Owned(_)));
    if foreign && error.use_stderr() {
        write!(io::stderr().lock(), "{}", text::lines(&error.render().to_string()))
    } else {
        error.print().and_then(|()| io::stdout().flush())
    }
}

/// Prints lines of text on standard output. What they say of names and files is [`text::line`]; this is for what was
/// forgotten.
///
/// # Errors
/// If standard output cannot be written to.
pub fn print(lines: impl fmt::Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text::lines(&lines.to_string()).as_bytes())?;
    Ok(stdout.flush()?)
}

/// Prints a value as one JSON document on standard output.
///
/// # Errors
/// If standard output cannot be written to.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let document = serde_json::to_string_pretty(value)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text::json(&document))?;
    Ok(stdout.flush()?)
}

/// Prints a value as one line of JSON on standard output, at once.
///
/// # Errors
/// If standard output cannot be written to.
pub fn print_json_line(value: &impl Serialize) -> Result<()> {
    let document = serde_json::to_string(value)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text::json(&document))?;
    Ok(stdout.flush()?)
}

/// Whether an error says that nobody reads our output any more.
pub fn reader_left(error: &Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// On which side the cells of a column end evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of text, as wide as its cells.
#[derive(Debug)]
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading line.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        Self { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![headings] }
    }

    /// Appends a row. Cells are shown as [`text::line`] shows them.
    ///
    /// # Panics
    /// If it does not have a cell for each column.
    pub fn row(&mut self, mut cells: Vec<String>) {
        assert_eq!(cells.len(), self.align.len(), "a row has one cell for each column");
        for cell in &mut cells {
            if let Cow::Owned(shown) = text::line(cell) {
                *cell = shown;
            }
        }
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One cell of extreme length does not fill all rows with spaces.
        const WIDEST: usize = 256;
        let letters = |row: &Vec<String>, column: usize| row[column].chars().count().min(WIDEST);
        let width = |column: usize| self.rows.iter().map(|row| letters(row, column)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), align) in row.iter().zip(&widths).zip(&self.align) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            writeln!(f, "  {}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number of things: `1 image`, `2 images`.
pub fn count(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// Milliseconds with three significant digits or more, such as `12.3 ms`.
pub fn milliseconds(duration: Duration) -> String {
    let ms = as_ms(duration);
    match ms {
        100.0.. => format!("{ms:.0} ms"),
        10.0.. => format!("{ms:.1} ms"),
        _ => format!("{ms:.2} ms"),
    }
}

/// Milliseconds as a number, to the nanosecond.
pub fn as_ms(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// A size in the unit that keeps it short, such as `0.71 MB`. A kB is 1000 bytes.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..100_000 => format!("{:.1} kB", count as f64 / 1e3),
        100_000..100_000_000 => format!("{:.2} MB", count as f64 / 1e6),
        _ => format!("{:.0} MB", count as f64 / 1e6),
    }
}

/// Millions with the digits that matter, such as `12.4 M`.
pub fn millions(count: u64) -> String {
    let millions = count as f64 / 1e6;
    match millions {
        100.0.. => format!("{millions:.0} M"),
        10.0.. => format!("{millions:.1} M"),
        _ => format!("{millions:.2} M"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&[("layer", Align::Left), ("ms", Align::Right)]);
        table.row(vec!["größer".to_owned(), "1.5".to_owned()]);
        table.row(vec!["b".to_owned(), "10.25".to_owned()]);
        assert_eq!(table.to_string(), "  layer      ms\n  größer    1.5\n  b       10.25\n");
    }

    #[test]
    fn cells_are_shown_whatever_they_hold() {
        let mut table = Table::new(&[("class", Align::Left), ("n", Align::Right)]);
        // More than the width of a format takes.
        table.row(vec!["x".repeat(1 << 20), "1".to_owned()]);
        table.row(vec!["a\n\u{1b}[31m".to_owned(), "2".to_owned()]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[1].len()), (3, 2 + (1 << 20) + 2 + 1));
        assert!(
            lines[2].starts_with("  a\\n\\u{1b}[31m ") && lines[2].len() == 2 + 256 + 2 + 1,
            "{}",
            lines[2]
        );
    }

    #[test]
    fn quantities_are_short() {
        let ms = |micros| milliseconds(Duration::from_micros(micros));
        assert_eq!([ms(0), ms(1_234), ms(12_345), ms(123_456)], ["0.00 ms", "1.23 ms", "12.3 ms", "123 ms"]);
        assert_eq!(
            [count(0, "image"), count(1, "image"), count(2, "image")],
            ["0 images", "1 image", "2 images"]
        );
        assert_eq!([bytes(12), bytes(12_345), bytes(712_345)], ["12 B", "12.3 kB", "0.71 MB"]);
        assert_eq!(
            [millions(12_345), millions(98_765_432), millions(4_500_000_000)],
            ["0.01 M", "98.8 M", "4500 M"]
        );
    }

    #[test]
    fn errors_take_one_line_and_say_nothing_twice() {
        let error = anyhow!("no such thing\n").context("no such thing").context("cannot open a  b\n\u{1b}c");
        assert_eq!(one_line(&error), "cannot open a  b\\n\\u{1b}c: no such thing");
    }
}
