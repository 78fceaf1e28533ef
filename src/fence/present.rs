//! Objects that the preflight has just read, for Helm's reads of the same objects.
//!
//! An upgrade of Helm 4 reads each object before its server-side apply, and of the answer it takes only whether there was one
//! (`Client.update`, kube/client.go of Helm 4.3: `if _, err := helper.Get(…)`). The apply then creates the object or changes
//! it, whatever the answer was: with an answer of a moment ago the same lives afterwards. Which objects those are, and when it
//! is so, is decided in `preflight/deploy.rs`. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::repeated::Read;

/// How long after the look an object still counts as there. Helm goes through hundreds of objects in that time.
const FRESH: Duration = Duration::from_secs(10);

/// Objects by their paths. Each answers one read, before anything is written to it.
#[derive(Debug, Default)]
pub struct Present {
    objects: BTreeMap<String, Value>,
    until: Duration,
}

impl Present {
    /// These live. `now`: monotonic.
    pub fn fill(&mut self, objects: BTreeMap<String, Value>, now: Duration) {
        *self = Self { objects, until: now + FRESH };
    }

    /// A request came: gives the answer to Helm's first `read` of an object. From any other request for it on, the API server
    /// is asked.
    pub fn ask(&mut self, read: Option<&Read>, path: &str, now: Duration) -> Option<Value> {
        let object = self.objects.remove(path)?;
        (read.is_some() && now <= self.until).then_some(object)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, header};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_answers_helms_first_read_and_no_other() {
        let path = "/api/v1/namespaces/shop/services/web";
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Helm/4.3.1"));
        let read = Read::of(&Method::GET, &path.parse().unwrap(), &headers).unwrap();
        let filled = || {
            let mut present = Present::default();
            present.fill(BTreeMap::from([(path.to_owned(), json!({"kind": "Service"}))]), Duration::ZERO);
            present
        };
        let soon = Duration::from_secs(1);
        let mut present = filled();
        assert_eq!(present.ask(Some(&read), "/api/v1/namespaces/shop/services/other", soon), None);
        assert!(present.ask(Some(&read), path, soon).is_some());
        assert_eq!(present.ask(Some(&read), path, soon), None, "once");
        let mut present = filled();
        assert_eq!(present.ask(None, path, soon), None, "a write, or somebody else's read");
        assert_eq!(present.ask(Some(&read), path, soon), None, "and from then on none");
        assert_eq!(filled().ask(Some(&read), path, FRESH + soon), None, "too long ago");
    }
}
