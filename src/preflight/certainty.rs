//! Whether a finding is certain. Every finding passes [`of`], and no other function can make one certain.
//! Pure.
//!
//! The rule: a deploy is refused before anything is changed **only if Helm's own request, in the state in which Helm will
//! send it, cannot succeed.** What Helm does not send is no finding at all (`helm_request.rs` says what Helm sends). A
//! refusal that may be another by the time Helm sends the request is doubtful: it warns, and `--preflight strict` refuses.

use serde::Serialize;
use serde_json::Value;

use super::{
    order::Earlier,
    rights::rules::{Right, grants},
};
use crate::cluster::api_paths;
use crate::manifest::ObjectKey;

/// The weight of a finding. Only [`of`] and [`note`] make one that is not advice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Weight {
    certain: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    doubt: String,
    #[serde(skip_serializing_if = "is_false")]
    note: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Weight {
    /// Is Helm bound to fail?
    pub fn is_certain(&self) -> bool {
        self.certain
    }

    /// Why a refusal may be another when Helm sends the request; empty for what is certain, and for advice.
    pub fn doubt(&self) -> &str {
        &self.doubt
    }

    /// Is it for the report alone? Nothing says that something is wrong.
    pub fn is_note(&self) -> bool {
        self.note
    }

    /// Does `--preflight strict` refuse a deploy for it?
    pub fn stops_strict(&self) -> bool {
        self.certain || !self.doubt.is_empty()
    }
}

/// The weight of something that nobody can know yet.
pub fn note() -> Weight {
    Weight { note: true, ..Weight::default() }
}

/// What the answer to a request depends on.
#[derive(Clone, Debug)]
pub enum Ground<'a> {
    /// No request fails: something to look at.
    Advice,
    /// The object and the request alone: schema and types of a kind of Kubernetes itself, and what it validates.
    Request,
    /// The object as it lives: a field that cannot change, or that another field manager owns.
    Live,
    /// The object as it lives, and the storage class that its claim has.
    Claim {
        /// The storage class; empty without one.
        class: &'a str,
    },
    /// The schema of a kind that a CRD defines.
    Definition,
    /// A namespace that does not exist.
    Namespace,
    /// Rights of the deployer that Helm needs.
    Rights(&'a [Right]),
    /// Rights that Helm asks for and can go on without, or needs only if it comes so far.
    SpareRights,
    /// State that others share and change: what it is, in words.
    Shared(&'static str),
    /// Helm's own first step for the object changes what the request does.
    Transition,
    /// Time that a rollout takes: certain if no such object lives yet.
    Patience {
        /// Does it live? `None` if that is not known.
        lives: Option<bool>,
    },
    /// The bytes of an object.
    Size,
}

/// In which state Helm will send the request.
#[derive(Clone, Debug, Default)]
pub struct Situation<'a> {
    /// The object.
    pub key: Option<&'a ObjectKey>,
    /// What Helm does before.
    pub earlier: Earlier<'a>,
    /// Was the object rendered apart from Helm's own run, and came out different when it was rendered again?
    pub unstable: bool,
}

/// How sure it is that a request fails.
pub fn of(ground: &Ground<'_>, situation: &Situation<'_>) -> Weight {
    if matches!(ground, Ground::Advice) {
        return Weight::default();
    }
    match doubt(ground, situation) {
        None => Weight { certain: true, ..Weight::default() },
        Some(doubt) => Weight { doubt, ..Weight::default() },
    }
}

/// The first reason for which the request may succeed after all.
fn doubt(ground: &Ground<'_>, situation: &Situation<'_>) -> Option<String> {
    let Situation { key, earlier, unstable } = situation;
    if *unstable {
        return Some("Helm renders this object again in the real run, with other values".to_owned());
    }
    let acts = || earlier.acting.map(|hook| format!("{hook} runs before, and may change the answer"));
    let brings = |is: &dyn Fn(&ObjectKey, &Value) -> bool| {
        let found = earlier.objects.iter().find(|(own, object)| Some(*own) != *key && is(own, object));
        found.map(|(own, _)| format!("{own} of the same release comes before, and may change the answer"))
    };
    let mutates = || brings(&|own, _| own.kind.starts_with("Mutating"));
    match ground {
        Ground::Advice | Ground::Size => None,
        Ground::Shared(what) => {
            Some(format!("it depends on {what}, which can be otherwise when Helm sends the request"))
        }
        Ground::SpareRights => Some("Helm may go on without it".to_owned()),
        Ground::Transition => {
            Some("Helm first takes over the fields that its client-side apply had set".to_owned())
        }
        Ground::Request => {
            // These two have values put into them by what a LimitRange, or a class, says.
            let is_defaulted =
                key.is_some_and(|key| matches!(key.kind.as_str(), "Pod" | "PersistentVolumeClaim"));
            let defaults = |own: &ObjectKey| {
                matches!(own.kind.as_str(), "LimitRange" | "StorageClass" | "RuntimeClass" | "PriorityClass")
            };
            let brought = || brings(&|own, _| is_defaulted && defaults(own));
            mutates().or_else(brought).or_else(|| acts().filter(|_| is_defaulted))
        }
        Ground::Live => acts().or_else(|| replaced(*key, earlier)).or_else(mutates),
        Ground::Claim { class } => acts().or_else(|| replaced(*key, earlier)).or_else(|| {
            brings(&|own, _| own.kind == "StorageClass" && (class.is_empty() || own.name == *class))
        }),
        Ground::Definition => {
            let group = key.map_or("", |key| api_paths::group(&key.api_version));
            let defines = |own: &ObjectKey, object: &Value| {
                own.kind == "CustomResourceDefinition" && object["spec"]["group"] == group
            };
            acts().or_else(|| brings(&defines)).or_else(mutates)
        }
        Ground::Namespace => {
            let name = key.map_or("", |key| key.namespace.as_str());
            acts().or_else(|| brings(&|own, _| own.kind == "Namespace" && own.name == name))
        }
        Ground::Rights(rights) => acts().or_else(|| {
            let granted = rights.iter().any(|right| grants(&earlier.objects, right));
            granted.then(|| "the same release brings a role that may give the right".to_owned())
        }),
        Ground::Patience { lives } => match lives {
            Some(false) => acts().or_else(mutates),
            Some(true) => Some("it exists, and its pods may not start again".to_owned()),
            None => Some("it is unknown whether it exists".to_owned()),
        },
    }
}

/// A hook of the same name takes the place of the object, or Helm deletes it with the hook.
fn replaced(key: Option<&ObjectKey>, earlier: &Earlier<'_>) -> Option<String> {
    let same = earlier.objects.iter().any(|(own, object)| {
        key.is_some_and(|key| own.kind == key.kind && own.name == key.name && own.namespace == key.namespace)
            && super::order::is_hook(object)
    });
    same.then(|| "a hook has the same name, and Helm deletes it first".to_owned())
}

#[cfg(test)]
#[path = "certainty_tests.rs"]
mod tests;
