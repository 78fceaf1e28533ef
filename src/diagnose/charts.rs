//! Charts that Helm cannot find, fetch, verify or load; plugins that it needs for that.
//! Pure. The words are those of Helm 3 and 4.

use super::{
    Cause, Snapshot, between,
    messages::{cause, fetched, host, message, shell},
};

/// Words of a registry or a repository that wants to know who asks.
const CREDENTIALS: [&str; 6] =
    ["credential not found", ": 401 ", ": 403 ", "status code 401", "status code 403", "unauthorized"];

fn wants_credentials(message: &str) -> bool {
    fetched(message).is_some() && CREDENTIALS.iter().any(|sign| message.contains(sign))
}

fn is_verification(message: &str) -> bool {
    let signs = [
        "failed to fetch provenance",
        "provenance file",
        "failed to load keyring",
        "signature block not found",
        "provenance does not contain a SHA",
        "sha256 sum does not match",
        "digest mismatch",
        "openpgp: ",
        "failed to verify",
    ];
    signs.iter().any(|sign| message.contains(sign))
}

/// The chart's signature or digest is not what it should be.
pub(super) fn not_verified(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    if !is_verification(&message) {
        return Vec::new();
    }
    let summary = if message.contains("keyring") {
        "the keyring with the public keys cannot be read, so the chart cannot be verified".to_owned()
    } else if message.contains("mismatch") || message.contains("sum does not match") {
        "the chart is not the one that was signed or asked for: its digest differs".to_owned()
    } else if message.contains("failed to fetch provenance") || message.contains("could not load provenance")
    {
        "the chart has no provenance file, so --verify cannot succeed".to_owned()
    } else {
        "the chart's signature does not hold".to_owned()
    };
    let remedy = vec![
        "gpg --list-keys; helm verify CHART.tgz --keyring FILE   # does the keyring have the signer's key?"
            .to_owned(),
        "do not deploy it without --verify before its origin is clear".to_owned(),
    ];
    cause(&message, summary, remedy)
}

/// A registry or a repository refuses whoever asks.
pub(super) fn credentials(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let Some(url) = fetched(&message).filter(|_| wants_credentials(&message) && !is_verification(&message))
    else {
        return Vec::new();
    };
    let host = host(url);
    let is_registry = url.contains("/v2/");
    let is_denied = [": 403 ", "status code 403"].iter().any(|sign| message.contains(sign));
    let summary = if is_denied {
        format!("{host} does not allow this account to read the chart")
    } else {
        format!("{host} requires credentials for the chart")
    };
    let remedy = if is_registry {
        vec![
            format!("helm registry login {}   # with --password-stdin in a pipeline", shell(host)),
            "a wrong name of the chart is refused in the same way: check the oci:// address".to_owned(),
        ]
    } else {
        vec![format!(
            "helm repo add NAME {} --username … --password-stdin, or --username and --password with --repo",
            shell(url.trim_end_matches("/index.yaml"))
        )]
    };
    cause(&message, summary, remedy)
}

/// Nothing answers where the chart should come from, or not as a repository does.
pub(super) fn unreachable(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    if wants_credentials(&message) || is_verification(&message) || is_missing(&message) {
        return Vec::new();
    }
    let is_repository = message.contains("is not a valid chart repository or cannot be reached");
    let signs = [
        "dial tcp",
        "tls: ",
        "x509: ",
        "no such host",
        "EOF",
        "timeout",
        "deadline exceeded",
        "connection reset",
        "response to HTTPS client",
        "proxyconnect",
    ];
    let Some(url) =
        fetched(&message).filter(|_| is_repository || signs.iter().any(|sign| message.contains(sign)))
    else {
        return Vec::new();
    };
    let host = host(url);
    let mut remedy = vec![format!("curl -sSI {}   # from the machine of this run", shell(url))];
    if message.contains("tls: first record does not look like")
        || message.contains("response to HTTPS client")
    {
        remedy.insert(0, "the server speaks plain HTTP: add --plain-http, if that is meant".to_owned());
    } else if message.contains("x509: ") {
        remedy.insert(0, "its certificate is not trusted here: --ca-file FILE".to_owned());
    } else {
        remedy.push("is a proxy needed? HTTPS_PROXY and NO_PROXY".to_owned());
    }
    cause(&message, format!("the chart cannot be fetched from {host}"), remedy)
}

