//! Owns colour scales: viridis, and a diverging one around zero; both can be told apart by the colour-blind.

/// Every eighth of viridis.
const VIRIDIS: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];
/// Blue to red through near-white.
const DIVERGING: [[u8; 3]; 9] = [
    [5, 48, 97],
    [33, 102, 172],
    [103, 169, 207],
    [182, 213, 231],
    [247, 247, 247],
    [250, 204, 180],
    [239, 138, 98],
    [178, 24, 43],
    [103, 0, 31],
];

/// The values that the ends of the scale stand for, and the scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colours {
    pub(crate) low: f64,
    pub(crate) high: f64,
    diverging: bool,
}

impl Colours {
    /// As xarray: symmetric and diverging where the data lie on both sides of zero.
    pub(crate) fn fitting(low: f64, high: f64) -> Self {
        if low < 0.0 && high > 0.0 {
            let reach = high.max(-low);
            return Self { low: -reach, high: reach, diverging: true };
        }
        let high = if low == high { low + 1.0 } else { high };
        Self { low, high, diverging: false }
    }

    /// Red, green, blue, opacity; nothing for NaN.
    pub(crate) fn of(&self, value: f64) -> [u8; 4] {
        if value.is_nan() {
            return [0; 4];
        }
        let table = if self.diverging { &DIVERGING } else { &VIRIDIS };
        let at = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0) * (table.len() - 1) as f64;
        let index = (at as usize).min(table.len() - 2);
        let fraction = at - index as f64;
        let mix = |i: usize| {
            let (a, b) = (f64::from(table[index][i]), f64::from(table[index + 1][i]));
            (a + (b - a) * fraction).round() as u8
        };
        [mix(0), mix(1), mix(2), 255]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_around_zero_get_a_symmetric_scale() {
        let colours = Colours::fitting(-1.0, 3.0);
        assert_eq!((colours.low, colours.high), (-3.0, 3.0));
        assert_eq!(colours.of(0.0), [247, 247, 247, 255]);
        assert_eq!(Colours::fitting(2.0, 3.0).of(2.0), [68, 1, 84, 255]);
        assert_eq!(colours.of(f64::NAN), [0; 4]);
    }
}
