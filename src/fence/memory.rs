//! Descriptions of the API that never change, kept for the next run: Helm's client files what it fetched under the address
//! that it talks to, which is the fence's and new each time.
//! What may be kept is decided in `fence.rs`.

use std::{
    fs,
    io::{Result, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::{Description, cache_folder};

/// Longest description that is kept: the longest of Kubernetes' own has 1 MB.
pub const LONGEST: usize = 8 << 20;

/// What else depends on the request, and what belongs to the answer: the first line of a file, before the body.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    hash: String,
    accept: String,
    accept_encoding: String,
    content_type: String,
    content_encoding: String,
}

impl Label {
    fn of(description: &Description, request: &HeaderMap, answer: &HeaderMap) -> Self {
        let text = |headers: &HeaderMap, name: HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Self {
            hash: description.hash.clone(),
            accept: text(request, header::ACCEPT),
            accept_encoding: text(request, header::ACCEPT_ENCODING),
            content_type: text(answer, header::CONTENT_TYPE),
            content_encoding: text(answer, header::CONTENT_ENCODING),
        }
    }
}

/// A folder of descriptions, of one API server.
#[derive(Clone, Debug)]
pub struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// In the user's cache directory. `None` where there can be none.
    pub fn open(cache: &Path, server: &str) -> Option<Self> {
        let folder = cache.join("helm-guard/openapi").join(cache_folder(server));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        Some(Self { folder })
    }

    /// The headers and the body of an answer that would be the same today.
    pub fn recall(&self, description: &Description, request: &HeaderMap) -> Option<(HeaderMap, Bytes)> {
        let file = Bytes::from(fs::read(self.file(description)).ok()?);
        let end = file.iter().position(|byte| *byte == b'\n')?;
        let kept: Label = serde_json::from_slice(&file[..end]).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in
            [(header::CONTENT_TYPE, &kept.content_type), (header::CONTENT_ENCODING, &kept.content_encoding)]
        {
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_str(value).ok()?);
            }
        }
        (kept == Label::of(description, request, &headers)).then(|| (headers, file.slice(end + 1..)))
    }

    /// Keeps an answer in the place of an older one.
    ///
    /// # Errors
    /// When it cannot be written; then the next run asks again.
    pub fn keep(
        &self,
        description: &Description,
        request: &HeaderMap,
        answer: &HeaderMap,
        body: &[u8],
    ) -> Result<()> {
        let mut label = serde_json::to_vec(&Label::of(description, request, answer))?;
        label.push(b'\n');
        let file = self.file(description);
        // Another run may do the same: each writes its own, and the name is given to what is whole.
        let own = file.with_extension(std::process::id().to_string());
        let mut open = fs::OpenOptions::new();
        let mut written = open.write(true).create(true).truncate(true).mode(0o600).open(&own)?;
        let done = written.write_all(&label).and_then(|()| written.write_all(body));
        let done = done.and_then(|()| fs::rename(&own, &file));
        if done.is_err() {
            let _ = fs::remove_file(&own);
        }
        done
    }

    fn file(&self, description: &Description) -> PathBuf {
        self.folder.join(format!("{}.answer", cache_folder(&description.path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_recalled_for_the_same_question_alone() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::open(directory.path(), "https://10.0.0.1:6443").unwrap();
        let description = |hash: &str| Description { path: "/openapi/v3/api/v1".into(), hash: hash.into() };
        let headers = |pairs: &[(HeaderName, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let (json, other) =
            (headers(&[(header::ACCEPT, "application/json")]), headers(&[(header::ACCEPT, "else")]));
        let answer =
            headers(&[(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")]);
        assert_eq!(memory.recall(&description("A"), &json), None);
        memory.keep(&description("A"), &json, &answer, b"a\nbody").unwrap();
        let (kept, body) = memory.recall(&description("A"), &json).unwrap();
        assert_eq!((kept, &body[..]), (answer.clone(), &b"a\nbody"[..]));
        assert_eq!(memory.recall(&description("B"), &json), None, "another description");
        assert_eq!(memory.recall(&description("A"), &other), None, "in another form");
        memory.keep(&description("B"), &json, &answer, b"b").unwrap();
        assert_eq!(memory.recall(&description("A"), &json), None);
        assert_eq!(fs::read_dir(&memory.folder).unwrap().count(), 1, "nothing old is left");
        fs::write(memory.file(&description("B")), "cut off").unwrap();
        assert_eq!(memory.recall(&description("B"), &json), None);
    }
}
