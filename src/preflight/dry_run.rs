//! Sends what Helm is about to apply to the API server as dry runs, in the way Helm will apply it, and looks up what workloads
//! refer to. Changes nothing, except StatefulSets that are to be recreated.
//! What the answers mean is decided in `preflight.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{
    Answer, Cause, Context, Finding, Refusal,
    api_paths::{self, Resource},
    certainty::{self, Ground, Situation},
    defines, ground,
    helm_request::{self, Apply, Manner},
    is_fixed_set, judge, order,
    references::{self, Reference},
    rights::{self, Resources},
    sorted,
    timeouts::{self, Patience},
    unchanged::{self, Known},
    varying::Varying,
};
use crate::{
    cluster::{Cluster, known_kind},
    health::{Health, fares},
    manifest::{Manifest, ObjectKey},
    signals::Signals,
};

/// Requests at once. They share a connection, so that each costs no more than its own work; an API server bounds by itself what
/// it does of that at once.
pub(crate) const AT_ONCE: usize = 32;

/// How long all the questions together may take. Helm waits meanwhile.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Largest answer that is read, bytes. An object has at most 3 MiB when it is sent (the API server's limit of a request), and
/// an answer is such an object with what the API server adds.
const LARGEST: usize = 8 << 20;

/// What is to be deployed, and over what.
#[derive(Clone, Debug, Default)]
pub struct Deploy {
    /// Release name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// What is applied.
    pub manifest: Manifest,
    /// Hooks that will run.
    pub hooks: Manifest,
    /// The manifest that Helm takes for the one in force.
    pub before: Manifest,
    /// Did the revision of that manifest complete, and no other after it?
    pub before_is_good: bool,
    /// How.
    pub manner: Manner,
    /// `pre-install` or `pre-upgrade`.
    pub first: &'static str,
    /// `--recreate-statefulsets`.
    pub recreates: bool,
    /// How long Helm waits, and for what.
    pub patience: Patience,
    /// The records that Helm will write.
    pub records: rights::Records,
    /// Fields that came out different when the chart was rendered again: Helm renders others in its own run.
    pub varying: Varying,
    /// What is known before anything is asked.
    pub known: Vec<Finding>,
    /// Objects, by their paths, of which Helm was told that they are not there.
    pub absent: BTreeSet<String>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The certain ones first.
    pub findings: Vec<Finding>,
    /// StatefulSets that only a new one can change, as they live, and as they are wanted.
    pub sets: Vec<(ObjectKey, Value, Value)>,
    /// What is not well with what lives, as far as that was seen on the way.
    pub ailing: Vec<(Health, String)>,
    /// References to what does not exist, and may by the end of the deploy: to be looked at again.
    pub open: Vec<Reference>,
    /// Objects that live, by their paths, of which Helm asks only whether they do: it applies them whatever they are.
    pub present: BTreeMap<String, Value>,
    /// Paths of objects that are there by now, and of which Helm was told that they are not.
    pub appeared: Vec<String>,
}

