//! Files and directories for their owner's eyes only: one way to write them, and to trust what is read.
//! Knows nothing of what is in them.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{Error, ErrorKind, Read, Result, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, access, linkat, memfd_create};

/// Number of the user who runs this process.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a directory with mode `0700`, and those above it that are missing. One that is there in a place that every user may
/// write to, as the temporary directory, must be this user's or root's: whoever else owns it could replace what is in it.
///
/// A CI job in a container finds directories of its runner's user. These are not in such a place, and are its own.
///
/// # Errors
/// When it cannot be made, is no directory, or is another user's.
pub fn directory(path: &Path) -> Result<()> {
    make(path)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if std::fs::metadata(above)?.mode() & 0o002 == 0 {
        return Ok(());
    }
    [std::fs::symlink_metadata(path)?, std::fs::metadata(path)?].iter().try_for_each(is_ours)
}

fn make(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    // A link to a directory is there too.
    if path.is_dir() { Ok(()) } else { made }
}

fn is_ours(found: &Metadata) -> Result<()> {
    let (owner, user) = (found.uid(), user());
    if owner == user || owner == 0 {
        return Ok(());
    }
    Err(refused(format!("it is owned by user {owner}, not by user {user}, and could be changed")))
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, why)
}

/// The first of these directories that can be written, whether it is there already or would have to be made. The last one
/// where none can.
pub fn first_usable(directories: Vec<PathBuf>) -> PathBuf {
    let is_usable = |directory: &PathBuf| {
        let there = directory.ancestors().find(|above| above.exists());
        there.is_some_and(|there| access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok())
    };
    let chosen = directories.iter().find(|directory| is_usable(directory)).or(directories.last());
    chosen.cloned().unwrap_or_default()
}

/// Writes a new file with mode `0600`, with all that was written on the disk, or none. Makes the directory too.
///
/// # Errors
/// When it is there already, or cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let above = path.parent().unwrap_or(Path::new("."));
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    make(above)?;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    // Without a name nothing of it outlives a kill. Not every file system can do that.
    let unnamed = options.clone().custom_flags(nix::libc::O_TMPFILE).open(above);
    let Ok(mut file) = unnamed else {
        let written = options.create_new(true).open(path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = &written
            && error.kind() != ErrorKind::AlreadyExists
        {
            let _ = std::fs::remove_file(path);
        }
        return written;
    };
    file.write_all(bytes)?;
    file.sync_all()?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Ending of the name under which a file is written that replaces another.
pub const BEGUN: &str = "new";

/// Replaces a file in one step: a reader, or a kill, finds the old or the new text.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension(BEGUN);
    let _ = std::fs::remove_file(&beside);
    let replaced = create(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if replaced.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    replaced
}

/// Reads a file that decides what is written to the cluster: it must be this user's or root's, and nobody else may have been
/// able to write it.
///
/// # Errors
/// When it cannot be read, is larger than `most` bytes, or may be another's text.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // Of what was opened, whatever has the name by now.
    let found = file.metadata()?;
    is_ours(&found)?;
    let group = rustix::process::getegid().as_raw();
    let mode = found.mode();
    if found.is_file() && (mode & 0o002 != 0 || mode & 0o020 != 0 && found.gid() != group) {
        return Err(refused(format!("others may write to it (mode {:04o}): chmod go-w", mode & 0o7777)));
    }
    let mut bytes = Vec::new();
    (&mut file).take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// A text in memory that another process of this user can open by a path, as long as this is kept. Nothing of it is on a disk.
#[derive(Debug)]
pub struct InMemory {
    file: File,
}

impl InMemory {
    /// With this text.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let mut file = File::from(memfd_create("helm-guard", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        Ok(Self { file })
    }

    /// The path.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// The file itself, to be read from its beginning.
    ///
    /// # Errors
    /// When too many files are open.
    pub fn open(&self) -> Result<File> {
        File::open(self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_for_its_owner_is_new_and_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/too/file.json");
        create(&path, b"one").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(create(&path, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 100).unwrap(), b"one");
        // What a killed process may have left.
        std::fs::write(path.with_extension(BEGUN), "half").unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!((read(&path, 5).unwrap(), mode(&path)), (b"three".to_vec(), 0o600));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(read(&path, 4).is_err(), "too large");
    }

    #[test]
    fn what_others_may_have_written_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        create(&path, b"text").unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for (mode, is_read) in [(0o600, true), (0o644, true), (0o664, true), (0o646, false), (0o666, false)] {
            set(mode);
            assert_eq!(read(&path, 100).is_ok(), is_read, "{mode:o}");
        }
        let error = read(&path, 100).unwrap_err().to_string();
        assert!(error.contains("others may write to it (mode 0666)"), "{error}");
        // Only root can give files away.
        if user() == 0 {
            set(0o600);
            std::os::unix::fs::chown(&path, Some(12345), Some(12345)).unwrap();
            let error = read(&path, 100).unwrap_err().to_string();
            assert!(error.contains("owned by user 12345"), "{error}");
            std::os::unix::fs::chown(directory.path(), Some(12345), None).unwrap();
            let error = super::directory(directory.path()).unwrap_err().to_string();
            assert!(error.contains("owned by user 12345"), "{error}");
            super::directory(&directory.path().join("in/it")).unwrap();
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().join("a/b");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(first_usable(vec![file.join("x"), good.clone()]), good);
        assert_eq!(first_usable(vec![good.clone(), file.join("x")]), good);
        assert!(!good.exists(), "it is only looked at");
    }

    #[test]
    fn a_text_in_memory_has_a_path_that_is_gone_with_it() {
        let text = InMemory::new(b"secret").unwrap();
        let path = text.path();
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        assert_eq!(std::fs::read(&path).unwrap(), b"secret", "from its beginning each time");
        drop(text);
        assert!(std::fs::read(&path).is_err());
    }
}
