//! Owns amounts of memory as people write them.

use crate::error::ClusterError;

/// Reads `4GB`, `1.5 GiB`, `500MB`, `1000`.
///
/// # Errors
/// [`ClusterError::BadMemory`] if it is not an amount, or none.
pub fn parse_bytes(text: &str) -> Result<u64, ClusterError> {
    let bad = || ClusterError::BadMemory { text: text.to_owned() };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024.0 * 1024.0,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(bad()),
    };
    let bytes = number * factor;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// An amount of memory: a number of bytes, or text such as `"4GB"`.
pub trait IntoByteCount {
    /// # Errors
    /// If the text is not an amount.
    fn into_byte_count(self) -> Result<u64, ClusterError>;
}

impl IntoByteCount for &str {
    fn into_byte_count(self) -> Result<u64, ClusterError> {
        parse_bytes(self)
    }
}

impl IntoByteCount for u64 {
    fn into_byte_count(self) -> Result<u64, ClusterError> {
        Ok(self)
    }
}

/// `1.5 GB`.
pub fn show_bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4GB", 4_000_000_000),
            ("1.5 GiB", 1_610_612_736),
            ("500mb", 500_000_000),
            ("1000", 1000),
            ("2Ti", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "GB", "4 horses", "-1GB", "0"] {
            assert!(matches!(parse_bytes(text), Err(ClusterError::BadMemory { .. })), "{text}");
        }
        assert_eq!(show_bytes(1_500_000_000), "1.5 GB");
    }
}
