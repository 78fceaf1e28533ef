//! The error message that Helm ends with, and what it says of a place or an address.
//! Pure. Helm's words are untrusted text.

use super::Cause;

/// Helm's error message, whole: from its last `Error: ` to the end of what it printed, without the log lines that other
/// libraries print beside it. Empty if Helm printed no error.
pub(super) fn message(error: &str) -> String {
    let lines: Vec<&str> = error.lines().collect();
    let Some(first) = lines.iter().rposition(|line| line.starts_with("Error: ")) else {
        return String::new();
    };
    let is_log = |line: &&&str| {
        let klog = line.strip_prefix(['I', 'W', 'E']).is_some_and(|rest| {
            rest.len() > 4
                && rest.as_bytes()[..4].iter().all(u8::is_ascii_digit)
                && rest[4..].starts_with(' ')
        });
        // Advice of Helm's about a flag that helm-guard does not need.
        let advice = *line == &"Use --debug flag to render out invalid YAML";
        klog || advice || line.starts_with("level=") || line.starts_with("time=\"")
    };
    let told: Vec<&str> = lines[first..].iter().filter(|line| !is_log(line)).copied().collect();
    told.join("\n").trim_start_matches("Error: ").trim().to_owned()
}

/// The one cause of what a message says, with the message as its evidence.
pub(super) fn cause(message: &str, summary: String, remedy: Vec<String>) -> Vec<Cause> {
    let evidence = message.lines().map(|line| format!("helm: {}", line.trim())).collect();
    vec![Cause { summary, evidence, remedy, ..Cause::default() }]
}

/// A message of several lines in one, as far as it is about one thing. Helm 4 breaks the errors of templates into lines.
pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The last place that a message names, `web/templates/cm.yaml:1:46`: template, line.
pub(super) fn place(message: &str) -> Option<(&str, &str)> {
    let words = message.split(|letter: char| letter.is_whitespace() || "()".contains(letter));
    words.filter_map(as_place).next_back()
}

/// `FILE:LINE` or `FILE:LINE:COLUMN`.
fn as_place(word: &str) -> Option<(&str, &str)> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    let word = word.trim_end_matches(':');
    let (file, last) = word.rsplit_once(':').filter(|(_, last)| is_number(last))?;
    match file.rsplit_once(':').filter(|(_, line)| is_number(line)) {
        Some((file, line)) => Some((file, line)),
        None => Some((file, last)),
    }
    .filter(|(file, _)| file.contains('.') || file.contains('/') || *file == "gotpl")
}

/// The address that Helm could not fetch a chart, an index or a tag from; `None` for a request to the API server.
pub(super) fn fetched(message: &str) -> Option<&str> {
    let quoted = |verb: &str| super::between(message, &format!("{verb} \""), "\"");
    let named = super::between(message, "failed to fetch ", " ");
    let url = named.or_else(|| ["Get", "GET", "Head", "HEAD"].into_iter().find_map(quoted))?;
    let (_, rest) = url.split_once("://")?;
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    // The API server may be behind a path of its own, as it is behind the fence.
    let is_api = parts.windows(2).any(|two| matches!(two, ["api", "v1"] | ["openapi", "v2" | "v3"]))
        || parts.contains(&"apis")
        || matches!(parts.last(), Some(&("api" | "version" | "readyz" | "livez" | "healthz")));
    (!is_api).then_some(url)
}

/// Host and port of an address.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// A word of a command that can be pasted into a shell.
pub(super) fn shell(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| "…".to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_all_that_follows_the_last_error_and_no_log_line() {
        for (printed, expected) in [
            ("Error: a: b\n", "a: b"),
            ("Error: first\nError: last\n", "last"),
            ("note\nError: a:\n- b\n\n", "a:\n- b"),
            (
                "level=WARN msg=\"upgrade failed\"\nError: a\nI1128 07:27:30.173373   1 warnings.go:107] \"x\"\n",
                "a",
            ),
            ("panic: x\n", ""),
        ] {
            assert_eq!(message(printed), expected, "{printed}");
        }
    }

    #[test]
    fn the_place_is_the_innermost_one() {
        for (told, expected) in [
            ("execution error at (web/templates/cm.yaml:1:6): set it", Some(("web/templates/cm.yaml", "1"))),
            ("parse error at (web/templates/cm.yaml:3): x", Some(("web/templates/cm.yaml", "3"))),
            (
                "a/b.yaml:4:6 executing \"a\" at <x>: error calling include: a/_h.tpl:2:13 executing",
                Some(("a/_h.tpl", "2")),
            ),
            ("dial tcp 127.0.0.1:80: refused", None),
            ("nothing", None),
        ] {
            let found = place(told).filter(|(file, _)| !file.starts_with("127"));
            assert_eq!(found, expected, "{told}");
        }
    }

    #[test]
    fn an_address_is_one_of_a_chart_and_not_of_the_api_server() {
        for (told, expected) in [
            (
                "Get \"https://r.example/v2/web/tags/list\": dial tcp",
                Some("https://r.example/v2/web/tags/list"),
            ),
            ("failed to fetch http://r.example/x.tgz : 404 Not Found", Some("http://r.example/x.tgz")),
            (
                "GET \"http://r.example/v2/a/manifests/1\": basic credential not found",
                Some("http://r.example/v2/a/manifests/1"),
            ),
            ("Get \"https://10.0.0.1:6443/api/v1/namespaces\": dial tcp", None),
            ("Get \"http://127.0.0.1:3/x9/apis/apps/v1\": refused", None),
            ("Get \"https://10.0.0.1/version\": x", None),
            ("Get \"https://10.0.0.1/api?timeout=32s\": x", None),
            ("no address", None),
        ] {
            assert_eq!(fetched(told), expected, "{told}");
        }
        assert_eq!(host("https://ada:x@r.example:5000/v2"), "r.example:5000");
    }
}
