//! Causes: requests that the API server refused, which ended the deploy.
//! Pure. The words are the API server's, seen by the fence; without a fence Helm quotes them.

use super::{Cause, Refusal, Snapshot, between, messages, pods, says, values};
use crate::release::removed_apis;

/// Something the API server, or Helm's client, said of a request.
struct Said<'a> {
    /// `Kind/name`; empty if it is not told.
    object: String,
    /// HTTP status; 0 where only Helm's words are known.
    code: u16,
    /// Untrusted text.
    words: &'a str,
}

/// The refusals that ended the deploy: Helm quotes those. Where none was seen, Helm's own last words.
fn said(snapshot: &Snapshot) -> Vec<Said<'_>> {
    let counts = |refusal: &&Refusal| {
        let start: String = refusal.message.chars().take(60).collect();
        !start.is_empty() && snapshot.error.contains(start.lines().next().unwrap_or_default())
    };
    let mut seen: Vec<Said<'_>> = Vec::new();
    for refusal in snapshot.refusals.iter().rev().filter(counts) {
        if !seen.iter().any(|known| known.words == refusal.message) {
            seen.push(Said { object: object(refusal), code: refusal.code, words: &refusal.message });
        }
    }
    if seen.is_empty() && !snapshot.error.is_empty() && !is_of_chart(&messages::message(&snapshot.error)) {
        let words =
            snapshot.error.rfind("Error: ").map_or(snapshot.error.as_str(), |at| &snapshot.error[at + 7..]);
        seen.push(Said { object: quoted_object(words), code: 0, words });
    }
    seen
}

/// Is it an error of the chart, its values or where it comes from? The API server was asked nothing then.
fn is_of_chart(message: &str) -> bool {
    let signs = [
        "execution error at (",
        "executing \"",
        "parse error at (",
        "YAML parse error on ",
        "values don't meet the specifications",
        "failed to parse ",
        "cannot load Chart.yaml",
        "cannot load values.yaml",
        "failed parsing ",
    ];
    messages::fetched(message).is_some()
        || values::is_incomplete(message)
        || signs.iter().any(|sign| message.contains(sign))
}

/// From the message, which has the kind, or else from the path.
fn object(refusal: &Refusal) -> String {
    let named = quoted_object(&refusal.message);
    if !named.is_empty() {
        return named;
    }
    let mut parts: Vec<&str> = refusal.path.trim_start_matches('/').split('/').skip(1).collect();
    if refusal.path.starts_with("/apis/") && !parts.is_empty() {
        parts.remove(0);
    }
    let inside: Vec<&str> = parts.into_iter().skip(1).collect();
    match inside.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest.join("/"),
        rest => rest.join("/"),
    }
}

/// `Deployment.apps "web" is invalid`, `deployments.apps "web" is forbidden`: kind and name.
fn quoted_object(words: &str) -> String {
    for (at, _) in words.match_indices(" \"") {
        let kind = words[..at].rsplit([' ', ':']).next().unwrap_or_default();
        let kind = kind.split('.').next().unwrap_or_default();
        let rest = &words[at + 2..];
        let Some((name, behind)) = rest.split_once('"') else { continue };
        let is_subject =
            [" is invalid", " is forbidden", " not found", ": "].iter().any(|next| behind.starts_with(next));
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        if is_subject
            && plain(kind)
            && plain(name)
            && !matches!(kind, "field" | "kind" | "name" | "webhook" | "with")
        {
            return format!("{kind}/{name}");
        }
    }
    // Helm's own: `cannot patch "web" with kind Deployment`.
    let name = between(words, "cannot patch \"", "\"");
    let kind = name.and_then(|_| words.split_once("with kind ")).map(|(_, rest)| rest);
    let kind = kind.and_then(|rest| rest.split([':', ' ']).next());
    match (kind, name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        _ => String::new(),
    }
}

