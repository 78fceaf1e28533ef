//! Holds the flag table against the real programs, 3 and 4.

use helm_guard::helm::flags::{self, Column, Kind};
use helm_guard::helm::{Command, Invocation, Major, Version, template_argv};
use std::process::Command as Process;

/// The real programs.
fn helm_binaries() -> [(Major, String); 2] {
    use testbed::tools::{Helm, helm};
    let path = |version| helm(version).map(|path| path.display().to_string()).unwrap_or_default();
    [(Major::V3, path(Helm::V3)), (Major::V4, path(Helm::V4))]
}

#[test]
fn every_flag_that_helm_prints_is_in_the_table_with_its_kind() {
    for (major, helm) in helm_binaries() {
        for (word, column) in [
            ("upgrade", Column::Upgrade),
            ("install", Column::Install),
            ("rollback", Column::Rollback),
            ("uninstall", Column::Uninstall),
            ("template", Column::Template),
        ] {
            let output = Process::new(&helm).args([word, "--help"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (_, listed) = text.split_once("\nFlags:\n").unwrap();
            let mut seen = 0;
            for line in listed.lines().map(str::trim_start) {
                let short = line.strip_prefix('-').filter(|rest| rest.get(1..5) == Some(", --"));
                let Some(long) = short.map(|rest| &rest[5..]).or_else(|| line.strip_prefix("--")) else {
                    continue;
                };
                let (name, rest) = long.split_once(' ').unwrap();
                let kind = match rest.split(' ').next() {
                    None | Some("") => Kind::Bool,
                    Some(word) if word.contains("[=") => Kind::Optional,
                    Some(_) => Kind::Value,
                };
                let flag =
                    flags::by_name(column, name).unwrap_or_else(|| panic!("{major:?} {word} --{name}"));
                assert_eq!(flag.kind(column, major), Some(kind), "{major:?} {word} --{name}");
                assert_eq!(
                    flag.short,
                    short.and_then(|rest| rest.chars().next()),
                    "{major:?} {word} --{name}"
                );
                seen += 1;
            }
            assert!(seen > 15, "{major:?} {word}: only {seen} flags found");
        }
    }
}

#[test]
fn helm_accepts_the_template_line_of_a_deploy_with_many_flags() {
    let chart = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: tiny\nversion: 0.1.0\n").unwrap();
    let map =
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {own: {{ .Values.own | quote }}}\n";
    std::fs::write(chart.join("templates/map.yaml"), map).unwrap();
    let (reused, own) = (chart.join("reused,1.yaml"), chart.join("own.yaml"));
    std::fs::write(&reused, "own: reused\n").unwrap();
    std::fs::write(&own, "own: user\n").unwrap();

    for (major, helm) in helm_binaries() {
        let raw = if major == Major::V3 { "v3.22.0" } else { "v4.3.1" };
        let version = Version::parse(raw).unwrap();
        for (command, special) in [
            (Command::Upgrade, "-i --history-max 3 --cleanup-on-fail --reuse-values"),
            (Command::Install, "--replace"),
        ] {
            let line = "-o json --wait --wait-for-jobs --timeout 1m --atomic --hide-notes --no-hooks --hide-secret \
                 --create-namespace --labels a=b --description d --set x=y -n web --debug --dry-run --skip-crds";
            let mut tokens = vec!["rel".to_owned(), chart.display().to_string()];
            tokens.extend(line.split_whitespace().chain(special.split_whitespace()).map(str::to_owned));
            tokens.push(format!("-f{}", own.display()));
            let inv = Invocation::parse(command, &tokens).unwrap();
            let mut argv = template_argv(&inv, &version, true, Some(&reused.display().to_string()));
            argv.retain(|token| token != "--validate" && token != "--dry-run=server"); // these need a cluster
            let output = Process::new(&helm).args(&argv).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{argv:?}: {said}");
            let rendered = String::from_utf8_lossy(&output.stdout);
            assert!(rendered.contains("own: \"user\""), "{rendered}");
        }
    }
}
