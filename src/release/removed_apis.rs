//! The versions of Kubernetes' own API that a Kubernetes release removed, or has announced to remove.
//! Pure. A record that names one of them stops every deploy of its release once the cluster serves it no more.
//!
//! Source: the `APILifecycleRemoved` and `APILifecycleReplacement` methods that Kubernetes 1.37 generates for each type
//! (`zz_generated.prerelease-lifecycle.go`), and Kubernetes' deprecated API migration guide for types that are gone.

/// A version of a kind that a Kubernetes release removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// E.g. `policy/v1beta1`.
    pub api_version: &'static str,
    /// E.g. `PodDisruptionBudget`.
    pub kind: &'static str,
    /// The version that serves the same objects; empty where the kind itself is gone.
    pub successor: &'static str,
    /// The minor release of Kubernetes 1 that serves it no more.
    pub since: u32,
}

const fn row(api_version: &'static str, kind: &'static str, successor: &'static str, since: u32) -> Removed {
    Removed { api_version, kind, successor, since }
}

/// Objects that charts have. Subresources and reviews, which no chart can have, are left out.
const REMOVED: &[Removed] = &[
    row("extensions/v1beta1", "DaemonSet", "apps/v1", 16),
    row("extensions/v1beta1", "Deployment", "apps/v1", 16),
    row("extensions/v1beta1", "ReplicaSet", "apps/v1", 16),
    row("extensions/v1beta1", "NetworkPolicy", "networking.k8s.io/v1", 16),
    row("extensions/v1beta1", "PodSecurityPolicy", "", 16),
    row("extensions/v1beta1", "Ingress", "networking.k8s.io/v1", 22),
    row("apps/v1beta1", "ControllerRevision", "apps/v1", 16),
    row("apps/v1beta1", "Deployment", "apps/v1", 16),
    row("apps/v1beta1", "StatefulSet", "apps/v1", 16),
    row("apps/v1beta2", "ControllerRevision", "apps/v1", 16),
    row("apps/v1beta2", "DaemonSet", "apps/v1", 16),
    row("apps/v1beta2", "Deployment", "apps/v1", 16),
    row("apps/v1beta2", "ReplicaSet", "apps/v1", 16),
    row("apps/v1beta2", "StatefulSet", "apps/v1", 16),
    row("batch/v2alpha1", "CronJob", "batch/v1", 21),
    row("admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration", ADMISSION, 22),
    row("admissionregistration.k8s.io/v1beta1", "ValidatingWebhookConfiguration", ADMISSION, 22),
    row("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", "apiextensions.k8s.io/v1", 22),
    row("apiregistration.k8s.io/v1beta1", "APIService", "apiregistration.k8s.io/v1", 22),
    row("certificates.k8s.io/v1beta1", "CertificateSigningRequest", "certificates.k8s.io/v1", 22),
    row("coordination.k8s.io/v1beta1", "Lease", "coordination.k8s.io/v1", 22),
    row("networking.k8s.io/v1beta1", "Ingress", "networking.k8s.io/v1", 22),
    row("networking.k8s.io/v1beta1", "IngressClass", "networking.k8s.io/v1", 22),
    row("rbac.authorization.k8s.io/v1beta1", "ClusterRole", RBAC, 22),
    row("rbac.authorization.k8s.io/v1beta1", "ClusterRoleBinding", RBAC, 22),
    row("rbac.authorization.k8s.io/v1beta1", "Role", RBAC, 22),
    row("rbac.authorization.k8s.io/v1beta1", "RoleBinding", RBAC, 22),
    row("scheduling.k8s.io/v1beta1", "PriorityClass", "scheduling.k8s.io/v1", 22),
    row("storage.k8s.io/v1beta1", "CSIDriver", "storage.k8s.io/v1", 22),
    row("storage.k8s.io/v1beta1", "CSINode", "storage.k8s.io/v1", 22),
    row("storage.k8s.io/v1beta1", "StorageClass", "storage.k8s.io/v1", 22),
    row("storage.k8s.io/v1beta1", "VolumeAttachment", "storage.k8s.io/v1", 22),
    row("rbac.authorization.k8s.io/v1alpha1", "ClusterRole", RBAC, 23),
    row("rbac.authorization.k8s.io/v1alpha1", "ClusterRoleBinding", RBAC, 23),
    row("rbac.authorization.k8s.io/v1alpha1", "Role", RBAC, 23),
    row("rbac.authorization.k8s.io/v1alpha1", "RoleBinding", RBAC, 23),
    row("scheduling.k8s.io/v1alpha1", "PriorityClass", "scheduling.k8s.io/v1", 23),
    row("storage.k8s.io/v1alpha1", "CSIStorageCapacity", "storage.k8s.io/v1", 24),
    row("storage.k8s.io/v1alpha1", "VolumeAttachment", "storage.k8s.io/v1", 24),
    row("autoscaling/v2beta1", "HorizontalPodAutoscaler", "autoscaling/v2", 25),
    row("batch/v1beta1", "CronJob", "batch/v1", 25),
    row("discovery.k8s.io/v1beta1", "EndpointSlice", "discovery.k8s.io/v1", 25),
    row("events.k8s.io/v1beta1", "Event", "events.k8s.io/v1", 25),
    row("node.k8s.io/v1beta1", "RuntimeClass", "node.k8s.io/v1", 25),
    row("policy/v1beta1", "PodDisruptionBudget", "policy/v1", 25),
    row("policy/v1beta1", "PodSecurityPolicy", "", 25),
    row("autoscaling/v2beta2", "HorizontalPodAutoscaler", "autoscaling/v2", 26),
    row("flowcontrol.apiserver.k8s.io/v1beta1", "FlowSchema", FLOW, 26),
    row("flowcontrol.apiserver.k8s.io/v1beta1", "PriorityLevelConfiguration", FLOW, 26),
    row("storage.k8s.io/v1beta1", "CSIStorageCapacity", "storage.k8s.io/v1", 27),
    row("flowcontrol.apiserver.k8s.io/v1beta2", "FlowSchema", FLOW, 29),
    row("flowcontrol.apiserver.k8s.io/v1beta2", "PriorityLevelConfiguration", FLOW, 29),
    row("flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema", FLOW, 32),
    row("flowcontrol.apiserver.k8s.io/v1beta3", "PriorityLevelConfiguration", FLOW, 32),
    row("admissionregistration.k8s.io/v1alpha1", "ValidatingAdmissionPolicy", ADMISSION, 32),
    row("admissionregistration.k8s.io/v1alpha1", "ValidatingAdmissionPolicyBinding", ADMISSION, 32),
    row("admissionregistration.k8s.io/v1beta1", "ValidatingAdmissionPolicy", ADMISSION, 34),
    row("admissionregistration.k8s.io/v1beta1", "ValidatingAdmissionPolicyBinding", ADMISSION, 34),
    row("storage.k8s.io/v1alpha1", "VolumeAttributesClass", "storage.k8s.io/v1", 35),
    row("networking.k8s.io/v1beta1", "IPAddress", "networking.k8s.io/v1", 37),
    row("networking.k8s.io/v1beta1", "ServiceCIDR", "networking.k8s.io/v1", 37),
    row("certificates.k8s.io/v1alpha1", "ClusterTrustBundle", "certificates.k8s.io/v1beta1", 37),
    row("storage.k8s.io/v1beta1", "VolumeAttributesClass", "storage.k8s.io/v1", 37),
    // Announced.
    row("admissionregistration.k8s.io/v1alpha1", "MutatingAdmissionPolicy", ADMISSION, 38),
    row("admissionregistration.k8s.io/v1alpha1", "MutatingAdmissionPolicyBinding", ADMISSION, 38),
    row("resource.k8s.io/v1beta1", "DeviceClass", "resource.k8s.io/v1", 38),
    row("resource.k8s.io/v1beta1", "ResourceClaim", "resource.k8s.io/v1", 38),
    row("resource.k8s.io/v1beta1", "ResourceClaimTemplate", "resource.k8s.io/v1", 38),
    row("resource.k8s.io/v1beta2", "DeviceClass", "resource.k8s.io/v1", 39),
    row("resource.k8s.io/v1beta2", "ResourceClaim", "resource.k8s.io/v1", 39),
    row("resource.k8s.io/v1beta2", "ResourceClaimTemplate", "resource.k8s.io/v1", 39),
    row("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy", ADMISSION, 40),
    row("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding", ADMISSION, 40),
];

