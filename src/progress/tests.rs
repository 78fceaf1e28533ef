//! What watches tell, and what it comes to.

use serde_json::json;

use super::*;

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}}\n";
const HOOK: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\n";

fn board() -> Board {
    let manifest = |text: &str| Manifest::parse(text, "shop").unwrap();
    let claim = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    Board::new(
        &manifest(&format!("{WEB}{claim}")),
        &manifest(&format!("{HOOK}---\n{}", WEB.replace("web", "no-hook"))),
    )
}

fn deployment(ready: u32) -> Value {
    json!({
        "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 1},
        "spec": {"replicas": 3}, "status": {"observedGeneration": 1, "updatedReplicas": ready},
    })
}

/// A pod of the Deployment whose container waits, or runs and is ready.
fn pod(name: &str, reason: Option<&str>) -> Value {
    let state = reason.map_or(
        json!({"running": {}}),
        |reason| json!({"waiting": {"reason": reason, "message": "x".repeat(5000)}}),
    );
    let is_ready = if reason.is_none() { "True" } else { "False" };
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": is_ready, "lastTransitionTime": "2026-06-01T10:00:00Z"}],
            "containerStatuses": [{"name": "web", "state": state, "restartCount": 2}],
        },
    })
}

fn job(uid: &str, condition: Option<&str>) -> Value {
    let conditions: Vec<Value> = condition
        .map(|kind| json!({"type": kind, "status": "True", "message": "no more tries"}))
        .into_iter()
        .collect();
    json!({
        "kind": "Job", "metadata": {"name": "migrate", "namespace": "shop", "uid": uid},
        "spec": {}, "status": {"conditions": conditions},
    })
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn told(view: &View) -> Vec<String> {
    let rows = view.rows.iter().map(|row| {
        let why = row.trouble.as_ref().map(|trouble| {
            let Trouble { pod, lasts, more, is_early, .. } = trouble;
            format!(": {} {} {lasts:?} +{more}{}", pod.pod, pod.reason, if *is_early { " early" } else { "" })
        });
        format!("{} {}/{}{}", row.object, row.count.ready, row.count.wanted, why.unwrap_or_default())
    });
    rows.chain(
        view.hooks.iter().map(|hook| format!("{} {} {:?} {:?}", hook.object, hook.uid, hook.ran, hook.ended)),
    )
    .collect()
}

#[test]
fn the_pod_in_trouble_is_the_one_that_is_no_mere_delay() {
    let mut board = board();
    assert_eq!(board.view(at(0)), View::default(), "nothing is known yet");
    board.list_begins(0);
    board.see(0, &deployment(0), true, at(1));
    board.list_ends(0);
    board.list_begins(1);
    board.see(1, &pod("a", Some("ContainerCreating")), true, at(1));
    board.see(1, &pod("z", None), true, at(1));
    board.list_ends(1);
    assert_eq!(told(&board.view(at(3))), ["Deployment/web 0/3: a NotReady 2s +0 early"]);
    assert_eq!(told(&board.view(at(31))), ["Deployment/web 0/3: a NotReady 30s +0"], "it is late");
    for (name, now) in [("b", 4), ("c", 5)] {
        board.see(1, &pod(name, Some("CrashLoopBackOff")), false, at(now));
    }
    let view = board.view(at(10));
    assert_eq!(told(&view), ["Deployment/web 0/3: b CrashLoopBackOff 6s +1"]);
    let trouble = view.rows[0].trouble.clone().unwrap();
    assert_eq!((trouble.since.as_str(), trouble.pod.container.as_str()), ("2026-06-01T10:00:00Z", "web"));
    assert_eq!(trouble.pod.message.chars().count(), MESSAGE, "what a pod says is bounded");
    // The same reason goes on; another begins anew.
    board.see(1, &pod("b", Some("CrashLoopBackOff")), false, at(11));
    board.see(1, &pod("c", Some("ErrImagePull")), false, at(11));
    assert_eq!(told(&board.view(at(12))), ["Deployment/web 0/3: b CrashLoopBackOff 8s +0"]);
    assert_eq!(board.waiting_for()[0].reasons, ["NotReady", "ErrImagePull", "CrashLoopBackOff"]);
    board.see(1, &pod("b", None), false, at(13));
    board.lose(&pod("c", Some("ErrImagePull")));
    board.lose(&pod("a", None));
    board.see(0, &deployment(3), false, at(13));
    assert_eq!(told(&board.view(at(14))), ["Deployment/web 3/3"]);
    assert_eq!((board.waiting_for(), board.pods.len()), (vec![], 0), "of ready pods nothing is kept");
}

#[test]
fn what_a_new_list_does_not_have_is_gone() {
    let mut board = board();
    board.list_begins(0);
    board.see(0, &deployment(0), true, at(1));
    board.list_ends(0);
    board.list_begins(1);
    board.see(1, &pod("a", Some("ErrImagePull")), true, at(1));
    board.see(1, &pod("b", Some("ErrImagePull")), true, at(1));
    board.list_ends(1);
    board.list_begins(1);
    board.see(1, &pod("b", Some("ErrImagePull")), true, at(5));
    assert_eq!(
        told(&board.view(at(6))),
        ["Deployment/web 0/3: a ErrImagePull 5s +1"],
        "the list has more to come"
    );
    board.list_ends(1);
    assert_eq!(
        told(&board.view(at(6))),
        ["Deployment/web 0/3: b ErrImagePull 5s +0"],
        "since it was first seen"
    );
    board.hide(1);
    assert_eq!(told(&board.view(at(6))), ["Deployment/web 0/3"], "pods may not be watched");
    board.list_begins(0);
    board.list_ends(0);
    assert_eq!(told(&board.view(at(6))), [] as [&str; 0]);
}

#[test]
fn hooks_are_told_apart_by_their_runs() {
    let mut board = board();
    board.list_begins(0);
    board.see(0, &job("old", Some("Complete")), true, at(1));
    board.list_ends(0);
    assert_eq!(told(&board.view(at(2))), [] as [&str; 0], "it ended before anybody looked");
    let of_pod = |uid: &str| {
        json!({
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "shop", "uid": "p", "labels": {"job-name": "migrate"}, "ownerReferences": [{"uid": uid}]},
        })
    };
    assert_eq!(board.hook_of(&of_pod("old")), None);
    board.lose(&job("old", Some("Complete")));
    board.see(0, &job("new", None), false, at(3));
    assert_eq!(told(&board.view(at(5))), ["Job/migrate new 2s None"]);
    assert_eq!(board.hook_of(&of_pod("new")), Some(("new".to_owned(), "Job/migrate".to_owned())));
    assert_eq!(board.waiting_for()[0].name, "migrate");
    board.see(0, &job("new", Some("Complete")), false, at(7));
    board.lose(&job("new", Some("Complete")));
    assert_eq!(
        told(&board.view(at(60))),
        ["Job/migrate new 4s Some(Ok(()))"],
        "gone, and its end is still to be told"
    );
    board.see(0, &job("next", Some("Failed")), false, at(61));
    assert_eq!(told(&board.view(at(62))), ["Job/migrate next 0ns Some(Err(\"no more tries\"))"]);
    assert_eq!(board.waiting_for(), []);
    assert_eq!(board.hook_of(&pod("a", None)), None, "a pod of a workload");
}

#[test]
fn hundreds_of_pods_take_little_room() {
    let mut board = board();
    for n in 0..5000 {
        board.see(1, &pod(&format!("web-{n}"), Some("CrashLoopBackOff")), false, at(1));
    }
    assert_eq!(board.pods.len(), PODS);
    for n in 0..5000 {
        board.see(1, &pod(&format!("web-{n}"), None), false, at(2));
    }
    assert_eq!(board.pods.len(), 0);
}

#[test]
fn what_is_not_the_releases_is_dropped() {
    let mut board = board();
    let mut other = pod("x", Some("CrashLoopBackOff"));
    other["metadata"]["labels"] = json!({"app": "other"});
    board.see(1, &other, false, at(1));
    let mut elsewhere = pod("y", Some("CrashLoopBackOff"));
    elsewhere["metadata"]["namespace"] = "other".into();
    board.see(1, &elsewhere, false, at(1));
    assert_eq!(board.pods.len(), 0);
    for odd in [
        json!(null),
        json!({"kind": "Pod"}),
        json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}),
    ] {
        board.see(1, &odd, true, at(1));
        board.lose(&odd);
        board.hook_of(&odd);
    }
}
