//! Copies of records and objects in files of their own: how they are named, and how many of them stay.
//! What is in them is decided by those who save them.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::private_file;

/// Where copies go, and how many of a kind stay.
#[derive(Clone, Copy, Debug)]
pub struct Shelf<'a> {
    /// Directory; made if it is not there.
    pub directory: &'a Path,
    /// Namespace of what is copied.
    pub namespace: &'a str,
    /// How many copies of one kind and name are left, the new one included; at least 1.
    pub keep: u32,
}

/// What is copied. The kinds do not count for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All records of a release, before a deploy.
    Backup,
    /// The records that a repair changes.
    Repair,
    /// A StatefulSet that is deleted.
    StatefulSet,
}

impl Kind {
    /// Endings of the names; the first is the copy, another goes with it.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Backup => &["json", "yaml"],
            Self::Repair => &["repair.json"],
            Self::StatefulSet => &["statefulset.json"],
        }
    }
}

/// Writes a copy into new files, one for each ending of its kind, and gives the path of the first.
///
/// # Errors
/// When a file cannot be written. That an old one cannot be thrown away is none.
pub fn save(shelf: &Shelf<'_>, kind: Kind, name: &str, id: &str, texts: &[&[u8]]) -> anyhow::Result<PathBuf> {
    private_file::directory(shelf.directory)
        .with_context(|| format!("backup directory {}", shelf.directory.display()))?;
    let stem = stem(shelf.namespace, name, id);
    let paths: Vec<PathBuf> =
        kind.endings().iter().map(|ending| shelf.directory.join(format!("{stem}.{ending}"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        private_file::create(path, text).with_context(|| format!("backup file {}", path.display()))?;
    }
    throw_away(shelf, kind, name);
    Ok(paths.into_iter().next().unwrap_or_default())
}

fn throw_away(shelf: &Shelf<'_>, kind: Kind, name: &str) {
    let Ok(entries) = std::fs::read_dir(shelf.directory) else { return };
    let aged = entries.flatten().filter_map(|entry| {
        let changed = entry.metadata().and_then(|meta| meta.modified()).ok()?;
        Some((changed, entry.file_name().into_string().ok()?))
    });
    let mut files: Vec<_> = aged.collect();
    files.sort();
    let files: Vec<String> = files.into_iter().map(|(_, name)| name).collect();
    let keep = usize::try_from(shelf.keep.max(1)).unwrap_or(usize::MAX);
    for name in surplus(&files, kind, shelf.namespace, name, keep) {
        // Another process may have been quicker.
        let _ = std::fs::remove_file(shelf.directory.join(name));
    }
}

/// Name of a copy's file, without its ending. No namespace has a dot in it, so no two releases share a name.
fn stem(namespace: &str, name: &str, id: &str) -> String {
    format!("{namespace}.{name}-{id}")
}

/// Which of these files of a directory, oldest first, go, so that `keep` copies of this kind and name are left.
fn surplus(files: &[String], kind: Kind, namespace: &str, name: &str, keep: usize) -> Vec<String> {
    let begin = stem(namespace, name, "");
    let endings = kind.endings();
    let stems: Vec<&str> = files
        .iter()
        .filter_map(|file| file.strip_suffix(endings[0])?.strip_suffix('.'))
        .filter(|stem| stem.strip_prefix(&begin).is_some_and(is_id))
        .collect();
    let old = stems.len().saturating_sub(keep);
    stems[..old]
        .iter()
        .flat_map(|stem| endings.iter().map(move |ending| format!("{stem}.{ending}")))
        .collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 8 && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_none_of_another_release_namespace_or_kind() {
        let files = [
            "shop.web-00000001.json",
            "shop.web-00000001.yaml",
            "shop.web-api-00000002.json",
            "till.web-00000003.json",
            "shop.web-00000004.json",
            "shop.web-0000000x.json",
            "web-00000005.json",
            "shop.web-00000006.json",
            "shop.web-00000007.repair.json",
            "shop.web-00000008.repair.json",
        ]
        .map(str::to_owned);
        let gone = |kind, name, keep| surplus(&files, kind, "shop", name, keep).join(" ");
        assert_eq!(gone(Kind::Backup, "web", 3), "");
        assert_eq!(gone(Kind::Backup, "web", 2), "shop.web-00000001.json shop.web-00000001.yaml");
        assert_eq!(
            gone(Kind::Backup, "web", 1),
            "shop.web-00000001.json shop.web-00000001.yaml shop.web-00000004.json shop.web-00000004.yaml"
        );
        assert_eq!(gone(Kind::Backup, "web-api", 0).split(' ').count(), 2);
        assert_eq!(gone(Kind::Repair, "web", 1), "shop.web-00000007.repair.json");
        assert_eq!(gone(Kind::StatefulSet, "web", 0), "");
    }

    #[test]
    fn releases_of_one_name_in_two_namespaces_have_copies_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        for (namespace, id) in [("shop", "00000001"), ("till", "00000001"), ("shop", "00000002")] {
            let shelf = Shelf { directory: directory.path(), namespace, keep: 1 };
            save(&shelf, Kind::Repair, "web", id, &[b"{}"]).unwrap();
        }
        for (namespace, name) in [("shop", "db"), ("bank", "db"), ("shop", "db.main"), ("shop-db", "main")] {
            let directory = directory.path().join("sets");
            let shelf = Shelf { directory: &directory, namespace, keep: 1 };
            save(&shelf, Kind::StatefulSet, name, "0a1b2c3d", &[b"{}"]).unwrap();
        }
        let sets = std::fs::read_dir(directory.path().join("sets")).unwrap();
        assert_eq!(sets.count(), 4);
        std::fs::remove_dir_all(directory.path().join("sets")).unwrap();
        let names = std::fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["shop.web-00000002.repair.json", "till.web-00000001.repair.json"]);
    }
}
