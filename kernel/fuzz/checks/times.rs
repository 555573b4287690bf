//! Units of times, dates and frequencies as files and people write them: a line each, after a byte for the calendar, and then
//! counts. What is read as times is written and read as the same times.

use nuna_chunk::Chunk;
use nuna_labels::{
    Calendar, TimePart, Times,
    fuzzing::{bins, counted, instant, written},
};

const CALENDARS: [Calendar; 6] = [
    Calendar::Standard,
    Calendar::ProlepticGregorian,
    Calendar::Julian,
    Calendar::NoLeap,
    Calendar::AllLeap,
    Calendar::Day360,
];
const PARTS: [TimePart; 12] = [
    TimePart::Year,
    TimePart::Quarter,
    TimePart::Month,
    TimePart::Season,
    TimePart::Week,
    TimePart::Day,
    TimePart::DayOfYear,
    TimePart::DayOfWeek,
    TimePart::DaysInMonth,
    TimePart::Hour,
    TimePart::Minute,
    TimePart::Second,
];

fn split(data: &[u8]) -> (&str, &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    (std::str::from_utf8(&data[..end]).unwrap_or(""), data.get(end + 1..).unwrap_or_default())
}

fn check_times(times: &Times, frequency: &str) {
    for (at, &micros) in times.micros.iter().enumerate() {
        let when = times.calendar.split(micros);
        assert_eq!(times.calendar.days(when.year, when.month, when.day), micros.div_euclid(86_400_000_000));
        let text = times.iso(at);
        let beyond = micros == i64::MIN || when.year.abs() > 200_000;
        assert!(
            beyond || instant(&text, times.calendar).is_some_and(|range| range.start == micros),
            "{text}"
        );
    }
    for part in PARTS {
        assert_eq!(times.part(part).len(), times.len());
    }
    let (chunk, units, calendar) = written(times);
    let again = counted(&units, Some(calendar), &chunk).expect("what was written can be read");
    assert_eq!(again.micros, times.micros, "{units} {calendar}");
    if let Ok((codes, labels)) = bins(frequency, times) {
        assert_eq!(codes.len(), times.len());
        assert!(codes.iter().all(|&code| (code as usize) < labels.len()), "every time has a bin");
        assert!(labels.micros.is_sorted_by(|a, b| a < b), "bins follow each other: {:?}", labels.micros);
    }
}

pub(crate) fn check(data: &[u8]) {
    let [which, rest @ ..] = data else { return };
    let calendar = CALENDARS[usize::from(which % 6)];
    let (units, rest) = split(rest);
    let (date, rest) = split(rest);
    let (frequency, rest) = split(rest);
    // A frequency may be one of microseconds, and bins are many.
    let frequency = if frequency.ends_with('s') && !frequency.ends_with("MS") { "" } else { frequency };
    if let Some(range) = instant(date, calendar) {
        assert!(range.start < range.end, "{date} names no time");
        check_times(&Times { calendar, micros: [range.start].into() }, frequency);
    }
    let counts: Vec<i64> = rest
        .chunks_exact(8)
        .take(20)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        .collect();
    let length = [counts.len() as u64];
    let floats: Vec<f64> = counts.iter().map(|&bits| f64::from_bits(bits.cast_unsigned())).collect();
    for chunk in [Chunk::from_slice(&length, &counts), Chunk::from_slice(&length, &floats)] {
        if let Some(times) = counted(units, Some(calendar.name()), &chunk) {
            assert_eq!(times.len(), counts.len());
            check_times(&times, frequency);
        }
    }
}
