//! Recognizes writes of release records, and reads answers of the API server.
//! Pure: in JSON, and in Kubernetes' protobuf as far as its envelope and first fields go.

use crate::cluster::crds::{DEFINITIONS, Definition};
use http::{Method, uri::PathAndQuery};

/// Whether a write is of a release record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRecord {
    /// By its path.
    Yes,
    /// By its path.
    No,
    /// A create: the name is in the body.
    AskBody,
}

/// What all names of release records begin with.
const RECORD: &str = "sh.helm.release.v1.";

/// Looks at the path of a write.
pub fn of_record(method: &Method, path: &str) -> OfRecord {
    let mut parts = path.trim_start_matches('/').split('/');
    let home = [parts.next(), parts.next(), parts.next()];
    let (_namespace, kind, name) = (parts.next(), parts.next(), parts.next());
    if home != [Some("api"), Some("v1"), Some("namespaces")]
        || !matches!(kind, Some("secrets" | "configmaps"))
        || parts.next().is_some()
    {
        return OfRecord::No;
    }
    match name {
        Some(name) if name.starts_with(RECORD) => OfRecord::Yes,
        None if method == Method::POST => OfRecord::AskBody,
        _ => OfRecord::No,
    }
}

/// A write in words, `patch deployments/web`; `None` for one that changes no object: a dry run, a question in the form of
/// a create.
pub fn in_words(method: &Method, target: &PathAndQuery) -> Option<String> {
    let is_dry = target.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("dryRun=")));
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return None,
    };
    let mut parts = target.path().trim_start_matches('/').split('/').skip(1);
    let _group = if target.path().starts_with("/apis/") { parts.next() } else { None };
    let _version = parts.next()?;
    let mut object: Vec<&str> = parts.collect();
    if object.len() > 2 && object[0] == "namespaces" {
        object.drain(..2);
    }
    let resource = object.first().filter(|resource| !resource.is_empty())?;
    (!is_dry && !resource.ends_with("reviews")).then(|| format!("{verb} {}", object.join("/")))
}

/// How much of a body is enough to know its object's name: Helm's client writes the metadata first.
pub const ENOUGH: usize = 4 << 10;

/// Looks at the beginning of a create's body, JSON or, as Helm's client sends it, Kubernetes' protobuf. In JSON, a name in
/// a text of the object would have its quotes escaped.
pub fn creates_record(beginning: &[u8]) -> bool {
    if let Some(object) = protobuf(beginning) {
        let name = field(object, 1).and_then(|metadata| field(metadata, 1));
        return name.is_some_and(|name| name.starts_with(RECORD.as_bytes()));
    }
    let wanted = format!("\"name\":\"{RECORD}");
    beginning.windows(wanted.len()).any(|window| window == wanted.as_bytes())
}

/// Does the beginning of a record say, by its label, that the release failed, or that its uninstall begins? That is the
/// first write of a Helm that gives up.
pub fn gives_up(beginning: &[u8]) -> bool {
    let is_in = |wanted: &[u8]| beginning.windows(wanted.len()).any(|window| window == wanted);
    if protobuf(beginning).is_some() {
        // Entries of a map: the first field is the key, the second the value.
        return is_in(b"\x0a\x06status\x12\x06failed") || is_in(b"\x0a\x06status\x12\x0cuninstalling");
    }
    is_in(b"\"status\":\"failed\"") || is_in(b"\"status\":\"uninstalling\"")
}

/// Is it a CRD that is to be there? Helm installs those of a chart before it writes its record: Helm 3 creates them, Helm 4
/// applies them.
pub fn defines(method: &Method, path: &str) -> bool {
    match *method {
        Method::POST => path == DEFINITIONS,
        Method::PATCH => {
            let name = path.strip_prefix(DEFINITIONS).and_then(|rest| rest.strip_prefix('/'));
            name.is_some_and(|name| !name.contains('/'))
        }
        _ => false,
    }
}

/// Reads the beginning of the answer to a create, JSON: the API server writes name and UID first.
pub fn definition(beginning: &[u8], is_new: bool) -> Option<Definition> {
    let text = String::from_utf8_lossy(beginning);
    let (_, metadata) = text.split_once("\"metadata\":{\"name\":\"")?;
    let (name, rest) = metadata.split_once("\",\"uid\":\"")?;
    let (uid, _) = rest.split_once('"')?;
    let plain =
        |text: &str| text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-.".contains(&letter));
    (plain(name) && plain(uid)).then(|| Definition { name: name.to_owned(), uid: uid.to_owned(), is_new })
}

/// Does it take a Job or a pod away, and with it a log?
pub fn takes_log(method: &Method, path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (_name, kind) = (parts.next(), parts.next());
    *method == Method::DELETE && matches!(kind, Some("jobs" | "pods"))
}

