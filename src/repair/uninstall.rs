//! The strategy `uninstall` for a first install: lists what it would delete, and refuses if an object was not created by the
//! release.
//! Pure: what lives is read in `finish_install/objects.rs`.

use serde_json::Value;

use super::{
    Answer, Plan, Step,
    leftovers::{Release, is_marked, was_made_by_helm, was_made_since},
};
use crate::manifest::ObjectKey;

/// Objects that are named in a sentence.
const NAMED: usize = 10;

/// What lives of what an uninstall would delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// All of it.
    pub deletes: Vec<String>,
    /// What of it the release did not make, with the reason.
    pub foreign: Vec<String>,
}

impl Survey {
    /// Adds a living object of the manifest. `since` is when the first record that names it was stored, if anybody knows.
    pub fn add(&mut self, key: &ObjectKey, live: &Value, release: Release<'_>, since: Option<i64>) {
        let policy = live["metadata"]["annotations"]["helm.sh/resource-policy"].as_str().unwrap_or_default();
        if policy.trim().eq_ignore_ascii_case("keep") {
            return;
        }
        self.deletes.push(key.to_string());
        let made = match since {
            _ if !is_marked(live, release) => Err("it does not carry the release's marks"),
            Some(_) => was_made_since(live, since),
            None if was_made_by_helm(live) => Ok(()),
            None => Err("it is unknown whether the install created it"),
        };
        if let Err(why) = made {
            self.foreign.push(format!("{key} ({why})"));
        }
    }
}

/// The plan with what it deletes, or why it must not be done.
pub fn told(plan: Plan, survey: &Survey, alone: bool) -> Answer {
    if !plan.steps.contains(&Step::Uninstall) {
        return Answer::Repair(plan);
    }
    if !survey.foreign.is_empty() {
        let flag = if alone { "--strategy" } else { "--repair" };
        return Answer::Refuse {
            finding: plan.finding,
            why: format!("it would delete what the release did not create: {}", some(&survey.foreign)),
            next: format!("use {flag} auto, which deletes none of it"),
        };
    }
    let deletes = match survey.deletes.len() {
        0 => "none of its objects exists".to_owned(),
        _ => format!("it deletes {}", some(&survey.deletes)),
    };
    Answer::Repair(Plan { why: format!("{}; {deletes}", plan.why), ..plan })
}

fn some(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan() -> Plan {
        Plan { why: "asked for".into(), steps: vec![Step::Uninstall], ..Plan::default() }
    }

    #[test]
    fn what_goes_is_listed_and_what_the_release_did_not_create_is_refused() {
        let release = Release { name: "web", namespace: "shop" };
        let key = |name: &str| ObjectKey {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        let live = |release: &str, created: &str, policy: &str| {
            json!({"metadata": {
                "creationTimestamp": created,
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {
                    "meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "shop",
                    "helm.sh/resource-policy": policy,
                },
            }})
        };
        let later = "1970-01-01T00:01:41Z";
        let mut survey = Survey::default();
        survey.add(&key("own"), &live("web", later, ""), release, Some(100));
        survey.add(&key("kept"), &live("api", later, "keep"), release, Some(100));
        let Answer::Repair(told_plan) = told(plan(), &survey, true) else { panic!() };
        assert_eq!(told_plan.why, "asked for; it deletes ConfigMap/own");
        survey.add(&key("before"), &live("web", "1970-01-01T00:00:09Z", ""), release, Some(100));
        survey.add(&key("other"), &live("api", later, ""), release, Some(100));
        let Answer::Refuse { why, .. } = told(plan(), &survey, true) else { panic!() };
        assert_eq!(
            why,
            "it would delete what the release did not create: ConfigMap/before (it was there before the install), \
             ConfigMap/other (it does not carry the release's marks)"
        );
        let other = Plan { steps: Vec::new(), ..plan() };
        assert_eq!(told(other.clone(), &survey, true), Answer::Repair(other), "nothing is uninstalled");
    }
}
