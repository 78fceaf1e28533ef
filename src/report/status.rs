//! The one line at the bottom of a terminal that says what is being waited for.
//! Writes to stderr and nothing else; decides nothing.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::terminal_safe;

/// A spinner with a text behind it, or nothing when nobody looks at a terminal. Clones share the line.
#[derive(Clone, Debug)]
pub struct StatusLine {
    bar: ProgressBar,
    shown: bool,
}

impl StatusLine {
    /// `interactive`: stderr is a terminal that can move its cursor. `color`: `NO_COLOR` is not set.
    pub fn new(interactive: bool, color: bool) -> Self {
        if !interactive {
            return Self { bar: ProgressBar::hidden(), shown: false };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = if color { "{spinner:.cyan} {wide_msg}" } else { "{spinner} {wide_msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, shown: true }
    }

    /// For pipes and files.
    pub fn hidden() -> Self {
        Self::new(false, false)
    }

    /// Is there a line to set?
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Shows `text`, cut to the width of the terminal.
    pub fn set(&self, text: &str) {
        if self.shown {
            self.bar.set_message(terminal_safe(text));
            self.bar.enable_steady_tick(Duration::from_millis(120));
        }
    }

    /// Takes the line away until the next [`StatusLine::set`].
    pub fn clear(&self) {
        if self.shown {
            self.bar.disable_steady_tick();
            self.bar.set_message("");
            self.bar.suspend(|| {});
        }
    }

    /// Runs `print` while the line is away. Everything else that is written to the terminal goes through here, Helm's
    /// output too: or lines tear.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.shown { self.bar.suspend(print) } else { print() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_nothing_is_drawn_and_printing_still_happens() {
        let status = StatusLine::hidden();
        status.set("waiting");
        assert!(!status.is_shown());
        assert_eq!(status.suspend(|| 7), 7);
        status.clear();
    }
}
