//! The command lines that prove a deploy before anything is repaired, and what Helm's answers to them mean.
//! Pure: `deploy/render.rs` runs them.

use super::argv::{Command, Invocation, Item};
use super::flags::{self, Column};
use super::go_syntax::csv_field;
use super::version::{Major, Version};
use crate::manifest::Manifest;

/// The deploy itself, but with `--help`: Helm reads all flags, refuses a bad one in its own words, and does nothing
/// else. `None` where the line speaks of help itself: `--help=false` behind ours would make Helm deploy.
pub fn flags_argv(inv: &Invocation) -> Option<Vec<String>> {
    let speaks_of_help = |token: &String| {
        let letters = token.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
        token.starts_with("--help") || letters.is_some_and(|letters| letters.contains("h="))
    };
    if inv.value("help").is_some() || inv.tokens().iter().any(speaks_of_help) {
        return None;
    }
    let mut argv = vec![inv.command.as_str().to_owned(), "--help".to_owned()];
    argv.extend(inv.tokens().iter().cloned());
    Some(argv)
}

/// Flags that `template` takes but that are set here, or say nothing there but a warning.
const LEFT_OUT: [&str; 4] = ["dry-run", "validate", "hide-notes", "render-subchart-notes"];

/// The line for `helm template` that belongs to an `upgrade` or `install`. The words and flags keep their order.
/// Flags of the deploy that `template` lacks are dropped. So is what the deploy lacks: it is for [`flags_argv`] to
/// have it refused, and `--output-dir` here would write files.
///
/// The rendering asks the cluster for its capabilities and for `lookup`. In Helm 3 the
/// first needs `--validate` and the second `--dry-run=server` (a bare switch before
/// 3.13, so left out there); in Helm 4 `--dry-run=server` does both and excludes
/// `--validate`. `template` is always a dry run, so it never minds a name in use, and
/// with `--is-upgrade` it does not look for objects of other owners.
pub fn template_argv(
    inv: &Invocation,
    version: &Version,
    is_upgrade: bool,
    reused_values_file: Option<&str>,
) -> Vec<String> {
    let mut ours = Vec::new();
    if is_upgrade {
        ours.push("--is-upgrade".to_owned());
    }
    if version.major == Major::V3 {
        ours.push("--validate".to_owned());
    }
    if version.major == Major::V4 || version.minor >= 13 {
        ours.push("--dry-run=server".to_owned());
    }
    // Later files win, so this one stands before the user’s own.
    ours.extend(reused_values_file.map(|file| format!("--values={}", csv_field(file))));

    let mut argv = vec!["template".to_owned()];
    for item in inv.items() {
        if !matches!(item, Item::Word(_)) {
            argv.append(&mut ours);
        }
        match item {
            Item::Word(word) => argv.push(word.clone()),
            Item::End => argv.push("--".to_owned()),
            Item::Unknown(_) => {}
            Item::Flag(flag, value) => {
                let of_deploy = flag.kind(inv.command.column(), version.major);
                let of_both = of_deploy.is_some() && of_deploy == flag.kind(Column::Template, version.major);
                if of_both && !LEFT_OUT.contains(&flag.name) {
                    argv.push(written(flag, value.as_deref()));
                }
            }
        }
    }
    argv.append(&mut ours);
    argv
}

/// The deploy itself as a dry run, which prints the release as JSON. With the release's records in memory it renders as the real
/// run will: with its revision, as an upgrade or an install, with the cluster's capabilities and `lookup`. Asks no cluster for
/// objects of others (Helm's memory driver comes with a client that only prints).
pub fn rehearsal_argv(inv: &Invocation, version: &Version) -> Vec<String> {
    let server = version.major == Major::V4 || version.minor >= 13;
    let dry_run = if server { "--dry-run=server" } else { "--dry-run" };
    let mut ours = vec![dry_run.to_owned(), "--output=json".to_owned()];
    if inv.command == Command::Upgrade {
        // A release that is not there yet is rendered as an install, by `check` too.
        ours.push("--install".to_owned());
    }
    let mut argv = vec![inv.command.as_str().to_owned()];
    for item in inv.items() {
        match item {
            Item::Word(word) => argv.push(word.clone()),
            Item::End => {
                argv.append(&mut ours);
                argv.push("--".to_owned());
            }
            Item::Unknown(text) => argv.push(text.clone()),
            Item::Flag(flag, _) if matches!(flag.name, "dry-run" | "output" | "debug") => {}
            Item::Flag(flag, value) => argv.push(written(flag, value.as_deref())),
        }
    }
    argv.append(&mut ours);
    argv
}

