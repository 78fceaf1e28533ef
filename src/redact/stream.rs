//! Redaction of a stream that comes in pieces. Pure: bytes in, bytes out.
//!
//! Whole lines are passed on, since an encoded secret can only be told when all of it is there. A secret of several lines is
//! known by each of its lines (`redact/secrets.rs`), so no line waits for the next.

use super::Redactor;

/// A line longer than this, bytes, is passed on in parts.
const LONGEST: usize = 1 << 20;
/// What is kept back of such a line, bytes: a secret may have begun there.
const KEPT: usize = 64 << 10;

/// The begun line.
#[derive(Debug, Default)]
pub struct Stream(Vec<u8>);

impl Stream {
    /// The next bytes, redacted as far as their lines are whole.
    pub fn pass(&mut self, bytes: &[u8], by: &Redactor) -> Vec<u8> {
        let seen = self.0.len();
        self.0.extend_from_slice(bytes);
        let whole = self.0[seen..].iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
        let end = match whole {
            Some(at) => seen + at + 1,
            None if self.0.len() > LONGEST => self.0.len() - KEPT,
            None => return Vec::new(),
        };
        self.give(end, by)
    }

    /// Nothing has come for a while: what is begun is passed on too, such as a question that waits for its answer. What may be
    /// the beginning of a secret still waits for its rest.
    pub fn idle(&mut self, by: &Redactor) -> Vec<u8> {
        self.give(by.begun(&self.0), by)
    }

    /// The end of the stream.
    pub fn end(&mut self, by: &Redactor) -> Vec<u8> {
        self.give(self.0.len(), by)
    }

    /// Is a line begun?
    pub fn is_begun(&self) -> bool {
        !self.0.is_empty()
    }

    fn give(&mut self, end: usize, by: &Redactor) -> Vec<u8> {
        let rest = self.0.split_off(end);
        by.bytes(&std::mem::replace(&mut self.0, rest))
    }
}
