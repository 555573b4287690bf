//! Owns frequencies as pandas writes them (`6h`, `7D`, `MS`, `QS-DEC`), and how they cut times of any calendar into bins.

use std::fmt;

use crate::{
    LabelError, Result,
    calendar::{Calendar, DAY},
    time::{NOT_A_TIME, Times},
};

/// More bins than this are more likely a mistake than wanted.
const BINS_MAX: i64 = 50_000_000;
/// 1970-01-01 was a Thursday; Monday is 0.
const EPOCH_WEEKDAY: i64 = 3;
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/// Every `count` periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frequency {
    count: i64,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    /// Of a fixed length in microseconds, counted from midnight of the first day.
    Fixed(i64),
    /// Seven days that end on this weekday.
    Week { last: i64 },
    /// So many months; periods begin where the month of the year, from 0, is `first` modulo their number.
    Months { months: i64, first: i64, labelled: Labelled },
}

/// Which day of a period is its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Labelled {
    First,
    Last,
}

/// More times than this are more likely a mistake in a frequency.
const TIMES_MAX: u64 = 10_000_000;

/// So many times from a date on, as pandas' `date_range(start, periods=…, freq=…)`: `date_range("2000-01-01", 365, "D")`. Of months,
/// quarters, years and weeks the first is the first of these that is not before the date. In the standard calendar; others by
/// [`Times::range`].
///
/// # Errors
/// If the date or the frequency cannot be read, or there are too many times, or they go beyond all dates.
pub fn date_range(start: &str, periods: u64, frequency: &str) -> Result<Times> {
    Times::range(start, periods, frequency, Calendar::Standard)
}

/// All times from a date to another, which may be the last: `date_range_to("2000-01-01", "2001-12-31", "D")`.
///
/// # Errors
/// As [`date_range`].
pub fn date_range_to(start: &str, end: &str, frequency: &str) -> Result<Times> {
    let (calendar, period) = (Calendar::Standard, Frequency::parse(frequency)?);
    let (start, end) = (instant(start, calendar)?, instant(end, calendar)?);
    let mut micros = Vec::new();
    for at in 0.. {
        match period.nth(calendar, start, at) {
            Some(time) if time <= end => micros.push(time),
            _ => break,
        }
        if micros.len() as u64 > TIMES_MAX {
            return Err(LabelError::Invalid(format!(
                "more than {TIMES_MAX} times of `{frequency}`; choose a coarser frequency"
            )));
        }
    }
    Ok(Times { calendar, micros: micros.into() })
}

fn instant(date: &str, calendar: Calendar) -> Result<i64> {
    Ok(Times::from_dates(&[date], calendar)?.micros[0])
}

impl Times {
    /// [`date_range`] in any calendar: `Times::range("2000-01-01", 360, "D", Calendar::Day360)`.
    ///
    /// # Errors
    /// As [`date_range`].
    pub fn range(start: &str, periods: u64, frequency: &str, calendar: Calendar) -> Result<Times> {
        let (period, start) = (Frequency::parse(frequency)?, instant(start, calendar)?);
        let count = i64::try_from(periods).ok().filter(|_| periods <= TIMES_MAX);
        let micros = count.and_then(|count| (0..count).map(|at| period.nth(calendar, start, at)).collect());
        let micros: Vec<i64> = micros.ok_or_else(|| {
            let why = format!("{periods} times of `{frequency}`: at most {TIMES_MAX}, within 200,000 years");
            LabelError::Invalid(why)
        })?;
        Ok(Times { calendar, micros: micros.into() })
    }
}

impl Frequency {
    /// The time that is so many after the first one not before `start`; `None` beyond all dates.
    fn nth(self, calendar: Calendar, start: i64, at: i64) -> Option<i64> {
        const FAR: i64 = 200_000 * 366;
        if let Period::Fixed(unit) = self.period {
            return start.checked_add(unit.checked_mul(self.count)?.checked_mul(at)?);
        }
        let midnight = start.div_euclid(DAY) * DAY;
        let one = Self { count: 1, ..self };
        let first = match one.label(calendar, midnight, 0)? {
            label if label < midnight => one.label(calendar, midnight, 1)?,
            label => label,
        };
        let steps = self.count.checked_mul(at).filter(|steps| *steps < FAR)?;
        one.label(calendar, first, steps)?.checked_add(start - midnight)
    }

