//! Causes: objects that are being deleted and stay because of finalizers.
//! Pure.

use super::{Cause, Snapshot, label, list, text};

/// Finalizers keep it.
pub(super) fn blocked(snapshot: &Snapshot) -> Vec<Cause> {
    let kept = snapshot.live.terminating.iter().filter_map(|object| {
        let finalizers: Vec<&str> =
            list(object, "/metadata/finalizers").iter().filter_map(serde_json::Value::as_str).collect();
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        let since = text(object, "/metadata/deletionTimestamp");
        // Garbage collection and grace periods end by themselves.
        let named: Vec<&str> =
            finalizers.into_iter().filter(|one| !matches!(*one, "foregroundDeletion" | "orphan")).collect();
        if named.is_empty() {
            return None;
        }
        let (kind, namespace) = (kind.to_lowercase(), &snapshot.namespace);
        let holder = match named.as_slice() {
            ["kubernetes.io/pvc-protection"] => "a pod still uses it".to_owned(),
            named => format!("finalizer {} is not done", named.join(", ")),
        };
        Some(Cause {
            object: label(object),
            summary: format!("its delete does not end: {holder}"),
            evidence: vec![format!("being deleted since {since}, finalizers: {}", named.join(", "))],
            remedy: vec![
                format!("kubectl get {kind} {name} -n {namespace} -o yaml   # does the controller of the finalizer run?"),
                format!(
                    "if that controller is gone for good: kubectl patch {kind} {name} -n {namespace} --type=merge -p \
                     '{{\"metadata\":{{\"finalizers\":null}}}}'   # what the finalizer would clean up stays"
                ),
            ],
            ..Cause::default()
        })
    });
    kept.collect()
}
