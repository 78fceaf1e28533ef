//! Helm's variables, as Helm reads them (`pkg/cli/environment.go`, in 3 and 4 alike).
//! Pure.

use std::path::PathBuf;

use super::go_syntax::{boolean, decimal};
use crate::{
    bytes,
    cluster::{Place, Target, http_proxy::Proxies},
    env::Env,
};

/// How many revisions Helm keeps where nothing says it.
const MAX_HISTORY: i64 = 10;

/// The cluster that the variables name.
pub fn target(env: &Env) -> Target {
    let get = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    let path = |text: &str| PathBuf::from(bytes::to_bytes(text));
    let groups = get("HELM_KUBEASGROUPS").unwrap_or_default();
    let groups = groups.trim_matches([',', ' ']);
    Target {
        kubeconfig: get("KUBECONFIG").map(|list| list.split(':').map(path).collect()).unwrap_or_default(),
        is_explicit: false,
        context: get("HELM_KUBECONTEXT"),
        server: get("HELM_KUBEAPISERVER"),
        token: get("HELM_KUBETOKEN"),
        ca_file: get("HELM_KUBECAFILE").map(|file| path(&file)),
        as_user: get("HELM_KUBEASUSER"),
        as_groups: groups.split(',').filter(|_| !groups.is_empty()).map(str::to_owned).collect(),
        // What is not a boolean counts as not set.
        insecure: env
            .get("HELM_KUBEINSECURE_SKIP_TLS_VERIFY")
            .is_some_and(|value| boolean(value) == Some(true)),
        tls_server_name: get("HELM_KUBETLS_SERVER_NAME"),
        namespace: get("HELM_NAMESPACE"),
        proxies: Proxies::of(env),
        place: Place::of(env),
    }
}

/// `HELM_MAX_HISTORY`: how many revisions are kept, 0 for all. What is not a number counts as not set.
pub fn max_history(env: &Env) -> i64 {
    env.get("HELM_MAX_HISTORY").and_then(|text| decimal(text)).unwrap_or(MAX_HISTORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_helm_reads_them() {
        let target = |name: &str, value: &str| target(&[(name.to_owned(), value.to_owned())].into());
        for (text, groups) in [
            ("a,b", vec!["a", "b"]),
            (", a, b ,", vec!["a", " b"]),
            (" , ", vec![]),
            ("a,,b", vec!["a", "", "b"]),
        ] {
            assert_eq!(target("HELM_KUBEASGROUPS", text).as_groups, groups, "{text}");
        }
        for (text, insecure) in
            [("1", true), ("T", true), ("True", true), ("tRUE", false), ("yes", false), ("", false)]
        {
            assert_eq!(target("HELM_KUBEINSECURE_SKIP_TLS_VERIFY", text).insecure, insecure, "{text}");
        }
        let empty = PathBuf::new();
        assert_eq!(target("KUBECONFIG", ":").kubeconfig, [empty.clone(), empty], "a list, though of nothing");
        for (text, wanted) in [("5", 5), ("+5", 5), ("0", 0), ("-1", -1), ("0x5", 10), ("5 ", 10), ("", 10)] {
            let env: Env = [("HELM_MAX_HISTORY".to_owned(), text.to_owned())].into();
            assert_eq!(max_history(&env), wanted, "{text}");
        }
    }
}
