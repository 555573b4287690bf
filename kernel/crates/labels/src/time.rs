//! Owns times as coordinates hold them: CF units to instants and back, their text, parts such as month and season,
//! and what a date string such as `2001-06` selects.

use std::{ops::Range, sync::Arc};

use nuna_chunk::{Chunk, DType};

use crate::{
    LabelError, Result,
    calendar::{Calendar, DAY},
};

/// Instants of one calendar, in microseconds since its 1970-01-01.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    pub calendar: Calendar,
    pub micros: Arc<[i64]>,
}

/// Not a time: what missing values become.
pub(crate) const NOT_A_TIME: i64 = i64::MIN;

/// `hours since 1900-01-01 00:00:00`, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeUnits {
    /// In microseconds.
    pub(crate) unit: i64,
    /// How many make one `unit`: 1000 nanoseconds make a microsecond.
    pub(crate) parts: i64,
    pub(crate) origin: i64,
    pub(crate) calendar: Calendar,
}

impl TimeUnits {
    /// Reads units and calendar; `None` if these are not units of time, or of a kind that has no fixed length.
    pub(crate) fn parse(units: &str, calendar: Option<&str>) -> Option<Self> {
        let (unit, since) = units.trim().split_once(" since ")?;
        let calendar = Calendar::from_name(calendar.unwrap_or("standard"))?;
        let mut parts = 1;
        let unit = match unit.trim().to_lowercase().as_str() {
            // In this calendar alone they are of one length.
            "months" | "month" if calendar == Calendar::Day360 => 30 * DAY,
            "weeks" | "week" => 7 * DAY,
            "days" | "day" | "d" => DAY,
            "hours" | "hour" | "hrs" | "hr" | "h" => 3_600_000_000,
            "minutes" | "minute" | "mins" | "min" => 60_000_000,
            "seconds" | "second" | "secs" | "sec" | "s" => 1_000_000,
            "milliseconds" | "millisecond" | "msecs" | "msec" | "ms" => 1_000,
            "microseconds" | "microsecond" | "us" => 1,
            "nanoseconds" | "nanosecond" | "nsecs" | "nsec" | "ns" => {
                parts = 1000;
                1
            }
            _ => return None,
        };
        Some(Self { unit, parts, origin: parse_instant(since, calendar)?.start, calendar })
    }

    /// The instants that numbers count; `None` if one is out of reach, or lies between microseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "saturates; bounds checked"
    )]
    pub(crate) fn decode(&self, chunk: &Chunk) -> Option<Times> {
        if chunk.dtype().is_complex() {
            return None;
        }
        let micros: Option<Vec<i64>> = if chunk.dtype().is_float() {
            let parts = self.parts as f64;
            chunk
                .to_vec::<f64>()
                .into_iter()
                .map(|value| {
                    if value.is_nan() {
                        return Some(NOT_A_TIME);
                    }
                    // Whole units first, so that a fraction keeps its digits.
                    let value = value / parts;
                    let whole = value.trunc();
                    let fraction = ((value - whole) * self.unit as f64).round() as i64;
                    if whole.abs() > 1e18 {
                        return None;
                    }
                    (whole as i64).checked_mul(self.unit)?.checked_add(fraction)?.checked_add(self.origin)
                })
                .collect()
        } else {
            chunk
                .to_vec::<i64>()
                .into_iter()
                .map(|value| match value {
                    NOT_A_TIME => Some(NOT_A_TIME),
                    value if value % self.parts != 0 => None,
                    value => (value / self.parts).checked_mul(self.unit)?.checked_add(self.origin),
                })
                .collect()
        };
        Some(Times { calendar: self.calendar, micros: micros?.into() })
    }
}

