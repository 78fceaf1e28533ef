//! How a dead first install is finished: Helm installs again over the live objects.
//! Pure: the objects are read and written in `finish_install/objects.rs`.
//!
//! An upgrade over such an install would never run its install hooks, and an uninstall deletes what cannot be made again: a
//! password whose volume outlives it, a Deployment that was there before and was taken over. So the dead record is *set
//! aside*: it says `uninstalled`, which makes Helm install over it (`isReleaseUninstalled` in upgrade.go, `availableName` in
//! install.go, with `--replace`). Helm adopts the objects that carry the release's marks and runs all install hooks. The
//! record keeps its manifest and stays in the history, so that after a kill at any moment the next run knows what the dead
//! install made. When an install is complete, the objects that only the dead one made are deleted (`leftovers.rs`).
//!
//! A client-side apply that adopts compares the new manifest with itself (`existingResourceConflict` in validate.go), so it
//! takes no field off, and sends nothing at all for a custom resource. There helm-guard sends before Helm starts what Helm's
//! own merge from the dead manifest would take off. The other ways are worse. A second run of Helm with a substituted base
//! adds a revision, and comes too late for a field that keeps pods from starting while Helm waits. The whole merge instead
//! of its removals would apply the new manifest before the hooks that must run first.

pub mod objects;

use serde_json::{Map, Value};

use super::{Answer, Case, Plan, Step, dead_description};
use crate::{
    helm::Command,
    manifest::merge_keys::{Field, List, Type},
    release::{History, MARK, Record, Status, stored_record::Driver},
};

/// Records since no release was in force, oldest first: the attempts at the install, as far as the history tells.
pub fn attempts(history: &History) -> Vec<&Record> {
    let lives = |record: &&Record| record.is_set_aside() || !record.is_gone();
    let mut found: Vec<&Record> =
        history.records.iter().rev().filter(|record| record.body.is_ok()).take_while(lives).collect();
    found.reverse();
    found
}

/// Records that are set aside, oldest first.
pub fn set_aside(history: &History) -> impl Iterator<Item = &Record> {
    history.records.iter().filter(|record| record.is_set_aside())
}

/// Description of a dead record that keeps its own where that tells how it died.
pub fn death(record: &Record) -> Option<String> {
    match record.status() {
        Status::Uninstalled | Status::Failed if record.is_set_aside() => None,
        _ if record.is_set_aside() => Some(format!("died before it was complete; {MARK}")),
        status => dead_description(status),
    }
}

/// Whether it was helm-guard that marked this record as dead, and what Helm did when it died.
fn died_while(record: &Record, what: &str) -> bool {
    let said = record.body.as_ref().map_or("", |body| body.description.as_str());
    record.status() == Status::Failed
        && said.contains(MARK)
        && said.strip_prefix("died while ").is_some_and(|rest| rest.starts_with(what))
}

impl Plan {
    /// The same for a Helm that does not install over a record which is set aside: all records go, with a copy of each. What
    /// the dead install made is then known to this run only.
    #[must_use]
    pub fn without_setting_aside(self, history: &History) -> Self {
        let others = self.steps.into_iter().filter(|step| matches!(step, Step::Delete { .. }));
        let mut steps: Vec<Step> = others.collect();
        for record in &history.records {
            let delete = Step::Delete { revision: record.revision };
            if !steps.contains(&delete) {
                steps.push(delete);
            }
        }
        let cut_off = "before version 3.15 helm installs over no record: if this run is cut off, what only the dead install \
                       made stays";
        let caveat = [self.caveat.as_str(), cut_off].into_iter().filter(|text| !text.is_empty());
        let caveat = caveat.collect::<Vec<_>>().join("; ");
        Self { steps, caveat, ..self }
    }

    /// The revisions whose objects may live, where Helm installs over them.
    pub fn installs_over(&self) -> Option<&[u32]> {
        self.steps.iter().find_map(|step| match step {
            Step::SetAside { of, .. } => Some(of.as_slice()),
            _ => None,
        })
    }
}

