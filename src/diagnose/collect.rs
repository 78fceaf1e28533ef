//! Reads what a release has in the cluster, for its diagnosis. `diagnose.rs` decides what it means.
//! Bounded in requests, objects and bytes; a kind that may not be read is only named. What is secret stays here.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream};
use http::Request;
use kube::Api;
use serde_json::{Value, json};

use super::{
    Live, Log,
    containers::{self, Role, Seat},
    label, list, pods, text,
};
use crate::{
    cluster::{Cluster, known_kind},
    manifest::{Manifest, ObjectKey},
    redact::{Redactor, Secrets, is_telling},
    release::{Record, codec},
    workload::rollout,
};

/// Objects of one list.
const OBJECTS: usize = 500;
/// Workloads whose pods are looked at.
const WORKLOADS: usize = 30;
/// Pods of one workload.
const PODS: usize = 30;
/// Containers whose logs are read, and of one workload.
const LOGS: usize = 12;
const LOGS_OF_ONE: usize = 2;
/// Lines and bytes of one log.
const LINES: usize = 20;
const BYTES: usize = 16 << 10;
/// Nodes that are looked at.
const NODES: usize = 10;
/// Objects that are asked about one by one.
const ONE_BY_ONE: usize = 100;
/// Requests at once.
const AT_ONCE: usize = 8;
/// One request.
const LIMIT: Duration = Duration::from_secs(5);

/// Which objects are the release's.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Its objects, without hooks.
    pub manifest: Manifest,
    /// Its hooks.
    pub hook_objects: Manifest,
    /// `Kind/name` of its hooks.
    pub hooks: Vec<String>,
    /// Values that the user gave: they may be secret, and a log may have them.
    values: Vec<String>,
    /// Is it being removed?
    pub leaving: bool,
}

impl Scope {
    /// As a record says.
    pub fn of(record: &Record, namespace: &str) -> Self {
        let Ok(json) = codec::decode(record.stored.payload()) else { return Self::default() };
        let manifest = codec::manifest(&json).ok().and_then(|text| Manifest::parse(&text, namespace).ok());
        let hooks = record.body.as_ref().map(|body| body.hooks.iter().map(codec::HookRun::label).collect());
        let hook_objects = codec::planned(&json).ok().map(|planned| planned.hooks);
        let hook_objects = hook_objects.and_then(|text| Manifest::parse(&text, namespace).ok());
        let config: Value =
            codec::config(&json).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut values = Vec::new();
        leaves(false, &config, &mut values);
        Self {
            manifest: manifest.unwrap_or_default(),
            hook_objects: hook_objects.unwrap_or_default(),
            hooks: hooks.unwrap_or_default(),
            values,
            leaving: false,
        }
    }

    /// Values that were given, less what is shown anyway: images and names of containers.
    fn secrets<'a>(&'a self, seats: impl Iterator<Item = &'a Seat<'a>>) -> impl Iterator<Item = &'a String> {
        let shown: Vec<&str> = seats.flat_map(|seat| [text(seat.spec, "/image"), seat.name()]).collect();
        self.values.iter().filter(move |value| !shown.iter().any(|shown| shown.contains(value.as_str())))
    }

    fn names(&self, object: &Value) -> bool {
        let label = label(object);
        self.hooks.contains(&label) || self.manifest.keys().any(|key| key.to_string() == label)
    }
}

/// Texts of at least eight bytes, and shorter ones whose keys are telling: other short ones are words that occur by
/// themselves, and a log would be none without them.
fn leaves(is_within: bool, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) if is_within || text.len() >= 8 => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(is_within, item, into)),
        Value::Object(fields) => {
            fields.iter().for_each(|(key, field)| leaves(is_within || is_telling(key), field, into));
        }
        _ => {}
    }
}

impl Live {
    /// Only what is about hooks: the rest goes on living.
    fn of_hooks(mut self, scope: &Scope) -> Self {
        let snapshot =
            super::Snapshot { hooks: scope.hooks.clone(), live: self.clone(), ..super::Snapshot::default() };
        self.workloads.retain(|workload| scope.hooks.contains(&label(workload)));
        self.pods.retain(|pod| containers::is_hook(&snapshot, pod));
        Self {
            workloads: self.workloads,
            pods: self.pods,
            events: self.events,
            logs: self.logs,
            ..Self::default()
        }
    }
}

