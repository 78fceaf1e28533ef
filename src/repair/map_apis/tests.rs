use super::{super::tests::history, *};

const MANIFEST: &str = "---
# Source: web/templates/pdb.yaml
# What may be away
apiVersion: policy/v1beta1 # old
kind: PodDisruptionBudget
metadata:
  name: web
spec:
  minAvailable: 1   # at least
---
# Source: web/templates/psp.yaml
apiVersion: policy/v1beta1
kind: PodSecurityPolicy
metadata:
  name: web
---
# Source: web/templates/web.yaml
apiVersion: \"apps/v1\"
kind: Deployment
metadata: {name: web}
---
# Source: web/templates/job.yaml
\"apiVersion\": 'batch/v1beta1'
kind: CronJob
metadata:
  name: job
  annotations: {note: batch/v1beta1}
";

fn key(api_version: &str, kind: &str, name: &str) -> ObjectKey {
    ObjectKey {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn moves(object: ObjectKey, to: &str) -> Change {
    Change { object, fate: Fate::Moves { to: to.into(), content: None } }
}

fn leaves(object: ObjectKey) -> Change {
    Change { object, fate: Fate::Leaves(Why::NoApi) }
}

#[test]
fn only_the_version_changes_and_what_is_gone_leaves_with_its_comments() {
    let changes = [
        moves(key("policy/v1beta1", "PodDisruptionBudget", "web"), "policy/v1"),
        leaves(key("policy/v1beta1", "PodSecurityPolicy", "web")),
        moves(key("batch/v1beta1", "CronJob", "job"), "batch/v1"),
    ];
    let expected = MANIFEST
        .replace("apiVersion: policy/v1beta1 # old", "apiVersion: policy/v1 # old")
        .replace("'batch/v1beta1'", "'batch/v1'");
    let start = expected.find("---\n# Source: web/templates/psp").unwrap();
    let end = expected.find("---\n# Source: web/templates/web").unwrap();
    let expected = format!("{}{}", &expected[..start], &expected[end..]);
    assert_eq!(apply(MANIFEST, &changes, "shop").unwrap(), expected);
    assert_eq!(apply(MANIFEST, &[], "shop").unwrap(), MANIFEST);
    let other = [moves(key("policy/v1beta1", "PodDisruptionBudget", "other"), "policy/v1")];
    assert_eq!(apply(MANIFEST, &other, "shop").unwrap(), MANIFEST);
}

#[test]
fn what_is_written_in_another_way_or_has_other_fields_is_written_anew() {
    let flow =
        "# head\n---\n{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: web}}\n";
    let pdb = key("policy/v1beta1", "PodDisruptionBudget", "web");
    let list = "---\n# Source: a\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: s}\n\
                - apiVersion: policy/v1beta1\n  kind: PodDisruptionBudget\n  metadata: {name: web}\n\
                - apiVersion: policy/v1beta1\n  kind: PodSecurityPolicy\n  metadata: {name: web}\n";
    let content = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "annotations": {"a": "\u{85}\u{7f}é😀"}},
    });
    let anew = Change {
        object: pdb.clone(),
        fate: Fate::Moves { to: "policy/v1".into(), content: Some(Box::new(content.clone())) },
    };
    for (what, text, changes, expected) in [
        ("flow style", flow, vec![moves(pdb.clone(), "policy/v1")], "policy/v1 PodDisruptionBudget/web"),
        (
            "a list",
            list,
            vec![moves(pdb.clone(), "policy/v1"), leaves(key("policy/v1beta1", "PodSecurityPolicy", "web"))],
            "v1 Secret/s, policy/v1 PodDisruptionBudget/web",
        ),
        ("other fields", flow, vec![anew.clone()], "policy/v1 PodDisruptionBudget/web"),
        ("nothing is left", flow, vec![leaves(pdb.clone())], ""),
    ] {
        let text = apply(text, &changes, "shop").unwrap();
        let read = Manifest::parse(&text, "shop").unwrap();
        let names: Vec<String> = read.keys().map(|key| format!("{} {key}", key.api_version)).collect();
        assert_eq!(names.join(", "), expected, "{what}: {text}");
        assert!(!Manifest::is_own(&text), "{what}: {text}");
    }
    let text = apply(
        "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n",
        &[anew],
        "shop",
    );
    let text = text.unwrap();
    assert!(text.starts_with("---\n# Was policy/v1beta1; written again by helm-guard\n{"), "{text}");
    assert!(text.contains("\\u0085\\u007fé😀"), "{text}");
    assert_eq!(Manifest::parse(&text, "shop").unwrap().objects[0].1, content);
}

#[test]
fn the_versions_in_a_text_are_found_however_it_is_written() {
    let found: Vec<&str> = versions(MANIFEST).into_iter().collect();
    assert_eq!(found, ["apps/v1", "batch/v1beta1", "policy/v1beta1"]);
    let json = "---\n{\"apiVersion\":\"g/v1\",\"kind\":\"A\"}\n--- {apiVersion: h/v1}";
    assert_eq!(versions(json).into_iter().collect::<Vec<_>>(), ["g/v1", "h/v1"]);
}