impl Case<'_> {
    /// Is the last revision an install that died before any other was good? A run that was cut off, `repair` or `settle` may
    /// have marked it since.
    pub(super) fn is_dead_first_install(&self, last: &Record) -> bool {
        let died = last.status() == Status::PendingInstall
            || last.is_set_aside()
            || died_while(last, Status::PendingInstall.as_str());
        self.good.is_none() && died
    }

    /// `helm install` needs a name that is free: of an install that died, or of an uninstall.
    pub(super) fn holds_the_name(&self, last: &Record) -> bool {
        let uninstalling =
            last.status() == Status::Uninstalling || died_while(last, Status::Uninstalling.as_str());
        self.is_dead_first_install(last) || (self.good.is_none() && uninstalling)
    }

    /// The dead record is set aside, and Helm installs over what lives.
    pub(super) fn install_over(&self, last: &Record, why: &str) -> Answer {
        let mut steps = self.tidy(Some(last.revision));
        steps.extend(self.listed_behind(last).into_iter().map(|revision| Step::Delete { revision }));
        let deleted = |revision: u32| {
            steps.iter().any(|step| matches!(step, Step::Delete { revision: own } if *own == revision))
        };
        let is_dead = |record: &&Record| self.dead.iter().any(|dead| dead.revision == record.revision);
        let of = attempts(self.question.history);
        let of: Vec<u32> = of
            .into_iter()
            .filter(|record| record.is_set_aside() || is_dead(record))
            .map(|record| record.revision)
            .filter(|revision| !deleted(*revision))
            .collect();
        steps.push(Step::SetAside { revision: last.revision, of });
        let why =
            format!("{why}; helm installs over the live objects and adopts them, and nothing is uninstalled");
        let mut answer = self.plan("finish-install", why, steps);
        let again = last.body.as_ref().map_or(&[][..], |body| &body.hooks).iter();
        let again: Vec<String> =
            again.filter(|hook| hook.is_install() && hook.succeeded()).map(|hook| hook.label()).collect();
        if let (Answer::Repair(plan), false) = (&mut answer, again.is_empty()) {
            plan.caveat = format!("install hooks that succeeded before run once more: {}", again.join(", "));
        }
        answer
    }

    /// Records that `helm upgrade --install` would take for the last one, though they are older: it does not sort them
    /// (`isReleaseUninstalled`). Objects are listed by name, in which v9 stands behind v10; rows in no order.
    fn listed_behind(&self, last: &Record) -> Vec<u32> {
        if self.question.command != Command::Upgrade {
            return Vec::new();
        }
        let name = last.stored.name();
        let records = self.question.history.records.iter().filter(|record| record.body.is_ok());
        let behind = |record: &&Record| last.stored.driver() == Driver::Sql || record.stored.name() > name;
        let others = records.filter(|record| record.revision != last.revision);
        others.filter(behind).map(|record| record.revision).collect()
    }
}

/// Of a strategic merge patch for an object of this type, what takes fields and items off; `None` if nothing does. What the
/// patch adds or changes is Helm's to do, after the hooks that run first.
pub fn removals(own: Type, patch: &Value) -> Option<Value> {
    let Value::Object(fields) = patch else { return patch.is_null().then_some(Value::Null) };
    if fields.get("$patch").is_some_and(|directive| directive == "delete") {
        return Some(patch.clone());
    }
    let kept: Map<String, Value> =
        fields.iter().filter_map(|(name, value)| Some((name.clone(), removal(own, name, value)?))).collect();
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// Is an object as a JSON merge patch would make it?
pub fn changes_nothing(patch: &Value, live: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().all(|(name, value)| match live.get(name) {
            Some(now) => !value.is_null() && changes_nothing(value, now),
            None => value.is_null(),
        }),
        patch => patch == live,
    }
}