/// Asks about everything.
pub async fn assess(cluster: &Cluster, deploy: &Deploy) -> Found {
    let context = Context {
        manifest: &deploy.manifest,
        hooks: &deploy.hooks,
        first: deploy.first,
        recreates: deploy.recreates,
        takes_over_fields: deploy.manner.takes_over_fields,
        varying: &deploy.varying,
    };
    // Rights are needed until the end.
    let end = order::at_the_end(&deploy.manifest, &deploy.hooks);
    let resources = resources(cluster, deploy.manifest.keys().chain(deploy.hooks.keys())).await;
    let known = unchanged::look(cluster, deploy, &resources);
    let mut known = tokio::time::timeout(LIMIT, known).await.unwrap_or_default();
    let needed = rights::needed(&deploy.needs(&known.settled), &resources);
    let (answers, (missing, open), denied, late) = tokio::join!(
        ask_all(cluster, deploy, &resources, &known),
        look_up(cluster, deploy, LIMIT),
        in_time("rights", rights::review::ask(&cluster.client, &needed, &deploy.release, end)),
        in_time("timeouts", too_tight(cluster, deploy)),
    );
    let asked = deploy.manifest.objects.len() + deploy.hooks.objects.len();
    let findings = [deploy.known.clone(), missing, denied, late].concat();
    let mut found = Found { findings, open, ..Found::default() };
    if answers.len() < asked {
        found.findings.push(too_late(&format!("{} objects", asked - answers.len())));
    }
    let path = |key: &ObjectKey| {
        let resource = resources.get(&(key.api_version.as_str(), key.kind.as_str())).cloned().flatten()?;
        Some((api_paths::collection(key, &resource), key.name.clone()))
    };
    let mut unseen = deploy.absent.clone();
    for (key, answer) in answers {
        if let Some((at, name)) = path(&key).filter(|_| !answer.hook)
            && answer.refusal.as_ref().is_none_or(|refusal| refusal.code != 0)
            && unseen.remove(&format!("{at}/{name}"))
            && (answer.live.is_some() || answer.becomes.is_some())
        {
            found.appeared.push(format!("{at}/{name}"));
        }
        found.findings.extend(judge(&key, &answer, &context));
        let seen = answer.live.as_ref().or(answer.becomes.as_ref());
        let was_asked = seen.is_some() || (answer.refusal.is_none() && is_kubernetes(&key));
        if was_asked && !deploy.hooks.contains(&key) {
            found.ailing.extend(fares(&key, seen, deploy.before.contains(&key)));
        }
        let refusal = answer.refusal.as_ref().filter(|_| !answer.hook);
        let fixed = refusal.is_some_and(|refusal| is_fixed_set(&key, refusal));
        if let Some(live) = answer.live.filter(|_| fixed) {
            found.sets.push((key, live, answer.wanted));
        }
    }
    found.appeared.extend(appeared(cluster, &unseen).await);
    found.findings = sorted(found.findings);
    if deploy.asks_only_whether_they_live() {
        let lives = deploy.manifest.keys().filter_map(|key| {
            let (collection, name) = path(key)?;
            Some((format!("{collection}/{name}"), known.lives.take(&collection, &name)?))
        });
        found.present = lives.collect();
    }
    found
}

/// A kind that is always known, and so always asked about.
fn is_kubernetes(key: &ObjectKey) -> bool {
    api_paths::known(&key.api_version, &key.kind).is_some() && api_paths::is_addressable(key)
}

impl Deploy {
    fn references(&self) -> references::Release<'_> {
        references::Release {
            manifest: &self.manifest,
            hooks: &self.hooks,
            good: self.before_is_good.then_some(&self.before),
            first: self.first,
        }
    }

    /// Whether Helm 4 looks at each object of an upgrade only to learn if it is there. The apply that follows makes of it what
    /// is wanted in either case. A hook that runs before could take an object away.
    fn asks_only_whether_they_live(&self) -> bool {
        matches!(self.manner.apply, Apply::ServerSide { .. })
            && self.manner.is_v4
            && !self.manner.installs
            && !self.manner.takes_over_fields
            && order::first_hooks(&self.hooks, self.first).next().is_none()
    }

    fn needs<'a>(&'a self, unasked: &'a BTreeSet<&'a ObjectKey>) -> rights::Plan<'a> {
        rights::Plan {
            namespace: &self.namespace,
            records: &self.records,
            manifest: &self.manifest,
            hooks: &self.hooks,
            before: if self.manner.installs { None } else { Some(&self.before) },
            until: self.patience.until,
            is_v4: self.manner.is_v4,
            // Of a client-side apply the dry run looks too.
            looks_first: matches!(self.manner.apply, Apply::ServerSide { .. }),
            unasked,
        }
    }
}

/// What the API calls the kinds of these objects.
pub(crate) async fn resources<'a>(
    cluster: &Cluster,
    keys: impl Iterator<Item = &'a ObjectKey>,
) -> Resources<'a> {
    let kinds: BTreeSet<(&str, &str)> =
        keys.map(|key| (key.api_version.as_str(), key.kind.as_str())).collect();
    // Boxed before anything is awaited: a closure over references is not general enough for a task.
    let looks = kinds.into_iter().map(|kind| async move { (kind, resource_of(cluster, kind).await) }.boxed());
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
}

async fn in_time(what: &str, findings: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(LIMIT, findings).await.unwrap_or_else(|_| vec![too_late(what)])
}

fn too_late(what: &str) -> Finding {
    Finding {
        id: "not-checked",
        object: "the API server".to_owned(),
        cause: format!("{what} were not checked within {}s", LIMIT.as_secs()),
        remedy: vec!["kubectl get --raw /readyz".to_owned()],
        ..Finding::default()
    }
}