/// Reads a date, maybe with a time, as the range of instants that it names: a month is all of its days.
pub(crate) fn parse_instant(text: &str, calendar: Calendar) -> Option<Range<i64>> {
    let text = text.trim().trim_end_matches("UTC").trim_end_matches("GMT").trim_end();
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.trim()),
        None => (text, ""),
    };
    let (sign, digits) = match date.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, date),
    };
    let fields: Vec<i64> = digits.split('-').map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let year = sign * fields.first()?;
    if year.abs() > 200_000 {
        return None;
    }
    let at = |year, month, day| calendar.days(year, month, day).checked_mul(DAY);
    match (fields.len(), time.is_empty()) {
        (1, true) => Some(at(year, 1, 1)?..at(year + 1, 1, 1)?),
        (2, true) if (1..=12).contains(&fields[1]) => {
            Some(at(year, fields[1], 1)?..at(year, fields[1] + 1, 1)?)
        }
        (3, _) => {
            let (month, day) = (fields[1], fields[2]);
            if !(1..=12).contains(&month) || !(1..=calendar.days_in_month(year, month)).contains(&day) {
                return None;
            }
            let start = at(year, month, day)?;
            if time.is_empty() { Some(start..start + DAY) } else { parse_time(time, start) }
        }
        _ => None,
    }
}

/// `12`, `12:30`, `12:30:15.5`, with an offset from UTC at the end or none.
#[expect(clippy::cast_possible_truncation, reason = "seconds below 61")]
fn parse_time(time: &str, day: i64) -> Option<Range<i64>> {
    let (time, offset) = match time.rfind(['+', '-']) {
        Some(at) => {
            let zone = &time[at + 1..];
            let (hours, minutes) = match zone.split_once(':') {
                Some(parts) => parts,
                None if zone.len() == 4 => zone.split_at_checked(2)?,
                None => (zone, "0"),
            };
            let within = |text: &str| text.parse::<i64>().ok().filter(|n| (0..100).contains(n));
            let micros = (within(hours)? * 60 + within(minutes)?) * 60_000_000;
            (time[..at].trim(), if time.as_bytes()[at] == b'+' { micros } else { -micros })
        }
        None => (time, 0),
    };
    let mut fields = time.split(':');
    let hour: i64 = fields.next()?.parse().ok()?;
    let minute: Option<i64> = fields.next().map(str::parse).transpose().ok()?;
    let second: Option<f64> = fields.next().map(str::parse).transpose().ok()?;
    if fields.next().is_some()
        || !(0..=24).contains(&hour)
        || !(0..60).contains(&minute.unwrap_or(0))
        || !(0.0..61.0).contains(&second.unwrap_or(0.0))
    {
        return None;
    }
    let micros = (second.unwrap_or(0.0) * 1e6).round() as i64;
    let start = day + hour * 3_600_000_000 + minute.unwrap_or(0) * 60_000_000 + micros - offset;
    let length = match (minute, second) {
        (None, _) => 3_600_000_000,
        (Some(_), None) => 60_000_000,
        (_, Some(second)) if second.fract() == 0.0 => 1_000_000,
        _ => 1,
    };
    Some(start..start + length)
}

/// Parts of a time, by xarray's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimePart {
    Year,
    Quarter,
    Month,
    Season,
    /// Of ISO 8601, in calendars with Gregorian weeks.
    Week,
    Day,
    DayOfYear,
    /// Monday is 0; in calendars with Gregorian weeks.
    DayOfWeek,
    DaysInMonth,
    Hour,
    Minute,
    Second,
}

/// Seasons in the order in which groups are sorted, which is that of their names.
pub(crate) const SEASONS: [&str; 4] = ["DJF", "JJA", "MAM", "SON"];
/// What [`TimePart::from_name`] takes, for messages.
pub(crate) const PARTS: &str = "year, quarter, month, season, weekofyear, day, dayofyear, dayofweek, days_in_month, hour, minute, second";

impl TimePart {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "year" => Self::Year,
            "quarter" => Self::Quarter,
            "month" => Self::Month,
            "season" => Self::Season,
            "week" | "weekofyear" => Self::Week,
            "day" => Self::Day,
            "dayofyear" => Self::DayOfYear,
            "dayofweek" | "weekday" => Self::DayOfWeek,
            "days_in_month" | "daysinmonth" => Self::DaysInMonth,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "second" => Self::Second,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Season => "season",
            Self::Week => "weekofyear",
            Self::Day => "day",
            Self::DayOfYear => "dayofyear",
            Self::DayOfWeek => "dayofweek",
            Self::DaysInMonth => "days_in_month",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
        }
    }

    /// Whether a calendar has it: weeks go on through the Gregorian calendar only.
    pub(crate) fn is_in(self, calendar: Calendar) -> bool {
        calendar.is_gregorian() || !matches!(self, Self::Week | Self::DayOfWeek)
    }
}

