use std::{collections::BTreeMap, path::Path};

use super::*;

mod odd;

/// What real API servers, Helms and kubelet-shaped pods left: recorded by the stories of `tests/e2e/diagnose.rs`.
fn recorded() -> BTreeMap<String, Snapshot> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnose");
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let snapshot = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), snapshot)
    };
    files.map(read).collect()
}

#[test]
fn what_was_recorded_has_its_causes() {
    let told = recorded().into_iter().map(|(case, snapshot)| {
        let causes = causes(&snapshot);
        let lines =
            causes.iter().map(|cause| format!("  {}  {}: {}\n", cause.id, cause.object, cause.summary));
        format!("{case}\n{}", lines.collect::<String>())
    });
    insta::assert_snapshot!(told.collect::<String>());
}

/// What a Helm cannot run into.
const NEVER: [(&str, &str); 2] = [("field-conflict", "v3"), ("apply-not-typed", "v3")]; // it does not apply server-side

/// Each rule has a real case of each Helm, and nothing but its own causes goes with it: no rule leans on another or hides
/// one.
#[test]
fn a_rule_taken_out_takes_its_cases_with_it_and_no_other() {
    let recorded: BTreeMap<String, (Snapshot, Vec<Cause>)> = recorded()
        .into_iter()
        .map(|(case, snapshot)| (case, (snapshot.clone(), causes(&snapshot))))
        .collect();
    for (index, (id, _)) in RULES.iter().enumerate() {
        let mut others = RULES.to_vec();
        others.remove(index);
        let mut helms = std::collections::BTreeSet::new();
        for (case, (snapshot, all)) in &recorded {
            let kept: Vec<Cause> = all.iter().filter(|cause| cause.id != *id).cloned().collect();
            assert_eq!(by(&others, snapshot), kept, "{case} without {id}");
            let (_, helm) = case.rsplit_once('-').unwrap();
            helms.extend((kept.len() < all.len()).then_some(helm));
        }
        let expected = ["v3", "v4"].into_iter().filter(|helm| !NEVER.contains(&(id, helm)));
        assert_eq!(helms, expected.collect(), "real cases of {id}");
    }
}

#[test]
fn who_waited_much_longer_than_ever_before_is_not_told_that_nothing_is_wrong() {
    let mut snapshot = recorded().remove("timeout-too-short-v4").unwrap();
    let told = |snapshot: &Snapshot| {
        let cause = causes(snapshot).remove(0);
        (cause.summary, cause.remedy)
    };
    let (summary, remedy) = told(&snapshot);
    assert!(summary.starts_with("nothing is wrong with it"), "{summary}");
    assert_eq!(remedy, ["run it again with --timeout 8s"]);
    snapshot.timeout = Some(60);
    let (summary, remedy) = told(&snapshot);
    assert!(
        summary.starts_with("not ready within helm's timeout of 60 s, and no fault is seen; it took"),
        "{summary}"
    );
    assert!(remedy[0].starts_with("kubectl describe pod web-"), "{remedy:?}");
    assert_eq!(remedy[1], "run it again with --timeout 120s");
    // Helm's own five minutes.
    snapshot.timeout = None;
    assert_eq!(told(&snapshot).1[1], "run it again with --timeout 600s");
}

#[test]
fn ids_are_told_apart() {
    let ids: std::collections::BTreeSet<&str> = RULES.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), RULES.len());
}

/// The first column of a table of `docs/findings.md`.
pub(crate) fn documented(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(id, _)| id.to_owned()).collect()
}

#[test]
fn the_documentation_has_every_cause_in_the_order_of_the_ranking() {
    assert_eq!(documented("Causes"), RULES.map(|(id, _)| id));
}

#[test]
fn the_reason_is_the_last_line_that_helm_calls_an_error() {
    let said = "coalesce.go: warning\nError: UPGRADE FAILED: a\nb\n";
    assert_eq!(reason(said).unwrap(), "UPGRADE FAILED: a");
    assert_eq!(reason("Error: first\nError: last").unwrap(), "last");
    assert_eq!(reason("panic"), None);
    assert_eq!(reason("Error: "), None);
}

#[test]
fn without_a_cause_the_next_command_is_about_what_was_seen_or_there_is_none() {
    let pod = serde_json::json!({"kind": "Pod", "metadata": {"name": "web-1"}});
    let mut snapshot = Snapshot { namespace: "shop".into(), ..Snapshot::default() };
    assert!(next(&snapshot, &[]).is_empty());
    snapshot.live.pods.push(pod);
    assert_eq!(next(&snapshot, &[]), ["kubectl describe pod web-1 -n shop"]);
}
