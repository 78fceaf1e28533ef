//! Converts an object of a removed API version to the version that replaced it.
//! Pure. Kubernetes' own kinds whose fields differ between the two are here; all others keep their fields.
//!
//! Helm merges from the fields that the old manifest has, so what moved to another place must stand there, else it would stay
//! when the new manifest does not want it; and Helm can go back to the revision only if the API server takes its objects.

use serde_json::{Map, Value, json};

/// The object in its new version.
pub fn converted(object: &Value, to: &str) -> Value {
    let from = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let mut new = object.clone();
    new["apiVersion"] = to.into();
    let kind = object["kind"].as_str().unwrap_or_default();
    match (from.as_str(), kind) {
        ("extensions/v1beta1" | "networking.k8s.io/v1beta1", "Ingress") => ingress(&mut new),
        ("autoscaling/v2beta1", "HorizontalPodAutoscaler") => autoscaler(&mut new),
        (
            "extensions/v1beta1" | "apps/v1beta1" | "apps/v1beta2",
            "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet",
        ) => workload(&mut new),
        (
            "flowcontrol.apiserver.k8s.io/v1beta1" | "flowcontrol.apiserver.k8s.io/v1beta2",
            "PriorityLevelConfiguration",
        ) => {
            if let Some(limited) = new.pointer_mut("/spec/limited").and_then(Value::as_object_mut) {
                rename(limited, "assuredConcurrencyShares", "nominalConcurrencyShares");
            }
        }
        ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition") => definition(&mut new),
        _ => {}
    }
    new
}

fn rename(fields: &mut Map<String, Value>, old: &str, new: &str) {
    if let Some(value) = fields.remove(old) {
        fields.entry(new).or_insert(value);
    }
}

fn ingress(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    rename(spec, "backend", "defaultBackend");
    if let Some(default) = spec.get_mut("defaultBackend") {
        backend(default);
    }
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    for rule in rules {
        let paths = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut).into_iter().flatten();
        for path in paths {
            if let Some(path) = path.as_object_mut() {
                path.entry("pathType").or_insert_with(|| "ImplementationSpecific".into());
                path.get_mut("backend").into_iter().for_each(backend);
            }
        }
    }
}

fn backend(backend: &mut Value) {
    let Some(fields) = backend.as_object_mut() else { return };
    let (name, port) = (fields.remove("serviceName"), fields.remove("servicePort"));
    let Some(name) = name else { return };
    let mut service = json!({ "name": name });
    match port {
        Some(Value::Number(number)) => service["port"] = json!({ "number": number }),
        Some(Value::String(name)) => {
            // Helm's values make texts of numbers.
            service["port"] = match name.parse::<u16>() {
                Ok(number) => json!({ "number": number }),
                Err(_) => json!({ "name": name }),
            };
        }
        _ => {}
    }
    fields.insert("service".into(), service);
}

fn autoscaler(object: &mut Value) {
    let metrics = object.pointer_mut("/spec/metrics").and_then(Value::as_array_mut).into_iter().flatten();
    for metric in metrics {
        for source in ["resource", "containerResource", "pods", "object", "external"] {
            if let Some(fields) = metric.get_mut(source).and_then(Value::as_object_mut) {
                source_of_metric(source, fields);
            }
        }
    }
}

fn source_of_metric(source: &str, fields: &mut Map<String, Value>) {
    if fields.get("target").is_some_and(|target| source == "object" && target.get("kind").is_some()) {
        rename(fields, "target", "describedObject");
    }
    let mut target = Map::new();
    for (old, of_type, new) in [
        ("targetAverageUtilization", "Utilization", "averageUtilization"),
        ("targetAverageValue", "AverageValue", "averageValue"),
        ("averageValue", "AverageValue", "averageValue"),
        ("targetValue", "Value", "value"),
    ] {
        if let Some(value) = fields.remove(old) {
            target.insert("type".into(), of_type.into());
            target.insert(new.into(), value);
        }
    }
    if !target.is_empty() {
        fields.insert("target".into(), Value::Object(target));
    }
    if !matches!(source, "resource" | "containerResource")
        && let Some(name) = fields.remove("metricName")
    {
        let mut metric = json!({ "name": name });
        if let Some(selector) = fields.remove("selector").or_else(|| fields.remove("metricSelector")) {
            metric["selector"] = selector;
        }
        fields.insert("metric".into(), metric);
    }
}

