//! Objects that are known not to exist, for the reads of a first install.
//!
//! Before an install writes anything Helm reads each object of the chart, one after the other, so that it does not take another's
//! for its own (`existingResourceConflict`, action/validate.go of Helm 3.22 and 4.3): as many round trips as there are objects.
//! While Helm starts, the names in the usual collections of the namespace are listed. A name that is not in a whole list is
//! answered as not found; whatever is in one, or was not listed, is asked for.
//!
//! Nothing is taken over by that: when Helm has asked for all and sends its record, the preflight looks for each object again.
//! One that is there by then, and was said not to be, ends the deploy before anything is changed (`deploy/preflight.rs`). So the
//! last look is later than Helm's own. Without a preflight nothing is listed. Pure: `fence/proxy.rs` lists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::repeated::Read;

/// Group and version, and plurals, of what charts bring into a namespace.
const USUAL: [(&str, &[&str]); 7] = [
    ("api/v1", &["configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"]),
    ("apis/apps/v1", &["daemonsets", "deployments", "statefulsets"]),
    ("apis/autoscaling/v2", &["horizontalpodautoscalers"]),
    ("apis/batch/v1", &["cronjobs", "jobs"]),
    ("apis/networking.k8s.io/v1", &["ingresses", "networkpolicies"]),
    ("apis/policy/v1", &["poddisruptionbudgets"]),
    ("apis/rbac.authorization.k8s.io/v1", &["rolebindings", "roles"]),
];

/// Most names of a collection; one that has more is not listed further.
pub const MOST: usize = 250;

/// The paths of the collections that are listed.
pub fn collections(namespace: &str) -> Vec<String> {
    let of = |(api, plurals): &(&str, &[&str])| -> Vec<String> {
        plurals.iter().map(|plural| format!("/{api}/namespaces/{namespace}/{plural}")).collect()
    };
    USUAL.iter().flat_map(of).collect()
}

/// What is known of collections.
#[derive(Debug, Default)]
pub struct Absent {
    names: BTreeMap<String, BTreeSet<String>>,
    told: BTreeSet<String>,
    is_over: bool,
}

impl Absent {
    /// A list of a collection has come. One that goes on says nothing.
    pub fn listed(&mut self, collection: &str, list: &Value) {
        let goes_on = list["metadata"]["continue"].as_str().is_some_and(|token| !token.is_empty());
        // A list may come late.
        if self.is_over || goes_on || list["kind"] != "PartialObjectMetadataList" {
            return;
        }
        // Of an empty collection the items are null.
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned));
        self.names.insert(collection.to_owned(), names.collect());
    }

    /// A request came: is it Helm's read of an object that is not there? A write makes its collection unknown.
    pub fn ask(&mut self, read: Option<&Read>, is_write: bool, path: &str) -> bool {
        let Some((collection, name)) = path.rsplit_once('/') else { return false };
        if is_write {
            self.names.remove(path);
            self.names.remove(collection);
            return false;
        }
        let is_absent =
            read.is_some() && self.names.get(collection).is_some_and(|names| !names.contains(name));
        if is_absent {
            self.told.insert(path.to_owned());
        }
        is_absent
    }

    /// Helm's record comes: from now on the API server is asked. Gives the paths that were said not to be there.
    pub fn end(&mut self) -> BTreeSet<String> {
        let ended = Self { is_over: true, ..Self::default() };
        std::mem::replace(self, ended).told
    }
}

/// The API server's answer for what is not there.
pub fn not_found(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (name, plural) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let group = path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next());
    let full = group.map_or_else(|| plural.to_owned(), |group| format!("{plural}.{group}"));
    let mut details = json!({"name": name, "kind": plural});
    if let Some(group) = group {
        details["group"] = group.into();
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
        "message": format!("{full} \"{name}\" not found"), "details": details,
    });
    status.to_string()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, header};

    use super::*;

    fn read(path: &str) -> Read {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Helm/4.3.1"));
        Read::of(&Method::GET, &path.parse().unwrap(), &headers).unwrap()
    }

    #[test]
    fn only_what_is_in_no_whole_list_is_said_not_to_be_there() {
        let services = "/api/v1/namespaces/shop/services";
        let list = |names: &[&str], more: &str| {
            let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
            json!({"kind": "PartialObjectMetadataList", "metadata": {"continue": more}, "items": items})
        };
        let web = format!("{services}/web");
        for (what, lists, writes, is_absent) in [
            ("not listed", vec![], vec![], false),
            ("listed and not in it", vec![list(&["db"], "")], vec![], true),
            (
                "an empty collection",
                vec![json!({"kind": "PartialObjectMetadataList", "metadata": {}, "items": null})],
                vec![],
                true,
            ),
            ("listed and in it", vec![list(&["db", "web"], "")], vec![], false),
            ("a list that goes on", vec![list(&["db"], "next")], vec![], false),
            ("no list", vec![json!({"kind": "Status"})], vec![], false),
            ("created since", vec![list(&[], "")], vec![services], false),
            ("changed since", vec![list(&[], "")], vec!["/api/v1/namespaces/shop/services/db"], false),
            ("something else was", vec![list(&[], "")], vec!["/api/v1/namespaces/shop/secrets"], true),
        ] {
            let mut absent = Absent::default();
            lists.iter().for_each(|list| absent.listed(services, list));
            writes.into_iter().for_each(|path| assert!(!absent.ask(None, true, path)));
            assert!(!absent.ask(None, false, &web), "{what}: somebody else asks");
            assert_eq!(absent.ask(Some(&read(&web)), false, &web), is_absent, "{what}");
            assert_eq!(absent.end().contains(&web), is_absent, "{what}");
            absent.listed(services, &list(&[], ""));
            assert!(!absent.ask(Some(&read(&web)), false, &web), "{what}: after the record");
        }
    }

    #[test]
    fn the_answer_is_the_api_servers() {
        let status: Value =
            serde_json::from_str(&not_found("/apis/apps/v1/namespaces/shop/deployments/web")).unwrap();
        assert_eq!(status["message"], "deployments.apps \"web\" not found");
        assert_eq!(status["details"], json!({"name": "web", "group": "apps", "kind": "deployments"}));
        let status: Value = serde_json::from_str(&not_found("/api/v1/namespaces/shop/services/web")).unwrap();
        assert_eq!(status["message"], "services \"web\" not found");
        assert!(
            collections("shop").contains(&"/apis/policy/v1/namespaces/shop/poddisruptionbudgets".to_owned())
        );
    }
}
