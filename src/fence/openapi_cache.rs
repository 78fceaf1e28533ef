//! Descriptions of the API that never change, kept from run to run. Helm's client files what it fetched under the address
//! that it talks to, which is the fence's and new each time: so its own files are put, under the names that it will look for,
//! where it looks. What may be kept is decided in `fence.rs`.
//!
//! Where it looks: `http/` in `KUBECACHEDIR`, the SHA-256 of the URL in hexadecimal (client-go,
//! `discovery/cached/disk/round_tripper.go`). A file begins with the SHA-256 of the rest, which its reader checks; should
//! another version look elsewhere or write differently, it asks the API server as it would without these files.

use std::{
    fs,
    io::{self, Result},
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use ring::digest::{SHA256, digest};

use super::{Description, cache_folder};

/// Longest name of a file.
const LONGEST: usize = 255;

/// A folder of descriptions, of one API server.
#[derive(Clone, Debug)]
pub struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// In the user's cache directory. `None` where there can be none.
    pub fn open(cache: &Path, server: &str) -> Option<Self> {
        let folder = cache.join("helm-guard/openapi").join(cache_folder(server));
        private(&folder).ok()?;
        Some(Self { folder })
    }

    /// Puts what is remembered into `cache`, Helm's `KUBECACHEDIR`, for a Helm that talks to `address`.
    ///
    /// # Errors
    /// When nothing can be put there; then Helm has only to ask again.
    pub fn lend(&self, cache: &Path, address: &str) -> Result<()> {
        let http = cache.join("http");
        private(&http)?;
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            if let Some(target) = file.file_name().to_str().and_then(target) {
                // Helm's client replaces files and never writes into one: what a link leads to stays as it is.
                symlink(file.path(), http.join(key(address, &target)))?;
            }
        }
        Ok(())
    }

    /// Takes what a Helm that talked to `address` got, in the place of older versions of it.
    ///
    /// # Errors
    /// When it cannot be written; then the next run asks again.
    pub fn keep(&self, cache: &Path, address: &str, asked: &[Description]) -> Result<()> {
        for description in asked {
            let (name, key) = (name(description), key(address, &description.target));
            let got = cache.join("http").join(&key);
            if name.len() > LONGEST || !got.symlink_metadata().is_ok_and(|got| got.is_file()) {
                continue;
            }
            let kept = self.folder.join(&name);
            // Another run may do the same: each has its own, and the name is given to what is whole. The key has the fence's
            // secret in it; a process id would not do, since every container has a process 1.
            let own = self.folder.join(format!("{key}.part"));
            fs::rename(&got, &own).or_else(|_| fs::copy(&got, &own).map(drop))?;
            fs::rename(own, &kept)?;
            let path = |name: &str| name.split('?').next().map(str::to_owned);
            for other in fs::read_dir(&self.folder)? {
                let other = other?;
                if let Some(older) = other.file_name().to_str().filter(|other| *other != name)
                    && path(older) == path(&name)
                {
                    gone(&other.path())?;
                }
            }
        }
        Ok(())
    }
}

fn private(folder: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn gone(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file name for a description, from which [`target`] is found again.
fn name(description: &Description) -> String {
    description.target.replace('/', "!")
}

fn target(name: &str) -> Option<String> {
    name.starts_with('!').then(|| name.replace('!', "/"))
}

/// The name under which Helm's client files what it got.
fn key(address: &str, target: &str) -> String {
    crate::id::hex(digest(&SHA256, format!("{address}{target}").as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a real Helm 4.3.1 filed it.
    #[test]
    fn the_key_is_that_of_helms_client() {
        let hash = "8F5F21DFCD465B067ED095B213D5695C2424C01AC732DEC7C1D767B196C545F4AFFE76D518B72E08FD924EE97E72DF1D115C995389B119BBEFCFE9060BF428CF";
        let target = format!("/openapi/v3/api/v1?hash={hash}&timeout=32s");
        let wanted = "298a9d2421a423c6a57127e83a89570bfd397e7155ff9ee2aaaad7a9a8ff24e9";
        assert_eq!(key("https://127.0.0.1:34569", &target), wanted);
    }

    #[test]
    fn what_one_helm_got_the_next_finds_under_its_own_address() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::open(directory.path(), "https://10.0.0.1:6443").unwrap();
        let description =
            |hash: &str| Description { target: format!("/openapi/v3/api/v1?hash={hash}&timeout=32s") };
        let (first, second) = ("http://127.0.0.1:4000/one", "http://127.0.0.1:5000/two");
        let cache = |name: &str| directory.path().join(name);
        let file = |name: &str, address: &str, hash: &str| {
            cache(name).join("http").join(key(address, &description(hash).target))
        };

        memory.lend(&cache("a"), first).unwrap();
        assert_eq!(fs::read_dir(cache("a/http")).unwrap().count(), 0, "nothing is known yet");
        fs::write(file("a", first, "A"), "text").unwrap();
        memory.keep(&cache("a"), first, &[description("A"), description("never finished")]).unwrap();

        memory.lend(&cache("b"), second).unwrap();
        assert_eq!(fs::read_to_string(file("b", second, "A")).unwrap(), "text");
        assert_eq!(fs::read_dir(cache("b/http")).unwrap().count(), 1);
        // It was on disk: Helm did not ask, or asked and got it from there.
        memory.keep(&cache("b"), second, &[description("A")]).unwrap();
        assert_eq!(fs::read_to_string(file("b", second, "A")).unwrap(), "text", "a link is no new file");

        fs::write(file("b", second, "B"), "newer").unwrap();
        memory.keep(&cache("b"), second, &[description("B")]).unwrap();
        memory.lend(&cache("c"), first).unwrap();
        assert_eq!(fs::read_to_string(file("c", first, "B")).unwrap(), "newer");
        assert_eq!(fs::read_dir(cache("c/http")).unwrap().count(), 1, "nothing old is left");
    }
}
