//! What a refusal of the API server depends on: the object and the request, the live object, or shared state.
//! Pure. By code and reason where these say it, else by the words of Kubernetes' own admission plugins.

use super::{Answer, certainty::Ground};
use crate::cluster::api_paths;
use crate::cluster::raw_request::{Cause, Refusal};
use crate::manifest::ObjectKey;

/// Does the authorizer refuse, for lack of a right? Admission plugins answer with the same code.
pub(super) fn lacks_right(refusal: &Refusal) -> bool {
    let says = |words: &str| refusal.message.contains(words);
    refusal.code == 403
        && ((says("User \"") && says("cannot ") && says(" resource "))
            || says("attempting to grant RBAC permissions not currently held"))
}

/// Did a webhook or a policy say no? It may answer with any code.
pub(super) fn is_policy(refusal: &Refusal) -> bool {
    ["admission webhook", "denied the request", "AdmissionPolicy", "violates PodSecurity", "denied request"]
        .iter()
        .any(|words| refusal.message.contains(words))
}

/// Does the refusal say that something it names does not exist?
pub(super) fn is_missing(refusal: &Refusal) -> bool {
    refusal.code == 404
        || ["not found", "was found", "does not exist"].iter().any(|words| refusal.message.contains(words))
}

/// Is it said of a value that others could free: a node port, an address of the cluster?
fn is_allocation(message: &str) -> bool {
    [
        "already allocated",
        "failed to allocate",
        "provided port is",
        "provided IP is",
        "no available",
        "is full",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Is a field refused because it cannot change? In the words of the validations of updates.
fn cannot_change(message: &str) -> bool {
    ["immutable", "may not be changed", "may not change", "cannot change", "can not be unset", "updates to"]
        .iter()
        .any(|words| message.contains(words))
}

/// What a refusal depends on. `transition`: Helm will first turn fields of its client-side apply into applied ones, which a
/// dry run cannot do.
pub(super) fn of<'a>(key: &ObjectKey, answer: &'a Answer, refusal: &Refusal, transition: bool) -> Ground<'a> {
    let message = refusal.message.as_str();
    let lives = answer.live.is_some();
    let native = api_paths::is_native(&key.api_version);
    let conflicts = refusal.causes.iter().any(|cause| cause.reason == "FieldManagerConflict");
    match refusal.code {
        _ if answer.live.as_ref().is_some_and(is_going) => {
            Ground::Shared("an object that is about to be deleted")
        }
        409 if conflicts => Ground::Live,
        404 if message.contains("namespaces \"") => Ground::Namespace,
        _ if is_policy(refusal) => Ground::Shared("webhooks and policies"),
        _ if message.contains("exceeded quota") => Ground::Shared("a quota"),
        _ if lives && key.kind == "PersistentVolumeClaim" && is_fixed_claim(refusal) => {
            let class = answer.live.as_ref().and_then(|live| live["spec"]["storageClassName"].as_str());
            Ground::Claim { class: class.unwrap_or_default() }
        }
        // Which the same plugins answer with, and nothing but words tells them apart.
        403 => Ground::Shared("limits, classes and accounts of the namespace and the cluster"),
        404 => Ground::Shared("something that it names"),
        _ if is_allocation(message) => Ground::Shared("what is allocated in the cluster"),
        _ if !native => Ground::Definition,
        // A value has another type, or a field is not known: whatever lives.
        400 | 413 | 500 => Ground::Request,
        _ if !lives || refusal.causes.iter().all(is_of_request) && !refusal.causes.is_empty() => {
            Ground::Request
        }
        _ if transition && !cannot_change(message) => Ground::Transition,
        _ => Ground::Live,
    }
}

/// Is an object being deleted, or a Job that has ended and is deleted after a time? Helm may find it gone.
fn is_going(live: &serde_json::Value) -> bool {
    !live["metadata"]["deletionTimestamp"].is_null()
        || (!live["spec"]["ttlSecondsAfterFinished"].is_null() && !live["status"]["completionTime"].is_null())
}

/// A claim whose class cannot resize it, that is to shrink, or of which another field is to change.
fn is_fixed_claim(refusal: &Refusal) -> bool {
    let says = |words: &str| refusal.message.contains(words);
    match refusal.code {
        403 => says("only dynamically provisioned pvc can be resized"),
        422 => {
            says("immutable") || says("can not be less than") || says("cannot be less than") || says("resize")
        }
        _ => false,
    }
}

/// Reasons that have nothing to do with what lives.
fn is_of_request(cause: &Cause) -> bool {
    matches!(
        cause.reason.as_str(),
        "FieldValueRequired"
            | "FieldValueNotSupported"
            | "FieldValueTypeInvalid"
            | "FieldValueTooLong"
            | "FieldValueTooMany"
            | "FieldValueDuplicate"
    )
}
