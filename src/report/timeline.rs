//! When the run did what, as a drawing that GitHub and GitLab make of Markdown (Mermaid's Gantt chart).
//! Pure. All words in it are ours: names from elsewhere have no place there.

use super::{Summary, github::folded};

/// Shorter runs have nothing to draw, and longer ones have no time of day to be drawn at; seconds.
const RUNS: std::ops::Range<f64> = 1.0..86_400.0;
/// A bar that is a smaller part of the run than this cannot be seen.
const SMALLEST_PART: f64 = 0.005;

/// The chart as a Markdown section; `None` of a run that is short, or not over.
pub(super) fn gantt(summary: &Summary) -> Option<String> {
    summary.outcome?;
    let stages = &summary.stages;
    let (first, last) = (stages.first()?.began_seconds, stages.last()?.began_seconds);
    if !RUNS.contains(&(last - first)) {
        return None;
    }
    let bars: String = stages
        .windows(2)
        .map(|pair| (&pair[0].name, pair[0].began_seconds - first, pair[1].began_seconds - first))
        .filter(|(_, from, to)| to - from >= SMALLEST_PART * (last - first))
        .map(|(name, from, to)| format!("  {} :{}, {}\n", plain(name), time(from), time(to)))
        .collect();
    let chart = format!("```mermaid\ngantt\n  dateFormat HH:mm:ss.SSS\n  axisFormat %H:%M:%S\n{bars}```\n");
    Some(folded("Timeline", &chart))
}

/// A stage's name as the chart takes one: what stands behind a colon, `stopping helm: SIGINT`, would be times.
fn plain(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
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
