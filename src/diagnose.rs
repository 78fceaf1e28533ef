//! Why Helm failed, and what to do next.
//! Pure: what Helm said and how the pods are is passed in.

use crate::{helm::Command, report::PodTrouble};

/// What is known of a failure.
#[derive(Clone, Copy, Debug)]
pub struct Trouble<'a> {
    /// What Helm was to do.
    pub command: Command,
    /// Namespace of the release.
    pub namespace: &'a str,
    /// The end of Helm's stderr.
    pub error: &'a str,
    /// Pods that are not ready.
    pub pods: &'a [PodTrouble],
}

impl Trouble<'_> {
    /// Helm's own reason: the line that it prints last, though more may follow when the error has line breaks.
    pub fn reason(&self) -> Option<String> {
        let reason = self.error.lines().rev().find_map(|line| line.strip_prefix("Error: "))?;
        (!reason.trim().is_empty()).then(|| reason.to_owned())
    }

    /// Commands, or advice in a line, the most useful first.
    pub fn next(&self) -> Vec<String> {
        let says = |words: &str| self.error.contains(words);
        let list = format!("helm list --all -n {}", self.namespace);
        if says("has no deployed releases") {
            return vec!["add --install, or check the release's name".to_owned(), list];
        }
        if says("release: not found") {
            let gone = self.command == Command::Uninstall;
            let ignore =
                gone.then(|| "it is gone already: --ignore-not-found makes that a success".to_owned());
            return ignore.into_iter().chain([list]).collect();
        }
        if says("another operation (install/upgrade/rollback) is in progress") {
            return vec!["without --repair off helm-guard would have repaired the release".to_owned()];
        }
        if says("cannot re-use a name that is still in use") {
            return vec!["use upgrade --install, which does either".to_owned()];
        }
        match self.pods.first() {
            Some(pod) => vec![self.look_at(pod)],
            None => vec![format!("kubectl get pods,events -n {}", self.namespace)],
        }
    }

    /// A container that ran has a log; one that never did has only events.
    fn look_at(&self, pod: &PodTrouble) -> String {
        let (name, namespace) = (&pod.pod, self.namespace);
        if pod.restarts == 0 {
            return format!("kubectl describe pod {name} -n {namespace}");
        }
        let container =
            if pod.container.is_empty() { String::new() } else { format!(" -c {}", pod.container) };
        format!("kubectl logs {name}{container} -n {namespace} --previous")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(command: Command, error: &str, pods: &[PodTrouble]) -> Vec<String> {
        Trouble { command, namespace: "shop", error, pods }.next()
    }

    #[test]
    fn the_reason_is_the_last_line_that_helm_calls_an_error() {
        let reason = |error| Trouble { command: Command::Upgrade, namespace: "", error, pods: &[] }.reason();
        assert_eq!(
            reason("coalesce.go: warning\nError: UPGRADE FAILED: a\nb\n").unwrap(),
            "UPGRADE FAILED: a"
        );
        assert_eq!(reason("Error: first\nError: last").unwrap(), "last");
        assert_eq!(reason("panic"), None);
        assert_eq!(reason("Error: "), None);
    }

    #[test]
    fn each_failure_has_its_next_command() {
        let pod = |restarts| PodTrouble {
            pod: "web-1".into(),
            container: "c".into(),
            restarts,
            ..PodTrouble::default()
        };
        let upgrade = |error| next(Command::Upgrade, error, &[]).join("; ");
        assert!(upgrade("Error: UPGRADE FAILED: \"web\" has no deployed releases").contains("--install"));
        assert!(upgrade("Error: cannot re-use a name that is still in use").contains("upgrade --install"));
        assert!(
            upgrade("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
                .contains("--repair")
        );
        assert_eq!(upgrade("Error: x"), "kubectl get pods,events -n shop");
        let gone = "Error: uninstall: Release not loaded: web: release: not found";
        assert!(next(Command::Uninstall, gone, &[])[0].contains("--ignore-not-found"));
        assert_eq!(next(Command::Rollback, "Error: release: not found", &[]), ["helm list --all -n shop"]);
        assert_eq!(
            next(Command::Upgrade, "Error: timed out", &[pod(0)]),
            ["kubectl describe pod web-1 -n shop"]
        );
        assert_eq!(
            next(Command::Upgrade, "Error: timed out", &[pod(3)]),
            ["kubectl logs web-1 -c c -n shop --previous"]
        );
    }
}
