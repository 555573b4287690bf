//! Owns lengths of time as people and PBS write them.

use std::time::Duration;

/// No job of anybody runs longer.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Reads `2h`, `90m`, `1h30m`, `1.5h`, `45s`, `2d`, `01:30:00`, `30:00` and seconds such as `7200`. None if it is no
/// length of time, or less than a second.
pub fn parse_walltime(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let seconds = if text.contains(':') {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() > 3 {
            return None;
        }
        parts.iter().try_fold(0.0, |total, part| Some(total * 60.0 + f64::from(part.parse::<u32>().ok()?)))?
    } else if let Ok(seconds) = text.parse::<u32>() {
        f64::from(seconds)
    } else {
        with_units(&text)?
    };
    let length = Duration::try_from_secs_f64(seconds).ok()?;
    (length.as_secs() >= 1 && length <= LONGEST).then(|| Duration::from_secs(length.as_secs()))
}

fn with_units(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => return None,
        };
        total += number * unit;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

/// `02:00:00`, as PBS writes it.
pub fn show_walltime(length: Duration) -> String {
    let seconds = length.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walltimes_are_read_as_people_and_pbs_write_them() {
        for (text, seconds) in [
            ("2h", 7200),
            ("90m", 5400),
            ("1h30m", 5400),
            ("1.5 hours", 5400),
            ("01:30:00", 5400),
            ("30:00", 1800),
            ("60", 60),
            ("2d", 172_800),
        ] {
            assert_eq!(parse_walltime(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "0", "2h:30", "1:2:3:4", "-1h", "2 parsecs", "0.2s", "99999d", "h", "1e9d"] {
            assert_eq!(parse_walltime(text), None, "{text}");
        }
        assert_eq!(show_walltime(Duration::from_secs(90_061)), "25:01:01");
    }
}
