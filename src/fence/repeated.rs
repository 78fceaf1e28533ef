//! Reads that Helm sends twice or three times, one right behind the other, about the same object: whether it is there, what to
//! patch, and how it is once there was nothing to patch (`Client.update` and `updateResource`, kube/client.go of Helm 3.22 and
//! 4.3). Each costs a round trip, and between them Helm does nothing. Pure: `fence/proxy.rs` asks, and passes on the rest.
//!
//! The first answer may stand for the repeated ones, because nobody can tell that from a Helm that asks three times in no time:
//!
//! * It is the same Helm that asks for the same object in the same words, and no other request of it came in between. So
//!   nothing that it has done since can be missing in the answer.
//! * What others did since is missing for at most [`AT_ONCE`]. A patch that Helm makes of the answer reaches the API server one
//!   round trip after the API server gave that answer, as it does when Helm asks again: the time in which another's change
//!   could be overlooked is not longer than Helm's own.
//! * Only whole objects are answered so, and no release records: lists, watches, subresources and whatever has a query are not.
//!   A wait that looks again and again does so every two seconds, and is answered by the API server.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header, uri::PathAndQuery};

/// How long after an answer a repeated request still counts as one with it.
pub const AT_ONCE: Duration = Duration::from_millis(300);
/// How often one answer stands for another.
const TIMES: u32 = 2;
/// Most bytes of an answer that is kept.
pub const LARGEST: usize = 1 << 20;

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Success: others are not kept.
    pub status: StatusCode,
    /// As they go to Helm.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A read that may be repeated: what is asked, and in which form the answer is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    target: String,
    accept: [String; 2],
    user_agent: String,
}

/// The last read, if nothing came after it.
#[derive(Debug, Default)]
pub struct Repeated {
    /// Of the last request.
    number: u64,
    kept: Option<(Read, Answer, Duration, u32)>,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is answered by what the same request was answered with just now.
    Known(Box<Answer>),
    /// The API server is asked. An answer may be kept under this number.
    Open(u64),
}

impl Read {
    /// The read that a request is, if it is one of a whole object by Helm itself.
    pub fn of(method: &Method, target: &PathAndQuery, headers: &HeaderMap) -> Option<Self> {
        super::helm_version(headers)?;
        if method != Method::GET || target.query().is_some() || !is_object(target.path()) {
            return None;
        }
        let text =
            |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Some(Self {
            target: target.path().to_owned(),
            accept: [text(header::ACCEPT), text(header::ACCEPT_ENCODING)],
            user_agent: text(header::USER_AGENT),
        })
    }
}

impl Repeated {
    /// A request came, a `read` or another. `now`: monotonic.
    pub fn ask(&mut self, read: Option<&Read>, now: Duration) -> Asked {
        if let (Some(read), Some((of, answer, at, times))) = (read, &mut self.kept)
            && of == read
            && now.saturating_sub(*at) <= AT_ONCE
            && *times < TIMES
        {
            *times += 1;
            return Asked::Known(Box::new(answer.clone()));
        }
        self.kept = None;
        self.number += 1;
        Asked::Open(self.number)
    }

    /// The API server's answer to the read with this number, unless another request came since.
    pub fn keep(&mut self, number: u64, read: Read, answer: &Answer, now: Duration) {
        if self.number == number && answer.status == StatusCode::OK {
            self.kept = Some((read, answer.clone(), now, 0));
        }
    }
}