/// What was seen of a release while Helm worked on it.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its hooks before they were deleted.
    hooks: Live,
    /// All of it when Helm gave up.
    failed: Option<(Scope, Live)>,
}

impl Seen {
    /// Looks, because Helm is about to change what there is to see.
    pub async fn look(&mut self, cluster: &Cluster, scope: Scope, gives_up: bool) {
        // What is seen later is what the rollback did.
        if self.failed.is_some() {
            return;
        }
        let live = live(cluster, &scope).await;
        if gives_up {
            self.failed = Some((scope, live));
        } else {
            self.hooks.add(live.of_hooks(&scope));
        }
    }

    /// What there was to see when Helm gave up, or is now; `scope` is what the release is now.
    pub async fn end(self, cluster: &Cluster, scope: Scope) -> (Scope, Live) {
        let (scope, mut live) = match self.failed {
            Some(failed) => failed,
            None => {
                let live = live(cluster, &scope).await;
                (scope, live)
            }
        };
        live.add(self.hooks);
        (scope, live)
    }
}

/// Reads what the rules need.
pub async fn live(cluster: &Cluster, scope: &Scope) -> Live {
    let look = Look { cluster, hidden: std::sync::Mutex::default() };
    let mut live = Live::default();
    let (deployments, stateful_sets, daemon_sets, jobs, claims, events, terminating) = tokio::join!(
        look.list("apis/apps/v1", "deployments", "Deployment", ""),
        look.list("apis/apps/v1", "statefulsets", "StatefulSet", ""),
        look.list("apis/apps/v1", "daemonsets", "DaemonSet", ""),
        look.list("apis/batch/v1", "jobs", "Job", ""),
        look.list("api/v1", "persistentvolumeclaims", "PersistentVolumeClaim", ""),
        look.list("api/v1", "events", "Event", "&fieldSelector=type%3DWarning"),
        look.terminating(scope),
    );
    let workloads = [deployments, stateful_sets, daemon_sets, jobs].concat();
    live.workloads = workloads.into_iter().filter(|workload| scope.names(workload)).collect();
    live.pods = look.pods(scope, &live.workloads).await;
    live.nodes = look.nodes(&live.pods).await;
    let wanted: BTreeSet<String> = live.pods.iter().flat_map(claim_names).collect();
    live.claims = claims
        .into_iter()
        .filter(|claim| scope.names(claim) || wanted.contains(text(claim, "/metadata/name")))
        .collect();
    live.terminating = terminating;
    let about: BTreeSet<String> =
        [&live.workloads, &live.pods, &live.claims].into_iter().flatten().map(label).collect();
    live.events = events;
    live.events.retain(|event| {
        let object =
            format!("{}/{}", text(event, "/involvedObject/kind"), text(event, "/involvedObject/name"));
        about.contains(&object)
    });
    live.events.sort_by_key(|event| when(event).to_owned());
    let secrets = look.logs(scope, &mut live).await;
    if live.logs.iter().any(|log| !log.lines.is_empty()) {
        live.unready_services = look.unready_services().await;
    }
    for objects in
        [&mut live.workloads, &mut live.pods, &mut live.claims, &mut live.events, &mut live.terminating]
    {
        objects.iter_mut().for_each(|object| prune(object, &secrets));
    }
    live.hidden = look.hidden.into_inner().unwrap_or_default().into_iter().collect();
    live
}

/// Claims that a pod mounts.
fn claim_names(pod: &Value) -> Vec<String> {
    let volumes = list(pod, "/spec/volumes").iter();
    volumes.map(|volume| text(volume, "/persistentVolumeClaim/claimName").to_owned()).collect()
}

/// When an event was last seen. All times are of one form, so they sort as texts.
fn when(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.into_iter().map(|at| text(event, at)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// Fields that no rule asks about, and that may hold what nobody is to see.
const NEVER: [&str; 11] = [
    "managedFields",
    "annotations",
    "command",
    "args",
    "env",
    "exec",
    "lifecycle",
    "tolerations",
    "imageID",
    "template",
    "volumeMounts",
];

fn prune(value: &mut Value, secrets: &Redactor) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !NEVER.contains(&name.as_str()));
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::String(message) if name == "message" => *message = secrets.clean_log(message),
                    field => prune(field, secrets),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(item, secrets)),
        _ => {}
    }
}

