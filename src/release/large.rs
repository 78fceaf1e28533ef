//! Records whose body is more than helm-guard holds in memory. Helm reads them, so they are not damaged: what decisions need
//! is read as the body streams by, and a status is written in the same way. Their manifest is not known.

use std::io::{Read, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use super::codec::{self, CodecError, Edit, Essentials};

/// Longest text that is kept of a body, bytes; what is longer is cut.
const LONGEST_TEXT: usize = 64 << 10;

/// Most that is kept of a body, bytes.
const MOST_KEPT: usize = 8 << 20;

/// Reads the [`Essentials`] of a payload of any size.
///
/// # Errors
/// When it is not a record, or what is needed of it is too large as well.
pub fn essentials(payload: &[u8]) -> Result<Essentials, CodecError> {
    let mut kept = Vec::new();
    let mut walk = Walk::default();
    let mut skipped_at = None;
    let mut length = 0;
    stream(payload, |bytes| {
        for &byte in bytes {
            let was_text = walk.in_text;
            let step = walk.step(byte);
            if matches!(step, Step::Ends(level) if skipped_at == Some(level)) {
                skipped_at = None;
            }
            if skipped_at.is_none() {
                length = if was_text && walk.in_text { length + 1 } else { 0 };
                // Never within an escape, a character or two escapes that are one.
                let may_cut = !walk.is_escape && byte < 0x80;
                if length <= LONGEST_TEXT || !may_cut {
                    kept.push(byte);
                }
            }
            if let Step::Value(level) = step {
                let is_needed = match level {
                    1 => matches!(
                        walk.key(1),
                        b"info" | b"version" | b"chart" | b"hooks" | b"apply_method" | b"manifest"
                    ),
                    _ => walk.key(1) != b"chart" || walk.key(2) == b"metadata",
                };
                if !is_needed {
                    kept.extend_from_slice(b"null");
                    skipped_at = Some(level);
                }
            }
        }
        if kept.len() > MOST_KEPT { Err(CodecError::TooLarge) } else { Ok(()) }
    })?;
    let mut essentials = codec::essentials(&kept)?;
    essentials.is_large = true;
    Ok(essentials)
}

/// Changes the status and the description of a payload of any size; all else keeps its bytes.
///
/// # Errors
/// When it is not a record, the edit names more than that, or the result has more than `limit` bytes.
pub fn edit(payload: &[u8], edit: &Edit, limit: usize) -> Result<Vec<u8>, CodecError> {
    if edit.manifest.is_some() || edit.values_of.is_some() || edit.hooks.is_some() {
        return Err(CodecError::TooLarge);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let mut walk = Walk::default();
    let mut info: Option<Vec<u8>> = None;
    let mut is_done = false;
    stream(payload, |bytes| {
        let mut copied = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            let step = walk.step(byte);
            if step == Step::Ends(1)
                && let Some(old) = info.take()
            {
                let old = [b"{\"info\":", &old[..], b"}"].concat();
                let new = codec::edit(&old, edit)?;
                copied.extend_from_slice(new.get(8..new.len() - 1).unwrap_or_default());
                is_done = true;
            }
            match &mut info {
                Some(info) if info.len() > MOST_KEPT => return Err(CodecError::TooLarge),
                Some(info) => info.push(byte),
                None => copied.push(byte),
            }
            if step == Step::Value(1) && walk.key(1) == b"info" {
                info = Some(Vec::new());
            }
        }
        gzip.write_all(&copied).map_err(|_| CodecError::Gzip)
    })?;
    if !is_done {
        return Err(CodecError::Json("no info".into()));
    }
    let payload = STANDARD.encode(gzip.finish().map_err(|_| CodecError::Gzip)?).into_bytes();
    if payload.len() > limit { Err(CodecError::DoesNotFit(payload.len())) } else { Ok(payload) }
}

/// Calls `each` with the decompressed bytes of a payload, piece by piece.
fn stream(payload: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), CodecError>) -> Result<(), CodecError> {
    let packed = codec::unbase64(payload)?;
    if !packed.starts_with(&[0x1f, 0x8b]) {
        return each(&packed);
    }
    let mut unpacked = MultiGzDecoder::new(packed.as_slice());
    let mut piece = vec![0; 64 << 10];
    loop {
        match unpacked.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => each(piece.get(..length).unwrap_or_default())?,
            Err(_) => return Err(CodecError::Gzip),
        }
    }
}