/// Whether a path is that of one object, and not of a list, a subresource, a release record or something else.
fn is_object(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let within = match &parts[..] {
        ["api", _, within @ ..] | ["apis", _, _, within @ ..] => within,
        _ => return false,
    };
    match within {
        ["namespaces", _, _, name] => !name.is_empty() && !name.starts_with("sh.helm.release."),
        [_, name] => !name.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

    fn read(method: Method, target: &str, agent: &str) -> Option<Read> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_str(agent).unwrap());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Read::of(&method, &target.parse().unwrap(), &headers)
    }

    fn web() -> Read {
        read(Method::GET, WEB, "Helm/3.22.0").unwrap()
    }

    fn answer(code: u16) -> Answer {
        Answer {
            status: StatusCode::from_u16(code).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn only_a_read_of_one_object_by_helm_may_be_repeated() {
        for (method, target, agent, may) in [
            (Method::GET, WEB, "Helm/3.22.0", true),
            (Method::GET, "/api/v1/namespaces/shop/secrets/db", "Helm/4.3.1", true),
            (Method::GET, "/api/v1/namespaces/shop", "Helm/4.3.1", true),
            (Method::GET, "/apis/rbac.authorization.k8s.io/v1/clusterroles/web", "Helm/4.3.1", true),
            (Method::GET, WEB, "kubectl/v1.37.1", false),
            (Method::PATCH, WEB, "Helm/3.22.0", false),
            (Method::GET, "/apis/apps/v1/namespaces/shop/deployments/web?watch=true", "Helm/3.22.0", false),
            (Method::GET, "/apis/apps/v1/namespaces/shop/deployments", "Helm/3.22.0", false),
            (Method::GET, "/apis/apps/v1/namespaces/shop/deployments/", "Helm/3.22.0", false),
            (Method::GET, "/apis/apps/v1/namespaces/shop/deployments/web/scale", "Helm/3.22.0", false),
            (Method::GET, "/api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v1", "Helm/3.22.0", false),
            (Method::GET, "/apis/apps/v1", "Helm/3.22.0", false),
            (Method::GET, "/api", "Helm/3.22.0", false),
            (Method::GET, "/version", "Helm/3.22.0", false),
        ] {
            assert_eq!(read(method.clone(), target, agent).is_some(), may, "{method} {target} {agent}");
        }
    }

    #[test]
    fn an_answer_stands_for_the_same_question_asked_at_once_and_for_nothing_else() {
        let at = Duration::from_secs(5);
        let other = read(Method::GET, "/api/v1/namespaces/shop/services/web", "Helm/3.22.0").unwrap();
        let soon = at + Duration::from_millis(10);
        let late = at + AT_ONCE + Duration::from_millis(1);
        let other_words = Read { accept: ["application/yaml".into(), String::new()], ..web() };
        for (what, code, requests, known) in [
            ("the same at once", 200, vec![(Some(web()), soon)], true),
            ("and once more", 200, vec![(Some(web()), soon), (Some(web()), soon)], true),
            (
                "but not for ever",
                200,
                vec![(Some(web()), soon), (Some(web()), soon), (Some(web()), soon)],
                false,
            ),
            ("the same later", 200, vec![(Some(web()), late)], false),
            ("another object", 200, vec![(Some(other.clone()), soon)], false),
            ("another form", 200, vec![(Some(other_words), soon)], false),
            ("the same after a write", 200, vec![(None, soon), (Some(web()), soon)], false),
            ("the same after another read", 200, vec![(Some(other), soon), (Some(web()), soon)], false),
            ("what was not there", 404, vec![(Some(web()), soon)], false),
        ] {
            let mut repeated = Repeated::default();
            let Asked::Open(number) = repeated.ask(Some(&web()), at) else { panic!("{what}") };
            repeated.keep(number, web(), &answer(code), at);
            let last = requests.iter().map(|(read, now)| repeated.ask(read.as_ref(), *now)).last().unwrap();
            assert_eq!(matches!(last, Asked::Known(_)), known, "{what}");
        }
    }

    #[test]
    fn an_answer_that_comes_after_another_request_is_not_kept() {
        let mut repeated = Repeated::default();
        let Asked::Open(number) = repeated.ask(Some(&web()), Duration::ZERO) else { panic!() };
        assert_eq!(repeated.ask(None, Duration::ZERO), Asked::Open(number + 1));
        repeated.keep(number, web(), &answer(200), Duration::ZERO);
        assert!(matches!(repeated.ask(Some(&web()), Duration::ZERO), Asked::Open(_)));
    }
}