/// What must not be seen of a pod's log: values of the Secrets that it uses, and those that the release was given.
///
/// # Errors
/// Why that is not known.
pub async fn redactor(cluster: &Cluster, scope: &Scope, pod: &Value) -> Result<Redactor, String> {
    let look = Look { cluster, hidden: std::sync::Mutex::default() };
    let mut secrets = Vec::new();
    for name in secret_names(pod).collect::<BTreeSet<_>>() {
        secrets.extend(look.secret(name).await.ok_or_else(|| withheld_for(name))?);
    }
    let seats: Vec<Seat<'_>> = containers::of(pod).collect();
    secrets.extend(scope.secrets(seats.iter()).cloned());
    Ok(known(secrets))
}

/// What takes out these, and what is secret within them.
fn known(texts: impl IntoIterator<Item = String>) -> Redactor {
    let mut secrets = Secrets::default();
    texts.into_iter().for_each(|text| secrets.add(&text));
    secrets.redactor()
}

fn withheld_for(secret: &str) -> String {
    format!("Secret/{secret}, which the pod uses, may not be read, so what is secret in it is not known")
}

struct Look<'a> {
    cluster: &'a Cluster,
    hidden: std::sync::Mutex<BTreeSet<String>>,
}

impl Look<'_> {
    /// Objects of a kind in the namespace; none where they may not be read.
    async fn list(&self, group: &str, resource: &str, kind: &str, more: &str) -> Vec<Value> {
        let namespace = &self.cluster.namespace;
        let path = format!("/{group}/namespaces/{namespace}/{resource}?limit={OBJECTS}{more}");
        let Some(mut answer) = self.get(&path, resource).await else { return Vec::new() };
        let items = answer.get_mut("items").map(Value::take);
        let Some(Value::Array(mut items)) = items else { return Vec::new() };
        // In a list they do not say what they are.
        items.iter_mut().for_each(|item| item["kind"] = kind.into());
        items
    }

    async fn get(&self, path: &str, resource: &str) -> Option<Value> {
        let request = Request::get(path).body(Vec::new()).ok()?;
        match tokio::time::timeout(LIMIT, self.cluster.client.request::<Value>(request)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                self.hidden.lock().ok()?.insert(resource.to_owned());
                None
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Pods of the workloads, those of unready ones first, and hooks that are pods.
    async fn pods(&self, scope: &Scope, workloads: &[Value]) -> Vec<Value> {
        let mut unready: Vec<&Value> = workloads.iter().filter(|workload| !has_all(workload)).collect();
        unready.truncate(WORKLOADS);
        let selectors = unready.into_iter().filter_map(selector);
        let of_workloads: Vec<Vec<Value>> = stream::iter(selectors)
            .map(|selector| async move {
                let more = format!("&labelSelector={selector}");
                let mut pods = self.list("api/v1", "pods", "Pod", &more).await;
                pods.sort_by_key(|pod| {
                    std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned())
                });
                pods.truncate(PODS);
                pods
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let namespace = &self.cluster.namespace;
        let hooks = scope.hooks.iter().filter_map(|hook| hook.strip_prefix("Pod/")).take(WORKLOADS);
        let of_hooks: Vec<Option<Value>> = stream::iter(hooks)
            .map(|name| async move {
                let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
                self.get(&path, "pods").await
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut known = BTreeSet::new();
        let mut pods: Vec<Value> =
            of_workloads.into_iter().flatten().chain(of_hooks.into_iter().flatten()).collect();
        pods.retain(|pod| known.insert(text(pod, "/metadata/uid").to_owned()));
        pods
    }

    /// Nodes under pods that are not ready, less what no rule asks about.
    async fn nodes(&self, pods: &[Value]) -> Vec<Value> {
        let unready = pods.iter().filter(|pod| !containers::is_ready(pod));
        let names: BTreeSet<&str> = unready.map(|pod| text(pod, "/spec/nodeName")).collect();
        let named = names.into_iter().filter(|name| !name.is_empty()).take(NODES);
        let read = stream::iter(named).map(|name| async move {
            let node = self.get(&format!("/api/v1/nodes/{name}"), "nodes").await?;
            let conditions = &node["status"]["conditions"];
            Some(json!({"kind": "Node", "metadata": {"name": name}, "status": {"conditions": conditions}}))
        });
        read.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// Logs of containers in trouble, and what is secret to their pods.
    async fn logs(&self, scope: &Scope, live: &mut Live) -> Redactor {
        let snapshot = super::Snapshot {
            hooks: scope.hooks.clone(),
            live: Live { workloads: live.workloads.clone(), pods: live.pods.clone(), ..Live::default() },
            ..super::Snapshot::default()
        };
        let mut of_owner = std::collections::BTreeMap::<(String, String), usize>::new();
        // A hook that works may be what is waited for.
        let is_hook =
            |pod: &Value| containers::is_hook(&snapshot, pod) && text(pod, "/status/phase") != "Succeeded";
        let pods = snapshot.live.pods.iter().filter(|pod| !containers::is_ready(pod) || is_hook(pod));
        let few =
            pods.flat_map(containers::of).filter(|seat| has_log(seat, is_hook(seat.pod))).filter(|seat| {
                let key = (containers::owner(&snapshot, seat.pod), seat.name().to_owned());
                let count = of_owner.entry(key).or_default();
                *count += 1;
                *count <= LOGS_OF_ONE
            });
        let few: Vec<Seat<'_>> = few.take(LOGS).collect();
        let names: BTreeSet<&str> = few.iter().flat_map(|seat| secret_names(seat.pod)).collect();
        let read: Vec<(&str, Option<Vec<String>>)> = stream::iter(names)
            .map(|name| async move { (name, self.secret(name).await) })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let unknown: BTreeSet<&str> =
            read.iter().filter(|(_, values)| values.is_none()).map(|(name, _)| *name).collect();
        let secrets: Vec<String> = read.iter().filter_map(|(_, values)| values.clone()).flatten().collect();
        let all = known(secrets.iter().chain(scope.secrets(few.iter())).cloned());
        let all = &all;
        let logs = stream::iter(few).map(|seat| {
            let withheld = secret_names(seat.pod).find(|name| unknown.contains(name));
            async move {
                let log = Log {
                    pod: seat.pod_name().to_owned(),
                    container: seat.name().to_owned(),
                    ..Log::default()
                };
                if let Some(name) = withheld {
                    return Log { withheld: withheld_for(name), ..log };
                }
                Log {
                    lines: self.log(&seat).await.map(|text| tail(&all.clean_log(&text))).unwrap_or_default(),
                    ..log
                }
            }
        });
        live.logs = logs.buffered(AT_ONCE).collect().await;
        known(secrets)
    }

    async fn log(&self, seat: &Seat<'_>) -> Option<String> {
        let (namespace, pod, container) = (&self.cluster.namespace, seat.pod_name(), seat.name());
        // Its present run, if it has one, says nothing yet of how the last one ended.
        let previous = seat.status.pointer("/lastState/terminated").is_some();
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&tailLines={LINES}&limitBytes={BYTES}&previous={previous}"
        );
        let request = Request::get(path).body(Vec::new()).ok()?;
        let text = tokio::time::timeout(LIMIT, self.cluster.client.request_text(request)).await.ok()?.ok()?;
        Some(whole(&text).to_owned())
    }

    /// Values of a Secret; none if there is no such Secret, `None` if it may not be read.
    async fn secret(&self, name: &str) -> Option<Vec<String>> {
        let path = format!("/api/v1/namespaces/{}/secrets/{name}", self.cluster.namespace);
        let request = Request::get(path).body(Vec::new()).ok()?;
        match tokio::time::timeout(LIMIT, self.cluster.client.request::<Value>(request)).await.ok()? {
            Ok(secret) => {
                let data = secret.get("data").and_then(Value::as_object).into_iter().flatten();
                let decoded = data.filter_map(|(_, value)| STANDARD.decode(value.as_str()?).ok());
                Some(decoded.filter_map(|bytes| String::from_utf8(bytes).ok()).collect())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Services that choose pods, none of which is ready.
    async fn unready_services(&self) -> Vec<String> {
        let (services, slices) = tokio::join!(
            self.list("api/v1", "services", "Service", ""),
            self.list("apis/discovery.k8s.io/v1", "endpointslices", "EndpointSlice", ""),
        );
        // Of more than one page nothing is known that counts.
        if slices.len() >= OBJECTS || self.hidden.lock().is_ok_and(|hidden| hidden.contains("endpointslices"))
        {
            return Vec::new();
        }
        let is_ready = |endpoint: &Value| endpoint["conditions"]["ready"] != false;
        let served: BTreeSet<&str> = slices
            .iter()
            .filter(|slice| list(slice, "/endpoints").iter().any(is_ready))
            .map(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name"))
            .collect();
        let choosing = services.iter().filter(|service| service.pointer("/spec/selector").is_some());
        let names = choosing.map(|service| text(service, "/metadata/name"));
        names.filter(|name| !served.contains(name)).map(str::to_owned).collect()
    }

    /// Objects of a release on its way out that are being deleted.
    async fn terminating(&self, scope: &Scope) -> Vec<Value> {
        if !scope.leaving {
            return Vec::new();
        }
        let keys: Vec<&ObjectKey> = scope.manifest.keys().take(ONE_BY_ONE).collect();
        let found = stream::iter(keys).map(|key| async move {
            let client = self.cluster.client.clone();
            let known = known_kind(&client, (&key.api_version, &key.kind)).await.ok()??;
            let api: Api<kube::api::DynamicObject> = match known.1.scope {
                kube::discovery::Scope::Cluster => Api::all_with(client, &known.0),
                kube::discovery::Scope::Namespaced => Api::namespaced_with(client, &key.namespace, &known.0),
            };
            let found = tokio::time::timeout(LIMIT, api.get_metadata_opt(&key.name)).await.ok()?.ok()??;
            let mut object = serde_json::to_value(found).ok()?;
            object["kind"] = key.kind.clone().into();
            object.pointer("/metadata/deletionTimestamp").is_some().then_some(object)
        });
        found.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }
}

/// Are all its pods ready, or its work done?
fn has_all(workload: &Value) -> bool {
    rollout::count(workload).is_none_or(rollout::Count::is_whole)
}

/// The pods of a workload, as a query says it. Labels have no letter that a query would need escaped.
fn selector(workload: &Value) -> Option<String> {
    let labels = workload.pointer("/spec/selector/matchLabels")?.as_object()?;
    let pairs: Vec<String> =
        labels.iter().filter_map(|(name, value)| Some(format!("{name}%3D{}", value.as_str()?))).collect();
    (!pairs.is_empty()).then(|| pairs.join("%2C"))
}

/// A container that ran has a log; one that never did has only events.
fn has_log(seat: &Seat<'_>, is_hook: bool) -> bool {
    let state = |kind: &str| seat.status.pointer(kind).is_some();
    let is_done = seat.role == Role::Init && super::number(seat.status, "/state/terminated/exitCode") == 0;
    let ran = state("/lastState/terminated") || state("/state/terminated") || state("/state/running");
    let well = seat.status["ready"] == true;
    // What never ran, or went with its pod, left none.
    let has_none = pods::never_ran(seat).is_some() || containers::ended_by(seat.pod).is_some();
    ran && !has_none && (!well || is_hook) && !(is_done && state("/state/terminated"))
}

/// Secrets that a pod uses.
fn secret_names(pod: &Value) -> impl Iterator<Item = &str> {
    let containers = list(pod, "/spec/initContainers").iter().chain(list(pod, "/spec/containers"));
    let of_containers = containers.flat_map(|container| {
        let all = list(container, "/envFrom").iter().map(|from| text(from, "/secretRef/name"));
        all.chain(list(container, "/env").iter().map(|one| text(one, "/valueFrom/secretKeyRef/name")))
    });
    let of_volumes = list(pod, "/spec/volumes").iter().flat_map(|volume| {
        let projected = list(volume, "/projected/sources").iter().map(|source| text(source, "/secret/name"));
        projected.chain([text(volume, "/secret/secretName")])
    });
    of_containers.chain(of_volumes).filter(|name| !name.is_empty())
}

/// Of a log that was cut off, its lines that are whole: the last one could end within a secret, which would not be known for
/// one then.
fn whole(log: &str) -> &str {
    if log.len() < BYTES { log } else { log.rsplit_once('\n').map_or("", |(whole, _)| whole) }
}

fn tail(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().map(|line| line.chars().take(400).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_cut_off_ends_with_a_whole_line() {
        assert_eq!(whole("one\ntoken canary"), "one\ntoken canary");
        let cut = format!("{}\ntoken cana", "x".repeat(BYTES - 11));
        assert_eq!((cut.len(), whole(&cut)), (BYTES, &*"x".repeat(BYTES - 11)));
        assert_eq!(whole(&"x".repeat(BYTES)), "");
    }
}
