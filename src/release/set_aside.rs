//! The mark of a record that is set aside: that of a first install that died, over which Helm installs again.
//! Pure: the record is written by `repair/execute.rs`.
//!
//! Helm installs only where no release is in force, so the dead record says `uninstalled` while Helm works, and
//! `superseded` once Helm has replaced it. Neither tells it from a release that somebody uninstalled. The mark does: it is
//! the first line of the record's manifest, a comment for YAML, and Helm keeps the manifest of a record that it rewrites.
//! It stays until the objects that only the dead install made are gone, so that a later run can finish that work.

use super::codec::{self, CodecError, SET_ASIDE};

/// The manifest of a decoded body with the mark.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn marked(json: &[u8]) -> Result<String, CodecError> {
    Ok(format!("{SET_ASIDE}{}", unmarked(json)?))
}

/// The manifest of a decoded body without the mark.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn unmarked(json: &[u8]) -> Result<String, CodecError> {
    let manifest = codec::manifest(json)?;
    Ok(manifest.strip_prefix(SET_ASIDE).map(str::to_owned).unwrap_or(manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_and_taken_off_again_and_the_manifest_is_as_it_was() {
        for manifest in ["", "---\n# Source: a.yaml\nkind: A\n", "# helm-guard: set aside?\n"] {
            let body = |manifest: &str| {
                serde_json::to_vec(&serde_json::json!({
                    "manifest": manifest, "info": {"status": "pending-install"}
                }))
                .unwrap()
            };
            let json = body(manifest);
            assert!(!codec::essentials(&json).unwrap().set_aside, "{manifest}");
            let marked_json = body(&marked(&json).unwrap());
            assert!(codec::essentials(&marked_json).unwrap().set_aside, "{manifest}");
            assert_eq!(marked(&marked_json).unwrap(), marked(&json).unwrap(), "one mark is enough");
            assert_eq!(unmarked(&marked_json).unwrap(), manifest);
        }
    }
}
