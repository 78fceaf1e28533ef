//! A log as lines of bounded length, and not too many of them.
//! Pure: bytes in, lines out.

use std::time::Duration;

/// Longest line that is kept until it ends, bytes. Of a longer one nothing is shown: it could be cut within a secret,
/// which would not be known for one then.
const LONGEST: usize = 4 << 10;
/// Characters of a line that are shown.
pub const SHOWN: usize = 300;
/// Lines of one log in a second, and of all of it.
const A_SECOND: u32 = 20;
const ALL: u32 = 400;

/// Makes lines of pieces.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    is_overlong: bool,
}

impl Lines {
    /// The lines that are whole with these bytes, without empty ones.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n");
            let room = LONGEST.saturating_sub(self.begun.len());
            let more = line.unwrap_or(piece);
            self.is_overlong |= more.len() > room;
            self.begun.extend_from_slice(&more[..more.len().min(room)]);
            if line.is_some() {
                whole.extend(self.end());
            }
        }
        whole
    }

    /// The line that was begun, at the end of a log.
    pub fn end(&mut self) -> Option<String> {
        let begun = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.is_overlong) {
            return Some(format!("(a line of more than {LONGEST} bytes)"));
        }
        let line = String::from_utf8_lossy(&begun).trim_end().to_owned();
        (!line.is_empty()).then_some(line)
    }
}

/// Lets so many lines through.
#[derive(Debug, Default)]
pub struct Pace {
    second: Duration,
    in_second: u32,
    shown: u32,
    /// Lines that were left out since it was last said.
    pub left_out: u32,
}

impl Pace {
    /// May one more be shown?
    pub fn admits(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.second) >= Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        if self.in_second >= A_SECOND || self.shown >= ALL {
            self.left_out += 1;
            return false;
        }
        self.in_second += 1;
        self.shown += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        for pieces in [vec!["one\ntwo\r\n\nthree"], vec!["on", "e\nt", "wo\r", "\n\n", "thr", "ee"]] {
            let mut lines = Lines::default();
            let mut all: Vec<String> = pieces.iter().flat_map(|piece| lines.push(piece.as_bytes())).collect();
            assert_eq!(all, ["one", "two"]);
            all.extend(lines.end());
            assert_eq!(all, ["one", "two", "three"]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_cut_but_left_out() {
        let mut lines = Lines::default();
        for _ in 0..10 {
            assert_eq!(lines.push(&[b'x'; 1000]), [] as [&str; 0]);
        }
        assert!(lines.begun.len() <= LONGEST);
        assert_eq!(lines.push(b"\nnext\n"), ["(a line of more than 4096 bytes)", "next"]);
    }

    #[test]
    fn so_many_lines_in_a_second_and_no_more_in_all() {
        let mut pace = Pace::default();
        let shown =
            |pace: &mut Pace, at: u64| (0..1000).filter(|_| pace.admits(Duration::from_secs(at))).count();
        assert_eq!((shown(&mut pace, 5), pace.left_out), (20, 980));
        assert_eq!(shown(&mut pace, 6), 20);
        let rest: usize = (7..1000).map(|at| shown(&mut pace, at)).sum();
        assert_eq!(rest, 360);
    }
}