/// An address, a name or a version under which there is no chart.
fn is_missing(message: &str) -> bool {
    let path = message.strip_prefix("path \"").is_some_and(|rest| rest.ends_with("\" not found"));
    let repo = message.strip_prefix("repo ").is_some_and(|rest| rest.ends_with(" not found"));
    let index = message.contains("index. (try 'helm repo update')")
        || message.starts_with("no cached repo")
        || (message.starts_with("chart \"") && message.ends_with(" repository"));
    let remote = (message.contains("FetchReference") && message.ends_with(": not found"))
        || message.to_lowercase().starts_with("could not locate a version matching")
        || message.contains("unable to locate any tags in provided repository");
    let archive = message.starts_with("failed to fetch ") && message.contains(" : 404 ");
    let empty = message == "Chart.yaml file is missing" || message.starts_with("unable to detect chart at ");
    path || repo || index || remote || archive || empty
}

/// There is no such chart, or not in this version.
pub(super) fn not_found(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    if !is_missing(&message) {
        return Vec::new();
    }
    let quoted = |before: &str| between(&message, before, "\"");
    let update = "helm repo update".to_owned();
    let (summary, remedy) = if let Some(path) = quoted("path \"") {
        let directory =
            "a path is relative to the working directory; a name of a repository is REPOSITORY/CHART"
                .to_owned();
        (format!("there is no chart at {path}"), vec![format!("ls {}", shell(path)), directory])
    } else if let Some(name) = message.strip_prefix("repo ").and_then(|rest| rest.strip_suffix(" not found"))
    {
        let add = format!(
            "helm repo add {} URL   # in the same job: a new runner knows no repositories",
            shell(name)
        );
        (
            format!("no repository is configured under the name {name}"),
            vec![add, "or give the address: --repo URL, or oci://…".to_owned()],
        )
    } else if message.starts_with("no cached repo") {
        ("the index of the repository is not on this machine".to_owned(), vec![update])
    } else if let Some(version) =
        message.split_once(" version \"").and_then(|(_, rest)| rest.split('"').next())
    {
        let name = quoted("chart \"").unwrap_or_default();
        let at = between(&message, "not found in ", " repository").unwrap_or("URL");
        let show = format!("helm show chart {} --repo {}   # its newest version", shell(name), shell(at));
        (format!("the repository has no version {version} of the chart {name}"), vec![show])
    } else if message.contains("index. (try 'helm repo update')") {
        let name = quoted("chart \"").unwrap_or_default();
        let version = between(&message, " matching ", " not found in ").unwrap_or_default();
        let repository = between(&message, "not found in ", " index").unwrap_or_default();
        let search = format!("helm search repo {} --versions", shell(&format!("{repository}/{name}")));
        let what = if version.is_empty() {
            format!("chart {name}")
        } else {
            format!("chart {name} in a version {version}")
        };
        (format!("the index of the repository {repository} has no {what}"), vec![update, search])
    } else if message.starts_with("chart \"") {
        let name = quoted("chart \"").unwrap_or_default();
        let at = between(&message, "not found in ", " repository").unwrap_or_default();
        (
            format!("the repository {at} has no chart {name}"),
            vec!["check the name; with --repo it has no repository before it".to_owned()],
        )
    } else if message.to_lowercase().starts_with("could not locate a version matching") {
        let version = message.rsplit(' ').next().unwrap_or_default();
        (
            format!("the registry has no version of the chart that fits {version}"),
            vec!["helm show chart oci://…   # its newest version".to_owned()],
        )
    } else if let Some(reference) = between(&message, "on source: ", ": not found") {
        (
            format!("the registry has no {reference}"),
            vec![format!(
                "helm show chart {}   # is the address right?",
                shell(&format!("oci://{}", reference.rsplit_once(':').map_or(reference, |(name, _)| name)))
            )],
        )
    } else if let Some(url) = fetched(&message) {
        (format!("there is no chart at {url}"), vec!["check the address and the version".to_owned()])
    } else {
        (
            "the directory holds no chart: it has no Chart.yaml".to_owned(),
            vec!["name the directory that holds Chart.yaml".to_owned()],
        )
    };
    cause(&message, summary, remedy)
}

