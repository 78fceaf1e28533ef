use proptest::prelude::*;

use super::*;

/// Run `number` of the line, in its `attempt`.
fn run(number: u64, attempt: u64) -> Holder {
    Holder {
        operation: "upgrade".into(),
        release: "web".into(),
        owner: Owner {
            repository: "shop/web".into(),
            workflow_file: ".github/workflows/deploy.yml".into(),
            git_ref: "refs/heads/main".into(),
            run_url: format!("https://ci.example/runs/{number}"),
            run_id: (1000 + number).to_string(),
            run_number: number.to_string(),
            run_attempt: attempt.to_string(),
            commit: "4f1c0d9a7b3e55".into(),
            actor: "mona".into(),
            ..Owner::default()
        },
        ..Holder::default()
    }
}

/// What happens to a line, and to whom.
#[derive(Clone, Copy, Debug)]
enum Step {
    Comes(u64),
    Starts(u64),
    /// Its Helm had started, or not; it gives the lock back without having deployed.
    Ends(u64),
    Deploys(u64),
}
use Step::{Comes, Deploys, Ends, Starts};

fn after(steps: &[Step]) -> Lines {
    let mut lines = Lines::default();
    for step in steps {
        match *step {
            Comes(number) => lines.enter(&run(number, 1)),
            Starts(number) => lines.start(&run(number, 1)),
            Ends(number) => lines.leave(&run(number, 1), None),
            Deploys(number) => {
                lines.start(&run(number, 1));
                lines.leave(&run(number, 1), Some("2026-06-01T10:02:11.5Z"));
            }
        }
        // As the next process finds it.
        lines = Lines::parse(&lines.render());
    }
    lines
}

fn word(place: &Place) -> String {
    match place {
        Place::Current => "current".into(),
        Place::Behind(newer) => format!("behind {}", newer.number),
        Place::Outdated(Newer::Deployed(deployed)) => format!("outdated: {} deployed", deployed.run.number),
        Place::Outdated(Newer::Started(run)) => format!("outdated: {} started", run.number),
        Place::Outdated(Newer::Alive(run)) => format!("outdated: {} alive", run.number),
    }
}

#[test]
fn a_run_is_outdated_by_what_newer_ones_did() {
    type Run = (u64, u64);
    let rows: [(&str, &[Step], Run, &str); 15] = [
        ("the first of all", &[], (7, 1), "current"),
        ("newer than all", &[Comes(6), Deploys(6)], (7, 1), "current"),
        ("another job of the run that deployed", &[Comes(7), Deploys(7)], (7, 1), "current"),
        ("older than what was deployed", &[Comes(8), Deploys(8)], (7, 1), "outdated: 8 deployed"),
        ("older than one whose Helm has started", &[Comes(8), Starts(8)], (7, 1), "outdated: 8 started"),
        ("also when that failed", &[Comes(8), Starts(8), Ends(8)], (7, 1), "outdated: 8 started"),
        ("older than one that has come", &[Comes(8)], (7, 1), "behind 8"),
        ("a newer one that ended before its Helm started", &[Comes(8), Ends(8)], (7, 1), "current"),
        (
            "and what was deployed before it",
            &[Comes(8), Deploys(8), Comes(9), Ends(9)],
            (7, 1),
            "outdated: 8 deployed",
        ),
        ("the newest counts, not the last", &[Comes(9), Comes(8)], (7, 1), "behind 9"),
        ("run again on purpose", &[Comes(8), Deploys(8)], (7, 2), "current"),
        ("after somebody went back on purpose", &[Deploys(9), Deploys(6)], (7, 1), "outdated: 9 started"),
        ("the one that was gone back behind", &[Deploys(9), Deploys(6)], (9, 1), "current"),
        ("the one after it", &[Deploys(9), Deploys(6)], (10, 1), "current"),
        ("one that came, ended and came again", &[Comes(8), Ends(8), Comes(8)], (7, 1), "behind 8"),
    ];
    for (why, steps, (number, attempt), wanted) in rows {
        assert_eq!(word(&after(steps).place(&run(number, attempt))), wanted, "{why}");
    }
}

