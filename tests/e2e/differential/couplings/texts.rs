//! Couplings with what a chart renders to: types and fields, values, the revision, what is looked up, what is made up.

use serde_json::{Value, json};

use super::{Coupling, Draws};
use crate::differential::{
    objects::{config, deployment, frozen, service},
    part::Part,
};

/// A template as it is.
const VALUES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: values
  labels: {word: {{ .Values.word | quote }}}
data:
  {{- toYaml .Values.data | nindent 2 }}
  bare: BARE
  block: |
    {{- .Values.data | toYaml | nindent 4 }}
"#;

pub(super) fn part(draws: Draws) -> Option<Part> {
    let mut part = Part::default();
    match draws.of {
        Coupling::WrongPort => {
            let mut wrong = service("wrong", false);
            wrong["spec"]["ports"][0]["port"] = draws.pick("port", &[80, 99999]).into();
            part.new = vec![wrong];
        }
        Coupling::WrongType => {
            let mut wrong = deployment("wrong", "wrong");
            let paths: [(&str, Value); 9] = [
                ("/spec/replicas", json!("two")),
                ("/spec/replicas", json!(-1)),
                ("/spec/strategy", json!({"type": "Sometimes"})),
                ("/spec/nonsense", json!(1)),
                ("/spec/template/spec/containers/0/imagePullPolicy", json!("Perhaps")),
                ("/spec/template/spec/containers/0/ports", json!([{"containerPort": "http"}])),
                ("/spec/template/spec/containers/0/image", json!(null)),
                ("/spec/selector", json!(null)),
                ("/spec/replicas", json!(1)),
            ];
            let at = draws.pick("field", &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
            let (path, value) = &paths[at];
            let (parent, field) = path.rsplit_once('/').unwrap();
            wrong.pointer_mut(parent).unwrap()[field] = value.clone();
            if draws.chance("lives", 2) {
                part.old = vec![deployment("wrong", "wrong")];
            }
            part.new = vec![wrong];
            if draws.chance("off", 2) {
                part.flags.push("--disable-openapi-validation".to_owned());
            }
        }
        Coupling::Values => {
            let bare = draws.pick("bare", &["1", "yes", "1e3", "\"1\"", "{{ .Values.word }}"]);
            let text = VALUES.replace("BARE", bare);
            part.old = vec![Value::from(VALUES.replace("BARE", "plain"))];
            part.new = vec![Value::from(text)];
            part.old_flags =
                vec!["--set-string=word=first".to_owned(), "--set-string=data.more=old".to_owned()];
            let word = draws.pick("word", &["on", "1e5", "a b", "012", "ünder", "a\u{7f}b"]);
            part.flags = vec![format!("--set-string=word={word}")];
            let modes = ["--reset-values", "--reuse-values", "--reset-then-reuse-values", ""];
            let mode = draws.pick("mode", &modes);
            part.flags.extend((!mode.is_empty()).then(|| mode.to_owned()));
        }
        Coupling::Revision => {
            let mut counted = frozen("counted", "{{ .Release.Revision }}");
            if draws.chance("beside", 2) {
                counted = config("counted", "{{ .Release.Revision }}");
                counted["data"]["b"] = "1".into();
            }
            let named = frozen("named-{{ .Release.Revision }}", "1");
            part.old = vec![counted.clone(), named.clone()];
            if draws.chance("wrong", 3) {
                counted["metadata"]["labels"] = json!({"a": "not a label"});
            }
            part.new = vec![
                counted,
                named,
                config("is-{{ .Release.IsUpgrade }}", "{{ .Capabilities.KubeVersion.Major }}"),
            ];
        }
        Coupling::Random => {
            part.old = vec![config("random", "rnd-{{ randAlphaNum 8 }}")];
            let made = "rnd-{{ randAlphaNum 8 }}";
            part.new =
                vec![if draws.chance("frozen", 2) { frozen("random", made) } else { config("random", made) }];
            if draws.chance("wrong", 3) {
                part.new[0]["metadata"]["labels"] = json!({"a": "not a label"});
            }
        }
        Coupling::Looked => {
            let looked =
                "{{ if lookup `v1` `ConfigMap` .Release.Namespace `there` }}there{{ else }}not{{ end }}";
            part.comes = if draws.chance("there", 2) { vec![config("there", "1")] } else { Vec::new() };
            part.old = vec![frozen("looked", looked)];
            part.new = vec![frozen("looked", looked), config("looked-{{ .Release.Name }}", looked)];
        }
        _ => return None,
    }
    Some(part)
}