    /// Reads `D`, `7D`, `h`, `6h`, `min`, `s`, `ms`, `us`, `W`, `W-WED`, `MS`, `ME`, `QS`, `QS-DEC`, `QE`, `YS`, `YS-JUL`,
    /// `YE`, each with a number in front or none.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = |reason: &str| {
            LabelError::Invalid(format!(
                "`{text}` is not a frequency: {reason}; write it like 6h, D, 7D, W, MS, ME, QS-DEC or YS"
            ))
        };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(split);
        let count = match digits {
            "" => 1,
            digits => digits
                .parse::<i64>()
                .ok()
                .filter(|n| (1..=1_000_000_000).contains(n))
                .ok_or_else(|| bad("the number in front must be at least 1 and at most a billion"))?,
        };
        let (unit, anchor) = match unit.split_once('-') {
            Some((unit, anchor)) => (unit, Some(anchor.to_ascii_uppercase())),
            None => (unit, None),
        };
        let month = |default: i64| match &anchor {
            None => Ok(default),
            Some(name) => {
                position(&MONTHS, name).ok_or_else(|| bad("after the dash stands a month such as DEC"))
            }
        };
        let fixed = |micros: i64| match &anchor {
            None => Ok(Period::Fixed(micros)),
            Some(_) => Err(bad("this unit takes nothing after a dash")),
        };
        let months = |months, first, labelled| Period::Months { months, first, labelled };
        let period = match unit {
            "us" => fixed(1)?,
            "ms" => fixed(1_000)?,
            "s" | "S" => fixed(1_000_000)?,
            "min" | "T" => fixed(60_000_000)?,
            "h" | "H" => fixed(3_600_000_000)?,
            "D" | "d" => fixed(DAY)?,
            "W" => Period::Week {
                last: match &anchor {
                    None => 6,
                    Some(name) => position(&WEEKDAYS, name)
                        .ok_or_else(|| bad("after the dash stands a weekday such as SUN"))?,
                },
            },
            "MS" | "ME" | "M" if anchor.is_some() => return Err(bad("months take nothing after a dash")),
            "MS" => months(1, 0, Labelled::First),
            "ME" | "M" => months(1, 0, Labelled::Last),
            "QS" => months(3, month(0)?, Labelled::First),
            // An end is named by its last month: the next period begins in the month after it.
            "QE" | "Q" => months(3, month(11)? + 1, Labelled::Last),
            "YS" | "AS" => months(12, month(0)?, Labelled::First),
            "YE" | "Y" | "A" => months(12, month(11)? + 1, Labelled::Last),
            "" => return Err(bad("the unit is missing")),
            _ => return Err(bad(&format!("`{unit}` is not a unit"))),
        };
        if let Period::Fixed(micros) = period
            && micros.checked_mul(count).is_none()
        {
            return Err(bad("it is longer than times go"));
        }
        Ok(Self { count, period })
    }

    /// The bin of every time, and the labels of all bins from the first that holds a time to the last.
    ///
    /// # Errors
    /// If there is no time, one is missing, or there would be too many bins.
    pub(crate) fn bins(self, dim: &str, times: &Times) -> Result<(Vec<u32>, Times)> {
        let calendar = times.calendar;
        if times.micros.contains(&NOT_A_TIME) {
            let message = format!("`{dim}` holds missing times; select the others before resampling");
            return Err(LabelError::Invalid(message));
        }
        let (Some(&first), Some(&last)) = (times.micros.iter().min(), times.micros.iter().max()) else {
            return Err(LabelError::Invalid(format!(
                "dimension `{dim}` is empty, there is nothing to resample"
            )));
        };
        let midnight = first.div_euclid(DAY).saturating_mul(DAY);
        let number = |micros: i64| self.number(calendar, midnight, micros);
        let count = number(last).saturating_sub(number(first));
        if count >= BINS_MAX {
            return Err(LabelError::Invalid(format!(
                "resampling `{dim}` to {self} would make more than {BINS_MAX} bins; choose a coarser frequency or select a range"
            )));
        }
        let zero = number(first);
        let codes =
            times.micros.iter().map(|&t| u32::try_from(number(t) - zero).unwrap_or(u32::MAX)).collect();
        let labels: Option<Vec<i64>> =
            (zero..=zero + count).map(|bin| self.label(calendar, midnight, bin)).collect();
        let Some(labels) = labels else {
            return Err(LabelError::Invalid(format!(
                "resampling `{dim}` to {self}: a period begins or ends beyond the times that there are; choose a finer frequency"
            )));
        };
        Ok((codes, Times { calendar, micros: labels.into() }))
    }

    /// The number of the bin of a time, counted from that of the first time or from before it.
    fn number(self, calendar: Calendar, midnight: i64, micros: i64) -> i64 {
        let n = self.count;
        match self.period {
            Period::Fixed(unit) => (i128::from(micros) - i128::from(midnight))
                .div_euclid(i128::from(unit) * i128::from(n))
                .try_into()
                .unwrap_or(i64::MAX / 4),
            // Bins that are labelled by their end have the first time in their last period.
            Period::Week { .. } | Period::Months { labelled: Labelled::Last, .. } => {
                let zero = self.period(calendar, midnight);
                -(zero - self.period(calendar, micros)).div_euclid(n)
            }
            Period::Months { labelled: Labelled::First, .. } => {
                (self.period(calendar, micros) - self.period(calendar, midnight)).div_euclid(n)
            }
        }
    }

    /// The number of the week or of the months in which a time lies.
    fn period(self, calendar: Calendar, micros: i64) -> i64 {
        let days = micros.div_euclid(DAY);
        match self.period {
            Period::Fixed(unit) => micros.div_euclid(unit),
            Period::Week { last } => (days + EPOCH_WEEKDAY - last - 1).div_euclid(7),
            Period::Months { months, first, .. } => {
                let (year, month, _) = calendar.date(days);
                (year * 12 + month - 1 - first).div_euclid(months)
            }
        }
    }

    /// The label of a bin; `None` if it is beyond what 64 bits count.
    fn label(self, calendar: Calendar, midnight: i64, bin: i64) -> Option<i64> {
        let at = bin.checked_mul(self.count)?;
        match self.period {
            Period::Fixed(unit) => midnight.checked_add(at.checked_mul(unit)?),
            Period::Week { last } => {
                let week = self.period(calendar, midnight) + at;
                (week * 7 + 6 - EPOCH_WEEKDAY + last + 1).checked_mul(DAY)
            }
            Period::Months { months, first, labelled } => {
                let from = (self.period(calendar, midnight) + at) * months + first;
                let days = match labelled {
                    Labelled::First => calendar.days(from.div_euclid(12), from.rem_euclid(12) + 1, 1),
                    Labelled::Last => {
                        let to = from + months;
                        calendar.days(to.div_euclid(12), to.rem_euclid(12) + 1, 1) - 1
                    }
                };
                days.checked_mul(DAY)
            }
        }
    }
}

