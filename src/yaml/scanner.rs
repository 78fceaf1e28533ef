//! Splits YAML text into tokens, by the rules of libyaml as Go's port (`go.yaml.in/yaml/v2`) has them.
//! The order in which tokens are fetched is part of those rules: a document ends where the reader stops to ask for more.

use std::{borrow::Cow, collections::VecDeque};

use super::Fault;

/// Deepest nesting of flow collections or of indentation that Go's parser takes.
const MAX_LEVELS: usize = 10_000;

/// Most characters between the start of a key and its colon, unless `?` announces the key.
pub(super) const MAX_SIMPLE_KEY: usize = 1024;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    StreamEnd,
    /// `%YAML`: major and minor version.
    Version(u8, u8),
    /// `%TAG`: handle and prefix.
    TagDirective(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(&'a str),
    Anchor(&'a str),
    /// Handle and suffix.
    Tag(String, String),
    /// Text, and whether it had neither quotes nor a block indicator.
    Scalar(Cow<'a, str>, bool),
}

/// Where the scanner is.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    /// Byte.
    pub(super) at: usize,
    /// Character.
    pub(super) index: usize,
    /// Line, from 0.
    pub(super) line: usize,
    /// Character of the line, from 0. `-1` is what is left of the first column.
    pub(super) column: isize,
}

/// A place where a key without `?` may have begun.
#[derive(Clone, Copy, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    number: usize,
    mark: Mark,
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) mark: Mark,
    pub(super) indent: isize,
    pub(super) flow_level: usize,
    pub(super) simple_key_allowed: bool,
    tokens: VecDeque<Token<'a>>,
    /// Tokens that the parser has taken.
    taken: usize,
    indents: Vec<isize>,
    /// One for each flow level, and one for the block context.
    keys: Vec<SimpleKey>,
    /// Number of a token → index in `keys`. An entry may be out of date, as it may be in Go.
    key_of_token: Vec<(usize, usize)>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut mark = Mark::default();
        // The second mark is skipped too, and is a character of the line.
        for column in 0..2 {
            if text.get(mark.at..).is_some_and(|rest| rest.starts_with('\u{feff}')) {
                mark.at += '\u{feff}'.len_utf8();
                mark.column = column;
                mark.index = column.unsigned_abs();
            }
        }
        Self {
            text,
            mark,
            indent: -1,
            flow_level: 0,
            simple_key_allowed: true,
            tokens: VecDeque::new(),
            taken: 0,
            indents: Vec::new(),
            keys: vec![SimpleKey::default()],
            key_of_token: Vec::new(),
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Result<&Token<'a>, Fault> {
        self.fetch_more()?;
        Ok(self.tokens.front().unwrap_or(&Token::StreamEnd))
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Result<Token<'a>, Fault> {
        self.fetch_more()?;
        self.taken += 1;
        Ok(self.tokens.pop_front().unwrap_or(Token::StreamEnd))
    }

    pub(super) fn fault(&self) -> Fault {
        Fault::Syntax { line: self.mark.line + 1 }
    }

    /// The byte so far ahead; 0 behind the end. No text has a 0 in it.
    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.mark.at + ahead).copied().unwrap_or(0)
    }

    pub(super) fn is_end(&self) -> bool {
        self.mark.at >= self.text.len()
    }

    pub(super) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    pub(super) fn is_break(&self, ahead: usize) -> bool {
        match self.byte(ahead) {
            b'\n' | b'\r' => true,
            0xC2 => self.byte(ahead + 1) == 0x85,
            0xE2 => self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xA8 | 0xA9),
            _ => false,
        }
    }

    /// A line break, or the end.
    pub(super) fn is_break_or_end(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.is_break(ahead)
    }

    /// A blank, a line break, or the end.
    pub(super) fn is_space(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_break_or_end(ahead)
    }

    /// `---` or `...` at the start of a line, and nothing glued to it.
    pub(super) fn is_document_indicator(&self) -> bool {
        self.mark.column == 0
            && matches!(self.text.as_bytes().get(self.mark.at..self.mark.at + 3), Some(b"---" | b"..."))
            && self.is_space(3)
    }

    pub(super) fn skip(&mut self) {
        let width = match self.byte(0) {
            0..0x80 => 1,
            0x80..0xE0 => 2,
            0xE0..0xF0 => 3,
            _ => 4,
        };
        self.mark.at = (self.mark.at + width).min(self.text.len());
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// Skips a line break and says which it was: `\n` for most, LS and PS stay what they are.
    pub(super) fn skip_break(&mut self) -> &'static str {
        let (width, count, kept) = match self.byte(0) {
            b'\r' if self.byte(1) == b'\n' => (2, 2, "\n"),
            b'\r' | b'\n' => (1, 1, "\n"),
            0xC2 => (2, 1, "\n"),
            0xE2 if self.byte(2) == 0xA8 => (3, 1, "\u{2028}"),
            0xE2 => (3, 1, "\u{2029}"),
            _ => return "",
        };
        self.mark.at += width;
        self.mark.index += count;
        self.mark.column = 0;
        self.mark.line += 1;
        kept
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.is_blank(0) {
            self.skip();
        }
    }

    pub(super) fn skip_comment(&mut self) {
        if self.byte(0) == b'#' {
            while !self.is_break_or_end(0) {
                self.skip();
            }
        }
    }

    /// The text from a byte to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.mark.at).unwrap_or_default()
    }

    fn fetch_more(&mut self) -> Result<(), Fault> {
        loop {
            if !self.tokens.is_empty() {
                // The first token may still turn out to be a key.
                let Some(&(_, at)) = self.key_of_token.iter().rev().find(|(number, _)| *number == self.taken)
                else {
                    return Ok(());
                };
                if !self.is_valid(at)? {
                    return Ok(());
                }
            }
            self.fetch_next()?;
        }
    }

    fn fetch_next(&mut self) -> Result<(), Fault> {
        self.skip_to_next_token();
        self.unroll_indent(self.mark.column);
        if self.is_end() {
            return self.fetch_stream_end();
        }
        let byte = self.byte(0);
        if self.mark.column == 0 {
            if byte == b'%' {
                self.reset(-1)?;
                let token = self.directive()?;
                self.tokens.push_back(token);
                return Ok(());
            }
            if self.is_document_indicator() {
                self.reset(-1)?;
                (0..3).for_each(|_| self.skip());
                self.tokens.push_back(if byte == b'-' { Token::DocumentStart } else { Token::DocumentEnd });
                return Ok(());
            }
        }
        let in_flow = self.flow_level > 0;
        match byte {
            b'[' => self.fetch_flow_start(Token::FlowSequenceStart),
            b'{' => self.fetch_flow_start(Token::FlowMappingStart),
            b']' => self.fetch_flow_end(Token::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(Token::FlowMappingEnd),
            b',' => {
                self.remove_key()?;
                self.simple_key_allowed = true;
                self.push_indicator(Token::FlowEntry);
                Ok(())
            }
            b'-' if self.is_space(1) => self.fetch_block_entry(),
            b'?' if in_flow || self.is_space(1) => self.fetch_key(),
            b':' if in_flow || self.is_space(1) => self.fetch_value(),
            b'*' | b'&' => {
                self.save_key()?;
                self.simple_key_allowed = false;
                let name = self.anchor()?;
                self.tokens.push_back(if byte == b'*' { Token::Alias(name) } else { Token::Anchor(name) });
                Ok(())
            }
            b'!' => {
                self.save_key()?;
                self.simple_key_allowed = false;
                let token = self.tag()?;
                self.tokens.push_back(token);
                Ok(())
            }
            b'|' | b'>' if !in_flow => {
                self.remove_key()?;
                self.simple_key_allowed = true;
                let text = self.block_scalar(byte == b'|')?;
                self.tokens.push_back(Token::Scalar(text, false));
                Ok(())
            }
            b'\'' | b'"' => {
                self.save_key()?;
                self.simple_key_allowed = false;
                let text = self.quoted_scalar(byte)?;
                self.tokens.push_back(Token::Scalar(text, false));
                Ok(())
            }
            b'-' if !self.is_blank(1) => self.fetch_plain(),
            b'?' | b':' if !in_flow && !self.is_space(1) => self.fetch_plain(),
            b'-' | b'?' | b':' | b'#' | b'|' | b'>' | b'%' | b'@' | b'`' => Err(self.fault()),
            _ if self.is_space(0) => Err(self.fault()),
            _ => self.fetch_plain(),
        }
    }

    fn skip_to_next_token(&mut self) {
        loop {
            // Tabs may stand where no key can begin.
            while self.byte(0) == b' '
                || (self.byte(0) == b'\t' && (self.flow_level > 0 || !self.simple_key_allowed))
            {
                self.skip();
            }
            self.skip_comment();
            if !self.is_break(0) {
                return;
            }
            self.skip_break();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    /// Consumes an indicator of one character.
    fn push_indicator(&mut self, token: Token<'a>) {
        self.skip();
        self.tokens.push_back(token);
    }

    /// What starts a line of its own ends what is open to the left.
    fn reset(&mut self, column: isize) -> Result<(), Fault> {
        self.unroll_indent(column);
        self.remove_key()?;
        self.simple_key_allowed = false;
        Ok(())
    }

    fn fetch_stream_end(&mut self) -> Result<(), Fault> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        self.reset(-1)?;
        self.tokens.push_back(Token::StreamEnd);
        Ok(())
    }

    fn fetch_flow_start(&mut self, token: Token<'a>) -> Result<(), Fault> {
        self.save_key()?;
        let number = self.taken + self.tokens.len();
        self.keys.push(SimpleKey { number, mark: self.mark, ..SimpleKey::default() });
        self.flow_level += 1;
        if self.flow_level > MAX_LEVELS {
            return Err(self.fault());
        }
        self.simple_key_allowed = true;
        self.push_indicator(token);
        Ok(())
    }

    fn fetch_flow_end(&mut self, token: Token<'a>) -> Result<(), Fault> {
        self.remove_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            if let Some(key) = self.keys.pop() {
                self.forget(key.number);
            }
        }
        self.simple_key_allowed = false;
        self.push_indicator(token);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), Fault> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.fault());
            }
            self.roll_indent(self.mark.column, None, Token::BlockSequenceStart)?;
        }
        self.remove_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(Token::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), Fault> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.fault());
            }
            self.roll_indent(self.mark.column, None, Token::BlockMappingStart)?;
        }
        self.remove_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.push_indicator(Token::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), Fault> {
        let last = self.keys.len() - 1;
        if self.is_valid(last)? {
            let key = self.keys[last];
            self.insert(Some(key.number), Token::Key);
            self.roll_indent(key.mark.column, Some(key.number), Token::BlockMappingStart)?;
            self.keys[last].possible = false;
            self.forget(key.number);
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return Err(self.fault());
                }
                self.roll_indent(self.mark.column, None, Token::BlockMappingStart)?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.push_indicator(Token::Value);
        Ok(())
    }

    fn fetch_plain(&mut self) -> Result<(), Fault> {
        self.save_key()?;
        self.simple_key_allowed = false;
        let text = self.plain_scalar()?;
        self.tokens.push_back(Token::Scalar(text, true));
        Ok(())
    }

    fn is_valid(&mut self, at: usize) -> Result<bool, Fault> {
        let Some(key) = self.keys.get_mut(at).filter(|key| key.possible) else { return Ok(false) };
        if key.mark.line < self.mark.line || key.mark.index + MAX_SIMPLE_KEY < self.mark.index {
            if key.required {
                return Err(self.fault());
            }
            key.possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn save_key(&mut self) -> Result<(), Fault> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        let number = self.taken + self.tokens.len();
        let required = self.flow_level == 0 && self.indent == self.mark.column;
        self.remove_key()?;
        let last = self.keys.len() - 1;
        self.keys[last] = SimpleKey { possible: true, required, number, mark: self.mark };
        if self.key_of_token.len() > 64 {
            let taken = self.taken;
            self.key_of_token.retain(|(number, _)| *number >= taken);
        }
        self.key_of_token.push((number, last));
        Ok(())
    }

    fn remove_key(&mut self) -> Result<(), Fault> {
        let last = self.keys.len() - 1;
        let key = self.keys[last];
        if key.possible {
            if key.required {
                return Err(self.fault());
            }
            self.keys[last].possible = false;
            self.forget(key.number);
        }
        Ok(())
    }

    fn forget(&mut self, number: usize) {
        self.key_of_token.retain(|(own, _)| *own != number);
    }

    /// Inserts a token before the one of this number; without a number, or if that one is taken already, at the end.
    fn insert(&mut self, number: Option<usize>, token: Token<'a>) {
        match number.and_then(|number| number.checked_sub(self.taken)) {
            Some(at) if at <= self.tokens.len() => self.tokens.insert(at, token),
            _ => self.tokens.push_back(token),
        }
    }

    fn roll_indent(&mut self, column: isize, number: Option<usize>, token: Token<'a>) -> Result<(), Fault> {
        if self.flow_level > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MAX_LEVELS {
            return Err(self.fault());
        }
        self.insert(number, token);
        Ok(())
    }

    fn unroll_indent(&mut self, column: isize) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            self.tokens.push_back(Token::BlockEnd);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }
}
