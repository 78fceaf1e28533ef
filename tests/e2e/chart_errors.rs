//! Everyday mistakes in a chart, its values, or where it comes from: Helm refuses, and helm-guard says what is wrong and what
//! to do about it. Each is made for real, with both Helms.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
};

use serde_json::json;
use testbed::tools::Helm;

use crate::{
    diagnose::{Any, Told, config, has, record_deploy},
    stage::Stage,
};

/// A chart in a directory of the story.
struct Broken {
    any: Any,
    version: Helm,
    chart: PathBuf,
}

impl Broken {
    fn new(stem: &str, version: Helm) -> Self {
        let any = Any::new(stem, version);
        let chart = any.chart(&[config("keep", json!({}))]);
        Self { any, version, chart }
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.chart.join(name), text).unwrap();
        self
    }

    fn template(&self, text: &str) -> &Self {
        self.file("templates/all.yaml", text)
    }

    /// The deploy fails with this cause first, whose text has these words in it, and no other cause.
    #[track_caller]
    fn is(&self, case: &str, id: &str, more: &[&str], words: &[&str]) -> Told {
        self.of(case, id, &self.chart.display().to_string(), more, words)
    }

    #[track_caller]
    fn of(&self, case: &str, id: &str, chart: &str, more: &[&str], words: &[&str]) -> Told {
        let mut guard = self.any.stage.own(&["upgrade", "web", "--install", &self.any.report(), chart]);
        guard.args(crate::stage::QUICK).args(more).current_dir(self.any.stage.temporary.path());
        let told = self.any.fails(guard);
        has(&told.first(id), words);
        assert_eq!(told.report["causes"].as_array().unwrap().len(), 1, "{:#}", told.report["causes"]);
        // Nothing was deployed, and what to do is no look at pods that are not there.
        assert!(!told.report["next"].to_string().contains("kubectl get pods"), "{:#}", told.report["next"]);
        if !case.is_empty() {
            record_deploy(&self.any, self.version, case, &told, None);
        }
        told
    }
}

/// What a chart author's templates and a user's values do to each other.
fn templates_and_values(version: Helm) {
    let broken = Broken::new("values", version);
    let schema = r#"{"type":"object","properties":{"replicas":{"type":"integer"},"image":{"type":"object"}},"additionalProperties":false}"#;
    broken.file("values.schema.json", schema);
    let told = broken.is(
        "values-schema",
        "values-schema",
        &["--set=replicas=x,other=1"],
        &["/replicas", "want integer", "and 1 more", "additional properties 'other'"],
    );
    // The lines after the first are the message, and all of it is in the report.
    has(&told.report["helm"]["error"].to_string(), &["additional properties 'other' not allowed"]);
    std::fs::remove_file(broken.chart.join("values.schema.json")).unwrap();

    let at = "any/templates/all.yaml, line 1";
    broken.template("x: {{ required \"image.tag must be set\" .Values.tag }}");
    broken.is("value-required", "value-required", &[], &["its own words: image.tag must be set", at]);
    broken.template("x: {{ .Values.image.tag }}");
    let words = ["reads .Values.image.tag, and .Values.image is not set", "--set image.tag=…", at];
    let told = broken.is("value-missing", "value-missing", &[], &words);
    has(told.report["reason"].as_str().unwrap(), &["all.yaml:1:", "nil pointer evaluating interface {}.tag"]);
    broken.is("value-type", "value-type", &["--set=image=5"], &[".Values.image has no field tag", at]);
    broken.template("x: {{ range .Values.list }}{{ . }}{{ end }}");
    broken.is("", "value-type", &["--set=list=text"], &["range can't iterate over", at]);
    broken.template("{{- define \"deep\" }}\n{{ .Values.a.b }}\n{{- end }}\nx: {{ include \"deep\" . }}");
    broken.is("", "value-missing", &[], &["any/templates/all.yaml, line 2"]);
    broken.template("x: {{ include \"any.nope\" . }}");
    broken.is(
        "template-failed",
        "template-failed",
        &[],
        &["no template", "any.nope", "helm dependency build"],
    );
    broken.template("x: {{ .Values.a | nope }}");
    broken.is("", "template-failed", &[], &["function", "nope", "not defined", at]);
    broken.template("a: b\n c: d\n");
    let words = ["any/templates/all.yaml does not render to YAML", "line 2", "quote"];
    broken.is("manifest-not-yaml", "manifest-not-yaml", &[], &words);
    broken.template("metadata: {name: x}\n");
    broken.is("manifest-incomplete", "manifest-incomplete", &[], &["no apiVersion and no kind"]);

    broken.template("");
    std::fs::write(broken.any.stage.temporary.path().join("v.yaml"), "a: b\n\tc: d\n").unwrap();
    broken.is(
        "values-unreadable",
        "values-unreadable",
        &["-f=v.yaml"],
        &["v.yaml is not valid YAML", "line 2"],
    );
    broken.is("", "values-unreadable", &["-f=nope.yaml"], &["there is no file nope.yaml"]);
    broken.is("", "values-unreadable", &["--set=a[x]=1"], &["a value of --set cannot be read"]);
}