/// The old versions took the selector from the labels of the pods.
fn workload(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.remove("rollbackTo");
    spec.remove("templateGeneration");
    if let Some(labels) = labels.filter(|_| spec.get("selector").is_none_or(Value::is_null)) {
        spec.insert("selector".into(), json!({ "matchLabels": labels }));
    }
}

/// What was said once for all versions is said for each.
fn definition(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let version = spec.remove("version");
    if spec.get("versions").is_none_or(Value::is_null)
        && let Some(name) = version
    {
        spec.insert("versions".into(), json!([{ "name": name, "served": true, "storage": true }]));
    }
    let (schema, subresources) = (spec.remove("validation"), spec.remove("subresources"));
    let columns = spec.remove("additionalPrinterColumns");
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten();
    for version in versions.filter_map(Value::as_object_mut) {
        for (name, value) in
            [("schema", &schema), ("subresources", &subresources), ("additionalPrinterColumns", &columns)]
        {
            if let Some(value) = value {
                version.entry(name).or_insert_with(|| value.clone());
            }
        }
        let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
        for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
            rename(column, "JSONPath", "jsonPath");
        }
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        let client = conversion.remove("webhookClientConfig");
        let reviews = conversion.remove("conversionReviewVersions");
        if client.is_some() || reviews.is_some() {
            let mut webhook = Map::new();
            webhook.extend(client.map(|client| ("clientConfig".to_owned(), client)));
            webhook.extend(reviews.map(|reviews| ("conversionReviewVersions".to_owned(), reviews)));
            conversion.insert("webhook".into(), Value::Object(webhook));
        }
    }
}

/// An object of a custom kind without the fields that the new version of it lacks as it lives: nobody here knows where they
/// have moved to. Helm patches these kinds from manifest to manifest, and would take a field that both manifests have for one
/// that lives.
pub fn within(object: &Value, live: &Value) -> Value {
    let Some(fields) = object.as_object() else { return object.clone() };
    let kept = fields.iter().filter_map(|(name, value)| match live.get(name) {
        Some(now) if name == "metadata" || !is_identity(name) => Some((name.clone(), within(value, now))),
        Some(_) => Some((name.clone(), value.clone())),
        None if is_identity(name) || is_empty(value) => Some((name.clone(), value.clone())),
        None => None,
    });
    Value::Object(kept.collect())
}