/// 1970-01-01 was a Thursday; Monday is 0.
fn weekday(micros: i64) -> i64 {
    (micros.div_euclid(DAY) + 3).rem_euclid(7)
}

impl Times {
    /// Times from dates such as `2000-01-15`.
    ///
    /// # Errors
    /// If one of them is not a date of the calendar.
    pub fn from_dates<T: AsRef<str>>(dates: &[T], calendar: Calendar) -> Result<Times> {
        let micros: Result<Vec<i64>> = dates
            .iter()
            .map(|date| {
                let range = parse_instant(date.as_ref(), calendar);
                range.map(|r| r.start).ok_or_else(|| {
                    LabelError::Invalid(format!(
                        "`{}` is not a date of the {calendar} calendar",
                        date.as_ref()
                    ))
                })
            })
            .collect();
        Ok(Times { calendar, micros: micros?.into() })
    }

    pub fn len(&self) -> usize {
        self.micros.len()
    }

    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// One part of every instant. Seasons are numbers into [`SEASONS`]; missing times have no part.
    pub fn part(&self, part: TimePart) -> Vec<Option<i64>> {
        self.micros
            .iter()
            .map(|&micros| {
                if micros == NOT_A_TIME {
                    return None;
                }
                let when = self.calendar.split(micros);
                Some(match part {
                    TimePart::Year => when.year,
                    TimePart::Month => when.month,
                    TimePart::Season => match when.month {
                        12 | 1 | 2 => 0,
                        6..=8 => 1,
                        3..=5 => 2,
                        _ => 3,
                    },
                    TimePart::Quarter => (when.month - 1) / 3 + 1,
                    TimePart::Week => {
                        // The week that holds a year's first Thursday is its first.
                        let thursday = micros.div_euclid(DAY) - weekday(micros) + 3;
                        (self.calendar.day_of_year(thursday.saturating_mul(DAY)) - 1) / 7 + 1
                    }
                    TimePart::Day => when.day,
                    TimePart::DayOfYear => self.calendar.day_of_year(micros),
                    TimePart::DayOfWeek => weekday(micros),
                    TimePart::DaysInMonth => self.calendar.days_in_month(when.year, when.month),
                    TimePart::Hour => when.hour,
                    TimePart::Minute => when.minute,
                    TimePart::Second => when.second,
                })
            })
            .collect()
    }

    /// `2000-01-31T06:00:00`, with as many digits of a second as there are.
    pub fn iso(&self, index: usize) -> String {
        self.format(self.micros[index], true)
    }

    /// As xarray prints it: without the time of day at midnight.
    pub fn short(&self, index: usize) -> String {
        self.format(self.micros[index], false)
    }

    fn format(&self, micros: i64, always_time: bool) -> String {
        if micros == NOT_A_TIME {
            return "NaT".to_owned();
        }
        let t = self.calendar.split(micros);
        let mut text = format!("{:04}-{:02}-{:02}", t.year, t.month, t.day);
        if always_time || micros.rem_euclid(DAY) != 0 {
            text += &format!("T{:02}:{:02}:{:02}", t.hour, t.minute, t.second);
            if t.micros != 0 {
                text += format!(".{:06}", t.micros).trim_end_matches('0');
            }
        }
        text
    }

    /// The largest unit that divides every instant: below it, a date string names one instant, above it a range.
    pub(crate) fn resolution(&self) -> i64 {
        [DAY, 3_600_000_000, 60_000_000, 1_000_000]
            .into_iter()
            .find(|unit| self.micros.iter().all(|m| *m == NOT_A_TIME || m.rem_euclid(*unit) == 0))
            .unwrap_or(1)
    }

