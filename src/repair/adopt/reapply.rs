//! Repeats Helm's apply as a dry run, to see whether it would change a live object.
//! Changes nothing. `repair/adopt.rs` decides what the answers mean.

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::Value;

use crate::{
    cluster::api_paths::{self, Resource},
    preflight::{
        LIMIT,
        deploy::{Deploy, mark},
        dry_run::Question,
        helm_request::Apply,
        merge_patch::{self, Change},
        resources::resources,
    },
};
use crate::{
    cluster::{
        Cluster, known_kind,
        raw_request::{AT_ONCE, Refusal, send},
    },
    manifest::{ObjectKey, merge_keys::Type},
    repair::adopt::{Applied, Object},
};

/// What Helm's apply would make of each object of the manifest. `before` must have all that may live, this manifest too.
///
/// # Errors
/// When not all could be asked in time.
pub async fn applied(cluster: &Cluster, deploy: &Deploy) -> Result<Vec<Object>, String> {
    let resources = resources(cluster, deploy.manifest.keys()).await;
    let questions = deploy.manifest.objects.iter().map(|(key, object)| {
        let resource = resources.get(&(key.api_version.as_str(), key.kind.as_str())).cloned().flatten();
        async move { compare(cluster, deploy, key, object, resource).await }.boxed()
    });
    let questions: Vec<BoxFuture<'_, _>> = questions.collect();
    let asked = questions.len();
    let limit = Box::pin(tokio::time::sleep(LIMIT));
    let answers: Vec<Object> = stream::iter(questions).buffered(AT_ONCE).take_until(limit).collect().await;
    if answers.len() < asked {
        let seconds = LIMIT.as_secs();
        return Err(format!("{} objects were not compared within {seconds}s", asked - answers.len()));
    }
    Ok(answers)
}

async fn compare(
    cluster: &Cluster,
    deploy: &Deploy,
    key: &ObjectKey,
    object: &Value,
    resource: Option<Resource>,
) -> Object {
    let answer = |live, applied| Object { key: key.clone(), live, applied };
    let Some(resource) = resource.filter(|_| api_paths::is_addressable(key)) else {
        return answer(None, Applied::Unknown("the API server does not know its kind".into()));
    };
    let path = api_paths::collection(key, &resource);
    let question = Question { client: &cluster.client, deploy, key, path, lives: None };
    let live = match question.live().await.0 {
        Ok(live) => live,
        Err(refusal) if refusal.code == 404 => return answer(None, Applied::Same),
        Err(refusal) => return answer(None, Applied::Unknown(why(&refusal))),
    };
    let mut wanted = object.clone();
    mark(&mut wanted, deploy);
    let applied = match question.again(&wanted, &live).await {
        None => Applied::Unknown("a list in it has two items of one name".into()),
        Some(Ok(Value::Null)) => Applied::Same,
        Some(Ok(becomes)) => Applied::Becomes(Box::new(becomes)),
        Some(Err(refusal)) => Applied::Unknown(why(&refusal)),
    };
    answer(Some(live), applied)
}

impl Question<'_> {
    /// What an object that lives would become; null if nothing is sent, `None` if what is sent is not foreseen.
    async fn again(&self, wanted: &Value, live: &Value) -> Option<Result<Value, Refusal>> {
        if self.deploy.manner.apply != Apply::ClientSide {
            let said = self.patch("application/apply-patch+yaml", "&force=false", wanted).await;
            return Some(said.0);
        }
        let mut before = self.deploy.before.get(self.key).unwrap_or(wanted).clone();
        mark(&mut before, self.deploy);
        let (patch, content) = match Type::of(&self.key.api_version, &self.key.kind) {
            Some(own) => match merge_patch::strategic(own, &before, wanted, live) {
                Change::Patch(patch) => (patch, "application/strategic-merge-patch+json"),
                Change::None => return Some(Ok(Value::Null)),
                Change::Unforeseen => return None,
            },
            None => (merge_patch::whole(&before, wanted), "application/merge-patch+json"),
        };
        Some(self.patch(content, "", &patch).await.0)
    }
}

/// An object as it lives.
///
/// # Errors
/// With why nobody knows.
pub async fn live(cluster: &Cluster, key: &ObjectKey) -> Result<Option<Value>, String> {
    let resource = match api_paths::known(&key.api_version, &key.kind) {
        Some(known) => known,
        None => match known_kind(&cluster.client, (&key.api_version, &key.kind)).await {
            Ok(Some((found, capabilities))) => Resource {
                plural: found.plural,
                namespaced: capabilities.scope == kube::discovery::Scope::Namespaced,
            },
            // No object lives without its kind.
            Ok(None) => return Ok(None),
            Err(_) => return Err("it is unknown whether the API server serves its kind".into()),
        },
    };
    if !api_paths::is_addressable(key) {
        return Ok(None);
    }
    let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
    match send(&cluster.client, http::Method::GET, &path, "application/json", None).await.0 {
        Ok(object) => Ok(Some(object)),
        Err(refusal) if refusal.code == 404 => Ok(None),
        Err(refusal) => Err(why(&refusal)),
    }
}

/// In one phrase, and without the API server's own words: they may quote values.
fn why(refusal: &Refusal) -> String {
    match refusal.code {
        0 => "the API server does not answer".into(),
        403 => "it may not be read, or not be compared by a dry run".into(),
        409 => "another manager owns fields of it".into(),
        code => format!("a dry run is refused: {code} {}", refusal.reason),
    }
}
