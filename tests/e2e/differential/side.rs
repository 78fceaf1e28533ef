//! One side of a story: a namespace, and what plain Helm or helm-guard does in it.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testbed::{Cluster, Verdict, Webhook, tools::Helm};

use super::{
    live::{self, Live},
    objects::OF_THE_CLUSTER,
    part::given,
    story::{Step, Story},
};
use crate::stage::{Said, Stage};

const SOON: Duration = Duration::from_secs(60);
/// No other run asks for these locks, and a busy machine must lose none.
const PATIENT: &str = "--lease-duration=120s";
/// The user that has few rights.
const USER: usize = 7;

pub struct Side<'a> {
    stage: Stage,
    story: &'a Story,
    guarded: bool,
    port: u64,
    kubeconfig: Option<PathBuf>,
    /// Has a step failed? What a failed revision has left helm-guard repairs, and plain Helm does not: from then on it may not.
    failed: bool,
    /// Objects of the cluster, `kind/name`.
    own: Vec<String>,
    /// Where to look.
    paths: Vec<String>,
}

/// What came of a step.
pub struct Done {
    pub said: Said,
    /// Those of helm-guard.
    pub findings: Vec<Value>,
    pub live: Live,
}

impl<'a> Side<'a> {
    pub fn new(story: &'a Story, version: Helm, guarded: bool) -> Self {
        let stage = Stage::new(if guarded { "differ-guard" } else { "differ-plain" }, version);
        let name = stage.namespace.name().to_owned();
        let of_the_cluster =
            |object: &&Value| object["kind"].as_str().is_some_and(|kind| OF_THE_CLUSTER.contains(&kind));
        let named = |object: &Value| {
            let text = |value: &Value| value.as_str().unwrap().replace("NAMESPACE", &name);
            format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]))
        };
        let mut own: Vec<String> = story.part.objects().filter(of_the_cluster).map(named).collect();
        if story.part.asks {
            own.push(format!("validatingwebhookconfiguration/{name}"));
        }
        own.sort();
        own.dedup();
        let paths = live::paths(story).iter().map(|path| path.replace("NAMESPACE", &name)).collect();
        let side =
            Self { stage, story, guarded, port: free_port(), kubeconfig: None, failed: false, own, paths };
        side.put(&story.part.setup);
        if story.part.asks {
            side.put(&[registration()]);
        }
        for (object, condition) in &story.part.settled {
            side.stage.namespace.wait_for(object, condition, SOON).unwrap();
        }
        side
    }

    /// A text with this side's namespace and port in it.
    fn here(&self, text: &str) -> String {
        text.replace("NAMESPACE", self.stage.namespace.name()).replace("\"PORT\"", &self.port.to_string())
    }

    fn put(&self, objects: &[Value]) {
        for object in objects {
            self.stage.namespace.apply(&self.here(&object.to_string())).unwrap();
        }
    }

    fn chart(&self, objects: &[Value]) -> PathBuf {
        let text = |object: &Value| match object {
            Value::String(template) => format!("---\n{template}\n"),
            object => format!("---\n{object}\n"),
        };
        let all: Vec<String> = objects.iter().map(text).collect();
        let chart = crate::preflight::chart(&self.stage, &self.here(&all.concat()));
        let values =
            "word: 'first'\ndata: {a: '1', number: '1e3', words: 'on, off', text: \"two\\nlines\"}\n";
        std::fs::write(chart.join("values.yaml"), values).unwrap();
        let crds = chart.join("crds");
        std::fs::create_dir_all(&crds).unwrap();
        for (at, definition) in self.story.part.crds.iter().enumerate() {
            std::fs::write(crds.join(format!("{at}.yaml")), self.here(&definition.to_string())).unwrap();
        }
        chart
    }

    pub fn live(&self) -> Live {
        Live::look(&self.stage.namespace, &self.paths, self.port)
    }

    /// Does a step, and says what there is then.
    #[expect(clippy::disallowed_methods, reason = "what is being deleted is waited for, but not for ever")]
    pub fn does(&mut self, step: Step) -> Option<Done> {
        let Story { part, .. } = self.story;
        let said = match step {
            Step::Meanwhile => {
                self.meanwhile();
                return None;
            }
            Step::Old => self.deploy(&part.old, &part.old_flags),
            Step::New => self.deploy(&part.new, &part.flags),
            Step::Rollback => self.run(&["rollback", "web", "--timeout=15s"], |_| ()),
            Step::Uninstall => self.run(&["uninstall", "web", "--timeout=15s"], |_| ()),
        };
        self.failed |= said.code != Some(0);
        if step == Step::Old && said.code == Some(0) {
            for (object, condition) in &part.grown {
                self.stage.namespace.wait_for(&self.here(object), condition, SOON).unwrap();
            }
        }
        let mut live = self.live();
        let goes_until = Instant::now() + SOON;
        while live.goes && Instant::now() < goes_until {
            live = self.live();
        }
        let report = std::fs::read_to_string(self.report()).unwrap_or_default();
        let report: Value = serde_json::from_str(&report).unwrap_or_default();
        let _ = std::fs::remove_file(self.report());
        let findings = report["preflight"]["findings"].as_array().cloned().unwrap_or_default();
        Some(Done { said, findings, live })
    }

    fn deploy(&self, objects: &[Value], flags: &[String]) -> Said {
        let chart = self.chart(objects);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (job, words) in &self.story.part.acts {
                scope.spawn(|| self.act(job, words, &is_over));
            }
            let said = self.run(&["upgrade", "web", "--install"], |command| {
                command.arg(chart).arg("--timeout=15s").args(flags);
            });
            is_over.store(true, Ordering::Relaxed);
            said
        })
    }

    /// Does what a hook does, once it is there.
    fn act(&self, job: &str, words: &[String], is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let seen = self.stage.namespace.watch_until(["jobs", job], Duration::from_secs(1), |_| true);
            if seen.is_ok() {
                self.stage.namespace.kubectl(words).unwrap();
                return;
            }
        }
    }

    fn run(&self, words: &[&str], more: impl FnOnce(&mut Command)) -> Said {
        let mut command = if self.guarded { self.stage.own(words) } else { self.stage.helm(words) };
        more(&mut command);
        if self.guarded {
            if self.failed {
                command.arg("--repair=off");
            }
            command.arg(PATIENT).arg(format!("--report={}", self.report().display()));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        Stage::run(command)
    }

    fn report(&self) -> PathBuf {
        self.stage.temporary.path().join("report.json")
    }

    fn meanwhile(&mut self) {
        let part = &self.story.part;
        let namespace = &self.stage.namespace;
        for words in &part.meanwhile {
            // In a story without the first release there is nothing to change.
            let _ = namespace.kubectl(words.iter().map(|word| self.here(word)));
        }
        self.put(&part.comes);
        if let Some(probe) = &part.denied {
            let file = self.stage.temporary.path().join("probe.json");
            std::fs::write(&file, self.here(&probe.to_string())).unwrap();
            let probe = ["create", "--dry-run=server", "-f", file.to_str().unwrap()];
            while namespace.kubectl(probe).is_ok() {}
        }
        if let Some(rules) = &part.role {
            let kubeconfig = namespace.restricted_kubeconfig(USER, &[]).unwrap();
            self.put(&given(USER, rules));
            self.kubeconfig = Some(kubeconfig);
        }
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        if !self.own.is_empty() {
            let words = ["delete", "--ignore-not-found", "--wait=false"].into_iter();
            let _ = self.stage.namespace.kubectl(words.chain(self.own.iter().map(String::as_str)));
        }
    }
}

