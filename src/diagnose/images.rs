//! Images that cannot be pulled: which, from where, and why not.
//! Pure. The words are those of containerd, CRI-O and the registries behind them.

use super::{
    Cause, Snapshot,
    containers::{self, Seat},
    describe, says, text,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    RateLimit,
    Denied,
    NotFound,
    Other,
}

/// The order matters: a registry that hides what is private says of it that it does not exist *or* needs a login.
fn why(message: &str) -> Why {
    if says(message, &["toomanyrequests", "too many requests", "rate limit"]) {
        Why::RateLimit
    } else if says(
        message,
        &[
            "unauthorized",
            "denied",
            "authorization failed",
            "authentication required",
            "no basic auth",
            "403 forbidden",
        ],
    ) {
        Why::Denied
    } else if says(message, &["not found", "manifest unknown", "name unknown", "not exist"]) {
        Why::NotFound
    } else {
        Why::Other
    }
}

/// What the kubelet says: newer ones in the container's status, older ones only in events.
fn message<'a>(snapshot: &'a Snapshot, seat: &Seat<'a>) -> &'a str {
    let image = text(seat.spec, "/image");
    let own = seat.message();
    if own.contains(": ") || own.contains("pull ") {
        return own;
    }
    let told = containers::events(snapshot, "Pod", seat.pod_name()).map(|event| text(event, "/message"));
    told.into_iter()
        .find(|message| message.starts_with("Failed to pull image") && message.contains(image))
        .unwrap_or(own)
}

fn found(
    snapshot: &Snapshot,
    wanted: Why,
    what: &str,
    remedy: impl Fn(&Seat<'_>) -> Vec<String>,
) -> Vec<Cause> {
    let stuck = |seat: &Seat<'_>| {
        matches!(
            seat.waits(),
            "ImagePullBackOff"
                | "ErrImagePull"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "RegistryUnavailable"
        )
    };
    let seats = containers::seats(snapshot).filter(stuck);
    seats
        .filter(|seat| why(message(snapshot, seat)) == wanted)
        .map(|seat| {
            let image = text(seat.spec, "/image");
            let mut remedy = remedy(&seat);
            remedy.push(describe(snapshot, seat.pod));
            Cause {
                object: containers::owner(snapshot, seat.pod),
                summary: format!("{} cannot start: image {image} {what}", seat.title()),
                evidence: vec![seat.line(&format!("{}: {}", seat.waits(), message(snapshot, &seat)))],
                remedy,
                ..Cause::default()
            }
        })
        .collect()
}

pub(super) fn not_found(snapshot: &Snapshot) -> Vec<Cause> {
    found(snapshot, Why::NotFound, "does not exist in its registry", |seat| {
        vec![format!("check name and tag of {}: was it built and pushed?", text(seat.spec, "/image"))]
    })
}

pub(super) fn denied(snapshot: &Snapshot) -> Vec<Cause> {
    found(snapshot, Why::Denied, "may not be pulled: the registry requires a login, or another one", |seat| {
        let secrets: Vec<&str> =
            super::list(seat.pod, "/spec/imagePullSecrets").iter().map(|one| text(one, "/name")).collect();
        vec![if secrets.is_empty() {
            "the pod names no imagePullSecrets: create a Secret with `kubectl create secret docker-registry` and name it \
             there, or in its ServiceAccount"
                .to_owned()
        } else {
            format!("kubectl get secret {} -n {} -o name", secrets.join(" "), snapshot.namespace)
        }]
    })
}

pub(super) fn rate_limit(snapshot: &Snapshot) -> Vec<Cause> {
    found(snapshot, Why::RateLimit, "is not pulled now: the registry's rate limit is reached", |_| {
        vec!["pull with a login (imagePullSecrets) or through a mirror, or wait and run it again".to_owned()]
    })
}

pub(super) fn other(snapshot: &Snapshot) -> Vec<Cause> {
    found(snapshot, Why::Other, "cannot be pulled", |_| Vec::new())
}