fn position(names: &[&str], name: &str) -> Option<i64> {
    names.iter().position(|n| *n == name).and_then(|at| i64::try_from(at).ok())
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count != 1 {
            write!(f, "{}", self.count)?;
        }
        let name = |names: &[&'static str], at: i64| {
            usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
        };
        match self.period {
            Period::Fixed(unit) => f.write_str(match unit {
                1 => "us",
                1_000 => "ms",
                1_000_000 => "s",
                60_000_000 => "min",
                3_600_000_000 => "h",
                _ => "D",
            }),
            Period::Week { last } => write!(f, "W-{}", name(&WEEKDAYS, last)),
            Period::Months { months, first, labelled } => {
                let (letter, anchor) = match labelled {
                    Labelled::First => ("S", first),
                    Labelled::Last => ("E", first - 1),
                };
                match months {
                    1 => write!(f, "M{letter}"),
                    3 => write!(f, "Q{letter}-{}", name(&MONTHS, anchor)),
                    _ => write!(f, "Y{letter}-{}", name(&MONTHS, anchor)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(freq: &str, dates: &[&str], calendar: Calendar) -> (Vec<u32>, Vec<String>) {
        let times = Times::from_dates(dates, calendar).unwrap();
        let (codes, labels) = Frequency::parse(freq).unwrap().bins("time", &times).unwrap();
        (codes, (0..labels.len()).map(|i| labels.short(i)).collect())
    }

    #[test]
    fn starts_and_ends_label_the_same_months() {
        let dates = ["2000-01-31", "2000-02-28", "2000-04-01"];
        let (codes, labels) = bins("MS", &dates, Calendar::Standard);
        assert_eq!(codes, [0, 1, 3]);
        assert_eq!(labels, ["2000-01-01", "2000-02-01", "2000-03-01", "2000-04-01"]);
        let dates = ["2000-01-31", "2000-02-28", "2000-04-01"];
        let (codes, labels) = bins("ME", &dates, Calendar::NoLeap);
        assert_eq!(codes, [0, 1, 3]);
        assert_eq!(labels, ["2000-01-31", "2000-02-28", "2000-03-31", "2000-04-30"]);
    }

    #[test]
    fn seasons_begin_in_december() {
        let (codes, labels) = bins("QS-DEC", &["2000-01-15", "2000-03-01", "2000-12-01"], Calendar::Day360);
        assert_eq!(codes, [0, 1, 4]);
        assert_eq!(labels[0], "1999-12-01");
        assert_eq!(labels[4], "2000-12-01");
    }

    #[test]
    fn bins_of_several_periods_begin_or_end_with_the_first() {
        // As pandas: starts count forward from the first time, ends count so that its period is the last of a bin.
        assert_eq!(bins("2YS", &["2000-06-01", "2001-06-01", "2002-06-01"], Calendar::Standard).0, [0, 0, 1]);
        let (codes, labels) = bins("2YE", &["2000-06-01", "2001-06-01", "2002-06-01"], Calendar::Standard);
        assert_eq!((codes, labels), (vec![0, 1, 1], vec!["2000-12-31".to_owned(), "2002-12-31".to_owned()]));
    }

    #[test]
    fn what_is_no_frequency_is_refused_with_an_example() {
        for bad in ["", "3", "0D", "fortnight", "MS-DEC", "QS-XXX", "-1D", "W-DEC", "99999999999999999999D"] {
            let error = Frequency::parse(bad).unwrap_err().to_string();
            assert!(error.contains("QS-DEC"), "{bad}: {error}");
        }
        for good in [
            "us", "ms", "s", "min", "h", "D", "W-SUN", "MS", "ME", "QS-DEC", "QE-DEC", "YS-JAN", "YE-JUN",
            "7D",
        ] {
            assert_eq!(Frequency::parse(good).unwrap().to_string(), good);
        }
        let times = Times::from_dates(&["0001-01-01", "3000-01-01"], Calendar::Standard).unwrap();
        let error = Frequency::parse("s").unwrap().bins("time", &times).unwrap_err().to_string();
        assert!(error.contains("coarser"), "{error}");
    }

    #[test]
    fn bins_that_reach_beyond_all_times_are_an_error() {
        let times = Times::from_dates(&["2000-01-01", "2000-06-01"], Calendar::Standard).unwrap();
        for freq in ["1000000000ME", "1000000000W"] {
            let error = Frequency::parse(freq).unwrap().bins("time", &times).unwrap_err().to_string();
            assert!(error.contains("beyond"), "{freq}: {error}");
        }
        let all = Times { calendar: Calendar::Standard, micros: [0, i64::MAX].into() };
        let error = Frequency::parse("us").unwrap().bins("time", &all).unwrap_err().to_string();
        assert!(error.contains("coarser"), "{error}");
    }
}
