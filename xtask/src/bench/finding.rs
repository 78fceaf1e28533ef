//! What was measured against which limit, as a table and as JSON.

use serde_json::{Value, json};
use testbed::tools::Helm;

use super::stats::Samples;
use crate::{lab::major, screen::Screen};

/// Of a finding's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Ratio,
    Percent,
    Milliseconds,
    Megabytes,
    Requests,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.2}x"),
            Self::Percent => format!("{value:.2} %"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Megabytes => format!("{value:.2} MB"),
            Self::Requests => format!("{value:.0}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Percent => "percent",
            Self::Milliseconds => "milliseconds",
            Self::Megabytes => "megabytes",
            Self::Requests => "requests",
        }
    }
}

/// One measured thing. Its value is the median of its samples, unless its largest counts.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    what: String,
    helm: Option<Helm>,
    unit: Unit,
    samples: Samples,
    /// Seconds, raw and guarded, of which the samples are ratios.
    pair: Option<[Samples; 2]>,
    limit: f64,
    largest_counts: bool,
    /// The smallest and the largest are shown, not the quartiles.
    extremes: bool,
}

impl Finding {
    /// Seconds, raw and guarded, from as many rounds.
    pub(crate) fn pairs(what: impl Into<String>, helm: Option<Helm>, pair: [Samples; 2], limit: f64) -> Self {
        let samples = pair[1].per(&pair[0]);
        Self { helm, pair: Some(pair), ..Self::single(what, Unit::Ratio, samples, limit) }
    }

    /// The same where what is guarded is a small part of what is raw.
    pub(crate) fn shares(
        what: impl Into<String>,
        helm: Option<Helm>,
        pair: [Samples; 2],
        limit: f64,
    ) -> Self {
        let mut finding = Self::pairs(what, helm, pair, limit);
        (finding.unit, finding.samples) = (Unit::Percent, finding.samples.times(100.0));
        finding
    }

    pub(crate) fn single(what: impl Into<String>, unit: Unit, samples: Samples, limit: f64) -> Self {
        let what = what.into();
        Self { what, helm: None, unit, samples, pair: None, limit, largest_counts: false, extremes: false }
    }

    /// Measured with one Helm.
    pub(crate) fn of(self, helm: Helm) -> Self {
        Self { helm: Some(helm), ..self }
    }

    /// For what must never be more.
    pub(crate) fn by_its_largest(self) -> Self {
        Self { largest_counts: true, ..self }
    }

    /// For what is read round by round.
    pub(crate) fn by_extremes(self) -> Self {
        Self { extremes: true, ..self }
    }

    pub(crate) fn name(&self) -> String {
        match self.helm {
            Some(helm) => format!("{}, Helm {}", self.what, major(helm)),
            None => self.what.clone(),
        }
    }

    fn value(&self) -> f64 {
        if self.largest_counts { self.samples.largest() } else { self.samples.median() }
    }

    /// It meets its limit.
    pub(crate) fn within(&self) -> bool {
        self.value() <= self.limit
    }

    fn row(&self, screen: &Screen) -> String {
        let [raw, guarded] = match &self.pair {
            Some(pair) => [0, 1].map(|side| format!("{:.0} ms", pair[side].median() * 1e3)),
            None => [String::new(), String::new()],
        };
        let spread = if self.extremes { self.samples.extremes() } else { self.samples.quartiles() };
        let spread = spread.map(|value| self.unit.show(value)).join(" to ");
        format!(
            "{:<38}{raw:>9}{guarded:>9}{:>11}   {spread:<22}{:>9}  {}",
            self.name(),
            self.unit.show(self.value()),
            self.unit.show(self.limit),
            screen.verdict(self.within())
        )
    }

    fn json(&self) -> Value {
        let [low, high] = self.samples.quartiles();
        let [least, most] = self.samples.extremes();
        let pair = self.pair.as_ref();
        let seconds = |side: usize| pair.map(|pair| pair[side].values().to_vec());
        json!({
            "what": self.what,
            "helm": self.helm.map(major),
            "unit": self.unit.name(),
            "value": self.value(),
            "quartiles": [low, high],
            "extremes": [least, most],
            "limit": self.limit,
            "within": self.within(),
            "samples": self.samples.values(),
            "raw_seconds": seconds(0),
            "guarded_seconds": seconds(1),
        })
    }
}

/// The table for people.
pub(crate) fn print(screen: &Screen, findings: &[Finding]) {
    for (extremes, spread) in [(true, "min to max"), (false, "middle half")] {
        let rows: Vec<_> = findings.iter().filter(|finding| finding.extremes == extremes).collect();
        if rows.is_empty() {
            continue;
        }
        screen.heading(&format!(
            "{:<38}{:>9}{:>9}{:>11}   {spread:<22}{:>9}",
            "", "raw", "guarded", "median", "limit"
        ));
        rows.iter().for_each(|finding| println!("{}", finding.row(screen)));
    }
}

/// All figures, each sample too.
pub(crate) fn json(findings: &[Finding]) -> String {
    let findings: Vec<Value> = findings.iter().map(Finding::json).collect();
    format!("{:#}\n", json!({"version": crate::product::VERSION, "findings": findings}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.push(*value));
        samples
    }

    #[test]
    fn a_limit_may_be_met_exactly_but_not_passed() {
        let pair = || [samples(&[1.0, 1.0]), samples(&[1.25, 1.25])];
        assert!(Finding::pairs("upgrade", Some(Helm::V3), pair(), 1.25).within());
        assert!(!Finding::pairs("upgrade", Some(Helm::V3), pair(), 1.24).within());
    }

    #[test]
    fn a_share_is_a_hundred_times_the_ratio() {
        let pair = || [samples(&[10.0, 5.0]), samples(&[0.2, 0.1])];
        assert!(Finding::shares("list", None, pair(), 2.0).within());
        assert!(!Finding::shares("list", None, pair(), 1.9).within());
    }

    #[test]
    fn one_that_is_too_large_is_enough_where_the_largest_counts() {
        let memory = || Finding::single("memory", Unit::Megabytes, samples(&[10.0, 10.0, 30.0]), 25.0);
        assert!(memory().within());
        assert!(!memory().by_its_largest().within());
    }

    #[test]
    fn nothing_measured_meets_no_limit() {
        assert!(!Finding::single("memory", Unit::Megabytes, samples(&[]), 25.0).within());
    }
}
