//! When the run did what, as a drawing that GitHub and GitLab make of Markdown (Mermaid's Gantt chart).
//! Pure. Words in it are ours, or are made harmless.

use super::{Span, Summary};
use crate::text::folded;

/// Shorter runs have nothing to draw, and longer ones have no time of day to be drawn at; seconds.
const RUNS: std::ops::Range<f64> = 1.0..86_400.0;
/// A bar that is a smaller part of the run than this cannot be seen.
const SMALLEST_PART: f64 = 0.005;
/// More bars, of a release with a great many hooks, would be no picture.
const BARS: usize = 40;
/// Characters of a bar's name.
const LONGEST: usize = 60;

/// The chart as a Markdown section; `None` of a run that is short, or not over.
pub(super) fn gantt(summary: &Summary) -> Option<String> {
    summary.outcome?;
    let stages = &summary.stages;
    let (first, last) = (stages.first()?.began_seconds, stages.last()?.began_seconds);
    if !RUNS.contains(&(last - first)) {
        return None;
    }
    let stages = stages.windows(2).map(|pair| Span {
        name: plain(&pair[0].name).to_owned(),
        began_seconds: pair[0].began_seconds,
        ended_seconds: pair[1].began_seconds,
    });
    // Under the stage stands what it was made of. The sort keeps the order of what began at once.
    let mut spans: Vec<Span> = stages.chain(summary.phases.iter().cloned()).collect();
    spans.sort_by(|one, other| one.began_seconds.total_cmp(&other.began_seconds));
    let bars: String = spans
        .iter()
        .map(|span| (&span.name, span.began_seconds - first, span.ended_seconds - first))
        .filter(|(_, from, to)| to - from >= SMALLEST_PART * (last - first))
        .take(BARS)
        .map(|(name, from, to)| format!("  {} :{}, {}\n", words(name), time(from), time(to)))
        .collect();
    // A short run would have the same second at each tick.
    let axis = if last - first < 10.0 { "%S.%L" } else { "%H:%M:%S" };
    let chart = format!("```mermaid\ngantt\n  dateFormat HH:mm:ss.SSS\n  axisFormat {axis}\n{bars}```\n");
    Some(folded("Timeline", &chart))
}

/// A stage's name as the chart takes one: what stands behind a colon, `stopping helm: SIGINT`, would be times.
fn plain(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// A name without what the chart, or Markdown, would take for its own: an object of an undecoded record may be called anything.
fn words(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '.' | '/');
    name.chars().take(LONGEST).map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// As if the run had begun at midnight: the chart knows only times of day, and those are the same in every time zone.
fn time(seconds: f64) -> String {
    let (milliseconds, whole) = ((seconds * 1000.0) as u64 % 1000, seconds as u64);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples as ex;

    #[test]
    fn each_stage_is_a_bar() {
        insta::assert_snapshot!(gantt(&ex::summary(&ex::rebase_repair())).unwrap());
    }

    #[test]
    fn helms_run_is_taken_apart() {
        let mut summary = ex::summary(&ex::rebase_repair());
        let helm = summary.stages.iter().find(|stage| stage.name == "running helm").unwrap().began_seconds;
        summary.phases.clear();
        for (name, from, to) in [
            ("preflight", 0.1, 0.5),
            ("hook Job/migrate", 0.5, 2.0),
            ("rollout", 2.0, 4.0),
            ("hook Job/smoke\n  click x href \"https://evil.example\" :0, 1```", 4.0, 5.0),
        ] {
            let (began_seconds, ended_seconds) = (helm + from, helm + to);
            summary.phases.push(Span { name: name.to_owned(), began_seconds, ended_seconds });
        }
        insta::assert_snapshot!(gantt(&summary).unwrap());
    }

    #[test]
    fn a_run_that_is_not_over_is_not_drawn() {
        assert_eq!(gantt(&ex::summary(&ex::killed())), None);
    }

    #[test]
    fn a_short_run_is_not_drawn() {
        let mut summary = ex::summary(&ex::healthy());
        summary.stages.iter_mut().for_each(|stage| stage.began_seconds /= 100.0);
        assert_eq!(gantt(&summary), None);
    }

    #[test]
    fn a_signal_stands_in_no_bar() {
        let chart = gantt(&ex::summary(&ex::cancelled())).unwrap();
        assert!(chart.contains("  stopping helm :") && !chart.contains("SIGINT"), "{chart}");
    }
}
