//! How progress reads.

use proptest::prelude::*;

use super::*;
use crate::{text::tests::hostile, workload::PodTrouble};

fn trouble(reason: &str, message: &str, more: usize) -> Trouble {
    Trouble {
        pod: PodTrouble {
            pod: "web-7d9c5b8f6-x2x4z".into(),
            container: if message.is_empty() { String::new() } else { "app".into() },
            reason: reason.into(),
            message: message.into(),
            restarts: 4,
        },
        since: "2026-06-01T10:02:11.5Z".into(),
        lasts: Duration::from_secs(72),
        more,
        is_early: message.is_empty(),
    }
}

fn row(object: &str, ready: u32, wanted: u32, trouble: Option<Trouble>) -> Row {
    Row { object: object.into(), count: Count { ready, wanted }, trouble }
}

fn migrate(ended: Option<Result<(), String>>) -> Hook {
    Hook { uid: "u".into(), object: "Job/migrate".into(), ran: Duration::from_secs(8), ended, trouble: None }
}

const BACK_OFF: &str = "back-off 1m20s restarting failed container";

#[test]
fn a_change_is_a_line() {
    let log = |container: &str| Change::Log {
        hook: "Job/migrate".into(),
        container: container.into(),
        line: "row 1 of 9 \u{1b}[31mred".into(),
    };
    for (change, wanted, stays) in [
        (Change::Row(row("Deployment/web", 3, 3, None)), "rollout: Deployment/web 3/3 ready", false),
        (
            Change::Row(row("Deployment/web", 1, 3, Some(trouble("ContainerCreating", "", 0)))),
            "rollout: Deployment/web 1/3 ready",
            false,
        ),
        (
            Change::Row(row("Deployment/web", 1, 3, Some(trouble("CrashLoopBackOff", BACK_OFF, 1)))),
            "rollout: Deployment/web 1/3 ready: Pod/web-7d9c5b8f6-x2x4z container app: CrashLoopBackOff since \
             2026-06-01T10:02:11Z, and 1 more pod: back-off 1m20s restarting failed container",
            false,
        ),
        (Change::Began("Job/migrate".into()), "hook Job/migrate: started", true),
        (log(""), "hook Job/migrate: log: row 1 of 9 red", true),
        (log("proxy"), "hook Job/migrate: log of proxy: row 1 of 9 red", true),
        (Change::Ended(migrate(Some(Ok(())))), "hook Job/migrate: ended after 8s", true),
        (
            Change::Ended(migrate(Some(Err("Job has reached the specified backoff limit".into())))),
            "hook Job/migrate: failed after 8s: Job has reached the specified backoff limit",
            true,
        ),
        (
            Change::Hidden("pods".into()),
            "rollout: pods may not be listed and watched here: nothing is said of them",
            true,
        ),
        (
            Change::Partial(3),
            "rollout: not all of the release is watched: it would take 3 more watches",
            true,
        ),
        (Change::Enough, "rollout: more changes are not told one by one", false),
    ] {
        assert_eq!(logged(&change), [format!("helm-guard: {wanted}")]);
        assert_eq!(is_drawn(&change), !stays, "{wanted}");
    }
}

fn logged(change: &Change) -> Vec<String> {
    lines(change).iter().flat_map(|line| line.plain(false)).collect()
}

fn plain(lines: Vec<(Severity, String)>) -> Vec<String> {
    lines.into_iter().map(|(_, line)| line).collect()
}

fn told(view: &View, width: Option<usize>) -> String {
    let writes = Writes { count: 12, last: "patch deployments/web".into() };
    plain(table(Awaited::Helm, Duration::from_secs(83), Some(&writes), view, width)).join("\n")
}

#[test]
fn a_table_has_what_is_not_ready() {
    let rows = vec![
        row("ConfigMap/none", 1, 1, None),
        row("StatefulSet/db", 1, 2, Some(trouble("Pending", "", 0))),
        row("Deployment/web", 1, 3, Some(trouble("CrashLoopBackOff", BACK_OFF, 2))),
        row("Deployment/api", 2, 2, None),
        row("Job/seed", 0, 1, None),
    ];
    let view = View { rows, hooks: vec![migrate(None), migrate(Some(Ok(())))] };
    let widths = [("80 columns", Some(80)), ("120 columns", Some(120)), ("unknown width", None)];
    let tables = widths.map(|(name, width)| format!("--- {name}\n{}\n", told(&view, width)));
    insta::assert_snapshot!(tables.concat());
    assert_eq!(
        told(&View::default(), None),
        "helm runs for 1m 23s: 12 writes, the last: patch deployments/web"
    );
}

#[test]
fn a_table_is_a_screen_however_large_the_release() {
    let mut rows: Vec<Row> = (0..300).map(|n| row(&format!("Deployment/d{n}"), 0, 9, None)).collect();
    rows.push(row(
        &format!("Deployment/{}", "x".repeat(200)),
        0,
        1,
        Some(trouble("ErrImagePull", BACK_OFF, 0)),
    ));
    let view = View { rows, hooks: Vec::new() };
    let told = told(&view, Some(80));
    assert_eq!(told.lines().count(), 14, "{told}");
    assert!(told.ends_with("\n  289 more not ready"), "{told}");
    assert!(told.lines().nth(1).is_some_and(|line| line.contains("ErrImagePull")), "{told}");
}

proptest! {
    /// A line that is wider than the terminal takes two of its lines, and what is drawn next to it is wrong.
    #[test]
    fn no_line_is_wider_than_the_terminal(object in ".{0,80}", width in 0usize..150) {
        let bad = trouble("CrashLoopBackOff", BACK_OFF, 2);
        let view = View { rows: vec![row(&object, 0, 1, Some(bad))], hooks: vec![migrate(None)] };
        for (_, line) in table(Awaited::Helm, Duration::ZERO, None, &view, Some(width)) {
            prop_assert!(line.width() <= width, "{:?}", line);
        }
    }

    /// Nobody's text moves the cursor or adds a line.
    #[test]
    fn hostile_text_is_inert(text in hostile()) {
        let bad = trouble(&text, &text, 1);
        let view = View { rows: vec![row(&text, 0, 1, Some(bad.clone()))], hooks: Vec::new() };
        let log = Change::Log { hook: text.clone(), container: text.clone(), line: text.clone() };
        let shown = Change::Row(row(&text, 0, 1, Some(bad)));
        let all = [plain(table(Awaited::Rollout, Duration::ZERO, None, &view, None)), logged(&shown), logged(&log)];
        for line in all.iter().flatten() {
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        }
        prop_assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    }
}
