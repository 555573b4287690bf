//! Owns days and instants: from text, to text, and their parts. Proleptic Gregorian, UTC, no leap seconds.

pub(crate) const DAY: i64 = 86_400_000_000;
/// Microseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000;

/// Days since 1970-01-01; months and days are taken as they come. Years are those of four digits.
#[inline]
fn days(year: u32, month: u32, day: u32) -> i64 {
    // Years begin in March, so that the leap day is the last one, and are counted from 400 years before 0.
    let year = year + 400 - u32::from(month <= 2);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
    let century = year / 100;
    i64::from(365 * year + year / 4 - century + century / 4 + of_year) - 719_469 - 146_097
}

/// Year, month and day.
pub(crate) fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, date)
}

fn month_length(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

#[inline(always)]
fn number(digits: &[u8]) -> Option<i64> {
    let mut value = 0;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// A number of two digits; of other letters one that is larger.
#[inline(always)]
fn two(tens: u8, ones: u8) -> u32 {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if (tens > 9) | (ones > 9) { NO_NUMBER } else { 10 * u32::from(tens) + u32::from(ones) }
}

/// Larger than any part of a date, also as a hundredth of one.
const NO_NUMBER: u32 = 1 << 20;

/// `2001-06-15` as days since 1970.
#[inline]
pub(crate) fn parse_date(text: &[u8]) -> Option<i64> {
    let &[a, b, c, d, b'-', e, f, b'-', g, h] = text else { return None };
    let (year, month, day) = (100 * two(a, b) + two(c, d), two(e, f), two(g, h));
    let is_date = year <= 9999
        && (1..=12).contains(&month)
        && day >= 1
        && (day <= 28 || day <= month_length(year, month));
    is_date.then(|| days(year, month, day))
}

/// `2001-06-15 12:30`, with seconds, a fraction of up to 6 digits and an offset from UTC if they are there, as
/// microseconds since 1970. A `T` may stand between date and time. A date alone is its midnight.
#[inline]
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let day = parse_date(text.get(..10)?)?;
    // As nearly all are written, read without a loop.
    if let &[b' ' | b'T', a, b, b':', c, d, b':', e, f] = &text[10..] {
        let (hour, minute, second) = (two(a, b), two(c, d), two(e, f));
        let is_time = hour <= 23 && minute <= 59 && second <= 59;
        return is_time.then(|| day * DAY + i64::from((hour * 60 + minute) * 60 + second) * SECOND);
    }
    if text.len() == 10 {
        return Some(day * DAY);
    }
    if !matches!(text[10], b' ' | b'T') || text.len() < 16 || text[13] != b':' {
        return None;
    }
    let (hour, minute) = (number(&text[11..13])?, number(&text[14..16])?);
    let mut rest = &text[16..];
    let mut second = 0;
    let mut micros = 0;
    if let [b':', a, b, after @ ..] = rest {
        second = number(&[*a, *b])?;
        rest = after;
        if let [b'.', after @ ..] = rest {
            let count = after.iter().take_while(|b| b.is_ascii_digit()).count();
            if count == 0 || count > 6 {
                return None;
            }
            micros = number(&after[..count])? * 10_i64.pow(6 - count as u32);
            rest = &after[count..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = match rest {
        [] | [b'Z'] => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] | [sign @ (b'+' | b'-'), a, b, c, d] => {
            let (hours, minutes) = (number(&[*a, *b])?, number(&[*c, *d])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60 * SECOND;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(day * DAY + ((hour * 60 + minute) * 60 + second) * SECOND + micros - offset)
}

pub(crate) fn write_date(day: i64, out: &mut String) {
    use std::fmt::Write;
    let (year, month, date) = civil(day);
    let _ = write!(out, "{year:04}-{month:02}-{date:02}");
}

pub(crate) fn write_time(micros: i64, out: &mut String) {
    use std::fmt::Write;
    write_date(micros.div_euclid(DAY), out);
    let of_day = micros.rem_euclid(DAY);
    let (seconds, fraction) = (of_day / SECOND, of_day % SECOND);
    let _ = write!(out, " {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let _ = write!(out, ".{fraction:06}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back_as_they_were() {
        // Years that four digits can write.
        for day in [-719_528, -1, 0, 58, 59, 60, 11_016, 19_782, 2_000_000] {
            let mut text = String::new();
            write_date(day, &mut text);
            assert_eq!(parse_date(text.as_bytes()), Some(day), "{text}");
        }
        assert_eq!(parse_date(b"2000-02-29"), Some(11_016));
        let mut day = -719_528;
        for year in 0..=9999_u32 {
            for month in 1..=12 {
                for date in 1..=month_length(year, month) {
                    assert_eq!(days(year, month, date), day, "{year}-{month}-{date}");
                    assert_eq!(civil(day), (i64::from(year), i64::from(month), i64::from(date)));
                    day += 1;
                }
            }
        }
        for wrong in [
            "2001-02-29",
            "1900-02-29",
            "2001-13-01",
            "2001-00-10",
            "2001-1-010",
            "20010-1-01",
            "20a1-01-01",
            "2001-0:-01",
            "a001-01-01",
            "2001-01-0/",
            "2001-01-32",
        ] {
            assert_eq!(parse_date(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn instants_are_in_utc() {
        let at = |text: &str| parse_time(text.as_bytes());
        assert_eq!(at("1970-01-01 00:00:01"), Some(SECOND));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("1969-12-31 23:59:59.25Z"), Some(-750_000));
        assert_eq!(at("1970-01-02"), Some(DAY));
        for wrong in [
            "1970-01-01 24:00",
            "1970-01-01 24:00:00",
            "1970-01-01 00:60:00",
            "1970-01-01 00:00:60",
            "1970-01-01 00:00:6a",
            "1970-01-01 0/:00:00",
            "1970-01-01_00:00:00",
            "1970-01-01 00:60",
            "1970-01-01 00:00:00.1234567",
            "1970-01-01 0",
            "1970-01-01 00:00x",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        let mut text = String::new();
        write_time(-750_000, &mut text);
        assert_eq!(text, "1969-12-31 23:59:59.250000");
    }
}
