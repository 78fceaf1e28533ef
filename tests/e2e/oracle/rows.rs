//! Faults that the oracle found, each as the smallest history that shows it. All of them happen in one release.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testbed::Hold;

use super::{
    deaths::{Act, Given, Moment, Victim},
    history::{Fate, History, Mode, Revision},
    objects::GROUP,
};

/// A fault.
struct Row {
    /// What was wrong.
    found: &'static str,
    /// Helm, and the round that found it.
    round: &'static str,
    /// The object as the good, the dead and the new revision want it.
    wanted: fn() -> [Value; 3],
}

const ROWS: &[Row] = &[
    Row {
        found: "one-volume-at-two-paths-loses-a-mount",
        round: "Helm3 1001",
        wanted: || {
            let mounts =
                json!([{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/b", "subPath": "b"}]);
            let template = |image: &str| pod(&json!({"volumeMounts": mounts, "image": image}));
            [template("image:1"), template("image:2"), template("image:3")]
        },
    },
    Row {
        found: "a-renamed-port-is-lost",
        round: "Helm4ClientSide 1001",
        wanted: || {
            let port = |name: &str| pod(&json!({"ports": [{"containerPort": 80, "name": name}]}));
            [port("http"), port("web"), port("web")]
        },
    },
    Row {
        found: "a-port-whose-name-moves-to-another-number-stays",
        round: "Helm3 1002",
        wanted: || {
            let port = |number: u16| pod(&json!({"ports": [{"containerPort": number, "name": "web"}]}));
            [port(80), port(443), port(8080)]
        },
    },
    Row {
        found: "one-topology-twice-loses-a-selector-if-the-dead-revision-has-none",
        round: "Helm4ClientSide 2001",
        wanted: || {
            let spread = |when: &str| json!({"topologyKey": "zone", "whenUnsatisfiable": when, "maxSkew": 1});
            let mut first = spread("DoNotSchedule");
            first["labelSelector"] = json!({"matchLabels": {"app": "a"}});
            let mut both = pod(&json!({}));
            both["template"]["spec"]["topologySpreadConstraints"] = json!([first, spread("ScheduleAnyway")]);
            [both.clone(), pod(&json!({})), both]
        },
    },
    Row {
        found: "a-container-that-was-not-applied-gets-the-keys-of-the-dead-one",
        round: "Helm4ClientSide 3032 3033",
        wanted: || {
            let with_side = |variable: &str| {
                let env = json!([{"name": variable, "value": "1"}]);
                let mut both = pod(&json!({}));
                let containers = both["template"]["spec"]["containers"].as_array_mut().unwrap();
                containers.push(json!({"name": "side", "image": "image:1", "env": env}));
                both
            };
            [pod(&json!({})), with_side("DEAD"), with_side("NEW")]
        },
    },
    Row {
        found: "a-field-of-a-custom-resource-that-the-dead-revision-removed-does-not-return",
        round: "the issue",
        wanted: || {
            let widget =
                |spec: Value| json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "spec": spec});
            let full =
                json!({"text": "a", "items": [{"name": "a"}], "map": {"a": "1"}, "free": {"a": {"b": 1}}});
            [widget(full.clone()), widget(json!({"free": {"a": "text"}})), widget(full)]
        },
    },
];

/// A pod template whose container has these fields.
fn pod(container: &Value) -> Value {
    let mut all = json!({"name": "main", "image": "image:1"});
    all.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let spec = json!({"containers": [all], "volumes": [{"name": "a", "emptyDir": {}}]});
    json!({"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": spec}})
}

/// All rows as objects of one history.
pub fn history(mode: Mode) -> History {
    let revision = |fate, version: usize| {
        let object = |row: &Row| {
            let mut object = (row.wanted)()[version].clone();
            object["metadata"] = json!({"name": row.found, "annotations": {"round": row.round}});
            (row.found.to_owned(), Some(object))
        };
        let objects: BTreeMap<_, _> = ROWS.iter().map(object).collect();
        Revision { fate, objects, flags: Vec::new() }
    };
    let revisions = vec![
        revision(Fate::Lives, 0),
        revision(Fate::Dies, 1),
        revision(Fate::Repairs, 2),
        revision(Fate::Lives, 2),
    ];
    History { mode, revisions, drift: None, no_values: false }
}

/// Helm dies when all is applied, or when nothing is.
pub fn deaths() -> [Vec<Act>; 2] {
    let repair = Act::Guard { values: Given::All, preflight: true };
    [Moment::FirstSave, Moment::Write(0, Hold::Before)]
        .map(|moment| vec![Act::Plain, Act::Death(Victim::Helm, moment), repair, Act::Plain])
}
