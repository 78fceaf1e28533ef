//! Clusters for tests: their API server is a mock that the test itself runs.

use super::{Cluster, Target};

/// The cluster whose API server has this URL. Its namespace is `shop`.
pub(crate) async fn cluster_at(server: &str) -> Cluster {
    connect(&format!("server: '{server}'"), "").await
}

/// As [`cluster_at`], with these fields of a kubeconfig's cluster and user, as YAML in braces has them.
pub(crate) async fn connect(cluster: &str, user: &str) -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let text = format!(
        "{{current-context: c, clusters: [{{name: c, cluster: {{{cluster}}}}}], users: [{{name: u, user: {{{user}}}}}], \
         contexts: [{{name: c, context: {{cluster: c, user: u, namespace: shop}}}}]}}"
    );
    std::fs::write(&file, text).unwrap();
    Cluster::connect(&Target { kubeconfig: vec![file], ..Target::default() }).await.unwrap()
}