/// Findings about Helm's patience: a rollout that takes too long does so for certain only if it starts anew.
async fn too_tight(cluster: &Cluster, deploy: &Deploy) -> Vec<Finding> {
    let Deploy { manifest, hooks, before, .. } = deploy;
    let mut found = timeouts::too_tight(manifest, hooks, before, deploy.patience);
    for late in found.iter_mut().filter(|late| late.cannot_fit) {
        // What is reckoned of an update says nothing of an object that is gone.
        let lives = match late.is_new {
            true => uid(&cluster.client, &late.key).await.ok().map(|uid| uid.is_some()),
            false => Some(true),
        };
        let earlier = order::before_object(manifest, hooks, deploy.first, &late.key);
        // What is reckoned with is all below it.
        let unstable = deploy.varying.decides(&late.key, &["spec".to_owned()]);
        let situation = Situation { key: Some(&late.key), earlier, unstable };
        late.finding.weight = certainty::of(&Ground::Patience { lives }, &situation);
    }
    found.into_iter().map(|late| late.finding).collect()
}

/// The question is cut off after [`LIMIT`]; what was answered by then counts.
async fn ask_all(
    cluster: &Cluster,
    deploy: &Deploy,
    resources: &Resources<'_>,
    known: &Known<'_>,
) -> Vec<(ObjectKey, Answer)> {
    let all = || deploy.manifest.objects.iter().chain(&deploy.hooks.objects);
    let questions = all().enumerate().map(|(at, (key, object))| {
        let resource = resources.get(&(key.api_version.as_str(), key.kind.as_str())).cloned().flatten();
        let is_hook = at >= deploy.manifest.objects.len();
        async move {
            let answer = match resource {
                // A kind that nobody knows Helm itself refuses, before it changes anything.
                Some(resource)
                    if api_paths::is_addressable(key)
                        && !defines(&deploy.manifest, key)
                        && (is_hook || !defines(&deploy.hooks, key)) =>
                {
                    let path = api_paths::collection(key, &resource);
                    let lives = known.lives.get(&path, &key.name).filter(|_| !is_hook);
                    let question = Question { client: &cluster.client, deploy, key, path, lives };
                    match lives.filter(|_| known.settled.contains(key)) {
                        Some(live) => Answer {
                            wanted: object.clone(),
                            becomes: Some(live.clone()),
                            ..Answer::default()
                        },
                        None => question.ask(object, is_hook).await,
                    }
                }
                _ => Answer { wanted: object.clone(), ..Answer::default() },
            };
            (key.clone(), Answer { hook: is_hook, ..answer })
        }
        .boxed()
    });
    let questions: Vec<BoxFuture<'_, _>> = questions.collect();
    let limit = Box::pin(tokio::time::sleep(LIMIT));
    stream::iter(questions).buffer_unordered(AT_ONCE).take_until(limit).collect().await
}

async fn resource_of(cluster: &Cluster, (api_version, kind): (&str, &str)) -> Option<Resource> {
    if let Some(known) = api_paths::known(api_version, kind) {
        return Some(known);
    }
    let (found, capabilities) = known_kind(&cluster.client, (api_version, kind)).await.ok().flatten()?;
    let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
    Some(Resource { plural: found.plural, namespaced })
}

pub(crate) struct Question<'a> {
    pub(crate) client: &'a Client,
    pub(crate) deploy: &'a Deploy,
    pub(crate) key: &'a ObjectKey,
    /// Of the collection.
    pub(crate) path: String,
    /// As it lives, if that was seen a moment ago.
    pub(crate) lives: Option<&'a Value>,
}

/// What the API server said, and its warnings.
pub(crate) type Said = (Result<Value, Refusal>, Vec<String>);