fn cause(said: &Said<'_>, summary: impl Into<String>, remedy: Vec<String>) -> Cause {
    let code = if said.code == 0 { String::new() } else { format!("HTTP {}: ", said.code) };
    Cause {
        object: said.object.clone(),
        summary: summary.into(),
        evidence: vec![format!("{code}{}", said.words)],
        remedy,
        ..Cause::default()
    }
}

/// Nobody answers where the API server should be.
pub(super) fn unreachable(snapshot: &Snapshot) -> Vec<Cause> {
    let silent = |said: &&Said<'_>| {
        // A webhook that does not answer is another matter.
        !said.words.contains("webhook")
            && (said.words.contains("the API server http")
                || says(
                    said.words,
                    &[
                        "cluster unreachable",
                        "kubernetes cluster unreachable",
                        "connection refused",
                        "no route to host",
                        "tls handshake timeout",
                        "i/o timeout",
                    ],
                ))
            && !is_credential(said)
    };
    let remedy = || {
        vec!["kubectl get --raw /readyz".to_owned(), "run the same command again when it answers".to_owned()]
    };
    said(snapshot)
        .iter()
        .filter(silent)
        .take(1)
        .map(|said| {
            let plain = Said { object: String::new(), ..*said };
            cause(&plain, "the API server cannot be reached", remedy())
        })
        .collect()
}

fn is_credential(said: &Said<'_>) -> bool {
    said.code == 401
        || says(
            said.words,
            &["unauthorized", "must be logged in", "asked for the client to provide credentials"],
        )
}

/// It does not know who asks, any more.
pub(super) fn credentials(snapshot: &Snapshot) -> Vec<Cause> {
    let remedy = || {
        vec![
            "kubectl auth whoami".to_owned(),
            "log in again, or renew the token of the CI system's service account".to_owned(),
        ]
    };
    said(snapshot)
        .iter()
        .filter(|said| is_credential(said))
        .take(1)
        .map(|said| {
            let plain = Said { object: String::new(), ..*said };
            cause(
                &plain,
                "the API server no longer accepts the credentials: they expired or were revoked",
                remedy(),
            )
        })
        .collect()
}

/// A right is missing.
pub(super) fn forbidden(snapshot: &Snapshot) -> Vec<Cause> {
    let denied = said(snapshot);
    let denied = denied.iter().filter_map(|said| {
        let (verb, rest) = said.words.split_once(" cannot ")?.1.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once('"')?;
        let group = between(rest, "API group \"", "\"").unwrap_or_default();
        let rule = format!("{{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}}");
        let who = between(said.words, "User \"", "\"").unwrap_or("this user");
        let summary = format!("{who} may not {verb} {resource}");
        Some(cause(said, summary, vec![format!("add this rule to its Role: {rule}")]))
    });
    denied.collect()
}

/// The namespace is on its way out, and takes nothing new.
pub(super) fn namespace_leaves(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter_map(|said| {
        let name = between(
            said.words,
            "unable to create new content in namespace ",
            " because it is being terminated",
        )?;
        let plain = Said { object: format!("Namespace/{name}"), ..*said };
        let remedy = vec![
            format!("kubectl get namespace {name} -o jsonpath='{{.status.conditions}}'   # what keeps it"),
            "run it again, with --create-namespace, when the namespace is gone".to_owned(),
        ];
        Some(cause(&plain, "the namespace is being deleted and accepts no new objects", remedy))
    });
    refused.take(1).collect()
}

/// Kind, version and object of a kind that the API server does not know.
fn unknown<'a>(said: &Said<'a>) -> Option<(&'a str, &'a str, Said<'a>)> {
    let kind = between(said.words, "no matches for kind \"", "\"")?;
    let version = between(said.words, "in version \"", "\"").unwrap_or_default();
    let name = between(said.words, "resource mapping not found for name: \"", "\"");
    let object = name.map_or_else(String::new, |name| format!("{kind}/{name}"));
    Some((kind, version, Said { object, ..*said }))
}

