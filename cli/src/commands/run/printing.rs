//! Standard output of `run`: text or lines picture by picture, or one document at the end.

use anyhow::Result;

use super::report::{Document, Report, Totals};
use crate::args::RunArgs;
use crate::output;

/// Prints what became of the pictures, as long as somebody reads it.
pub struct Printer {
    form: Form,
    /// How many pictures there are.
    total: usize,
    reader_left: bool,
}

enum Form {
    Text,
    Lines,
    Document(Document),
}

impl Printer {
    /// Prints in the form that the arguments choose.
    pub fn new(args: &RunArgs, total: usize) -> Self {
        let document = || Document { model: args.model.display().to_string(), images: Vec::new() };
        let form = match (args.json, args.jsonl) {
            (true, _) => Form::Document(document()),
            (_, true) => Form::Lines,
            _ => Form::Text,
        };
        Self { form, total, reader_left: false }
    }

    /// Whether nobody reads any more, as far as is known.
    pub fn reader_left(&self) -> bool {
        self.reader_left
    }

    /// Prints a report, or keeps it for the document.
    ///
    /// # Errors
    /// If standard output cannot be written to, for another reason than that nobody reads.
    pub fn print(&mut self, index: usize, report: Report) -> Result<()> {
        let printed = match (&mut self.form, report) {
            (Form::Document(document), report) => {
                document.images.push(report);
                return Ok(());
            }
            _ if self.reader_left => return Ok(()),
            (Form::Lines, report) => output::print_json_line(&report),
            (Form::Text, Report::Found(found)) => {
                output::print(found.text(&format!("{}/{}", index + 1, self.total)))
            }
            // Standard error has it.
            (Form::Text, Report::Failure(_)) => Ok(()),
        };
        self.note(printed)
    }

    /// Prints what comes at the end.
    ///
    /// # Errors
    /// As for [`print`](Self::print).
    pub fn finish(&mut self, totals: &Totals) -> Result<()> {
        let printed = match &self.form {
            Form::Document(document) => output::print_json(document),
            Form::Text if self.total > 1 && !self.reader_left => output::print(totals),
            Form::Text | Form::Lines => Ok(()),
        };
        self.note(printed)
    }

    /// Takes it that nobody reads any more for a fact rather than an error.
    fn note(&mut self, printed: Result<()>) -> Result<()> {
        match printed {
            Err(error) if output::reader_left(&error) => {
                self.reader_left = true;
                Ok(())
            }
            printed => printed,
        }
    }
}
