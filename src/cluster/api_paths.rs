//! The API paths of the usual kinds. Other kinds are looked up in the cluster's discovery.
//! Pure: the kinds of Kubernetes itself and their names do not change.

use crate::manifest::ObjectKey;

/// What the API calls a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Plural, as in paths.
    pub plural: String,
    /// Are its objects in namespaces?
    pub namespaced: bool,
}

/// Group, kind, plural; those of a namespace.
const NAMESPACED: [(&str, &str, &str); 24] = [
    ("", "ConfigMap", "configmaps"),
    ("", "Endpoints", "endpoints"),
    ("", "LimitRange", "limitranges"),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("", "Pod", "pods"),
    ("", "ReplicationController", "replicationcontrollers"),
    ("", "ResourceQuota", "resourcequotas"),
    ("", "Secret", "secrets"),
    ("", "Service", "services"),
    ("", "ServiceAccount", "serviceaccounts"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "Deployment", "deployments"),
    ("apps", "ReplicaSet", "replicasets"),
    ("apps", "StatefulSet", "statefulsets"),
    ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("batch", "CronJob", "cronjobs"),
    ("batch", "Job", "jobs"),
    ("coordination.k8s.io", "Lease", "leases"),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    ("networking.k8s.io", "Ingress", "ingresses"),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    ("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "Role", "roles"),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
];

/// The same, of the cluster.
const OF_CLUSTER: [(&str, &str, &str); 10] = [
    ("", "Namespace", "namespaces"),
    ("", "PersistentVolume", "persistentvolumes"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions"),
    ("networking.k8s.io", "IngressClass", "ingressclasses"),
    ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings"),
    ("scheduling.k8s.io", "PriorityClass", "priorityclasses"),
    ("storage.k8s.io", "StorageClass", "storageclasses"),
];

/// The resource of a kind of Kubernetes itself.
pub fn known(api_version: &str, kind: &str) -> Option<Resource> {
    let of = |table: &[(&str, &str, &'static str)]| {
        table
            .iter()
            .find(|(group, name, _)| *group == super::api_paths::group(api_version) && *name == kind)
            .map(|row| row.2)
    };
    let resource = |namespaced| move |plural: &str| Resource { plural: plural.to_owned(), namespaced };
    of(&NAMESPACED).map(resource(true)).or_else(|| of(&OF_CLUSTER).map(resource(false)))
}

/// Empty for the core.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether Helm knows the type, and so merges its lists by their keys: the groups of Kubernetes' own client. For all else
/// it makes a plain JSON merge patch.
pub fn is_native(api_version: &str) -> bool {
    let group = group(api_version);
    matches!(group, "" | "apps" | "autoscaling" | "batch" | "policy")
        || (group.ends_with(".k8s.io")
            && matches!(
                group.trim_end_matches(".k8s.io"),
                "admissionregistration"
                    | "apiextensions"
                    | "certificates"
                    | "coordination"
                    | "discovery"
                    | "events"
                    | "flowcontrol.apiserver"
                    | "networking"
                    | "node"
                    | "rbac.authorization"
                    | "resource"
                    | "scheduling"
                    | "storage"
            ))
}

/// The path of the collection that the object is in.
pub fn collection(key: &ObjectKey, resource: &Resource) -> String {
    let root = if key.api_version.contains('/') { "apis" } else { "api" };
    let within = if resource.namespaced { format!("/namespaces/{}", key.namespace) } else { String::new() };
    format!("/{root}/{}{within}/{}", key.api_version, resource.plural)
}

/// Whether the names of an object are such that they can stand in a path as they are. Others no API server takes.
pub fn is_addressable(key: &ObjectKey) -> bool {
    let plain =
        |text: &str| text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-._:".contains(&letter));
    let version =
        key.api_version.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-./".contains(&letter));
    plain(&key.name) && plain(&key.namespace) && version && !key.name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        for (api_version, kind, path) in [
            ("v1", "Secret", "/api/v1/namespaces/shop/secrets"),
            ("v1", "Namespace", "/api/v1/namespaces"),
            ("apps/v1", "StatefulSet", "/apis/apps/v1/namespaces/shop/statefulsets"),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            ),
        ] {
            let key = ObjectKey {
                api_version: api_version.into(),
                kind: kind.into(),
                namespace: "shop".into(),
                name: "x".into(),
            };
            assert_eq!(collection(&key, &known(api_version, kind).unwrap()), path);
            assert!(is_native(api_version));
        }
        assert_eq!(known("example.com/v1", "Secret"), None);
        assert!(!is_native("example.com/v1") && !is_native("gateway.networking.k8s.io/v1"));
    }

    #[test]
    fn a_name_that_would_change_the_path_is_not_put_into_one() {
        for (name, addressable) in [
            ("web", true),
            ("system:web", true),
            ("a.b", true),
            ("../x", false),
            ("a/b", false),
            ("a?b", false),
        ] {
            let key = ObjectKey {
                api_version: "v1".into(),
                kind: "Secret".into(),
                namespace: "ns".into(),
                name: name.into(),
            };
            assert_eq!(is_addressable(&key), addressable, "{name}");
        }
    }
}
