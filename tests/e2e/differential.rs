//! What plain Helm does, helm-guard does. Releases whose objects depend on each other, and flags, are drawn by a seed; plain
//! Helm deploys them in one namespace, helm-guard in another, step by step.
//!
//! * Where plain Helm succeeds, helm-guard does: with the same objects, and the same records.
//! * Where helm-guard refuses, plain Helm fails, and in helm-guard's namespace nothing has changed.
//! * Where both fail, they fail alike: exit code, objects, records.
//!
//! How many of the failures were foreseen is printed, apart from those that Helm itself sees before it writes: recall. How many
//! refusals were right is asserted: all of them.

mod couplings;
mod live;
mod objects;
mod part;
mod rows;
mod side;
mod story;
mod tally;

use std::{
    panic::catch_unwind,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use testbed::tools::Helm;

use crate::sweep::points;
use live::Live;
use side::{Done, Side};
use story::{Step, Story};
use tally::{How, Tally};

/// Points that are played at the same time.
const AT_ONCE: usize = 3;

/// Does the story go on?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Step,
    End,
}

/// Plays a story on both sides. Gives the first difference, if there is one.
fn play(story: &Story, version: Helm, tally: &mut Tally) -> Option<String> {
    let (mut plain, mut guard) = thread::scope(|scope| {
        let plain = scope.spawn(|| Side::new(story, version, false));
        let guard = Side::new(story, version, true);
        (plain.join().unwrap(), guard)
    });
    tally.stories += 1;
    let mut before = guard.live();
    for step in &story.steps {
        let done = thread::scope(|scope| {
            let plain = scope.spawn(|| plain.does(*step));
            let guard = guard.does(*step);
            plain.join().unwrap().zip(guard)
        });
        let Some((plained, guarded)) = done else {
            before = guard.live();
            continue;
        };
        match compare(story, *step, &before, (&plained, &guarded), tally) {
            Err(fault) => {
                let both = format!("plain helm: {}\nhelm-guard: {}", plained.said.err, guarded.said.err);
                return Some(format!("{step:?}: {fault}\n{}\n{both}", story.told()));
            }
            Ok(Next::End) => return None,
            Ok(Next::Step) => before = guarded.live,
        }
    }
    None
}

/// Holds a step of helm-guard against the same one of plain Helm. `before`: what helm-guard's side had.
fn compare(
    story: &Story,
    step: Step,
    before: &Live,
    (plain, guard): (&Done, &Done),
    tally: &mut Tally,
) -> Result<Next, String> {
    let is_deploy = matches!(step, Step::Old | Step::New);
    tally.other_steps += u32::from(!is_deploy);
    let mut count = |how| {
        if is_deploy {
            tally.add(how, &guard.findings);
        }
    };
    let refused = guard.said.code == Some(i32::from(helm_guard::exit::REFUSED));
    let same = |what: &str, differences: Vec<String>| match differences[..] {
        [] => Ok(()),
        _ => Err(format!("{what}:\n  {}", differences.join("\n  "))),
    };
    if plain.said.code == Some(0) {
        if refused {
            count(How::RefusedWrongly);
        }
        if guard.said.code != Some(0) {
            return Err("plain Helm succeeds, helm-guard does not".to_owned());
        }
        same("helm-guard's side is not as plain Helm's", guard.live.differences(&plain.live))?;
        count(How::Succeeds);
        return Ok(Next::Step);
    }
    if refused {
        same("a refusal changes nothing", guard.live.differences(before))?;
        count(How::RefusedRightly);
        let left = plain.live.differences(before);
        let certain = guard.findings.iter().filter(|finding| finding["certain"] == true);
        let mut names = certain.filter_map(|finding| finding["object"].as_str()?.rsplit('/').next());
        tally.spare(left.len(), names.any(|name| plain.said.err.contains(name)));
        return Ok(Next::End);
    }
    if guard.said.code != plain.said.code {
        return Err(format!("exit codes {:?} of plain Helm and {:?}", plain.said.code, guard.said.code));
    }
    same("helm-guard's side is not as plain Helm's", guard.live.differences(&plain.live))?;
    let doubts = guard.findings.iter().any(|finding| finding["doubt"].is_string());
    match (doubts, plain.live == *before) {
        (_, true) => count(How::SeenByHelm),
        (true, false) => count(How::WarnedOf),
        (false, false) => {
            count(How::NotForeseen);
            if is_deploy {
                let error = plain.said.err.lines().rfind(|line| line.contains("rror")).unwrap_or_default();
                let error: String = testbed::normalise(error).chars().take(160).collect();
                tally.not_foreseen(format!("{:?}: {error}", story.couplings));
            }
        }
    }
    // helm-guard repairs a first install that failed, which plain Helm does not.
    let goes_on = plain.live.is_deployed() || plain.live.records.is_empty();
    Ok(if goes_on { Next::Step } else { Next::End })
}

/// A story that differs is played once more: on a machine that has too much to do time decides, too.
fn twice(story: &Story, version: Helm) -> Tally {
    let mut tally = Tally::default();
    let Some(fault) = play(story, version, &mut tally) else { return tally };
    println!("{} differs; once more", story.name);
    let mut again = Tally::default();
    match play(story, version, &mut again) {
        Some(fault) => {
            println!("FAULT {fault}\n");
            again.faults.push(fault);
        }
        None => {
            println!("UNSTEADY {fault}\n");
            again.unsteady.push(story.name.clone());
        }
    }
    again
}

/// The points of a run: chosen ones, or so many. Helm 3 and Helm 4 see different ones in a short run.
fn chosen(version: Helm) -> Vec<u64> {
    match std::env::var("HELM_GUARD_DIFFERENTIAL_POINTS") {
        Ok(chosen) => chosen.split(',').map(|number| number.parse().unwrap()).collect(),
        Err(_) => {
            let points = points("differential").div_ceil(2);
            (0..points).map(|point| 2 * point + u64::from(version == Helm::V4)).collect()
        }
    }
}

fn what_plain_helm_does_anywhere(version: Helm) {
    let chosen = chosen(version);
    let next = AtomicUsize::new(0);
    let whole = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(point) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let story = Story::draw(*point, version);
                    println!("{}: {:?} {:?}", story.name, story.couplings, story.steps);
                    // One story that cannot be played must not hide what the others say.
                    let played = catch_unwind(|| twice(&story, version));
                    let tally = played
                        .unwrap_or_else(|_| Tally::fault(format!("cannot be played: {}", story.told())));
                    let mut whole = whole.lock().unwrap();
                    whole.merge(tally);
                    // A long run may be ended.
                    if whole.stories.is_multiple_of(50) {
                        println!("so far, {version:?}: {whole}");
                    }
                }
            });
        }
    });
    let whole = whole.into_inner().unwrap();
    println!("differential, {version:?}: {whole}");
    assert!(whole.faults.is_empty(), "{}", whole.faults.join("\n\n"));
}

/// What was found is held, each in the smallest story that showed it.
fn what_was_found(version: Helm) {
    for row in rows::ROWS {
        let tally = twice(&row.story(), version);
        assert!(tally.faults.is_empty(), "{}", tally.faults.join("\n\n"));
        assert_eq!(tally.last, Some(row.wanted(version)), "{}: {tally}", row.story().name);
    }
}

crate::with_both_helms! { what_plain_helm_does_anywhere what_was_found }