impl Question<'_> {
    async fn ask(&self, object: &Value, is_hook: bool) -> Answer {
        let mut wanted = object.clone();
        if is_hook {
            let (live, refusal, warnings) = self.hook(&wanted).await;
            return Answer { wanted, live, refusal, warnings, ..Answer::default() };
        }
        let manner = self.deploy.manner;
        mark(&mut wanted, self.deploy);
        if let Apply::ServerSide { force } = manner.apply {
            let (taken, warnings) = self.apply(&wanted, force).await;
            let live = if taken.is_err() { self.live().await.0.ok() } else { None };
            let (becomes, refusal) = match taken {
                // What would be created has no version yet.
                Ok(object) => {
                    (Some(object).filter(|object| object["metadata"]["resourceVersion"].is_string()), None)
                }
                Err(refusal) => (None, Some(refusal)),
            };
            return Answer { wanted, live, becomes, refusal, warnings, ..Answer::default() };
        }
        // Of what was not there a moment ago the create itself tells if it is there by now.
        if self.deploy.absent.contains(&format!("{}/{}", self.path, self.key.name)) {
            let (taken, warnings) = self.create(&wanted).await;
            let refusal = taken.err();
            if refusal.as_ref().is_none_or(|refusal| refusal.code != 409) {
                return Answer { wanted, refusal, warnings, ..Answer::default() };
            }
        }
        let live = match self.live().await {
            (Ok(live), _) => Some(live),
            (Err(refusal), _) if refusal.code == 404 => None,
            (Err(refusal), warnings) => {
                return Answer { wanted, refusal: Some(refusal), warnings, ..Answer::default() };
            }
        };
        let (taken, warnings) = self.change(&wanted, live.as_ref()).await;
        Answer { wanted, live, refusal: taken.err(), warnings, ..Answer::default() }
    }

    /// A hook, which Helm creates, and of which it deletes the predecessor first, if its policy says so.
    async fn hook(&self, hook: &Value) -> (Option<Value>, Option<Refusal>, Vec<String>) {
        let create = async || {
            let (taken, warnings) = self.create(hook).await;
            // One that is there says nothing: the API server has validated the new one by then.
            (taken.err().filter(|refusal| refusal.code != 409), warnings)
        };
        if !matches!(self.deploy.manner.apply, Apply::ServerSide { .. }) {
            let (taken, warnings) = self.create(hook).await;
            let Err(refusal) = taken else { return (None, None, warnings) };
            if refusal.code != 409 {
                return (None, Some(refusal), warnings);
            }
            // One of an earlier run is in the way, unless Helm deletes it first, or an upgrade removes it.
            let goes = order::is_replaced_first(self.key, hook) || self.deploy.before.contains(self.key);
            let live = if goes { None } else { self.live().await.0.ok() };
            let refusal = Some(refusal).filter(|_| live.is_some());
            return (live, refusal, warnings);
        }
        let (taken, warnings) = self.apply(hook, false).await;
        let Err(refusal) = taken else { return (None, None, warnings) };
        let live = self.live().await.0.ok();
        if live.is_some() && order::is_replaced_first(self.key, hook) {
            let (refusal, warnings) = create().await;
            // Helm needs another right for its own request.
            return (None, refusal.filter(|refusal| !ground::lacks_right(refusal)), warnings);
        }
        (live, Some(refusal), warnings)
    }

    /// As an apply on the client's side creates or changes an object.
    async fn change(&self, wanted: &Value, live: Option<&Value>) -> Said {
        let manner = self.deploy.manner;
        let before = self.deploy.before.get(self.key);
        match helm_request::request(manner, self.key, before, wanted, live) {
            helm_request::Request::Create => self.create(wanted).await,
            helm_request::Request::Apply { force } => self.apply(wanted, force).await,
            helm_request::Request::Patch { content, patch } => self.patch(content, "", &patch).await,
            helm_request::Request::Replace => {
                let mut whole = wanted.clone();
                let version = live.map(|live| live["metadata"]["resourceVersion"].clone());
                whole["metadata"]["resourceVersion"] = version.unwrap_or_default();
                let path = format!("{}/{}", self.path, self.key.name);
                let strict = if manner.is_v4 { "&fieldValidation=Strict" } else { "" };
                self.send(Method::PUT, &path, "application/json", strict, Some(&whole)).await
            }
            helm_request::Request::Nothing | helm_request::Request::Unforeseen => {
                (Ok(Value::Null), Vec::new())
            }
        }
    }

    async fn apply(&self, object: &Value, force: bool) -> Said {
        let query = format!("&force={force}&fieldValidation=Strict");
        self.patch("application/apply-patch+yaml", &query, object).await
    }

    pub(crate) async fn live(&self) -> Said {
        if let Some(lives) = self.lives {
            return (Ok(lives.clone()), Vec::new());
        }
        let path = format!("{}/{}", self.path, self.key.name);
        send(self.client, Method::GET, &path, "application/json", None).await
    }

    async fn create(&self, object: &Value) -> Said {
        self.send(Method::POST, &self.path, "application/json", "", Some(object)).await
    }

    pub(crate) async fn patch(&self, content: &str, query: &str, patch: &Value) -> Said {
        let path = format!("{}/{}", self.path, self.key.name);
        self.send(Method::PATCH, &path, content, query, Some(patch)).await
    }

    /// A write that is none.
    async fn send(
        &self,
        method: Method,
        path: &str,
        content: &str,
        query: &str,
        body: Option<&Value>,
    ) -> Said {
        let path = format!("{path}?dryRun=All&fieldManager=helm{query}");
        send(self.client, method, &path, content, body).await
    }
}

