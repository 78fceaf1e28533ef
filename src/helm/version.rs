//! What `helm version` says.
//! Pure: who runs it is elsewhere.

use std::fmt;

/// The generations of Helm that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Major {
    /// Helm 3.
    V3,
    /// Helm 4.
    V4,
}

/// A Helm version, from `helm version --template '{{.Version}}'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As Helm printed it, without blanks around.
    pub raw: String,
    /// Generation.
    pub major: Major,
    /// Minor version.
    pub minor: u32,
}

/// Why a version is not usable. Untrusted text is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Helm printed something else.
    #[error("helm printed no version: {0:?}")]
    Unreadable(String),
    /// Not 3 or 4.
    #[error("this Helm is neither version 3 nor 4: {0}")]
    Unsupported(String),
}

impl Version {
    /// Does `upgrade --install` install over a release that is uninstalled with its history kept? Before Helm 3.15 it said that
    /// there was no deployed release (`isReleaseUninstalled` in upgrade.go).
    pub fn installs_over_uninstalled(&self) -> bool {
        self.major == Major::V4 || self.minor >= 15
    }

    /// Reads `v3.22.0`, `v3.22`, `v4.3.1+g123`, `v4.0.0-rc.1`.
    ///
    /// # Errors
    /// If it is no version, or not one of Helm 3 or 4.
    pub fn parse(output: &str) -> Result<Self, VersionError> {
        let raw = output.trim();
        let unreadable = || VersionError::Unreadable(raw.chars().take(80).collect());
        let numbers = raw.strip_prefix('v').unwrap_or(raw);
        let core = numbers.split(['-', '+']).next().unwrap_or_default();
        let parts = core.split('.').map(number).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
        let (major, minor) = match parts[..] {
            [major, minor] | [major, minor, _] => (major, minor),
            _ => return Err(unreadable()),
        };
        if !numbers.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c)) {
            return Err(unreadable());
        }
        let major = match major {
            3 => Major::V3,
            4 => Major::V4,
            _ => return Err(VersionError::Unsupported(raw.to_owned())),
        };
        Ok(Self { raw: raw.to_owned(), major, minor })
    }
}

/// Digits only: `u32::from_str` would take a plus sign.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_helm_prints() {
        for (what, output, major, minor) in [
            ("a release", "v3.22.0", Major::V3, 22),
            ("a build without a patch", "v3.22", Major::V3, 22),
            ("with a commit", "v4.3.1+g123", Major::V4, 3),
            ("a release candidate", "v4.0.0-rc.1", Major::V4, 0),
            ("with a line end", "v4.3\n", Major::V4, 3),
            ("without the v", "3.9.4", Major::V3, 9),
        ] {
            let version = Version::parse(output).unwrap();
            assert_eq!((version.major, version.minor), (major, minor), "{what}");
            assert_eq!(version.raw, output.trim(), "{what}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for output in
            ["", "v", "v3", "v3.", "v3.x", "vv3.1", "v3.1.2.3", "Error: unknown", "v3.1\nWARNING", "v+3.1"]
        {
            assert!(matches!(Version::parse(output), Err(VersionError::Unreadable(_))), "{output:?}");
        }
        for output in ["v2.17.0", "v5.0.0"] {
            assert!(matches!(Version::parse(output), Err(VersionError::Unsupported(_))), "{output:?}");
        }
    }
}
