//! Medians and spread. Pure.

/// Measured values, in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Where a quarter of the values is below, and where a quarter is above.
    pub(crate) fn quartiles(&self) -> [f64; 2] {
        [self.quantile(0.25), self.quantile(0.75)]
    }

    /// The smallest value and the largest.
    pub(crate) fn extremes(&self) -> [f64; 2] {
        [self.quantile(0.0), self.quantile(1.0)]
    }

    pub(crate) fn largest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// What these are as multiples of `base`, each of the one taken in the same round.
    pub(crate) fn per(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(value, base)| value / base).collect())
    }

    /// Each so many times.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|value| value * factor).collect())
    }

    /// Between two values in proportion; not a number if there are none.
    fn quantile(&self, at: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let place = at * last as f64;
        let below = place.floor();
        let low = sorted[below as usize];
        let high = sorted[(place.ceil() as usize).min(last)];
        low + (high - low) * (place - below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(samples(&[9.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(samples(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(samples(&[7.0]).median(), 7.0);
        assert!(samples(&[]).median().is_nan());
    }

    #[test]
    fn quartiles_leave_a_quarter_on_either_side() {
        assert_eq!(samples(&[5.0, 4.0, 3.0, 2.0, 1.0]).quartiles(), [2.0, 4.0]);
        assert_eq!(samples(&[1.0, 2.0]).largest(), 2.0);
        assert_eq!(samples(&[2.0, 1.0, 3.0]).extremes(), [1.0, 3.0]);
    }

    #[test]
    fn ratios_are_of_pairs_and_not_of_medians() {
        // A slow minute in the middle hits both of its round.
        let raw = samples(&[1.0, 10.0, 1.0]);
        let guarded = samples(&[1.1, 11.0, 1.1]);
        assert!((guarded.per(&raw).median() - 1.1).abs() < 1e-9);
    }
}
