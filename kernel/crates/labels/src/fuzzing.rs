//! Owns the way of fuzzers to parsers of text that are otherwise reached through files. No part of the interface.

use std::ops::Range;

use nuna_chunk::Chunk;
use serde_json::Value;

use crate::{Calendar, Result, Times, frequency::Frequency, time};

/// A document of YAML.
///
/// # Errors
/// If it is none.
pub fn yaml(text: &str) -> Result<Value, String> {
    crate::yaml::parse(text)
}

/// What a date names.
pub fn instant(text: &str, calendar: Calendar) -> Option<Range<i64>> {
    time::parse_instant(text, calendar)
}

/// What counts with units of CF mean.
pub fn counted(units: &str, calendar: Option<&str>, counts: &Chunk) -> Option<Times> {
    time::TimeUnits::parse(units, calendar)?.decode(counts)
}

/// Counts, units and calendar as they are written.
pub fn written(times: &Times) -> (Chunk, String, &'static str) {
    times.encode()
}

/// The bin of each time, and the labels of the bins.
///
/// # Errors
/// If it is no frequency, or the times are not for binning.
pub fn bins(frequency: &str, times: &Times) -> Result<(Vec<u32>, Times)> {
    Frequency::parse(frequency)?.bins("time", times)
}
