//! Blocks of PEM in a text, found as Go's `encoding/pem` finds them: whatever stands between them is passed over.
//! Pure.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What follows `BEGIN`.
    pub label: String,
    /// Are there headers before the content? Such a certificate does not count.
    pub has_headers: bool,
    /// Content.
    pub content: Vec<u8>,
}

/// All blocks, in order.
pub fn blocks(text: &[u8]) -> Vec<Block> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((block, after)) = next(rest) {
        found.push(block);
        rest = after;
    }
    found
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// The next block, and what follows it.
fn next(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let end = find(rest, END)?;
        // The next search begins here if this is no block.
        let trailer = from + end + END.len();
        let begin = rest.get(..end).and_then(|before| rfind(before, BEGIN));
        let block = begin
            .filter(|begin| *begin == 0 || rest.get(begin - 1) == Some(&b'\n'))
            .and_then(|begin| block(rest, begin + BEGIN.len(), end));
        if let Some((block, after)) = block {
            return Some((block, text.get(from + after..)?));
        }
        from = trailer;
    }
}

/// The block whose label begins at `at` and whose end line begins, with its line end, at `end`; and where the text goes on.
fn block(text: &[u8], at: usize, end: usize) -> Option<(Block, usize)> {
    let (label, mut at) = line(text, at);
    let label = label.strip_suffix(DASHES)?;
    let mut has_headers = false;
    loop {
        if at >= text.len() {
            return None;
        }
        let (header, next) = line(text, at);
        if !header.contains(&b':') {
            break;
        }
        has_headers = true;
        at = next;
    }
    if has_headers && at > end {
        return None;
    }
    let trailer = text.get(end + END.len()..)?.strip_prefix(label)?.strip_prefix(DASHES)?;
    let (after, next) = line(text, text.len() - trailer.len());
    if !after.is_empty() {
        return None;
    }
    let body = text.get(at..end).unwrap_or_default();
    let body: Vec<u8> = body.iter().copied().filter(|byte| !b" \t\r\n".contains(byte)).collect();
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let content = GeneralPurpose::new(&STANDARD, CONFIG).decode(body).ok()?;
    let label = String::from_utf8_lossy(label).into_owned();
    Some((Block { label, has_headers, content }, next))
}

/// The line that begins here, without blanks at its end, and where the next begins.
fn line(text: &[u8], at: usize) -> (&[u8], usize) {
    let rest = text.get(at..).unwrap_or_default();
    let (line, next) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&rest[..end], at + end + 1),
        None => (rest, text.len()),
    };
    let line = line.strip_suffix(b"\r").filter(|_| next > at + line.len()).unwrap_or(line);
    let length = line.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
    (&line[..length], next)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn rfind(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).rposition(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_anything_else() {
        let block = "-----BEGIN A-----\naGk=\n-----END A-----\n";
        for (text, wanted) in [
            (block.to_owned(), vec![("A", false)]),
            (format!("junk\n{block}more junk\n\n{block}"), vec![("A", false), ("A", false)]),
            (block.replace('\n', "\r\n"), vec![("A", false)]),
            (block.replace('\n', "  \n"), vec![("A", false)]),
            (block.trim_end().to_owned(), vec![("A", false)]),
            (format!(" {block}"), vec![]),
            (format!("-----BEGIN NOTHING\n{block}"), vec![("A", false)]),
            (block.replace("-----\naGk", "-----\nName: x\n\naGk"), vec![("A", true)]),
            (block.replace("aGk=", "a*k="), vec![]),
            (format!("{}{block}", block.replace("END A", "END B")), vec![("A", false)]),
            (block.replace("aGk=", "a G\tk ="), vec![("A", false)]),
            (block.replace("\naGk=", ""), vec![("A", false)]),
            (String::new(), vec![]),
        ] {
            let found = blocks(text.as_bytes());
            let found: Vec<(&str, bool)> =
                found.iter().map(|block| (&*block.label, block.has_headers)).collect();
            assert_eq!(found, wanted, "{text:?}");
        }
        assert_eq!(blocks(block.as_bytes())[0].content, b"hi");
    }
}
