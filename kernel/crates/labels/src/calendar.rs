//! Owns CF calendars: days to dates and back in six of them.

use std::fmt;

/// How days are counted into years. Days are numbered from 1970-01-01 of the same calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// Julian before 1582-10-15, Gregorian from then on.
    #[default]
    Standard,
    ProlepticGregorian,
    Julian,
    NoLeap,
    AllLeap,
    Day360,
}

/// A date and the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micros: i64,
}

pub(crate) const DAY: i64 = 86_400_000_000;
/// The first Gregorian day, 1582-10-15, counted from 1970-01-01.
const GREGORIAN_START: i64 = -141_427;
const COMMON_MONTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const LEAP_MONTHS: [i64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Calendar {
    /// CF's names, and the aliases it lists.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "standard" | "gregorian" => Self::Standard,
            "proleptic_gregorian" => Self::ProlepticGregorian,
            "julian" => Self::Julian,
            "noleap" | "365_day" => Self::NoLeap,
            "all_leap" | "366_day" => Self::AllLeap,
            "360_day" => Self::Day360,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::ProlepticGregorian => "proleptic_gregorian",
            Self::Julian => "julian",
            Self::NoLeap => "noleap",
            Self::AllLeap => "all_leap",
            Self::Day360 => "360_day",
        }
    }

    /// Whether NumPy's `datetime64` has it, at least for modern dates.
    pub fn is_gregorian(self) -> bool {
        matches!(self, Self::Standard | Self::ProlepticGregorian)
    }

    pub fn is_leap(self, year: i64) -> bool {
        let gregorian = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        match self {
            Self::ProlepticGregorian => gregorian,
            Self::Standard if year > 1582 => gregorian,
            Self::Standard | Self::Julian => year.rem_euclid(4) == 0,
            Self::NoLeap | Self::Day360 => false,
            Self::AllLeap => true,
        }
    }

    pub fn days_in_month(self, year: i64, month: i64) -> i64 {
        let index = usize::try_from(month - 1).unwrap_or(0).min(11);
        match self {
            Self::Day360 => 30,
            calendar if calendar.is_leap(year) => LEAP_MONTHS[index],
            _ => COMMON_MONTHS[index],
        }
    }

    /// Days from 1970-01-01 to a date of this calendar. Months and days may overflow their year and month.
    pub fn days(self, year: i64, month: i64, day: i64) -> i64 {
        let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
        match self {
            Self::ProlepticGregorian => gregorian_days(year, month) + day - 1,
            Self::Julian => julian_days(year, month) + day - 1 - (julian_days(1970, 1)),
            Self::Standard => {
                let gregorian = gregorian_days(year, month) + day - 1;
                if gregorian >= GREGORIAN_START {
                    gregorian
                } else {
                    // One count of days for both: the Julian 1582-10-04 is the day before the Gregorian 10-15.
                    let first = julian_days(1582, 10) + 4;
                    (julian_days(year, month) + day - 1 - first) + GREGORIAN_START
                }
            }
            Self::Day360 => (year - 1970) * 360 + (month - 1) * 30 + day - 1,
            Self::NoLeap | Self::AllLeap => {
                let (length, months) =
                    if self == Self::NoLeap { (365, COMMON_MONTHS) } else { (366, LEAP_MONTHS) };
                let before: i64 = months.iter().take(usize::try_from(month - 1).unwrap_or(0)).sum();
                (year - 1970) * length + before + day - 1
            }
        }
    }

    /// The date of a day counted from 1970-01-01: year, month, day.
    pub fn date(self, days: i64) -> (i64, i64, i64) {
        match self {
            Self::ProlepticGregorian => gregorian_date(days),
            Self::Standard if days >= GREGORIAN_START => gregorian_date(days),
            Self::Standard => julian_date(days - GREGORIAN_START + julian_days(1582, 10) + 4),
            Self::Julian => julian_date(days + julian_days(1970, 1)),
            Self::Day360 => {
                let (year, rest) = (days.div_euclid(360), days.rem_euclid(360));
                (1970 + year, rest / 30 + 1, rest % 30 + 1)
            }
            Self::NoLeap | Self::AllLeap => {
                let (length, months) =
                    if self == Self::NoLeap { (365, COMMON_MONTHS) } else { (366, LEAP_MONTHS) };
                let (year, mut rest) = (days.div_euclid(length), days.rem_euclid(length));
                let mut month = 0;
                while rest >= months[month] {
                    rest -= months[month];
                    month += 1;
                }
                (1970 + year, i64::try_from(month).unwrap_or(0) + 1, rest + 1)
            }
        }
    }

    /// Splits microseconds since 1970-01-01.
    pub fn split(self, micros: i64) -> DateTime {
        let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
        let (year, month, day) = self.date(days);
        let seconds = rest / 1_000_000;
        DateTime {
            year,
            month,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: rest % 1_000_000,
        }
    }

    /// Day of the year, from 1. As in cftime the days that 1582 lacks count.
    pub fn day_of_year(self, micros: i64) -> i64 {
        let (year, month, day) = self.date(micros.div_euclid(DAY));
        (1..month).map(|month| self.days_in_month(year, month)).sum::<i64>() + day
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Days from 1970-01-01 to the first of a month (Howard Hinnant's `days_from_civil`: years start in March).
fn gregorian_days(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn gregorian_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    march_based(year_of_era + era * 400, of_year)
}

/// Days from 1 March of year 0 of the Julian calendar to the first of a month.
fn julian_days(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    year.div_euclid(4) * 1461 + year.rem_euclid(4) * 365 + of_year
}

fn julian_date(days: i64) -> (i64, i64, i64) {
    let (cycle, of_cycle) = (days.div_euclid(1461), days.rem_euclid(1461));
    let year_of_cycle = (of_cycle - of_cycle / 1460) / 365;
    march_based(cycle * 4 + year_of_cycle, of_cycle - 365 * year_of_cycle)
}

/// A date from a year that starts in March.
fn march_based(year: i64, of_year: i64) -> (i64, i64, i64) {
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Calendar; 6] = [
        Calendar::Standard,
        Calendar::ProlepticGregorian,
        Calendar::Julian,
        Calendar::NoLeap,
        Calendar::AllLeap,
        Calendar::Day360,
    ];

    #[test]
    fn days_and_dates_are_inverse_and_consecutive_in_every_calendar() {
        for calendar in ALL {
            assert_eq!(calendar.days(1970, 1, 1), 0, "{calendar}");
            let mut previous = None;
            for days in
                (-800_000..200_000).step_by(1).filter(|d| d % 97 == 0 || (-141_800..-141_000).contains(d))
            {
                let (year, month, day) = calendar.date(days);
                assert_eq!(calendar.days(year, month, day), days, "{calendar} {year}-{month}-{day}");
                assert!(Some((year, month, day)) > previous, "{calendar}");
                previous = Some((year, month, day));
            }
        }
    }

    #[test]
    fn the_standard_calendar_leaves_ten_days_out() {
        let last = Calendar::Standard.days(1582, 10, 4);
        assert_eq!(last + 1, Calendar::Standard.days(1582, 10, 15));
        assert_eq!(Calendar::Standard.date(last + 1), (1582, 10, 15));
    }

    #[test]
    fn leap_days_follow_the_calendar() {
        assert_eq!(Calendar::NoLeap.date(Calendar::NoLeap.days(2000, 2, 28) + 1), (2000, 3, 1));
        assert_eq!(Calendar::Standard.date(Calendar::Standard.days(2000, 2, 28) + 1), (2000, 2, 29));
        assert_eq!(Calendar::Day360.date(Calendar::Day360.days(2001, 2, 29) + 1), (2001, 2, 30));
    }
}