#[test]
fn numbers_compare_only_within_one_line() {
    let lines = after(&[Comes(8), Deploys(8)]);
    type Change = fn(&mut Holder);
    let others: [(&str, Change); 7] = [
        ("another release under the same lock", |me| me.release = "api".into()),
        ("another repository", |me| me.owner.repository = "shop/other".into()),
        ("another workflow", |me| me.owner.workflow_file = ".github/workflows/hotfix.yml".into()),
        ("another ref", |me| me.owner.git_ref = "refs/heads/release".into()),
        ("no number", |me| me.owner.run_number = String::new()),
        ("no workflow", |me| me.owner.workflow_file = String::new()),
        ("no deploy", |me| me.operation = "lock run sh".into()),
    ];
    for (why, change) in others {
        let mut me = run(7, 1);
        change(&mut me);
        assert_eq!(lines.place(&me), Place::Current, "{why}");
    }
    let mut me = run(7, 1);
    me.operation = "upgrade in lock run sh".into();
    assert_eq!(word(&lines.place(&me)), "outdated: 8 deployed", "a deploy under another hold is one");
}

#[test]
fn who_is_newest_is_put_down_once() {
    let lines = after(&[Comes(7)]);
    for (number, lacks) in [(6, false), (7, false), (8, true)] {
        assert_eq!(lines.lacks(&run(number, 1)), lacks, "{number}");
    }
    assert!(Lines::default().lacks(&run(1, 1)));
    for (steps, awaits) in
        [(&[Comes(7)][..], true), (&[Comes(8)], false), (&[Comes(7), Ends(7)], false), (&[], false)]
    {
        assert_eq!(after(steps).awaits(&run(7, 1)), awaits, "{steps:?}");
    }
    let mut person = run(9, 1);
    person.owner = Owner { name: "ada@laptop".into(), ..Owner::default() };
    assert!(!lines.lacks(&person), "a person has no number");
    let mut untouched = Lines::default();
    untouched.enter(&person);
    untouched.start(&person);
    untouched.leave(&person, Some("now"));
    assert!(untouched.is_empty());
}

#[test]
fn the_reason_names_the_newer_run_and_what_it_did() {
    let mut gone = run(8, 1);
    gone.operation = "uninstall".into();
    let mut lines = Lines::default();
    lines.leave(&gone, Some("2026-06-01T10:02:11.5Z"));
    let mut said = Vec::new();
    for lines in [after(&[Deploys(8)]), after(&[Starts(8)]), lines] {
        let Place::Outdated(newer) = lines.place(&run(7, 1)) else { panic!() };
        said.push(newer.why());
    }
    said.push(Newer::Alive(Run::of(8, &run(8, 1).owner)).why());
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn an_annotation_that_anybody_wrote_is_read_or_is_nothing() {
    for text in ["", "{", "[1]", "[{\"newest\":{\"number\":-1}}]", "null", &"[".repeat(100_000)] {
        assert!(Lines::parse(text).is_empty(), "{text:.20}");
    }
    let odd = r#"[{"release":"web","repository":"shop/web","workflow":".github/workflows/deploy.yml",
        "ref":"refs/heads/main","newest":{"number":8,"new":1},"later":true}]"#;
    assert_eq!(word(&Lines::parse(odd).place(&run(7, 1))), "behind 8", "of a later version");
}

#[test]
fn old_lines_are_forgotten_before_new_ones() {
    let mut lines = after(&[Comes(8), Deploys(8)]);
    let tag = |n: usize| {
        let mut me = run(1, 1);
        me.owner.git_ref = format!("refs/tags/v{n}{}", "x".repeat(1000));
        me
    };
    for n in 0..LINES - 1 {
        lines.enter(&tag(n));
    }
    assert_eq!(word(&lines.place(&run(7, 1))), "outdated: 8 deployed");
    lines.enter(&tag(LINES));
    assert_eq!(lines.place(&run(7, 1)), Place::Current);
    assert!(lines.render().len() < LONGEST / 2);
}

proptest! {
    /// Whatever came before: what has started is never outdated by less, and the newest run of all is never in anybody's way.
    #[test]
    fn the_newest_is_current_and_what_started_outdates_all_older(
        steps in proptest::collection::vec((0..4u8, 1..20u64), 0..40), number in 1..20u64,
    ) {
        let steps: Vec<Step> = steps.into_iter().map(|(what, number)| match what {
            0 => Comes(number),
            1 => Starts(number),
            2 => Ends(number),
            _ => Deploys(number),
        }).collect();
        let lines = after(&steps);
        prop_assert_eq!(lines.place(&run(20, 1)), Place::Current);
        let started = steps.iter().filter_map(|step| match step {
            Starts(number) | Deploys(number) => Some(*number),
            Comes(_) | Ends(_) => None,
        }).max();
        let is_outdated = matches!(lines.place(&run(number, 1)), Place::Outdated(_));
        prop_assert_eq!(is_outdated, started.is_some_and(|started| started > number));
        prop_assert_eq!(lines.place(&run(number, 2)), Place::Current);
    }

    #[test]
    fn any_text_is_read(text in ".{0,200}") {
        let _ = Lines::parse(&text).place(&run(1, 1));
    }
}