fn removal(own: Type, name: &str, value: &Value) -> Option<Value> {
    if let Some(directive) = name.strip_prefix('$') {
        // Values that go from a list of texts.
        return directive.starts_with("deleteFromPrimitiveList/").then(|| value.clone());
    }
    let field = own.field(name);
    let inside = field.map_or(Type::PLAIN, Field::target);
    match (value, field.map(|field| &field.list)) {
        (Value::Array(items), Some(List::Map(keys))) => {
            let kept: Vec<Value> = items.iter().filter_map(|value| item(inside, keys, value)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        // Every other list is replaced as a whole, which takes nothing off by itself.
        (Value::Array(_), _) => None,
        _ => removals(inside, value),
    }
}

/// An item of a merged list, with the fields that tell it from the others.
fn item(own: Type, keys: &[&str], value: &Value) -> Option<Value> {
    let Value::Object(mut kept) = removals(own, value)? else { return None };
    for key in keys {
        if let Some(value) = value.get(key) {
            kept.entry(*key).or_insert_with(|| value.clone());
        }
    }
    Some(Value::Object(kept))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{history, list};
    use super::*;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn for_an_old_helm_the_records_go() {
        let history = history("1 failed, 2 pending-install+hook");
        let steps = vec![Step::SetAside { revision: 2, of: vec![1, 2] }];
        let plan = Plan { steps, ..Plan::default() }.without_setting_aside(&history);
        assert_eq!(list(&plan.steps), "delete 1, delete 2");
        for (version, installs) in [("v3.14.4", false), ("v3.15.0", true), ("v4.0.0", true)] {
            let version = crate::helm::Version::parse(version).unwrap();
            assert_eq!(version.installs_over_uninstalled(), installs, "{}", version.raw);
        }
    }

    #[test]
    fn a_patch_that_changes_nothing_is_not_sent() {
        let live = yaml("{spec: {a: 1, l: [1]}, status: {}}");
        for (patch, nothing) in [
            ("{spec: {a: 1, gone: null}}", true),
            ("{spec: {a: 2}}", false),
            ("{spec: {a: null}}", false),
            ("{spec: {l: [1, 2]}}", false),
            ("{spec: {new: {}}}", false),
        ] {
            assert_eq!(changes_nothing(&yaml(patch), &live), nothing, "{patch}");
        }
    }

    #[test]
    fn of_a_patch_only_what_takes_off_is_kept() {
        let pod = "{spec: {template: {spec: ";
        for (what, patch, wanted) in [
            ("a field goes", "{nodeSelector: null, hostname: a}", "{nodeSelector: null}"),
            ("nothing goes", "{hostname: a, tolerations: [{key: a}]}", "null"),
            (
                "an item goes, another comes",
                "{volumes: [{name: NEW, emptyDir: {}}, {$patch: delete, name: OLD}]}",
                "{volumes: [{$patch: delete, name: OLD}]}",
            ),
            (
                "a field of an item goes",
                "{containers: [{name: web, image: 'web:2', command: null, ports: [{containerPort: 1, protocol: UDP, name: null}]}]}",
                "{containers: [{name: web, command: null, ports: [{containerPort: 1, protocol: UDP, name: null}]}]}",
            ),
            (
                "the key is that of the list: the name of a mount is no key, its path is",
                "{containers: [{name: web, volumeMounts: [{name: v, mountPath: /a, subPath: null}]}]}",
                "{containers: [{name: web, volumeMounts: [{mountPath: /a, subPath: null}]}]}",
            ),
            (
                "directives that only order or keep are Helm's",
                "{volumes: [{name: v, $retainKeys: [name], secret: {secretName: s}}], $setElementOrder/volumes: [{name: v}]}",
                "null",
            ),
        ] {
            let patch = yaml(&format!("{pod}{patch}}}}}}}"));
            let wanted = match wanted {
                "null" => Value::Null,
                wanted => yaml(&format!("{pod}{wanted}}}}}}}")),
            };
            let own = Type::of("apps/v1", "Deployment").unwrap();
            assert_eq!(removals(own, &patch).unwrap_or_default(), wanted, "{what}");
        }
        let patch = yaml("{metadata: {$deleteFromPrimitiveList/finalizers: [a], finalizers: [b]}}");
        let wanted = yaml("{metadata: {$deleteFromPrimitiveList/finalizers: [a]}}");
        assert_eq!(removals(Type::of("v1", "ConfigMap").unwrap(), &patch), Some(wanted));
    }
}