/// Helm reads the objects of the last revision before it does anything.
fn is_of_record(said: &Said<'_>) -> bool {
    said.words.contains("from current release manifest")
}

/// A version of Kubernetes' own API that this Kubernetes has no more.
pub(super) fn api_removed(snapshot: &Snapshot) -> Vec<Cause> {
    let missing = said(snapshot);
    let missing = missing.iter().filter_map(|said| {
        let (kind, version, plain) = unknown(said)?;
        let now = removed_apis::removed(version, kind)?.successor;
        let (release, namespace) = (&snapshot.release, &snapshot.namespace);
        let mut remedy = vec![if now.is_empty() {
            format!("take {kind} out of the chart: no version of Kubernetes that is supported has it")
        } else {
            format!("write apiVersion: {now} for {kind}, in the chart and its dependencies")
        }];
        if is_of_record(said) {
            remedy.insert(0, format!(
                "the record of the last revision names it: helm-guard repair {release} -n {namespace} --strategy map-apis"
            ));
        }
        let summary = format!("this Kubernetes has removed {version} {kind}");
        Some(cause(&plain, summary, remedy))
    });
    missing.collect()
}

/// A kind that the API server does not know.
pub(super) fn kind_missing(snapshot: &Snapshot) -> Vec<Cause> {
    let missing = said(snapshot);
    let missing = missing.iter().filter_map(|said| {
        let (kind, version, plain) = unknown(said)?;
        if removed_apis::removed(version, kind).is_some() {
            return None;
        }
        let (group, _) = version.split_once('/').unwrap_or(("", version));
        let summary = format!("the cluster knows no kind {kind} in {version}: its CRD is not installed, or not this version of it");
        let remedy = vec![
            format!("kubectl api-resources --api-group={group}"),
            if is_of_record(said) {
                format!(
                    "the record of the last revision names it: helm-guard repair {} -n {} --strategy map-apis",
                    snapshot.release, snapshot.namespace
                )
            } else {
                "install the CRD, or the operator that brings it, before this release".to_owned()
            },
        ];
        Some(cause(&plain, summary, remedy))
    });
    missing.collect()
}

/// Newer API servers say of some fields only that they are immutable.
fn is_stateful_set(said: &Said<'_>) -> bool {
    said.words.contains("updates to statefulset spec")
        || (said.object.starts_with("StatefulSet/") && said.words.contains("field is immutable"))
}

/// Fields of a StatefulSet that cannot change.
pub(super) fn stateful_set(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter(|said| is_stateful_set(said)).map(|said| {
        let name = said.object.rsplit('/').next().unwrap_or_default();
        let namespace = &snapshot.namespace;
        let field = between(said.words, "is invalid: ", ": ").filter(|field| field.starts_with("spec."));
        let summary = match field {
            Some(field) => format!("{field} changed, which cannot change"),
            None => {
                "a field of its spec changed that cannot change, such as serviceName or volumeClaimTemplates"
                    .to_owned()
            }
        };
        let remedy = vec![
            format!("kubectl get statefulset {name} -n {namespace} -o yaml > {name}-backup.yaml"),
            format!(
                "kubectl delete statefulset {name} -n {namespace} --cascade=orphan   # pods and volumes stay"
            ),
            "run the same deploy again: it creates the StatefulSet again, which takes its pods over"
                .to_owned(),
        ];
        cause(said, summary, remedy)
    });
    refused.collect()
}

fn is_selector(said: &Said<'_>) -> bool {
    said.words.contains("field is immutable")
        && said.words.contains("spec.selector")
        && !is_stateful_set(said)
}