    /// As integers with CF units, in the largest unit that loses nothing, counted from the first instant.
    pub(crate) fn encode(&self) -> (Chunk, String, &'static str) {
        let there = || self.micros.iter().copied().filter(|&m| m != NOT_A_TIME);
        let origin = there().next().unwrap_or(0).div_euclid(DAY).checked_mul(DAY);
        // Times further apart than 64 bits count are counted from where all of them do.
        let origin = origin.filter(|&o| there().all(|m| m.checked_sub(o).is_some())).unwrap_or(0);
        let (unit, name) =
            [(DAY, "days"), (3_600_000_000, "hours"), (60_000_000, "minutes"), (1_000_000, "seconds")]
                .into_iter()
                .find(|(unit, _)| self.micros.iter().all(|m| *m == NOT_A_TIME || (m - origin) % unit == 0))
                .unwrap_or((1, "microseconds"));
        let values: Vec<i64> = self
            .micros
            .iter()
            .map(|&m| if m == NOT_A_TIME { NOT_A_TIME } else { (m - origin) / unit })
            .collect();
        let t = self.calendar.split(origin);
        let units = format!("{name} since {:04}-{:02}-{:02}", t.year, t.month, t.day);
        // The dtype that NumPy gives to counts.
        debug_assert_eq!(DType::I64.size(), 8);
        let calendar =
            if self.calendar == Calendar::Standard { "proleptic_gregorian" } else { self.calendar.name() };
        let calendar = if t.year > 1582 { calendar } else { self.calendar.name() };
        (Chunk::from_slice(&[values.len() as u64], &values), units, calendar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &[&str]) -> Times {
        let micros: Vec<i64> =
            text.iter().map(|t| parse_instant(t, Calendar::Standard).unwrap().start).collect();
        Times { calendar: Calendar::Standard, micros: micros.into() }
    }

    #[test]
    fn date_strings_name_ranges() {
        let day = |text: &str| parse_instant(text, Calendar::Standard).unwrap();
        assert_eq!(day("2000-02").end - day("2000-02").start, 29 * DAY);
        assert_eq!(day("2001").end, day("2002-01-01").start);
        assert_eq!(day("2001-06-15T12").start, day("2001-06-15 12:00:00").start);
        assert_eq!(day("2001-06-15 00:00:0.0").start, day("2001-06-15").start);
        assert_eq!(day("2001-06-15 02:00:00 +02:00").start, day("2001-06-15").start);
        assert_eq!(day("2001-06-15 05:30:00+0530").start, day("2001-06-15").start);
        for bad in [
            "2001-13",
            "2001-02-29",
            "june",
            "",
            "2001-06-15T25:00",
            "2001-06-15 1:2:3:4",
            "2001-06-15 0:0+00é",
        ] {
            assert!(parse_instant(bad, Calendar::Standard).is_none(), "{bad}");
        }
    }

    #[test]
    fn units_survive_a_round_trip() {
        for text in [&["2000-01-01", "2000-03-01"][..], &["2000-01-01T06:00", "1999-01-01T00:30:15"]] {
            let times = times(text);
            let (chunk, units, calendar) = times.encode();
            let back = TimeUnits::parse(&units, Some(calendar)).unwrap().decode(&chunk).unwrap();
            assert_eq!(back.micros, times.micros, "{units}");
        }
    }

    #[test]
    fn nanoseconds_count_where_they_are_whole_microseconds() {
        let units = TimeUnits::parse("nanoseconds since 1970-01-01", None).unwrap();
        let decode = |values: &[i64]| units.decode(&Chunk::from_slice(&[values.len() as u64], values));
        let found = decode(&[1_000_000_000, -2_000, NOT_A_TIME]).unwrap();
        assert_eq!(found.micros[..], [1_000_000, -2, NOT_A_TIME]);
        assert!(decode(&[1_001]).is_none(), "nothing is rounded away");
        let float = units.decode(&Chunk::from_slice(&[2], &[86_400e9, f64::NAN])).unwrap();
        assert_eq!(float.micros[..], [DAY, NOT_A_TIME]);
    }

    #[test]
    fn units_that_are_not_times_are_left_alone() {
        for units in ["degC", "months since 2000-01-01", "days since the flood", "m s-1"] {
            assert!(TimeUnits::parse(units, None).is_none(), "{units}");
        }
        assert!(TimeUnits::parse("days since 2000-01-01", Some("mayan")).is_none());
    }

    #[test]
    fn seasons_and_days_of_the_year_follow_the_calendar() {
        let times = times(&["2000-01-31", "2000-06-01T12:00", "2000-12-31"]);
        assert_eq!(times.part(TimePart::Season), [Some(0), Some(1), Some(0)]);
        assert_eq!(times.part(TimePart::DayOfYear), [Some(31), Some(153), Some(366)]);
        assert_eq!((times.short(0), times.short(1)), ("2000-01-31".into(), "2000-06-01T12:00:00".into()));
    }
}
