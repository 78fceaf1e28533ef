//! Versions of Kubernetes' own API that a newer Kubernetes has removed.
//! Pure.

/// Version, kind (`*`: all that it had), and where that is now; empty where nothing took its place. From the deprecation guide
/// of Kubernetes; what was there before 1.16 and went with it is in here too.
const REMOVED: [(&str, &str, &str); 31] = [
    ("extensions/v1beta1", "Ingress", "networking.k8s.io/v1"),
    ("extensions/v1beta1", "NetworkPolicy", "networking.k8s.io/v1"),
    ("extensions/v1beta1", "PodSecurityPolicy", ""),
    ("extensions/v1beta1", "*", "apps/v1"),
    ("apps/v1beta1", "*", "apps/v1"),
    ("apps/v1beta2", "*", "apps/v1"),
    ("admissionregistration.k8s.io/v1beta1", "*", "admissionregistration.k8s.io/v1"),
    ("apiextensions.k8s.io/v1beta1", "*", "apiextensions.k8s.io/v1"),
    ("apiregistration.k8s.io/v1beta1", "*", "apiregistration.k8s.io/v1"),
    ("autoscaling/v2beta1", "*", "autoscaling/v2"),
    ("autoscaling/v2beta2", "*", "autoscaling/v2"),
    ("batch/v1beta1", "*", "batch/v1"),
    ("batch/v2alpha1", "*", "batch/v1"),
    ("certificates.k8s.io/v1beta1", "CertificateSigningRequest", "certificates.k8s.io/v1"),
    ("coordination.k8s.io/v1beta1", "Lease", "coordination.k8s.io/v1"),
    ("discovery.k8s.io/v1beta1", "*", "discovery.k8s.io/v1"),
    ("events.k8s.io/v1beta1", "*", "events.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", "*", "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", "*", "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", "*", "flowcontrol.apiserver.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", "Ingress", "networking.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", "IngressClass", "networking.k8s.io/v1"),
    ("node.k8s.io/v1beta1", "*", "node.k8s.io/v1"),
    ("policy/v1beta1", "PodDisruptionBudget", "policy/v1"),
    ("policy/v1beta1", "PodSecurityPolicy", ""),
    ("rbac.authorization.k8s.io/v1alpha1", "*", "rbac.authorization.k8s.io/v1"),
    ("rbac.authorization.k8s.io/v1beta1", "*", "rbac.authorization.k8s.io/v1"),
    ("scheduling.k8s.io/v1alpha1", "*", "scheduling.k8s.io/v1"),
    ("scheduling.k8s.io/v1beta1", "*", "scheduling.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", "CSIStorageCapacity", "storage.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", "*", "storage.k8s.io/v1"),
];

/// The version that a kind has now, if Kubernetes had it in this version and removed that; empty if the kind is gone too.
pub(super) fn replaced_by(api_version: &str, kind: &str) -> Option<&'static str> {
    let row =
        REMOVED.iter().find(|(version, own, _)| *version == api_version && (*own == "*" || *own == kind));
    row.map(|(.., now)| *now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_version_and_what_took_its_place() {
        for (version, kind, now) in [
            ("policy/v1beta1", "PodDisruptionBudget", Some("policy/v1")),
            ("policy/v1beta1", "PodSecurityPolicy", Some("")),
            ("extensions/v1beta1", "Deployment", Some("apps/v1")),
            ("extensions/v1beta1", "Ingress", Some("networking.k8s.io/v1")),
            ("policy/v1", "PodDisruptionBudget", None),
            ("example.com/v1beta1", "Widget", None),
        ] {
            assert_eq!(replaced_by(version, kind), now, "{version} {kind}");
        }
    }
}