/// What cannot be loaded, or does not fit this cluster.
fn charts_that_cannot_be_installed(version: Helm) {
    let broken = Broken::new("charts", version);
    let head = "apiVersion: v2\nname: any\nversion: 1.0.0\n";
    broken.file("Chart.yaml", &format!("{head}kubeVersion: \">= 1.99.0\"\n"));
    broken.is(
        "kubernetes-version",
        "kubernetes-version",
        &[],
        &["for Kubernetes >= 1.99.0", "the cluster is v1."],
    );
    let dependency = "dependencies: [{name: redis, version: 1.0.0, repository: \"http://127.0.0.1:9\"}]\n";
    broken.file("Chart.yaml", &format!("{head}{dependency}"));
    broken.is(
        "dependency-missing",
        "dependency-missing",
        &[],
        &["were not fetched: redis", "helm dependency build"],
    );
    broken.file("Chart.yaml", &format!("{head}type: library\n"));
    broken.is("chart-invalid", "chart-invalid", &[], &["library chart"]);
    broken.file("Chart.yaml", "nope");
    broken.is("", "chart-invalid", &[], &["cannot load Chart.yaml"]);
    broken.file("Chart.yaml", head);
    let told = if version == Helm::V3 { "cannot be found" } else { "no post-renderer plugin named" };
    broken.is("post-renderer-failed", "post-renderer-failed", &["--post-renderer=./nope.sh"], &[told]);
    broken.of(
        "plugin-missing",
        "plugin-missing",
        "web",
        &["--repo=s3://bucket"],
        &["addresses of s3://", "helm plugin install"],
    );
}