fn is_identity(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata" | "name" | "namespace")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn fields_that_moved_stand_where_the_new_version_has_them() {
        for (what, to, old, new) in [
            (
                "an ingress",
                "networking.k8s.io/v1",
                "{apiVersion: networking.k8s.io/v1beta1, kind: Ingress, spec: {backend: {serviceName: d, servicePort: http}, \
                 rules: [{host: a, http: {paths: [{path: /, backend: {serviceName: s, servicePort: 80}}, \
                 {path: /b, pathType: Prefix, backend: {serviceName: s, servicePort: '81'}}, \
                 {path: /c, backend: {resource: {kind: B, name: b}}}]}}]}}",
                "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {defaultBackend: {service: {name: d, port: {name: http}}}, \
                 rules: [{host: a, http: {paths: [\
                 {path: /, pathType: ImplementationSpecific, backend: {service: {name: s, port: {number: 80}}}}, \
                 {path: /b, pathType: Prefix, backend: {service: {name: s, port: {number: 81}}}}, \
                 {path: /c, pathType: ImplementationSpecific, backend: {resource: {kind: B, name: b}}}]}}]}}",
            ),
            (
                "an autoscaler",
                "autoscaling/v2",
                "{apiVersion: autoscaling/v2beta1, kind: HorizontalPodAutoscaler, spec: {metrics: [\
                 {type: Resource, resource: {name: cpu, targetAverageUtilization: 80}}, \
                 {type: Pods, pods: {metricName: m, targetAverageValue: 1k}}, \
                 {type: Object, object: {metricName: m, target: {kind: Service, name: s}, targetValue: 2}}, \
                 {type: External, external: {metricName: m, metricSelector: {matchLabels: {a: b}}, targetValue: 3}}]}}",
                "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {metrics: [\
                 {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}, \
                 {type: Pods, pods: {metric: {name: m}, target: {type: AverageValue, averageValue: 1k}}}, \
                 {type: Object, object: {metric: {name: m}, describedObject: {kind: Service, name: s}, \
                 target: {type: Value, value: 2}}}, \
                 {type: External, external: {metric: {name: m, selector: {matchLabels: {a: b}}}, \
                 target: {type: Value, value: 3}}}]}}",
            ),
            (
                "a workload",
                "apps/v1",
                "{apiVersion: extensions/v1beta1, kind: Deployment, spec: {rollbackTo: {revision: 1}, \
                 template: {metadata: {labels: {a: b}}}}}",
                "{apiVersion: apps/v1, kind: Deployment, spec: {selector: {matchLabels: {a: b}}, \
                 template: {metadata: {labels: {a: b}}}}}",
            ),
            (
                "a priority level",
                "flowcontrol.apiserver.k8s.io/v1",
                "{apiVersion: flowcontrol.apiserver.k8s.io/v1beta2, kind: PriorityLevelConfiguration, \
                 spec: {limited: {assuredConcurrencyShares: 5}}}",
                "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, \
                 spec: {limited: {nominalConcurrencyShares: 5}}}",
            ),
            (
                "a definition",
                "apiextensions.k8s.io/v1",
                "{apiVersion: apiextensions.k8s.io/v1beta1, kind: CustomResourceDefinition, spec: {group: g, version: v1, \
                 validation: {openAPIV3Schema: {type: object}}, subresources: {status: {}}, \
                 additionalPrinterColumns: [{name: A, JSONPath: .a}], \
                 conversion: {strategy: Webhook, webhookClientConfig: {url: u}, conversionReviewVersions: [v1]}}}",
                "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, spec: {group: g, \
                 versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}, \
                 subresources: {status: {}}, additionalPrinterColumns: [{name: A, jsonPath: .a}]}], \
                 conversion: {strategy: Webhook, webhook: {clientConfig: {url: u}, conversionReviewVersions: [v1]}}}}",
            ),
            (
                "what has the same fields in both",
                "policy/v1",
                "{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, spec: {minAvailable: 1}}",
                "{apiVersion: policy/v1, kind: PodDisruptionBudget, spec: {minAvailable: 1}}",
            ),
        ] {
            assert_eq!(converted(&yaml(old), to), yaml(new), "{what}");
            let twice = converted(&converted(&yaml(old), to), to);
            assert_eq!(twice, yaml(new), "{what}, twice");
        }
    }

    #[test]
    fn of_a_custom_kind_only_what_lives_in_the_new_version_is_kept() {
        let old = yaml(
            "{apiVersion: g/v1, kind: W, metadata: {name: w, labels: {a: b}}, spec: {size: 3, same: 1, list: [1], none: {}, in: {x: 1, y: 2}}}",
        );
        let live = yaml(
            "{apiVersion: g/v1, kind: W, metadata: {name: w, uid: u, labels: {a: c}}, spec: {replicas: 3, same: 2, list: [2], in: {y: 9}}}",
        );
        let expected = yaml(
            "{apiVersion: g/v1, kind: W, metadata: {name: w, labels: {a: b}}, spec: {same: 1, list: [1], none: {}, in: {y: 2}}}",
        );
        assert_eq!(within(&old, &live), expected);
    }
}