/// A node port that no other namespace of this process has asked for: stories run beside each other, and a port is the
/// cluster's. Most processes begin at another one.
fn free_port() -> u64 {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
    30_000 + (u64::from(std::process::id()) * 37 + taken) % 2_700
}

/// That the webhook is asked about what is written in the side's namespace.
fn registration() -> Value {
    let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "NAMESPACE"},
        "webhooks": [{
            "name": "asked.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 30,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "NAMESPACE"}},
            "rules": [rule("", "configmaps"), rule("networking.k8s.io", "ingresses")],
            "clientConfig": webhook().client_config(),
        }],
    })
}

/// The webhook of all sides. It knows no data that is forbidden, and, as those of ingress controllers, no path twice.
fn webhook() -> &'static Webhook {
    static ONE: OnceLock<Webhook> = OnceLock::new();
    ONE.get_or_init(|| {
        let cluster = Cluster::shared().unwrap();
        Webhook::open(cluster, |review| {
            let object = &review.object;
            if object["data"]["a"] == "forbidden" {
                return Verdict::Deny("that is forbidden".to_owned());
            }
            let path = |ingress: &Value| ingress.pointer("/spec/rules/0/http/paths/0/path").cloned();
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let taken = object["kind"] == "Ingress"
                && cluster.kubectl_json(["get", "ingresses", "-n", namespace]).is_ok_and(|list| {
                    let others = list["items"].as_array().cloned().unwrap_or_default();
                    others.iter().any(|other| {
                        other["metadata"]["name"] != object["metadata"]["name"] && path(other) == path(object)
                    })
                });
            if taken { Verdict::Deny("host and path are taken".to_owned()) } else { Verdict::Allow }
        })
        .unwrap()
    })
}