/// By what Helm knows its own (`setMetadataVisitor`).
pub(crate) fn mark(object: &mut Value, deploy: &Deploy) {
    let metadata = &mut object["metadata"];
    for part in ["labels", "annotations"] {
        if !metadata[part].is_object() {
            metadata[part] = json!({});
        }
    }
    metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
    metadata["annotations"]["meta.helm.sh/release-name"] = deploy.release.as_str().into();
    metadata["annotations"]["meta.helm.sh/release-namespace"] = deploy.namespace.as_str().into();
}

/// A request, whatever it asks for.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content: &str,
    body: Option<&Value>,
) -> Said {
    let nothing = |why: String| (Err(Refusal { message: why, ..Refusal::default() }), Vec::new());
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, content)
        .body(Body::from(bytes));
    let request = match request {
        Ok(request) => request,
        Err(error) => return nothing(error.to_string()),
    };
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return nothing(error.to_string()),
    };
    let code = answer.status();
    let warnings = answer.headers().get_all(header::WARNING).iter();
    let warnings =
        warnings.filter_map(|value| Some(value.to_str().ok()?.split('"').nth(1)?.to_owned())).collect();
    let bytes = match Limited::new(answer.into_body(), LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return nothing(error.to_string()),
    };
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if code.is_success() { (Ok(said), warnings) } else { (Err(refusal(code.as_u16(), &said)), warnings) }
}

fn refusal(code: u16, status: &Value) -> Refusal {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let cause = |cause: &Value| Cause {
        reason: text(&cause["reason"]),
        field: text(&cause["field"]),
        message: text(&cause["message"]),
    };
    Refusal {
        code,
        reason: text(&status["reason"]),
        message: text(&status["message"]),
        causes: causes.iter().map(cause).collect(),
    }
}

/// What became of the look at something that is referred to.
enum Seen {
    /// It is there, or not.
    Known(Option<Value>),
    /// Who may not look cannot say that it is missing.
    Hidden,
    /// The API server has not said.
    Unanswered,
}

/// Findings about what workloads refer to and is not there, and the references that may be there by the end.
async fn look_up(cluster: &Cluster, deploy: &Deploy, limit: Duration) -> (Vec<Finding>, Vec<Reference>) {
    let mut all = deploy.manifest.clone();
    all.objects.extend(deploy.hooks.objects.iter().cloned());
    let wanted = references::to_check(&all, &deploy.before);
    let Absent { missing, unanswered } = absent(cluster, &wanted, limit).await;
    let mut open = Vec::new();
    let findings = missing.into_iter().map(|(reference, exists)| {
        let maker = references::maker(reference, &deploy.references());
        if maker.is_some() {
            open.push(reference.clone());
        }
        references::missing(reference, exists, maker.as_deref())
    });
    let mut findings: Vec<Finding> = findings.collect();
    if unanswered > 0 {
        findings.push(too_late(&format!("{unanswered} objects that workloads refer to")));
    }
    (findings, open)
}

/// Findings about references that were not there before the deploy, and are not there after it.
pub async fn still_missing(cluster: &Cluster, open: &[Reference]) -> Vec<Finding> {
    let missing = absent(cluster, open, LIMIT).await.missing;
    missing.into_iter().map(|(reference, exists)| references::missing(reference, exists, None)).collect()
}

