//! Files that are rewritten while others may read or append to them.
//! Knows nothing of what is in them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Puts `text` into the file so that a reader sees the old or the new one, never half of it.
///
/// What is no regular file (a pipe, `/dev/stderr`) is written to as it is: a rename would take its place.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Through a symbolic link, or the rename would take its place too.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    // Left by a run that was killed. `create_new` then follows no link that somebody put there.
    let _ = fs::remove_file(&temporary);
    let written = File::options().write(true).create_new(true).open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        drop(file);
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Adds `text` to the end of the file.
pub(super) fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}

/// Our section of a file that others write to as well: rewritten in place, what is before and after it is kept.
pub(super) struct SummaryFile {
    path: PathBuf,
    /// Where our section starts.
    start: u64,
    /// How long it is, as we last wrote it.
    length: u64,
    /// What others have in the file, as we last saw it.
    foreign: u64,
}

impl SummaryFile {
    /// A section behind what is there now.
    pub(super) fn at_end_of(path: &Path) -> Self {
        let start = fs::metadata(path).map_or(0, |meta| meta.len());
        Self { path: path.to_owned(), start, length: 0, foreign: start }
    }

    /// Bytes that others have in the file.
    pub(super) fn foreign(&self) -> usize {
        usize::try_from(self.foreign).unwrap_or(usize::MAX)
    }

    /// Puts `text` in the place of our section.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        // Shorter than we left it: somebody emptied it, and ours starts anew at its end.
        let end = file.metadata()?.len();
        if end < self.start + self.length {
            (self.start, self.length) = (end, 0);
        }
        let mut behind = Vec::new();
        file.seek(SeekFrom::Start(self.start + self.length))?;
        file.read_to_end(&mut behind)?;
        self.foreign = self.start + behind.len() as u64;

        // A section that starts in the middle of a line would be part of its paragraph.
        let gap = if self.start > 0 && !text.is_empty() { "\n\n" } else { "" };
        let section = format!("{gap}{text}");
        file.seek(SeekFrom::Start(self.start))?;
        file.write_all(section.as_bytes())?;
        self.length = section.len() as u64;
        file.write_all(&behind)?;
        file.set_len(self.start + self.length + behind.len() as u64)
    }
}