/// Where in a JSON text something happens that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// A value begins in an object of this level: 1 is the outermost.
    Value(usize),
    /// The value that began in an object of this level has ended, before this byte.
    Ends(usize),
}

/// Walks over a JSON text byte by byte, and knows the keys of the two outermost levels.
#[derive(Default)]
struct Walk {
    depth: usize,
    in_text: bool,
    /// Does an escape go on behind this byte?
    is_escaped: bool,
    /// Is this byte part of an escape?
    is_escape: bool,
    is_key: bool,
    at_key: bool,
    is_object: [bool; 3],
    keys: [Vec<u8>; 3],
}

impl Walk {
    fn key(&self, level: usize) -> &[u8] {
        self.keys.get(level).map_or(b"", Vec::as_slice)
    }

    fn is_in_object(&self) -> bool {
        self.is_object.get(self.depth).is_some_and(|is| *is)
    }

    fn step(&mut self, byte: u8) -> Step {
        if self.in_text {
            self.is_escape = self.is_escaped || byte == b'\\';
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_text = false;
                    return Step::Nothing;
                }
                _ => {}
            }
            if let Some(key) = self.keys.get_mut(self.depth).filter(|key| self.is_key && key.len() < 32) {
                key.push(byte);
            }
            return Step::Nothing;
        }
        self.is_escape = false;
        match byte {
            b'"' => {
                self.in_text = true;
                self.is_key = self.at_key;
                if let Some(key) = self.keys.get_mut(self.depth).filter(|_| self.at_key) {
                    key.clear();
                }
                self.at_key = false;
            }
            b'{' | b'[' => {
                self.depth += 1;
                if let Some(is_object) = self.is_object.get_mut(self.depth) {
                    *is_object = byte == b'{';
                }
                self.at_key = self.is_in_object();
            }
            b'}' | b']' => {
                let was_object = self.is_in_object();
                let level = self.depth;
                self.depth = self.depth.saturating_sub(1);
                self.at_key = false;
                return if was_object { Step::Ends(level) } else { Step::Nothing };
            }
            b',' => {
                self.at_key = self.is_in_object();
                return if self.at_key { Step::Ends(self.depth) } else { Step::Nothing };
            }
            b':' if self.is_in_object() => return Step::Value(self.depth),
            _ => {}
        }
        Step::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Status;

    fn body(manifest: &str) -> String {
        format!(
            "{{\"name\":\"web\",\"info\":{{\"status\":\"deployed\",\"description\":\"a \\\"b\\\": {{\",\"last_deployed\":\"x\"}},\
             \"chart\":{{\"files\":[{{\"metadata\":1}}],\"metadata\":{{\"name\":\"c\",\"version\":\"1\"}},\"values\":{{\"a\":[1]}}}},\
             \"config\":{{\"info\":{{\"status\":\"failed\"}}}},\"manifest\":\"{manifest}\",\
             \"hooks\":[{{\"name\":\"h\",\"kind\":\"Job\",\"manifest\":\"{manifest}\",\"events\":[\"post-install\"]}}],\
             \"version\":3,\"apply_method\":\"ssa\"}}"
        )
    }

    #[test]
    fn what_streams_by_is_read_as_what_is_held() {
        for manifest in ["", "---\\n\\u00e4\\\"", &"ä\\n".repeat(100_000)] {
            let json = body(manifest);
            let payload = codec::encode(json.as_bytes(), codec::MAX_STORED).unwrap();
            let mut held = codec::essentials(json.as_bytes()).unwrap();
            held.is_large = true;
            assert_eq!(essentials(&payload).unwrap(), held);
            let edit_of =
                Edit { status: Some(Status::Failed), description: Some("died".into()), ..Edit::default() };
            let edited = edit(&payload, &edit_of, codec::MAX_STORED).unwrap();
            let held = codec::edit(json.as_bytes(), &edit_of).unwrap();
            assert_eq!(codec::decode(&edited).unwrap(), held);
        }
    }

    #[test]
    fn what_is_no_record_is_none_here_either() {
        for json in ["", "[]", "{\"info\":1}", "{\"info\":{\"status\":\"x\""] {
            let payload = codec::encode(json.as_bytes(), codec::MAX_STORED).unwrap();
            assert!(essentials(&payload).is_err(), "{json}");
            assert!(edit(&payload, &Edit::default(), codec::MAX_STORED).is_err(), "{json}");
        }
        assert!(matches!(essentials(b"%%"), Err(CodecError::Base64)));
    }
}
