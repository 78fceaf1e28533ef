//! Where text is shown, how wide that is and whether in colour, and what makes a text fit.
//! Pure. The size of a terminal is read by those that write to it.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// Warnings, the outcome, the cause and what to do.
    Quiet,
    /// Also each stage, and what changed.
    #[default]
    Normal,
    /// Also what is only needed to understand a run: backups, Helm's version, the duration of each stage.
    Verbose,
}

/// What is known of the place where text is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Display {
    /// Whether colours are seen.
    pub color: bool,
    /// Columns of the terminal; `None` where there is no terminal, and nothing is cut.
    pub width: Option<usize>,
}

impl Display {
    /// `text` in an ANSI style, such as `1;32`, if colours are seen.
    pub fn styled(self, style: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// The text, cut to the width.
    pub fn fit(self, text: &str) -> String {
        self.width.map_or_else(|| text.to_owned(), |width| cut(text, width))
    }
}

/// At most `width` columns of a text without escape sequences; the last one is an ellipsis if some were cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used >= width {
            break;
        }
        out.push(letter);
    }
    if width > 0 { format!("{}…", out.trim_end()) } else { String::new() }
}

/// The text in lines of at most `width` columns, broken at blanks. A longer word, such as a path or a URL, stays whole, so
/// that it can be copied.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cut_text_says_so_and_counts_columns() {
        for (text, width, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("a b c", 3, "a…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            assert_eq!(cut(text, width), expected, "{text} to {width}");
        }
    }

    #[test]
    fn a_word_that_is_too_long_stays_whole() {
        assert_eq!(
            wrapped("see https://ci.example/runs/1 there", 10),
            ["see", "https://ci.example/runs/1", "there"]
        );
        assert_eq!(wrapped("", 10), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked_for(text in "[a-z日é ]{0,60}", width in 0usize..40) {
            prop_assert!(cut(&text, width).width() <= width);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&wrapped(&text, width).join(" ")), words(&text));
        }
    }
}