/// Charts that this one is made of are not in its `charts/`.
pub(super) fn dependency(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let missing = message.split_once("missing in charts/ directory: ").map(|(_, names)| names);
    let is_stale = message.contains("is out of sync with the dependencies file");
    let summary = match missing {
        Some(names) => format!("dependencies of the chart were not fetched: {names}"),
        None if is_stale => "the lock file of the chart's dependencies is older than Chart.yaml".to_owned(),
        None => return Vec::new(),
    };
    let remedy = if is_stale {
        vec!["helm dependency update CHART, and commit Chart.lock".to_owned()]
    } else {
        vec![
            "helm dependency build CHART   # before the deploy, in the same job".to_owned(),
            "or let Helm do it: --dependency-update".to_owned(),
        ]
    };
    cause(&message, summary, remedy)
}

/// The chart says that it does not run on this Kubernetes.
pub(super) fn kubernetes_version(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let Some((_, told)) = message.split_once("chart requires kubeVersion: ") else { return Vec::new() };
    let (wanted, has) =
        told.split_once(" which is incompatible with Kubernetes ").unwrap_or((told, "this one"));
    let summary = format!("the chart is for Kubernetes {wanted}, and the cluster is {has}");
    let mut remedy = vec![
        "take a version of the chart that is for this Kubernetes: helm search repo CHART --versions"
            .to_owned(),
    ];
    if has.contains(['-', '+']) && !wanted.contains("-0") {
        remedy.insert(0, "the cluster's version has a suffix, which the constraint takes for a pre-release: the chart should say >=1.x.y-0".to_owned());
    }
    cause(&message, summary, remedy)
}

/// A chart that is not one, or none that can be installed.
pub(super) fn invalid(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let signs = [
        "cannot load Chart.yaml",
        "cannot load values.yaml",
        "cannot load requirements.yaml",
        "validation: ",
        "does not appear to be a gzipped archive",
        "does not appear to be a valid chart file",
        "chart metadata is missing",
        "invalid chart apiVersion",
    ];
    let is_library = message.ends_with("library charts are not installable");
    if !is_library && !signs.iter().any(|sign| message.contains(sign)) {
        return Vec::new();
    }
    let summary = if is_library {
        "it is a library chart: other charts use it, and it cannot be installed".to_owned()
    } else {
        format!("the chart cannot be loaded: {}", message.lines().next().unwrap_or_default())
    };
    let remedy = if is_library {
        vec!["deploy a chart that depends on it".to_owned()]
    } else {
        vec!["helm lint CHART".to_owned()]
    };
    cause(&message, summary, remedy)
}

/// A post-renderer that is not there, or fails.
pub(super) fn post_renderer(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let is_flag = message.contains("for \"--post-renderer\" flag");
    let (summary, remedy) = if let Some(name) =
        between(&message, "plugin: {Name:", " Type:postrenderer").filter(|_| is_flag)
    {
        let install = "helm plugin install PATH-OR-URL   # with Helm 4 a post-renderer is a plugin of type postrenderer/v1".to_owned();
        (
            format!("Helm has no post-renderer plugin named {name}"),
            vec![install, "helm plugin list".to_owned()],
        )
    } else if is_flag {
        (
            "the post-renderer cannot be found".to_owned(),
            vec!["check the path, and that the file may be executed".to_owned()],
        )
    } else if message.contains("error while running post render")
        || message.contains("error while running command")
    {
        (
            "the post-renderer failed; the lines above are its own".to_owned(),
            vec!["helm template RELEASE CHART | POST-RENDERER   # runs it alone".to_owned()],
        )
    } else {
        return Vec::new();
    };
    cause(&message, summary, remedy)
}

