//! The flags of Helm 3 and Helm 4, hidden and deprecated ones too.
//!
//! Read out of the command trees of Helm 3.22.0 and 4.3.1; `tests/helm_flags.rs`
//! holds the table against real binaries.

use super::version::Major;

/// What a flag makes of the token behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Needs a value: `--name value` or `--name=value`.
    Value,
    /// `--name`, `--name=false`; never takes the next token.
    Bool,
    /// `--name`, `--name=value`; never takes the next token.
    Optional,
}

/// A Helm command, as a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// `helm upgrade`
    Upgrade,
    /// `helm install`
    Install,
    /// `helm rollback`
    Rollback,
    /// `helm uninstall`
    Uninstall,
    /// `helm template`
    Template,
}

impl Column {
    /// Every command of the table.
    pub const ALL: [Self; 5] =
        [Self::Upgrade, Self::Install, Self::Rollback, Self::Uninstall, Self::Template];
}

/// The kind in Helm 3 and the kind in Helm 4.
type Cell = [Option<Kind>; 2];

/// One flag name, with what it is for each command in each generation.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// The long name, without dashes.
    pub name: &'static str,
    /// The letter, where there is one.
    pub short: Option<char>,
    cells: [Cell; 5],
    global: bool,
}

impl Flag {
    /// The kind for this command in this generation, if it has the flag.
    pub fn kind(&self, column: Column, major: Major) -> Option<Kind> {
        let [v3, v4] = self.cells[column as usize];
        match major {
            Major::V3 => v3,
            Major::V4 => v4,
        }
    }

    /// Whether the command has the flag in either generation.
    pub fn is_of(&self, column: Column) -> bool {
        self.cells[column as usize].iter().any(Option::is_some)
    }

    /// Whether a bare flag takes the next token (in both generations alike, a test proves it).
    pub fn takes_next(&self, column: Column) -> bool {
        self.cells[column as usize].contains(&Some(Kind::Value))
    }
}

/// The flag with this long name, if the command has it in either generation.
pub fn by_name(column: Column, name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name && flag.is_of(column))
}

/// The flag with this letter, if the command has it in either generation.
pub fn by_letter(column: Column, letter: char) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.short == Some(letter) && flag.is_of(column))
}

/// Whether the flag is Helm's own and not a command's.
pub fn is_global(flag: &Flag) -> bool {
    flag.global
}

/// The whole table.
pub fn all() -> &'static [Flag] {
    FLAGS
}

const NO: Cell = [None, None];
const VV: Cell = [Some(Kind::Value), Some(Kind::Value)];
const V4: Cell = [None, Some(Kind::Value)];
const BB: Cell = [Some(Kind::Bool), Some(Kind::Bool)];
const B3: Cell = [Some(Kind::Bool), None];
const B4: Cell = [None, Some(Kind::Bool)];
const OO: Cell = [Some(Kind::Optional), Some(Kind::Optional)];
const BO: Cell = [Some(Kind::Bool), Some(Kind::Optional)];

const NONE: char = '\0';

const fn local(name: &'static str, short: char, cells: [Cell; 5]) -> Flag {
    Flag { name, short: if short == NONE { None } else { Some(short) }, cells, global: false }
}

const fn global(name: &'static str, short: char, cell: Cell) -> Flag {
    Flag { global: true, ..local(name, short, [cell; 5]) }
}

