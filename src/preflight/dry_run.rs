//! The dry run of one object: whether the API server would take it in the way Helm will apply it. Changes nothing.

use http::Method;
use kube::Client;
use serde_json::Value;

use super::{
    Answer,
    deploy::{Deploy, mark},
    ground,
    helm_request::{self, Apply},
    order,
};
use crate::{
    cluster::raw_request::{Refusal, Said, send},
    manifest::ObjectKey,
};

/// The question about one object.
pub(crate) struct Question<'a> {
    pub(crate) client: &'a Client,
    pub(crate) deploy: &'a Deploy,
    pub(crate) key: &'a ObjectKey,
    /// Of the collection.
    pub(crate) path: String,
    /// As it lives, if that was seen a moment ago.
    pub(crate) lives: Option<&'a Value>,
}

impl Question<'_> {
    pub(super) async fn ask(&self, object: &Value, is_hook: bool) -> Answer {
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
