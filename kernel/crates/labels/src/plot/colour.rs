//! Owns colour scales: viridis, and a diverging one around zero; both can be told apart by the colour-blind.

use crate::{LabelError, Result, plot::PlotOptions};

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

/// Black to white.
const GREYS: [[u8; 3]; 9] = [
    [0, 0, 0],
    [32, 32, 32],
    [64, 64, 64],
    [96, 96, 96],
    [128, 128, 128],
    [160, 160, 160],
    [192, 192, 192],
    [224, 224, 224],
    [255, 255, 255],
];

const NAMES: [(&str, &[[u8; 3]; 9]); 3] =
    [("viridis", &VIRIDIS), ("coolwarm", &DIVERGING), ("greys", &GREYS)];

/// The values that the ends of the scale stand for, and the scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colours {
    pub(crate) low: f64,
    pub(crate) high: f64,
    table: &'static [[u8; 3]; 9],
}

impl Colours {
    /// As xarray: symmetric and diverging where the data lie on both sides of zero, but for limits that were given.
    ///
    /// # Errors
    /// If `options` name a scale that there is not.
    pub(crate) fn fitting(low: f64, high: f64, options: &PlotOptions) -> Result<Self> {
        let named = match &options.cmap {
            None => None,
            Some(name) => Some(NAMES.iter().find(|(known, _)| known == name).ok_or_else(|| {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                LabelError::Invalid(format!(
                    "there is no colour scale `{name}`; there are {}",
                    names.join(", ")
                ))
            })?),
        };
        let around_zero = low < 0.0 && high > 0.0 && !options.log;
        let (low, high) = match (around_zero && named.is_none(), options.vmin, options.vmax) {
            (true, None, None) => (-high.max(-low), high.max(-low)),
            (true, Some(low), None) => (low, -low),
            (true, None, Some(high)) => (-high, high),
            _ => (low, high),
        };
        let high = if low == high { low + 1.0 } else { high };
        let table = named.map_or(if around_zero { &DIVERGING } else { &VIRIDIS }, |(_, table)| *table);
        Ok(Self { low, high, table })
    }

    /// Red, green, blue, opacity; nothing for NaN.
    pub(crate) fn of(&self, value: f64) -> [u8; 4] {
        if value.is_nan() {
            return [0; 4];
        }
        let table = self.table;
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
        let fitting = |low, high, options: &PlotOptions| Colours::fitting(low, high, options).unwrap();
        let plain = PlotOptions::new();
        let colours = fitting(-1.0, 3.0, &plain);
        assert_eq!((colours.low, colours.high), (-3.0, 3.0));
        assert_eq!(colours.of(0.0), [247, 247, 247, 255]);
        assert_eq!(fitting(2.0, 3.0, &plain).of(2.0), [68, 1, 84, 255]);
        assert_eq!(colours.of(f64::NAN), [0; 4]);
        let limited = fitting(-1.0, 2.0, &PlotOptions::new().vmax(2.0));
        assert_eq!((limited.low, limited.high), (-2.0, 2.0));
        let named = fitting(-1.0, 3.0, &PlotOptions::new().cmap("greys"));
        assert_eq!((named.low, named.of(-1.0)), (-1.0, [0, 0, 0, 255]));
        let error = Colours::fitting(0.0, 1.0, &PlotOptions::new().cmap("jet")).unwrap_err();
        assert!(error.to_string().contains("viridis, coolwarm, greys"));
    }
}
