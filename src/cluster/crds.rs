//! CustomResourceDefinitions: their place in the API, and what identifies one that Helm created. Pure.

/// Where CRDs are created.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A CRD that Helm has created or applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Object name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Was it not there before?
    pub is_new: bool,
}
