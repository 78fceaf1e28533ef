//! Scans plain, quoted and block scalars: where they end, how their lines are joined, what their escapes mean.

use std::borrow::Cow;

use super::{Fault, scanner::Scanner};

/// What separates two words of a scalar.
#[derive(Default)]
struct Gap {
    blanks: String,
    /// The first line break.
    leading: String,
    /// Those after it.
    trailing: String,
    /// Did a line end?
    is_broken: bool,
}

impl Gap {
    /// Appends what the gap means: blanks as they are; one line break is a blank, more are one less.
    fn fold(&mut self, into: &mut String) {
        if self.is_broken {
            if self.leading.starts_with('\n') {
                into.push_str(if self.trailing.is_empty() { " " } else { &self.trailing });
            } else {
                into.push_str(&self.leading);
                into.push_str(&self.trailing);
            }
            self.leading.clear();
            self.trailing.clear();
        } else {
            into.push_str(&self.blanks);
            self.blanks.clear();
        }
    }
}

impl<'a> Scanner<'a> {
    /// Consumes blanks and line breaks. With a limit, tabs left of it are an error at the start of a line.
    fn gap(&mut self, gap: &mut Gap, no_tabs_before: Option<isize>) -> Result<(), Fault> {
        loop {
            if self.is_blank(0) {
                let is_left = no_tabs_before.is_some_and(|indent| self.mark.column < indent);
                if gap.is_broken && is_left && self.byte(0) == b'\t' {
                    return Err(self.fault());
                }
                if !gap.is_broken {
                    gap.blanks.push(char::from(self.byte(0)));
                }
                self.skip();
            } else if self.is_break(0) {
                if gap.is_broken {
                    gap.trailing.push_str(self.skip_break());
                } else {
                    gap.blanks.clear();
                    gap.leading.push_str(self.skip_break());
                    gap.is_broken = true;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Consumes what of a plain scalar has no blank in it.
    fn plain_word(&mut self) -> &'a str {
        let start = self.mark.at;
        let in_flow = self.flow_level > 0;
        loop {
            match self.byte(0) {
                b':' if self.is_space(1) => break,
                b',' | b'?' | b'[' | b']' | b'{' | b'}' if in_flow => break,
                b' ' | b'\t' | b'\n' | b'\r' | 0 => break,
                0xC2 | 0xE2 if self.is_break(0) => break,
                _ => self.skip(),
            }
        }
        self.since(start)
    }

    pub(super) fn plain_scalar(&mut self) -> Result<Cow<'a, str>, Fault> {
        let indent = self.indent + 1;
        let mut text: Cow<'a, str> = Cow::Borrowed("");
        let mut gap = Gap::default();
        let start = self.mark.at;
        while !self.is_document_indicator() && self.byte(0) != b'#' {
            let at = self.mark.at;
            let word = self.plain_word();
            if !word.is_empty() {
                if at == start {
                    text = Cow::Borrowed(word);
                } else if let (false, Cow::Borrowed(_)) = (gap.is_broken, &text) {
                    // Still on its first line, which stands in the text as it is.
                    text = Cow::Borrowed(self.since(start));
                    gap.blanks.clear();
                } else {
                    let owned = text.to_mut();
                    gap.fold(owned);
                    owned.push_str(word);
                }
                gap.is_broken = false;
            }
            if !self.is_blank(0) && !self.is_break(0) {
                break;
            }
            self.gap(&mut gap, Some(indent))?;
            if self.flow_level == 0 && self.mark.column < indent {
                break;
            }
        }
        if gap.is_broken {
            self.simple_key_allowed = true;
        }
        Ok(text)
    }

    pub(super) fn quoted_scalar(&mut self, quote: u8) -> Result<Cow<'a, str>, Fault> {
        self.skip();
        let start = self.mark.at;
        // Most have no escape and one line.
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| {
            *byte == quote || matches!(byte, b'\n' | b'\r' | 0xC2 | 0xE2) || (*byte == b'\\' && quote == b'"')
        });
        if let Some(length) = length.filter(|length| {
            rest.get(*length) == Some(&quote) && (quote == b'"' || rest.get(length + 1) != Some(&b'\''))
        }) {
            let text = self.text.get(start..start + length).unwrap_or_default();
            let characters = if text.is_ascii() { length } else { text.chars().count() };
            self.mark.at += length;
            self.mark.index += characters;
            self.mark.column += characters.cast_signed();
            self.skip();
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::new();
        let mut gap = Gap::default();
        loop {
            if self.is_document_indicator() || self.is_end() {
                return Err(self.fault());
            }
            gap.is_broken = false;
            self.quoted_word(quote, &mut text, &mut gap)?;
            if self.byte(0) == quote {
                break;
            }
            self.gap(&mut gap, None)?;
            gap.fold(&mut text);
        }
        self.skip();
        Ok(Cow::Owned(text))
    }

    /// Consumes what of a quoted scalar has no blank in it.
    fn quoted_word(&mut self, quote: u8, text: &mut String, gap: &mut Gap) -> Result<(), Fault> {
        let mut start = self.mark.at;
        while !self.is_space(0) {
            match self.byte(0) {
                b'\'' if quote == b'\'' && self.byte(1) == b'\'' => {
                    self.skip();
                    text.push_str(self.since(start));
                    self.skip();
                    start = self.mark.at;
                }
                byte if byte == quote => break,
                b'\\' if quote == b'"' => {
                    text.push_str(self.since(start));
                    if self.is_break(1) {
                        self.skip();
                        self.skip_break();
                        gap.is_broken = true;
                        return Ok(());
                    }
                    text.push(self.escape()?);
                    start = self.mark.at;
                }
                _ => self.skip(),
            }
        }
        text.push_str(self.since(start));
        Ok(())
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let (meaning, digits) = match self.byte(1) {
            b'0' => ('\0', 0),
            b'a' => ('\u{7}', 0),
            b'b' => ('\u{8}', 0),
            b't' | b'\t' => ('\t', 0),
            b'n' => ('\n', 0),
            b'v' => ('\u{b}', 0),
            b'f' => ('\u{c}', 0),
            b'r' => ('\r', 0),
            b'e' => ('\u{1b}', 0),
            b' ' => (' ', 0),
            byte @ (b'"' | b'\'' | b'\\') => (char::from(byte), 0),
            b'N' => ('\u{85}', 0),
            b'_' => ('\u{a0}', 0),
            b'L' => ('\u{2028}', 0),
            b'P' => ('\u{2029}', 0),
            b'x' => ('\0', 2),
            b'u' => ('\0', 4),
            b'U' => ('\0', 8),
            _ => return Err(self.fault()),
        };
        self.skip();
        self.skip();
        if digits == 0 {
            return Ok(meaning);
        }
        let at = self.mark.at;
        let hex =
            self.text.get(at..at + digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let meaning = code.and_then(char::from_u32).ok_or_else(|| self.fault())?;
        (0..digits).for_each(|_| self.skip());
        Ok(meaning)
    }

    pub(super) fn block_scalar(&mut self, is_literal: bool) -> Result<Cow<'a, str>, Fault> {
        self.skip();
        let (mut keep, mut strip, mut increment) = (false, false, 0);
        for _ in 0..2 {
            match self.byte(0) {
                b'+' if !keep && !strip => keep = true,
                b'-' if !keep && !strip => strip = true,
                b'0' if increment == 0 => return Err(self.fault()),
                digit @ b'1'..=b'9' if increment == 0 => increment = isize::from(digit - b'0'),
                _ => break,
            }
            self.skip();
        }
        self.skip_blanks();
        self.skip_comment();
        if !self.is_break_or_end(0) {
            return Err(self.fault());
        }
        self.skip_break();

        let mut indent = if increment > 0 { self.indent.max(0) + increment } else { 0 };
        let mut text = String::new();
        let (mut leading, mut trailing) = ("", String::new());
        let mut was_blank = false;
        self.block_breaks(&mut indent, &mut trailing)?;
        while self.mark.column == indent && !self.is_end() {
            let is_blank = self.is_blank(0);
            if !is_literal && !was_blank && !is_blank && leading == "\n" {
                if trailing.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(leading);
            }
            text.push_str(&trailing);
            trailing.clear();
            was_blank = is_blank;
            let start = self.mark.at;
            while !self.is_break_or_end(0) {
                self.skip();
            }
            text.push_str(self.since(start));
            leading = self.skip_break();
            self.block_breaks(&mut indent, &mut trailing)?;
        }
        if !strip {
            text.push_str(leading);
        }
        if keep {
            text.push_str(&trailing);
        }
        Ok(Cow::Owned(text))
    }

    /// Consumes indentation and empty lines of a block scalar. An indentation of 0 is not known yet.
    fn block_breaks(&mut self, indent: &mut isize, breaks: &mut String) -> Result<(), Fault> {
        let mut widest = 0;
        loop {
            while (*indent == 0 || self.mark.column < *indent) && self.byte(0) == b' ' {
                self.skip();
            }
            widest = widest.max(self.mark.column);
            if (*indent == 0 || self.mark.column < *indent) && self.byte(0) == b'\t' {
                return Err(self.fault());
            }
            if !self.is_break(0) {
                break;
            }
            breaks.push_str(self.skip_break());
        }
        if *indent == 0 {
            *indent = widest.max(self.indent + 1).max(1);
        }
        Ok(())
    }
}
