//! Progress bars, on standard error. They stay away where nobody would see them: when standard error
//! is no terminal, and with `--quiet`. Where standard output goes makes no difference.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::text;

/// A progress bar, or nothing.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for a number of steps, shown only if `visible` and on a terminal.
    pub fn new(steps: usize, visible: bool) -> Self {
        // Hides itself where standard error is no terminal.
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed}, {eta} left)");
        bar.set_style(style.expect("the template is well-formed"));
        Self(bar)
    }

    /// Shows how many steps are done and what is being done.
    pub fn set(&self, done: usize, doing: &str) {
        self.0.set_message(text::line(doing).into_owned());
        self.0.set_position(done as u64);
    }

    /// Changes the number of steps.
    pub fn set_steps(&self, steps: usize) {
        self.0.set_length(steps as u64);
    }

    /// Takes the bar away while something else is printed.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
