//! What the stories of workflow and pipeline runners share: a copy of a source tree, and a runner that works beside the story.

use std::{
    fs::{self, File},
    io::Result,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

/// Copies a file, or a folder with all that is in it; makes the folders above.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        return fs::copy(from, to).map(drop);
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A process whose output goes to a file. A story that ends early takes it along.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    log: PathBuf,
}

impl Runner {
    /// Starts it.
    ///
    /// # Errors
    /// When the file cannot be written, or the program cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, log })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be waited for, or the file cannot be read.
    pub fn finish(mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait()?;
        Ok((status, String::from_utf8_lossy(&fs::read(&self.log)?).into_owned()))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