/// A workload's selector cannot change.
pub(super) fn selector(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter(|said| is_selector(said)).map(|said| {
        let (kind, name) = said.object.split_once('/').unwrap_or_default();
        let kind = kind.to_lowercase();
        let remedy = vec![
            "put the selector back: labels that change belong to the pod template, not to spec.selector"
                .to_owned(),
            format!(
                "or, with a gap in service: kubectl delete {kind} {name} -n {} and run the deploy again",
                snapshot.namespace
            ),
        ];
        cause(said, "its selector (spec.selector) changed, which cannot change", remedy)
    });
    refused.collect()
}

fn is_resize(said: &Said<'_>) -> bool {
    says(
        said.words,
        &[
            "can be resized",
            "must support resize",
            "can not be less than status.capacity",
            "spec is immutable after creation",
        ],
    )
}

/// A claim that is not to grow, or is to shrink.
pub(super) fn resize(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter(|said| is_resize(said)).map(|said| {
        let name = said.object.rsplit('/').next().unwrap_or_default();
        let namespace = &snapshot.namespace;
        let live = snapshot.live.claims.iter().find(|claim| super::text(claim, "/metadata/name") == name);
        let size = live.map_or("", |claim| super::text(claim, "/spec/resources/requests/storage"));
        let class = live.map_or("", |claim| super::text(claim, "/spec/storageClassName"));
        let facts =
            if size.is_empty() { String::new() } else { format!(": it has {size}, of class {class}") };
        let summary = format!("the claim cannot be changed so{facts}");
        let remedy = vec![
            format!(
                "kubectl get pvc {name} -n {namespace}; kubectl get storageclass   # ALLOWVOLUMEEXPANSION?"
            ),
            "set the size in the values to the live one, or move the data to a new claim".to_owned(),
        ];
        cause(said, summary, remedy)
    });
    refused.collect()
}

/// Another field that cannot change.
pub(super) fn immutable(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused
        .iter()
        .filter(|said| says(said.words, &["field is immutable", "immutable field", "is immutable when"]));
    refused
        .filter(|said| !is_selector(said) && !is_stateful_set(said) && !is_resize(said))
        .map(|said| {
            let what =
                if said.object.is_empty() { "the object".to_owned() } else { said.object.to_lowercase() };
            let remedy = vec![format!(
                "put the field back, or: kubectl delete {what} -n {} and run the deploy again",
                snapshot.namespace
            )];
            cause(said, "a field changed that cannot change", remedy)
        })
        .collect()
}

/// Fields that somebody else owns.
pub(super) fn conflict(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter(|said| said.words.contains("Apply failed with ")).map(|said| {
        let owned = owners(said.words);
        let summary = match owned.as_slice() {
            [] => "other field managers own fields that the chart sets".to_owned(),
            owned => {
                let shown: Vec<String> = owned
                    .iter()
                    .map(|(manager, fields)| format!("{manager} owns {}", fields.join(", ")))
                    .collect();
                shown.join("; ")
            }
        };
        let fields: Vec<&str> = owned.iter().flat_map(|(_, fields)| fields).map(String::as_str).collect();
        // An autoscaler, or `kubectl scale`: to take the field over would undo what it did, at each deploy.
        let only_replicas = !fields.is_empty() && fields.iter().all(|field| *field == ".spec.replicas");
        let remedy = if only_replicas {
            vec![
                "leave replicas out of the chart where something else scales it, such as {{ if not .Values.autoscaling.enabled }}".to_owned(),
                format!("kubectl get hpa -n {}   # is it an autoscaler?", snapshot.namespace),
                "if it was scaled by hand, once: run it again with --force-conflicts".to_owned(),
            ]
        } else {
            vec![
                "take the fields out of the chart, if their owner should keep them".to_owned(),
                "or take them over: run it again with --force-conflicts".to_owned(),
            ]
        };
        cause(said, summary, remedy)
    });
    refused.collect()
}