/// A server of charts that has none, wants credentials below `/secret` and `/v2/secret`, and signs nothing.
fn repository() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend(&buffer[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, more, body) = if path.contains("/secret") {
        ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"charts\"\r\n", "")
    } else if path == "/charts/index.yaml" {
        (
            "200 OK",
            "",
            "apiVersion: v1\nentries: {web: [{name: web, version: 1.0.0, apiVersion: v2, urls: [web-1.0.0.tgz]}]}\n",
        )
    } else if path == "/charts/web-1.0.0.tgz" {
        ("200 OK", "", "no archive")
    } else {
        (
            "404 Not Found",
            "Content-Type: application/json\r\n",
            "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"not known\"}]}",
        )
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

/// Where a chart is not to be had.
fn charts_that_are_not_there(version: Helm) {
    let broken = Broken::new("absent", version);
    let server = repository();
    let repo = format!("--repo=http://{server}/charts");
    let (missing, away) = ("chart-not-found", "chart-unreachable");
    broken.of(missing, missing, "./nope", &[], &["there is no chart at ./nope"]);
    broken.of("", missing, "bitnami/redis", &[], &["under the name bitnami", "helm repo add bitnami"]);
    broken.of("", missing, "nope", &[&repo], &["has no chart nope"]);
    broken.of("", missing, "web", &[&repo, "--version=9.9.9"], &["no version 9.9.9 of the chart web"]);
    broken.of("", missing, &format!("http://{server}/charts/nope.tgz"), &[], &["there is no chart at http"]);
    let none = format!("oci://{server}/none/web");
    broken.of(
        "",
        missing,
        &none,
        &["--plain-http", "--version=1.0.0"],
        &["the registry has no ", "/none/web:1.0.0"],
    );
    let none = format!("--repo=http://{server}/none");
    broken.of(away, away, "web", &[&none], &["cannot be fetched from 127.0.0.1"]);
    broken.of(
        "",
        away,
        "web",
        &["--repo=http://127.0.0.1:1/charts"],
        &["cannot be fetched from 127.0.0.1:1"],
    );
    let secret = format!("--repo=http://{server}/secret");
    let denied = "chart-credentials";
    broken.of(denied, denied, "web", &[&secret], &["requires credentials for the chart", "--password-stdin"]);
    let secret = format!("oci://{server}/secret/web");
    broken.of(
        "",
        denied,
        &secret,
        &["--plain-http", "--version=1.0.0"],
        &["requires credentials", "helm registry login"],
    );
    let unsigned = "chart-not-verified";
    broken.of(unsigned, unsigned, "web", &[&repo, "--verify"], &["provenance"]);
    broken.of("", "chart-invalid", "web", &[&repo], &["does not appear to be"]);
}

/// An object that another release, or a person, made.
fn an_object_of_others_is_named_with_its_owner(version: Helm) {
    let broken = Broken::new("foreign", version);
    let namespace = &broken.any.stage.namespace;
    namespace.apply(&config("keep", json!({})).to_string()).unwrap();
    let told = broken.is(
        "ownership-conflict",
        "ownership-conflict",
        &[],
        &[
            "ConfigMap/keep",
            "was not created by Helm",
            "--take-ownership",
            "kubectl annotate configmap/keep -n ",
        ],
    );
    has(&told.said.err, &["ConfigMap/keep"]);
    // The command that is shown does what it says.
    let remedy =
        told.report["causes"][0]["remedy"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let commands = remedy.strip_prefix("or: ").unwrap().split(" && ");
    for command in commands {
        let words = shlex_split(command);
        namespace.kubectl(words[1..].iter().map(String::as_str)).unwrap();
    }
    Stage::ok(broken.any.guarded(&[config("keep", json!({}))]));

    let mut other = broken.any.stage.own(&["upgrade", "other", "--install", &broken.any.report()]);
    other.arg(&broken.chart).args(crate::stage::QUICK);
    let told = broken.any.fails(other);
    let words = ["belongs to the release web in namespace", namespace.name(), "another name"];
    has(&told.first("ownership-conflict"), &words);
}

fn shlex_split(command: &str) -> Vec<String> {
    command.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect()
}

/// An autoscaler, or a hand, that owns the number of replicas; and a list whose items server-side apply cannot tell apart.
#[test]
fn fields_of_others_and_lists_without_keys_helm4() {
    let any = Any::new("owners", Helm::V4);
    let mut web = crate::diagnose::deployment("web", &[], json!({}));
    web["spec"]["replicas"] = json!(1);
    Stage::ok(any.guarded(&[web.clone()]));
    any.stage.namespace.kubectl(["scale", "deployment", "web", "--replicas=3"]).unwrap();
    web["spec"]["replicas"] = json!(2);
    let told = any.fails(any.deploy(&[web.clone()], &["--timeout=20s"]));
    let words = [".spec.replicas", "leave replicas out of the chart", "kubectl get hpa"];
    has(&told.first("field-conflict"), &words);

    let mut twice = crate::diagnose::deployment("twice", &[], json!({}));
    let container = twice["spec"]["template"]["spec"]["containers"][0].clone();
    twice["spec"]["template"]["spec"]["containers"] = json!([container, container]);
    let told = any.fails(any.deploy(&[twice], &["--timeout=20s"]));
    has(&told.first("apply-not-typed"), &["Deployment/twice", "duplicate entries", "--server-side=false"]);
    record_deploy(&any, Helm::V4, "apply-not-typed", &told, None);
}

/// Helm waits for a claim that no pod uses, and whose class binds when a pod comes.
fn a_claim_that_nothing_binds(version: Helm) {
    let any = Any::new("unbound", version);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "binds-for-a-pod", "resources": {"requests": {"storage": "1Gi"}}},
    });
    let told = any.fails(any.deploy(&[claim], &["--wait", "--timeout=2s"]));
    has(&told.first("claim-pending"), &["PersistentVolumeClaim/data", "binds-for-a-pod"]);
}

crate::with_both_helms! {
    templates_and_values
    charts_that_cannot_be_installed
    charts_that_are_not_there
    an_object_of_others_is_named_with_its_owner
    a_claim_that_nothing_binds
}
