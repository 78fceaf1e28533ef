//! The fence's own directory: Helm's kubeconfig, and the discovery cache of Helm's client.
//! `fence.rs` decides what is in the kubeconfig.

use std::{
    fs::DirBuilder,
    io::Result,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use super::cache_folder;
use crate::private_file;

/// The directory, removed when this is dropped.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Makes the directory, for its owner only.
    ///
    /// # Errors
    /// When it cannot be made; it must not be there yet.
    pub fn make(path: &Path) -> Result<Self> {
        if let Some(above) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(above)?;
        }
        DirBuilder::new().mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Writes the kubeconfig and gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self, text: &str) -> Result<PathBuf> {
        let path = self.path.join("kubeconfig");
        private_file::create(&path, text.as_bytes())?;
        Ok(path)
    }

    /// The folder for `KUBECACHEDIR`. Helm's client files what it discovers under the address that it talks to, which is the
    /// fence's and differs from run to run; `remembered` is where it finds it again, for the real server.
    ///
    /// # Errors
    /// When the folder cannot be made. Without `remembered` Helm has only to ask again.
    pub fn cache(&self, fence: &str, server: &str, remembered: Option<&Path>) -> Result<PathBuf> {
        let cache = self.path.join("cache");
        let folders = fence.split_once("://").map_or(fence, |(_, address)| address);
        let mut folders: Vec<String> = folders.split('/').map(cache_folder).collect();
        let last = folders.pop().unwrap_or_default();
        let above = folders.iter().fold(cache.join("discovery"), |path, folder| path.join(folder));
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(&above)?;
        if let Some(remembered) = remembered {
            let remembered = remembered.join("helm-guard/discovery").join(cache_folder(server));
            if private.create(&remembered).is_ok() {
                symlink(remembered, above.join(last))?;
            }
        }
        Ok(cache)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // `settle` removes it too, and where neither can there is no secret in it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_for_its_owner_and_goes_with_the_fence_but_what_is_remembered_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (path, remembered) = (directory.path().join("home"), directory.path().join("user"));
        let home = Home::make(&path).unwrap();
        let file = home.kubeconfig("text").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
        assert!(Home::make(&path).is_err(), "another's");

        let fence = "http://127.0.0.1:4000/secret";
        let cache = home.cache(fence, "https://10.0.0.1:6443", Some(&remembered)).unwrap();
        std::fs::write(cache.join("discovery/127.0.0.1_4000/secret/servergroups.json"), "{}").unwrap();
        drop(home);
        assert!(!path.exists());
        let kept = remembered.join("helm-guard/discovery/10.0.0.1_6443/servergroups.json");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "{}");
    }
}
