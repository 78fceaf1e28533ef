//! Scans anchors, aliases, tags and directives.

use super::{
    Fault,
    scanner::{Scanner, Token},
};

impl<'a> Scanner<'a> {
    /// Consumes letters, digits, `_` and `-`.
    fn word(&mut self) -> &'a str {
        let start = self.mark.at;
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        self.since(start)
    }

    pub(super) fn anchor(&mut self) -> Result<&'a str, Fault> {
        self.skip();
        let name = self.word();
        let ends =
            self.is_space(0) || matches!(self.byte(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if name.is_empty() || !ends { Err(self.fault()) } else { Ok(name) }
    }

    pub(super) fn tag(&mut self) -> Result<Token<'a>, Fault> {
        let (handle, suffix) = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let uri = self.uri("")?;
            if self.byte(0) != b'>' {
                return Err(self.fault());
            }
            self.skip();
            (String::new(), uri)
        } else {
            let handle = self.tag_handle(false)?;
            if handle.len() > 1 && handle.ends_with('!') {
                (handle.to_owned(), self.uri("")?)
            } else {
                match self.uri(handle)? {
                    suffix if suffix.is_empty() => (suffix, "!".to_owned()),
                    suffix => ("!".to_owned(), suffix),
                }
            }
        };
        if self.is_space(0) { Ok(Token::Tag(handle, suffix)) } else { Err(self.fault()) }
    }

    fn tag_handle(&mut self, of_directive: bool) -> Result<&'a str, Fault> {
        if self.byte(0) != b'!' {
            return Err(self.fault());
        }
        let start = self.mark.at;
        self.skip();
        self.word();
        if self.byte(0) == b'!' {
            self.skip();
        } else if of_directive && self.since(start) != "!" {
            return Err(self.fault());
        }
        Ok(self.since(start))
    }

    /// Consumes a URI. What was taken for a handle, with its `!`, is the start of it.
    fn uri(&mut self, head: &str) -> Result<String, Fault> {
        let mut bytes = head.get(1..).unwrap_or_default().as_bytes().to_vec();
        let mut is_there = !head.is_empty();
        loop {
            match self.byte(0) {
                b'%' => self.uri_escape(&mut bytes)?,
                byte if byte.is_ascii_alphanumeric() || b"_-;/?:@&=+$,.!~*'()[]".contains(&byte) => {
                    bytes.push(byte);
                    self.skip();
                }
                _ => break,
            }
            is_there = true;
        }
        if is_there { Ok(String::from_utf8_lossy(&bytes).into_owned()) } else { Err(self.fault()) }
    }

    /// Consumes the escaped octets of one character.
    fn uri_escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let mut left = None;
        while left != Some(0) {
            let at = self.mark.at;
            let hex = self.text.get(at + 1..at + 3).filter(|_| self.byte(0) == b'%');
            let hex = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let octet = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or_else(|| self.fault())?;
            left = match (left, octet) {
                (None, 0..0x80) => Some(0),
                (None, 0xC0..0xE0) => Some(1),
                (None, 0xE0..0xF0) => Some(2),
                (None, 0xF0..0xF8) => Some(3),
                (Some(more), 0x80..0xC0) => Some(more - 1),
                _ => return Err(self.fault()),
            };
            bytes.push(octet);
            (0..3).for_each(|_| self.skip());
        }
        Ok(())
    }

    pub(super) fn directive(&mut self) -> Result<Token<'a>, Fault> {
        self.skip();
        let name = self.word();
        if name.is_empty() || !self.is_space(0) {
            return Err(self.fault());
        }
        let token = match name {
            "YAML" => {
                self.skip_blanks();
                let major = self.version_number()?;
                if self.byte(0) != b'.' {
                    return Err(self.fault());
                }
                self.skip();
                Token::Version(major, self.version_number()?)
            }
            "TAG" => {
                self.skip_blanks();
                let handle = self.tag_handle(true)?.to_owned();
                if !self.is_blank(0) {
                    return Err(self.fault());
                }
                self.skip_blanks();
                let prefix = self.uri("")?;
                if !self.is_space(0) {
                    return Err(self.fault());
                }
                Token::TagDirective(handle, prefix)
            }
            _ => return Err(self.fault()),
        };
        self.skip_blanks();
        self.skip_comment();
        if !self.is_break_or_end(0) {
            return Err(self.fault());
        }
        self.skip_break();
        Ok(token)
    }

    fn version_number(&mut self) -> Result<u8, Fault> {
        let start = self.mark.at;
        while self.byte(0).is_ascii_digit() {
            self.skip();
        }
        let digits = self.since(start);
        digits.parse().ok().filter(|_| digits.len() <= 2).ok_or_else(|| self.fault())
    }
}
