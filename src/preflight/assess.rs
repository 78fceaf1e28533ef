//! Asks the API server everything about a deploy, in bounded time: by dry runs, whether it would take what Helm is about to
//! apply in the way Helm will apply it; rights; what workloads refer to. Changes nothing.
//! What the answers mean is decided in `preflight.rs`.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::Value;

use super::{
    Answer, Context, Finding, LIMIT,
    certainty::{self, Ground, Situation},
    defines,
    deploy::Deploy,
    dry_run::Question,
    is_fixed_set, judge, live_object, order,
    references::{
        Reference,
        look::{appeared, look_up},
    },
    resources::resources,
    rights::{self, Resources},
    sorted, timeouts, too_late,
    unchanged::{self, Known},
};
use crate::cluster::api_paths;
use crate::{
    cluster::{Cluster, raw_request::AT_ONCE},
    health::{Health, fares},
    manifest::ObjectKey,
};

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

async fn in_time(what: &str, findings: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(LIMIT, findings).await.unwrap_or_else(|_| vec![too_late(what)])
}

/// Findings about Helm's patience: a rollout that takes too long does so for certain only if it starts anew.
async fn too_tight(cluster: &Cluster, deploy: &Deploy) -> Vec<Finding> {
    let Deploy { manifest, hooks, before, .. } = deploy;
    let mut found = timeouts::too_tight(manifest, hooks, before, deploy.patience);
    for late in found.iter_mut().filter(|late| late.cannot_fit) {
        // What is reckoned of an update says nothing of an object that is gone.
        let lives = match late.is_new {
            true => live_object::uid(&cluster.client, &late.key).await.ok().map(|uid| uid.is_some()),
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

#[cfg(test)]
#[path = "assess_tests.rs"]
mod tests;