/// The payload of the release record that a create brings: base64 of gzip of JSON, whichever object holds it. `None` if the
/// body is not whole, or none of a record.
pub fn payload(body: &[u8]) -> Option<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    if let Some(object) = protobuf(body) {
        // Helm puts one entry into it.
        return field(object, 2).and_then(|entry| field(entry, 2)).map(<[u8]>::to_vec);
    }
    let object: serde_json::Value = serde_json::from_slice(body).ok()?;
    let payload = object["data"]["release"].as_str()?;
    if object["kind"] == "ConfigMap" || object["type"].is_null() {
        return Some(payload.as_bytes().to_vec());
    }
    STANDARD.decode(payload).ok()
}

/// What a `Status` says, in either form, as far as it is there; empty if it is none. Untrusted text.
pub fn message(body: &[u8]) -> String {
    if let Some(status) = protobuf(body) {
        return String::from_utf8_lossy(field(status, 3).unwrap_or_default()).into_owned();
    }
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(status) => status["message"].as_str().unwrap_or_default().to_owned(),
        Err(error) if error.is_eof() => cut_message(body).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// What is there of the message of a `Status` whose end is missing: policies can be wordy.
fn cut_message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, mut text) = text.split_once("\"message\":")?;
    // An escape, or a letter, may be cut in two.
    for _ in 0..12 {
        let closed = format!("{text}\"");
        if let Some(Ok(message)) = serde_json::Deserializer::from_str(&closed).into_iter::<String>().next() {
            return Some(message.trim_end_matches('\u{fffd}').to_owned());
        }
        let (last, _) = text.char_indices().next_back()?;
        text = &text[..last];
    }
    None
}

/// The object in Kubernetes' envelope: four bytes, and a message of which the second field is the object.
fn protobuf(body: &[u8]) -> Option<&[u8]> {
    field(body.strip_prefix(b"k8s\0")?, 2)
}