/// Manager and fields: `conflict with "kubectl" using apps/v1: .spec.replicas`, or with `conflicts` and a list below.
fn owners(words: &str) -> Vec<(String, Vec<String>)> {
    let mut owners: Vec<(String, Vec<String>)> = Vec::new();
    for part in words.split("conflict").skip(1) {
        let Some((manager, rest)) = part.split_once("with \"").and_then(|(_, rest)| rest.split_once('"'))
        else {
            continue;
        };
        let fields = rest.split([' ', '\n', ',']).filter(|word| word.starts_with('.'));
        let fields = fields.map(|field| field.trim_end_matches(':').to_owned()).collect();
        owners.push((manager.to_owned(), fields));
    }
    owners
}

/// A server-side apply that cannot tell the items of a list apart, or does not know a field.
pub(super) fn not_typed(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter_map(|said| {
        let (_, told) = said.words.split_once("failed to create typed patch object (")?;
        let (subject, faults) = told.split_once("): ")?;
        let kind = subject.rsplit("Kind=").next().unwrap_or_default();
        let name =
            subject.split([';', ' ']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let faults = messages::one_line(faults.trim_start_matches("errors:"));
        let plain = Said { object: format!("{kind}/{name}"), ..*said };
        let remedy = vec![
            "correct the chart: each item of such a list needs a key of its own".to_owned(),
            "or, until then: --server-side=false, which merges in Helm".to_owned(),
        ];
        Some(cause(&plain, format!("it cannot be applied server-side: {faults}"), remedy))
    });
    refused.collect()
}

/// Somebody changed the object between Helm's reading and its writing. No harm is done.
pub(super) fn changed(snapshot: &Snapshot) -> Vec<Cause> {
    let signs = ["the object has been modified", "uid mismatch", "precondition failed: uid"];
    let refused = said(snapshot);
    let refused = refused.iter().filter(|said| says(said.words, &signs)).map(|said| {
        let words = said.words.to_lowercase();
        let summary = if words.contains("uid") {
            "it was deleted and created again while helm worked on it"
        } else {
            "another client changed it while helm worked on it"
        };
        let remedy = vec![
            "run the same command again: nothing is wrong with the object".to_owned(),
            "if it happens again, the chart sets metadata.resourceVersion or metadata.uid, which it must not"
                .to_owned(),
        ];
        cause(said, summary, remedy)
    });
    refused.collect()
}

/// A webhook that is to be asked does not answer.
pub(super) fn webhook_down(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter_map(|said| {
        let name = between(said.words, "failed calling webhook \"", "\"")?;
        let url = between(said.words, "failed to call webhook: Post \"", "\"").unwrap_or_default();
        let service = between(url, "https://", ".svc").and_then(|host| host.split_once('.'));
        let mut remedy = Vec::new();
        if let Some((service, namespace)) = service {
            remedy.push(format!("kubectl get pods,endpointslices -n {namespace}   # is {service} up?"));
        }
        remedy.push("kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations".to_owned());
        Some(cause(said, format!("webhook {name}, which must be asked, does not answer"), remedy))
    });
    refused.collect()
}

/// An admission webhook or policy says no.
pub(super) fn admission(snapshot: &Snapshot) -> Vec<Cause> {
    let refused = said(snapshot);
    let refused = refused.iter().filter_map(|said| {
        let (who, why) = match between(said.words, "admission webhook \"", "\" denied the request") {
            Some(name) => (format!("webhook {name}"), said.words.split_once("denied the request")?.1),
            None if said.words.contains("violates PodSecurity") => (
                "the namespace's Pod Security level".to_owned(),
                said.words.split_once("violates PodSecurity")?.1,
            ),
            None => {
                let name = between(said.words, "ValidatingAdmissionPolicy '", "'")?;
                (format!("policy {name}"), said.words.split_once(" denied request")?.1)
            }
        };
        let why = why.trim_start_matches([':', ' ']);
        let remedy = vec!["change the object as it asks, or ask the owner of that policy".to_owned()];
        Some(cause(said, format!("{who} refuses it: {why}"), remedy))
    });
    refused.collect()
}

/// A quota is used up: of Helm's own objects, or of the pods that controllers make of them.
pub(super) fn quota(snapshot: &Snapshot) -> Vec<Cause> {
    let remedy = |name: &str| {
        vec![
            format!("kubectl describe resourcequota {name} -n {}", snapshot.namespace),
            "lower what the release asks for, or raise the quota".to_owned(),
        ]
    };
    let parse = |words: &str| {
        let told = words.split_once("exceeded quota: ")?.1;
        let (name, facts) = told.split_once(", ").unwrap_or((told, ""));
        Some((
            name.to_owned(),
            format!("quota {name} is used up: {}", facts.lines().next().unwrap_or_default()),
        ))
    };
    let refused = said(snapshot);
    let direct = refused.iter().filter_map(|said| {
        let (name, summary) = parse(said.words)?;
        Some(cause(said, summary, remedy(&name)))
    });
    let pods = pods::refused_pods(snapshot).filter_map(|(workload, message)| {
        let (name, summary) = parse(message)?;
        Some(Cause {
            object: super::label(workload),
            summary,
            evidence: vec![message.to_owned()],
            remedy: remedy(&name),
            ..Cause::default()
        })
    });
    direct.chain(pods).collect()
}

/// The object is not what its kind's schema wants.
pub(super) fn schema(snapshot: &Snapshot) -> Vec<Cause> {
    let signs = [
        "required value",
        "unsupported value",
        "invalid value",
        "unknown field",
        "error validating data",
        "strict decoding error",
        "must be of type",
        "json: cannot unmarshal",
        "cannot be handled as a",
    ];
    let refused = said(snapshot);
    refused
        .iter()
        .filter(|said| {
            says(said.words, &signs)
                && !says(
                    said.words,
                    &[
                        "immutable",
                        "updates to statefulset",
                        "denied",
                        "resize",
                        "calling webhook",
                        "typed patch object",
                    ],
                )
        })
        .map(|said| {
            let told = said.words.split_once("is invalid: ").map_or(said.words, |(_, told)| told);
            let told = told.split_once("ValidationError").map_or(told, |(_, told)| told);
            let kind = said.object.split('/').next().unwrap_or_default().to_lowercase();
            let remedy = match kind.as_str() {
                "" => vec!["helm template … | kubectl apply --dry-run=server -f -".to_owned()],
                kind => vec![
                    format!("kubectl explain {kind}.spec"),
                    "correct the field in the chart or the values".to_owned(),
                ],
            };
            cause(said, format!("the API server's schema refuses it: {}", told.trim()), remedy)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_a_refusal() {
        for (words, object) in [
            ("Deployment.apps \"web\" is invalid: spec.selector: …", "Deployment/web"),
            ("persistentvolumeclaims \"data\" is forbidden: only …", "persistentvolumeclaims/data"),
            ("UPGRADE FAILED: cannot patch \"web\" with kind Deployment: Internal", "Deployment/web"),
            ("admission webhook \"x.y\" denied the request: no", ""),
            ("unknown field \"spec.foo\"", ""),
        ] {
            assert_eq!(quoted_object(words), object, "{words}");
        }
    }

    #[test]
    fn owners_of_fields_in_both_forms() {
        let one =
            "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1: .spec.replicas";
        assert_eq!(owners(one), [("kubectl-edit".to_owned(), vec![".spec.replicas".to_owned()])]);
        let many = "Apply failed with 3 conflicts: conflicts with \"hpa\" using apps/v1:\n- .spec.replicas\n- .spec.paused\nconflict with \"x\": .data.a";
        let many = owners(many);
        assert_eq!(many[0], ("hpa".to_owned(), vec![".spec.replicas".to_owned(), ".spec.paused".to_owned()]));
        assert_eq!(many[1], ("x".to_owned(), vec![".data.a".to_owned()]));
    }
}