#[rustfmt::skip]
const FLAGS: &[Flag] = &[
    // Of one command or several: upgrade, install, rollback, uninstall, template.
    local("api-versions", 'a', [NO, NO, NO, NO, VV]),
    local("atomic", NONE, [BB, BB, NO, NO, BB]),
    local("ca-file", NONE, [VV, VV, NO, NO, VV]),
    local("cascade", NONE, [NO, NO, NO, VV, NO]),
    local("cert-file", NONE, [VV, VV, NO, NO, VV]),
    local("cleanup-on-fail", NONE, [BB, NO, BB, NO, NO]),
    local("create-namespace", NONE, [BB, BB, NO, NO, BB]),
    local("dependency-update", NONE, [BB, BB, NO, NO, BB]),
    local("description", NONE, [VV, VV, V4, VV, VV]),
    local("devel", NONE, [BB, BB, NO, NO, BB]),
    local("disable-openapi-validation", NONE, [BB, BB, NO, NO, BB]),
    local("dry-run", NONE, [OO, OO, BO, BB, OO]),
    local("enable-dns", NONE, [BB, BB, NO, NO, BB]),
    local("force", NONE, [BB, BB, BB, NO, BB]),
    local("force-conflicts", NONE, [B4, B4, B4, NO, B4]),
    local("force-replace", NONE, [B4, B4, B4, NO, B4]),
    local("generate-name", 'g', [NO, BB, NO, NO, BB]),
    local("help", 'h', [BB, BB, BB, BB, BB]),
    local("hide-notes", NONE, [BB, BB, NO, NO, BB]),
    local("hide-secret", NONE, [BB, BB, NO, NO, NO]),
    local("history-max", NONE, [VV, NO, VV, NO, NO]),
    local("ignore-not-found", NONE, [NO, NO, NO, BB, NO]),
    local("include-crds", NONE, [NO, NO, NO, NO, BB]),
    local("insecure-skip-tls-verify", NONE, [BB, BB, NO, NO, BB]),
    local("install", 'i', [BB, NO, NO, NO, NO]),
    local("is-upgrade", NONE, [NO, NO, NO, NO, BB]),
    local("keep-history", NONE, [NO, NO, NO, BB, NO]),
    local("key-file", NONE, [VV, VV, NO, NO, VV]),
    local("keyring", NONE, [VV, VV, NO, NO, VV]),
    local("kube-version", NONE, [NO, NO, NO, NO, VV]),
    local("labels", 'l', [VV, VV, NO, NO, VV]),
    local("name-template", NONE, [NO, VV, NO, NO, VV]),
    local("no-hooks", NONE, [BB, BB, BB, BB, BB]),
    local("output", 'o', [VV, VV, NO, NO, NO]),
    local("output-dir", NONE, [NO, NO, NO, NO, VV]),
    local("pass-credentials", NONE, [BB, BB, NO, NO, BB]),
    local("password", NONE, [VV, VV, NO, NO, VV]),
    local("plain-http", NONE, [BB, BB, NO, NO, BB]),
    local("post-renderer", NONE, [VV, VV, NO, NO, VV]),
    local("post-renderer-args", NONE, [VV, VV, NO, NO, VV]),
    local("recreate-pods", NONE, [B3, NO, B3, NO, NO]),
    local("release-name", NONE, [NO, NO, NO, NO, BB]),
    local("render-subchart-notes", NONE, [BB, BB, NO, NO, BB]),
    local("replace", NONE, [NO, BB, NO, NO, BB]),
    local("repo", NONE, [VV, VV, NO, NO, VV]),
    local("reset-then-reuse-values", NONE, [BB, NO, NO, NO, NO]),
    local("reset-values", NONE, [BB, NO, NO, NO, NO]),
    local("reuse-values", NONE, [BB, NO, NO, NO, NO]),
    local("rollback-on-failure", NONE, [B4, B4, NO, NO, B4]),
    local("server-side", NONE, [V4, B4, V4, NO, B4]),
    local("set", NONE, [VV, VV, NO, NO, VV]),
    local("set-file", NONE, [VV, VV, NO, NO, VV]),
    local("set-json", NONE, [VV, VV, NO, NO, VV]),
    local("set-literal", NONE, [VV, VV, NO, NO, VV]),
    local("set-string", NONE, [VV, VV, NO, NO, VV]),
    local("show-only", 's', [NO, NO, NO, NO, VV]),
    local("skip-crds", NONE, [BB, BB, NO, NO, BB]),
    local("skip-schema-validation", NONE, [BB, BB, NO, NO, BB]),
    local("skip-tests", NONE, [NO, NO, NO, NO, BB]),
    local("take-ownership", NONE, [BB, BB, NO, NO, BB]),
    local("timeout", NONE, [VV, VV, VV, VV, VV]),
    local("username", NONE, [VV, VV, NO, NO, VV]),
    local("validate", NONE, [NO, NO, NO, NO, BB]),
    local("values", 'f', [VV, VV, NO, NO, VV]),
    local("verify", NONE, [BB, BB, NO, NO, BB]),
    local("version", NONE, [VV, VV, NO, NO, VV]),
    local("wait", NONE, [BO, BO, BO, BO, BO]),
    local("wait-for-jobs", NONE, [BB, BB, BB, NO, BB]),
    // Of every command; those without a place in `--help` are the logger’s.
    global("add-dir-header", NONE, BB),
    global("alsologtostderr", NONE, BB),
    global("alsologtostderrthreshold", NONE, VV),
    global("burst-limit", NONE, VV),
    global("color", NONE, V4),
    global("colour", NONE, V4),
    global("content-cache", NONE, V4),
    global("debug", NONE, BB),
    global("kube-apiserver", NONE, VV),
    global("kube-as-group", NONE, VV),
    global("kube-as-user", NONE, VV),
    global("kube-ca-file", NONE, VV),
    global("kube-context", NONE, VV),
    global("kube-insecure-skip-tls-verify", NONE, BB),
    global("kube-tls-server-name", NONE, VV),
    global("kube-token", NONE, VV),
    global("kubeconfig", NONE, VV),
    global("legacy-stderr-threshold-behavior", NONE, BB),
    global("log-backtrace-at", NONE, VV),
    global("log-dir", NONE, VV),
    global("log-file", NONE, VV),
    global("log-file-max-size", NONE, VV),
    global("logtostderr", NONE, BB),
    global("namespace", 'n', VV),
    global("one-output", NONE, BB),
    global("qps", NONE, VV),
    global("registry-config", NONE, VV),
    global("repository-cache", NONE, VV),
    global("repository-config", NONE, VV),
    global("skip-headers", NONE, BB),
    global("skip-log-headers", NONE, BB),
    global("stderrthreshold", NONE, VV),
    global("v", 'v', VV),
    global("vmodule", NONE, VV),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_three_and_four_never_disagree_on_whether_a_flag_takes_the_next_token() {
        for flag in FLAGS {
            for column in Column::ALL {
                if let [Some(v3), Some(v4)] = flag.cells[column as usize] {
                    let agree = (v3 == Kind::Value) == (v4 == Kind::Value);
                    assert!(agree, "--{} of {column:?}: {v3:?}, {v4:?}", flag.name);
                }
            }
        }
    }

    #[test]
    fn no_command_has_two_flags_of_one_name_or_one_letter() {
        for column in Column::ALL {
            for (index, flag) in FLAGS.iter().enumerate().filter(|(_, flag)| flag.is_of(column)) {
                for other in FLAGS[index + 1..].iter().filter(|other| other.is_of(column)) {
                    assert_ne!(flag.name, other.name, "{column:?}");
                    assert!(flag.short.is_none() || flag.short != other.short, "{column:?} {flag:?}");
                }
            }
        }
    }
}