/// Which of these paths lead to objects by now. One that cannot be asked about may.
pub async fn appeared(cluster: &Cluster, paths: &BTreeSet<String>) -> Vec<String> {
    let looks = paths.iter().map(|path| {
        async move {
            let seen = send(&cluster.client, Method::GET, path, "application/json", None).await.0;
            let is_absent = seen.is_err_and(|refusal| refusal.code == 404);
            (!is_absent).then(|| path.clone())
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    stream::iter(looks).buffered(AT_ONCE).filter_map(future::ready).collect().await
}

/// What became of the looks at references.
struct Absent<'a> {
    /// Those that do not exist, or lack their key: with whether the object exists.
    missing: Vec<(&'a Reference, bool)>,
    /// Objects about which the API server has not answered.
    unanswered: usize,
}

async fn absent<'a>(cluster: &Cluster, wanted: &'a [Reference], limit: Duration) -> Absent<'a> {
    let targets: BTreeSet<&ObjectKey> = wanted.iter().map(|reference| &reference.to).collect();
    let asked = targets.len();
    let looks = targets.into_iter().map(|key| {
        async move {
            let resource =
                api_paths::known(&key.api_version, &key.kind).filter(|_| api_paths::is_addressable(key));
            let Some(resource) = resource else { return (key, Seen::Hidden) };
            let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
            let seen = match send(&cluster.client, Method::GET, &path, "application/json", None).await.0 {
                Ok(object) => Seen::Known(Some(object)),
                Err(refusal) if refusal.code == 404 => Seen::Known(None),
                Err(refusal) if matches!(refusal.code, 401 | 403) => Seen::Hidden,
                Err(_) => Seen::Unanswered,
            };
            (key, seen)
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    let over = Box::pin(tokio::time::sleep(limit));
    let seen: BTreeMap<&ObjectKey, Seen> =
        stream::iter(looks).buffer_unordered(AT_ONCE).take_until(over).collect().await;
    let is_missing = |reference: &&Reference| match seen.get(&reference.to) {
        Some(Seen::Known(Some(object))) => !references::has(object, reference.key.as_deref()),
        Some(Seen::Known(None)) => true,
        Some(Seen::Hidden | Seen::Unanswered) | None => false,
    };
    let exists = |to: &ObjectKey| matches!(seen.get(to), Some(Seen::Known(Some(_))));
    let missing = wanted.iter().filter(is_missing).map(|reference| (reference, exists(&reference.to)));
    let answered = seen.values().filter(|seen| !matches!(seen, Seen::Unanswered)).count();
    Absent { missing: missing.collect(), unanswered: asked - answered }
}

/// Deletes a StatefulSet and leaves its pods and volumes, if it is still the one that was looked at, and waits until it is
/// gone.
///
/// # Errors
/// When the API server refuses, the set does not go within 30 s, or this process is asked to stop.
pub async fn orphan(client: &Client, key: &ObjectKey, live: &Value, signals: &Signals) -> Result<(), String> {
    let Some(resource) = api_paths::known(&key.api_version, &key.kind) else {
        return Err("not known".to_owned());
    };
    let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan",
        "preconditions": {"uid": live["metadata"]["uid"]},
    });
    let deleted = send(client, Method::DELETE, &path, "application/json", Some(&options)).await.0;
    deleted.map_err(|refusal| refusal.message)?;
    let gone = async {
        loop {
            match send(client, Method::GET, &path, "application/json", None).await.0 {
                Err(refusal) if refusal.code == 404 => return Ok(()),
                Err(refusal) => return Err(refusal.message),
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::select! {
        biased;
        signal = signals.first() => Err(format!("{} while it was being deleted", signal.name())),
        gone = tokio::time::timeout(GOES_WITHIN, gone) => {
            gone.unwrap_or_else(|_| Err("it is being deleted, and does not go".to_owned()))
        }
    }
}

/// How long an object that is deleted may take to go.
const GOES_WITHIN: Duration = Duration::from_secs(30);

/// Of the object as it lives, if it does.
///
/// # Errors
/// When the API server does not say.
pub async fn uid(client: &Client, key: &ObjectKey) -> Result<Option<String>, String> {
    let Some(resource) = api_paths::known(&key.api_version, &key.kind) else { return Ok(None) };
    let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
    match send(client, Method::GET, &path, "application/json", None).await.0 {
        Ok(object) => Ok(object["metadata"]["uid"].as_str().map(str::to_owned)),
        Err(refusal) if refusal.code == 404 => Ok(None),
        Err(refusal) => Err(refusal.message),
    }
}

#[cfg(test)]
#[path = "dry_run_tests.rs"]
mod tests;