#[test]
fn what_a_version_of_kubernetes_does_not_have_is_named_once() {
    let widget = "---\napiVersion: example.com/v1beta1\nkind: Widget\nmetadata: {name: w}\n";
    let hook = "apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: Role\nmetadata: {name: r}\n".to_owned();
    let texts = Texts { manifest: format!("{MANIFEST}{widget}"), hooks: vec![hook] };
    let served: BTreeSet<String> = ["example.com/v1".to_owned()].into();
    for (until, served, expected) in [
        (21, None, ""),
        (22, None, "rbac.authorization.k8s.io/v1beta1 Role"),
        (
            25,
            Some(&served),
            "batch/v1beta1 CronJob, example.com/v1beta1 Widget, policy/v1beta1 PodDisruptionBudget, \
             policy/v1beta1 PodSecurityPolicy, rbac.authorization.k8s.io/v1beta1 Role",
        ),
    ] {
        assert_eq!(gone(&texts, until, served).join(", "), expected, "{until}");
    }
}

#[test]
fn helm_reads_what_may_live_and_what_it_goes_back_to() {
    let shown = |records: &str, targets: &[u32]| {
        let wanted = read_by_helm(&history(records), targets);
        let shown: Vec<String> = wanted
            .iter()
            .map(|wanted| {
                let how = match (wanted.is_base, wanted.is_in_force) {
                    (true, true) => "",
                    (true, false) => " as base",
                    (false, _) => " as target",
                };
                format!("{}{how}", wanted.revision)
            })
            .collect();
        shown.join(", ")
    };
    for (records, targets, expected) in [
        ("1 superseded, 2 deployed", &[][..], "2"),
        ("1 superseded, 2 deployed", &[1], "1 as target, 2"),
        ("1 superseded, 2 failed, 3 pending-upgrade", &[], "1 as base, 2 as base, 3 as base"),
        ("1 deployed, 2 failed", &[], "1 as base, 2 as base"),
        ("1 pending-install", &[], "1 as base"),
        ("1 uninstalled", &[], ""),
        ("1 uninstalled, 2 deployed", &[], "2"),
    ] {
        assert_eq!(shown(records, targets), expected, "{records} {targets:?}");
    }
    assert_eq!(all(&history("1 superseded, 2 deployed")).len(), 2);
}

#[test]
fn the_change_of_records_is_joined_to_what_else_is_done_and_in_an_order_that_survives_a_kill() {
    let changes = Changes {
        manifest: vec![moves(key("policy/v1beta1", "PodDisruptionBudget", "web"), "policy/v1")],
        hooks: vec![leaves(key("policy/v1beta1", "PodSecurityPolicy", "hook"))],
    };
    let found = |revisions: &[u32]| Found {
        records: revisions.iter().map(|revision| (*revision, changes.clone())).collect(),
        caveats: Vec::new(),
    };
    let plan = |steps: Vec<Step>| {
        Answer::Repair(Plan { strategy: "rebase", finding: "stuck".into(), steps, ..Plan::default() })
    };
    let mark = || Step::Mark { revision: 1, status: crate::release::Status::Superseded, description: None };
    let lend = || Step::Lend { revision: 2, union_of: vec![1, 2], good: Some(1), values_of: None };
    let stuck = history("1 deployed, 2 pending-upgrade");
    let shown = |answer: Answer| match answer {
        Answer::Repair(plan) => {
            let steps: Vec<&str> = plan
                .steps
                .iter()
                .map(|step| match step {
                    Step::Mark { .. } => "mark",
                    Step::Lend { .. } => "lend",
                    Step::MapApis { .. } => "map",
                    Step::Rollback { .. } => "roll back",
                    _ => "other",
                })
                .collect();
            format!("{}: {}", plan.strategy, steps.join(", "))
        }
        Answer::Healthy => "healthy".into(),
        Answer::Refuse { .. } => "refused".into(),
    };
    for (what, answer, revisions, expected) in [
        ("nothing is wrong", Answer::Healthy, &[][..], "healthy"),
        ("only APIs are", Answer::Healthy, &[1], "map-apis: map"),
        ("only statuses are", plan(vec![mark()]), &[], "rebase: mark"),
        // The lent record has the objects in their new versions already, and is returned as it was.
        ("both", plan(vec![lend(), mark()]), &[1, 2], "rebase: lend, mark, map"),
        (
            "Helm goes back",
            plan(vec![mark(), Step::Rollback { to: 1 }]),
            &[1],
            "rebase: mark, map, roll back",
        ),
    ] {
        assert_eq!(shown(join(answer, &stuck, &found(revisions))), expected, "{what}");
    }
    let Answer::Repair(plan) = join(Answer::Healthy, &history("1 deployed"), &found(&[1])) else { panic!() };
    assert_eq!(
        plan.finding,
        "the record of revision 1 names APIs that the cluster does not serve: policy/v1beta1 PodDisruptionBudget, \
         policy/v1beta1 PodSecurityPolicy"
    );
    assert_eq!(
        plan.steps[0].to_string(),
        "the manifest of revision 1: PodDisruptionBudget/web policy/v1beta1 → policy/v1, \
         hook PodSecurityPolicy/hook leaves it (policy/v1beta1 is gone, without a successor)"
    );
    assert_eq!(plan.good, Some(1));
}