/// A kind of address that only a plugin can fetch.
pub(super) fn plugin(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let scheme = message.split_once("could not find protocol handler for: ").map(|(_, scheme)| scheme);
    let scheme = scheme.or_else(|| between(&message, "scheme \"", "\" not supported"));
    let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) else { return Vec::new() };
    let summary = format!("Helm needs a plugin for addresses of {scheme}://, and none is loaded");
    let mut found = cause(
        &message,
        summary,
        vec![
            "helm plugin list".to_owned(),
            "helm plugin install URL   # in the same job, for the user and the HELM_PLUGINS of the deploy"
                .to_owned(),
        ],
    );
    // Helm goes on without a plugin that it cannot load, and says so.
    let failed = snapshot.error.lines().filter(|line| line.contains("failed to load plugin"));
    for cause in &mut found {
        cause.evidence.extend(failed.clone().map(|line| format!("helm: {line}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: fn(&Snapshot) -> Vec<Cause>, error: &str) -> String {
        let error = format!("Release \"web\" does not exist. Installing it now.\nError: {error}\n");
        let snapshot =
            Snapshot { error, release: "web".into(), namespace: "shop".into(), ..Snapshot::default() };
        rule(&snapshot).into_iter().map(|cause| cause.summary).collect()
    }

    #[test]
    fn each_way_to_miss_a_chart_has_its_own_sentence() {
        for (error, expected) in [
            ("path \"./nope\" not found", "there is no chart at ./nope"),
            ("repo bitnami not found", "no repository is configured under the name bitnami"),
            ("Chart.yaml file is missing", "the directory holds no chart: it has no Chart.yaml"),
            (
                "chart \"nope\" not found in http://r.example repository",
                "the repository http://r.example has no chart nope",
            ),
            (
                "chart \"web\" version \"9.9.9\" not found in http://r.example repository",
                "the repository has no version 9.9.9 of the chart web",
            ),
            (
                "failed to fetch http://r.example/nope.tgz : 404 File not found",
                "there is no chart at http://r.example/nope.tgz",
            ),
            (
                "chart \"nope\" matching  not found in loc index. (try 'helm repo update'): no chart name found",
                "the index of the repository loc has no chart nope",
            ),
            (
                "chart \"web\" matching >=3 not found in loc index. (try 'helm repo update'): no chart version found for web->=3",
                "the index of the repository loc has no chart web in a version >=3",
            ),
            (
                "no cached repo found. (try 'helm repo update'): open x: no such file or directory",
                "the index of the repository is not on this machine",
            ),
            (
                "failed to perform \"FetchReference\" on source: r.example/none/web:1.0.0: not found",
                "the registry has no r.example/none/web:1.0.0",
            ),
            (
                "Could not locate a version matching provided version string >=2",
                "the registry has no version of the chart that fits >=2",
            ),
            ("release: not found", ""),
            ("deployments.apps \"web\" not found", ""),
        ] {
            assert_eq!(told(not_found, error), expected, "{error}");
        }
    }

    #[test]
    fn who_wants_credentials_is_not_unreachable_and_the_api_server_is_neither() {
        for (error, wants, away) in [
            (
                "GET \"http://r.example/v2/p/web/tags/list\": basic credential not found",
                "r.example requires credentials for the chart",
                "",
            ),
            (
                "failed to perform \"FetchReference\" on source: GET \"http://r.example/v2/d/web/manifests/1.0.0\": response status code 403: denied: requested access to the resource is denied",
                "r.example does not allow this account to read the chart",
                "",
            ),
            (
                "looks like \"http://r.example/s\" is not a valid chart repository or cannot be reached: failed to fetch http://r.example/s/index.yaml : 401 Unauthorized",
                "r.example requires credentials for the chart",
                "",
            ),
            (
                "looks like \"http://r.example\" is not a valid chart repository or cannot be reached: Get \"http://r.example/index.yaml\": dial tcp: lookup r.example: no such host",
                "",
                "the chart cannot be fetched from r.example",
            ),
            (
                "Get \"https://r.example/v2/web/tags/list\": tls: first record does not look like a TLS handshake",
                "",
                "the chart cannot be fetched from r.example",
            ),
            (
                "Kubernetes cluster unreachable: Get \"https://10.0.0.1:6443/version\": dial tcp 10.0.0.1:6443: connect: connection refused",
                "",
                "",
            ),
        ] {
            assert_eq!(told(credentials, error), wants, "{error}");
            assert_eq!(told(unreachable, error), away, "{error}");
        }
    }

    #[test]
    fn a_chart_that_is_not_the_one_that_was_signed() {
        for (error, expected) in [
            (
                "failed to fetch provenance \"http://r.example/web.tgz.prov\"",
                "the chart has no provenance file, so --verify cannot succeed",
            ),
            (
                "failed to load keyring: open x: no such file or directory",
                "the keyring with the public keys cannot be read, so the chart cannot be verified",
            ),
            (
                "sha256 sum does not match for web.tgz: \"a\" != \"b\"",
                "the chart is not the one that was signed or asked for: its digest differs",
            ),
            ("openpgp: signature made by unknown entity", "the chart's signature does not hold"),
            ("UPGRADE FAILED: a", ""),
        ] {
            assert_eq!(told(not_verified, error), expected, "{error}");
        }
    }
}
