//! Medians and percentiles.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "its indices are those of what it has just sorted"
)]

/// Several values of the same thing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "there is no more to it")]
pub struct Spread {
    /// Between the two in the middle, if their number is even.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// None if there are no values.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Some(Self {
            median: f64::midpoint(values[low], values[high]),
            min,
            max,
        })
    }
}

/// The smallest value that at least `percent` of all values do not exceed. `sorted` is not empty.
#[must_use]
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 9.0]).unwrap();
        assert!((spread.median - 3.0).abs() < 1e-9 && spread.min < 1.5 && spread.max > 8.5);
        assert_eq!(
            Spread::of(vec![2.0, 7.0, 1.0]).unwrap().median.to_bits(),
            2f64.to_bits()
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&values, 50) - 100.0).abs() < 1e-9);
        assert!((percentile(&values, 99) - 198.0).abs() < 1e-9);
        assert!((percentile(&[5.0], 50) - 5.0).abs() < 1e-9);
    }
}