/// The first field of this number of a message, if it is a text or a message; cut off where `message` is.
fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    loop {
        let (key, rest) = varint(message)?;
        let (length, rest) = varint(rest)?;
        message = match key & 7 {
            0 => rest,
            2 => {
                let length = usize::try_from(length).ok()?;
                if key >> 3 == number {
                    return Some(&rest[..length.min(rest.len())]);
                }
                rest.get(length..)?
            }
            _ => return None,
        };
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

/// The same with this field manager and no other.
pub fn with_field_manager(path: &PathAndQuery, manager: &str) -> Option<PathAndQuery> {
    let others = path.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("fieldManager="));
    let pairs: Vec<&str> = others.collect();
    let sign = if pairs.is_empty() { "" } else { "&" };
    format!("{}?{}{sign}fieldManager={manager}", path.path(), pairs.join("&")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_in_words() {
        for (method, target, wanted) in [
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/shop/deployments/web?force=true",
                "patch deployments/web",
            ),
            (Method::POST, "/api/v1/namespaces/shop/services", "create services"),
            (Method::DELETE, "/api/v1/namespaces/shop/pods/web-1", "delete pods/web-1"),
            (Method::PUT, "/api/v1/namespaces/shop", "update namespaces/shop"),
            (Method::POST, "/api/v1/namespaces", "create namespaces"),
            (Method::PUT, "/apis/rbac.authorization.k8s.io/v1/clusterroles/web", "update clusterroles/web"),
            (Method::PATCH, "/api/v1/namespaces/shop/pods/web-1/status", "patch pods/web-1/status"),
            (Method::GET, "/api/v1/namespaces/shop/pods", ""),
            (Method::PATCH, "/api/v1/namespaces/shop/services/web?fieldManager=helm&dryRun=All", ""),
            (Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ""),
            (Method::POST, "/version", ""),
            (Method::POST, "/", ""),
        ] {
            let words = in_words(&method, &target.parse().unwrap());
            assert_eq!(words.unwrap_or_default(), wanted, "{method} {target}");
        }
    }

    #[test]
    fn a_write_of_a_record_is_known_by_its_name_alone() {
        for (method, path, wanted) in [
            (Method::PUT, "/api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v3", OfRecord::Yes),
            (Method::DELETE, "/api/v1/namespaces/shop/configmaps/sh.helm.release.v1.web.v3", OfRecord::Yes),
            (Method::POST, "/api/v1/namespaces/shop/secrets", OfRecord::AskBody),
            (Method::POST, "/api/v1/namespaces/shop/configmaps", OfRecord::AskBody),
            (Method::DELETE, "/api/v1/namespaces/shop/secrets", OfRecord::No),
            (Method::PATCH, "/api/v1/namespaces/shop/secrets/password", OfRecord::No),
            (Method::POST, "/api/v1/namespaces/shop/services", OfRecord::No),
            (Method::POST, "/apis/apps/v1/namespaces/shop/deployments", OfRecord::No),
            (Method::PUT, "/api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v3/status", OfRecord::No),
            (Method::PATCH, "/api/v1/namespaces/sh.helm.release.v1.web.v3", OfRecord::No),
        ] {
            assert_eq!(of_record(&method, path), wanted, "{method} {path}");
        }
        assert!(creates_record(
            br#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"sh.helm.release.v1.web.v1","lab"#
        ));
        assert!(!creates_record(br#"{"metadata":{"name":"password"},"data":{"a":"aHJ="}}"#));
        assert!(!creates_record(br#"{"data":{"a":"{\"name\":\"sh.helm.release.v1.web.v1\"}"}}"#));
    }

    /// As Helm's client sends it.
    #[test]
    fn protobuf_is_looked_into() {
        let secret = |name: &str, data: &str| {
            let name = [&[10, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
            let metadata = [&[10, u8::try_from(name.len()).unwrap()], &name[..]].concat();
            // The object is longer than what has been read of it.
            [b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\xf1\x03", &metadata[..], data.as_bytes()].concat()
        };
        assert!(creates_record(&secret("sh.helm.release.v1.web.v1", "")));
        assert!(!creates_record(&secret("password", "sh.helm.release.v1.web.v1")));
        assert!(!creates_record(b"k8s\0"));
        let status =
            b"k8s\0\n\x0c\n\x02v1\x12\x06Status\x12\x18\n\0\x12\x07Failure\x1a\x03bad\x22\x04none0\xf7\x03";
        assert_eq!(message(status), "bad");
        assert_eq!(message(crate::fence::status(403, "no").as_bytes()), "no");
        assert_eq!(message(b"<html>"), "");
        for (cut, said) in [
            (r#"{"kind":"Status","message":"it is \"so\""#, "it is \"so\""),
            (r#"{"kind":"Status","message":"caf\u00e9 \ud83d\ude"#, "café "),
            (r#"{"message":"whole","details":{"#, "whole"),
            (r#"{"message":"#, ""),
            (r#"{"kind":"Status","mess"#, ""),
        ] {
            assert_eq!(message(cut.as_bytes()), said, "{cut}");
        }
    }

    /// Both forms of a record's labels, and what is none.
    #[test]
    fn a_helm_that_gives_up_says_so_in_a_label() {
        let proto = |label: &str| {
            let entry = [&b"\x0a\x06status\x12"[..], &[u8::try_from(label.len()).unwrap()], label.as_bytes()]
                .concat();
            [&b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\xf1\x03"[..], &entry].concat()
        };
        let json =
            |label: &str| format!("{{\"metadata\":{{\"labels\":{{\"status\":\"{label}\"}}}}}}").into_bytes();
        for (label, wanted) in [
            ("failed", true),
            ("uninstalling", true),
            ("deployed", false),
            ("superseded", false),
            ("pending-upgrade", false),
        ] {
            assert_eq!((gives_up(&proto(label)), gives_up(&json(label))), (wanted, wanted), "{label}");
        }
        for (method, path, wanted) in [
            (Method::DELETE, "/apis/batch/v1/namespaces/shop/jobs/migrate", true),
            (Method::DELETE, "/api/v1/namespaces/shop/pods/test", true),
            (Method::PATCH, "/apis/batch/v1/namespaces/shop/jobs/migrate", false),
            (Method::DELETE, "/apis/apps/v1/namespaces/shop/deployments/jobs", false),
        ] {
            assert_eq!(takes_log(&method, path), wanted, "{method} {path}");
        }
    }

    /// As a real API server answers.
    #[test]
    fn what_was_created_is_read_from_the_answer() {
        let answer = br#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"news.example.com","uid":"5b3d2c1a-0e4f","resourceVersion":"7","generation":1"#;
        let wanted =
            Definition { name: "news.example.com".into(), uid: "5b3d2c1a-0e4f".into(), is_new: true };
        assert_eq!(definition(answer, true), Some(wanted));
        assert_eq!(definition(br#"{"metadata":{"name":"../x","uid":"1","#, true), None);
        assert_eq!(definition(b"k8s\0", true), None);
        let one = format!("{DEFINITIONS}/news.example.com");
        assert!(defines(&Method::POST, DEFINITIONS) && defines(&Method::PATCH, &one));
        assert!(!defines(&Method::GET, DEFINITIONS) && !defines(&Method::PATCH, &format!("{one}/status")));
        assert!(!defines(&Method::POST, "/apis/example.com/v1/customresourcedefinitions"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_look_into(body: Vec<u8>) {
            let body = [b"k8s\0", &body[..]].concat();
            creates_record(&body);
            message(&body);
            message(&body[4..]);
        }

        #[test]
        fn a_status_cut_anywhere_gives_the_beginning_of_its_message(text: String, at: proptest::sample::Index) {
            let whole = crate::fence::status(403, &text).into_bytes();
            let said = message(&whole[..at.index(whole.len())]);
            proptest::prop_assert!(text.starts_with(&said), "{said:?} of {text:?}");
            proptest::prop_assert_eq!(message(&whole), text);
        }
    }

    #[test]
    fn the_field_manager_is_ours_and_other_parameters_stay() {
        for (path, wanted) in [
            ("/a", "/a?fieldManager=0a1b"),
            ("/a?", "/a?fieldManager=0a1b"),
            ("/a?dryRun=All", "/a?dryRun=All&fieldManager=0a1b"),
            ("/a?fieldManager=helm&x=%20", "/a?x=%20&fieldManager=0a1b"),
        ] {
            let path = PathAndQuery::from_static(path);
            assert_eq!(with_field_manager(&path, "0a1b").unwrap().as_str(), wanted);
        }
    }
}