const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const FLOW: &str = "flowcontrol.apiserver.k8s.io/v1";
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// The row of a kind in this version, if Kubernetes removed it or has announced to.
pub fn removed(api_version: &str, kind: &str) -> Option<&'static Removed> {
    REMOVED.iter().find(|row| row.api_version == api_version && row.kind == kind)
}

/// Does no kind of this version appear in the table? Then none of its kinds needs to be looked up.
pub fn is_untouched(api_version: &str) -> bool {
    !REMOVED.iter().any(|row| row.api_version == api_version)
}

/// The minor version in `1.25`, `v1.25.3` or `1.25+`.
///
/// # Errors
/// When it is no version of Kubernetes 1.
pub fn minor(version: &str) -> Result<u32, String> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = version.trim().trim_start_matches('v').strip_prefix("1.");
    let minor = rest.map(|rest| &rest[..digits(rest)]).and_then(|minor| minor.parse().ok());
    minor.ok_or_else(|| "not a version of Kubernetes such as 1.25".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_version_and_what_took_its_place() {
        for (version, kind, successor) in [
            ("policy/v1beta1", "PodDisruptionBudget", Some(("policy/v1", 25))),
            ("policy/v1beta1", "PodSecurityPolicy", Some(("", 25))),
            ("extensions/v1beta1", "Deployment", Some(("apps/v1", 16))),
            ("extensions/v1beta1", "Ingress", Some(("networking.k8s.io/v1", 22))),
            ("flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema", Some((FLOW, 32))),
            ("storage.k8s.io/v1beta1", "CSIStorageCapacity", Some(("storage.k8s.io/v1", 27))),
            // Came back under an old name of the group's version, long after its first kinds were gone.
            ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy", Some((ADMISSION, 40))),
            ("policy/v1", "PodDisruptionBudget", None),
            ("example.com/v1beta1", "Widget", None),
        ] {
            let found = removed(version, kind).map(|row| (row.successor, row.since));
            assert_eq!(found, successor, "{version} {kind}");
        }
    }

    #[test]
    fn no_row_is_there_twice_and_no_successor_is_older_than_what_it_replaces() {
        for (at, one) in REMOVED.iter().enumerate() {
            assert!(
                !REMOVED[..at]
                    .iter()
                    .any(|other| (other.api_version, other.kind) == (one.api_version, one.kind)),
                "{one:?}"
            );
            let next = removed(one.successor, one.kind);
            assert!(next.is_none_or(|next| next.since > one.since), "{one:?}");
            assert!(!is_untouched(one.api_version));
        }
        assert!(is_untouched("apps/v1") && is_untouched("v1"));
    }

    #[test]
    fn a_version_is_read_as_people_and_clusters_write_it() {
        for (text, expected) in [
            ("1.25", Some(25)),
            ("v1.25.3", Some(25)),
            ("1.25+", Some(25)),
            ("1.37.1-eks-abc", Some(37)),
            ("25", None),
            ("2.0", None),
            ("1.", None),
            ("", None),
        ] {
            assert_eq!(minor(text).ok(), expected, "{text}");
        }
    }
}