/// The flags that say where a chart comes from.
const OF_CHARTS: [&str; 13] = [
    "ca-file",
    "cert-file",
    "devel",
    "insecure-skip-tls-verify",
    "key-file",
    "keyring",
    "pass-credentials",
    "password",
    "plain-http",
    "repo",
    "username",
    "verify",
    "version",
];

/// The line for `helm show crds` of the chart that an `install` brings; `None` where Helm would not install its CRDs.
pub fn show_crds_argv(inv: &Invocation, version: &Version) -> Option<Vec<String>> {
    let chart = inv.chart().filter(|_| !inv.is_set("skip-crds"))?;
    Some(about(chart, &["show", "crds"], &OF_CHARTS, inv, version))
}

/// A line about the chart of a deploy, with Helm's own flags and these of the deploy's.
fn about(chart: &str, words: &[&str], names: &[&str], inv: &Invocation, version: &Version) -> Vec<String> {
    let flags = inv.items().iter().filter_map(|item| match item {
        Item::Flag(flag, value) if flags::is_global(flag) || names.contains(&flag.name) => {
            flag.kind(inv.command.column(), version.major).map(|_| written(flag, value.as_deref()))
        }
        _ => None,
    });
    let words = words.iter().map(|word| (*word).to_owned());
    words.chain(flags).chain(["--".to_owned(), chart.to_owned()]).collect()
}

/// The flags of a deploy by which a linter sees what the deploy would see.
const OF_LINT: [&str; 7] =
    ["values", "set", "set-string", "set-file", "set-json", "set-literal", "skip-schema-validation"];

/// The line for `helm lint` of the chart of a deploy, with its values.
pub fn lint_argv(inv: &Invocation, version: &Version) -> Option<Vec<String>> {
    Some(about(inv.chart()?, &["lint"], &OF_LINT, inv, version))
}

/// The kinds that the API server does not know, with their `apiVersion`, if Helm found nothing else wrong with what it
/// rendered.
pub fn unknown_kinds(error: &str) -> Option<Vec<(String, String)>> {
    const HINT: &str = "ensure CRDs are installed first";
    let list = match error.split_once("unable to build kubernetes objects from release manifest: ") {
        Some((_, list)) => list.trim().trim_start_matches('['),
        // Only the end of a long error is kept.
        None => error.split_once(HINT)?.1,
    };
    let mut kinds = Vec::new();
    for one in list.trim_end_matches(']').split_inclusive(HINT) {
        let one = one.trim_start_matches([',', ' ']).strip_suffix(HINT)?;
        let (object, kind) = one.split_once(": no matches for kind \"")?;
        let (kind, version) = kind.trim_end().strip_suffix('"')?.split_once("\" in version \"")?;
        if !object.starts_with("resource mapping not found for name: ") || version.contains('"') {
            return None;
        }
        kinds.push((kind.to_owned(), version.to_owned()));
    }
    kinds.sort();
    kinds.dedup();
    Some(kinds).filter(|kinds| !kinds.is_empty())
}

/// Whether these CRDs define all these kinds.
pub fn defines(crds: &Manifest, kinds: &[(String, String)]) -> bool {
    kinds.iter().all(|(kind, api_version)| {
        crds.objects.iter().any(|(key, crd)| {
            let group = crd["spec"]["group"].as_str().unwrap_or_default();
            let versions = crd["spec"]["versions"].as_array().map_or(&[][..], Vec::as_slice);
            key.kind == "CustomResourceDefinition"
                && crd["spec"]["names"]["kind"] == kind.as_str()
                && versions.iter().any(|version| {
                    version["name"].as_str().is_some_and(|name| format!("{group}/{name}") == *api_version)
                })
        })
    })
}

fn written(flag: &flags::Flag, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("--{}={value}", flag.name),
        None => format!("--{}", flag.name),
    }
}
