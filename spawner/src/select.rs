//! What a select statement asks for, for those who do not read PBS's: JupyterHub's limits, and the options of Slurm and Torque.

use serde::Serialize;

/// The nodes of a job, all alike. What the statement leaves to the queue is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chunk {
    pub nodes: u32,
    /// Of each node, as all that follows.
    pub cores: Option<u32>,
    /// Rounded up: Slurm counts in these.
    pub memory_mebibytes: Option<u64>,
    pub gpus: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("{select:?} joins different chunks with +, which only PBS can be told")]
    Mixed { select: String },
    #[error("{part:?} in {select:?} is neither a number of nodes nor ncpus, mem or ngpus with a number")]
    Unknown { part: String, select: String },
}

impl Chunk {
    /// Reads `2:ncpus=4:mem=8gb:ngpus=1`; the number of nodes may be left out.
    ///
    /// # Errors
    /// If it asks for something else too, or for nothing.
    pub fn parse(select: &str) -> Result<Self, ChunkError> {
        if select.contains('+') {
            return Err(ChunkError::Mixed { select: select.to_owned() });
        }
        let mut chunk = Self { nodes: 1, cores: None, memory_mebibytes: None, gpus: None };
        for (index, part) in select.split(':').enumerate() {
            let unknown = || ChunkError::Unknown { part: part.to_owned(), select: select.to_owned() };
            let count = |text: &str| text.parse::<u32>().ok().filter(|count| *count > 0).ok_or_else(unknown);
            match part.split_once('=') {
                None if index == 0 => chunk.nodes = count(part)?,
                Some(("ncpus", text)) => chunk.cores = Some(count(text)?),
                Some(("mem", text)) => {
                    let bytes = size_bytes(text).filter(|bytes| *bytes > 0).ok_or_else(unknown)?;
                    chunk.memory_mebibytes = Some(bytes.div_ceil(1 << 20));
                }
                // A node without is a good choice, too.
                Some(("ngpus", "0")) => {}
                Some(("ngpus", text)) => chunk.gpus = Some(count(text)?),
                _ => return Err(unknown()),
            }
        }
        Ok(chunk)
    }
}

/// A size as PBS reads it (pbs_resources(7)): a number, of bytes unless a unit follows; `w` counts words of 8 bytes.
pub fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let word = if unit.ends_with('w') { 8 } else { 1 };
    let power = match unit.trim_end_matches(['b', 'w']) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))?.checked_mul(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_statements_of_one_kind_are_understood() {
        let chunk = |nodes, cores, memory_mebibytes, gpus| Chunk { nodes, cores, memory_mebibytes, gpus };
        for (select, expected) in [
            ("1:ncpus=4:mem=8gb", chunk(1, Some(4), Some(8192), None)),
            ("2:ngpus=1:ncpus=28", chunk(2, Some(28), None, Some(1))),
            ("ncpus=1:ngpus=0", chunk(1, Some(1), None, None)),
            ("3", chunk(3, None, None, None)),
            ("1:mem=1kb", chunk(1, None, Some(1), None)),
        ] {
            assert_eq!(Chunk::parse(select).unwrap(), expected, "{select}");
        }
    }

    #[test]
    fn what_slurm_has_no_word_for_is_named() {
        for select in
            ["1:ncpus=1+2:ncpus=4", "1:ncpus=0", "0", "", "1:mpiprocs=4", "1:mem=lots", "1:2", "1:ncpus"]
        {
            let error = Chunk::parse(select).unwrap_err();
            assert!(error.to_string().contains(select), "{error}");
        }
    }

    #[test]
    fn sizes_are_read_as_pbs_reads_them() {
        for (text, bytes) in
            [("1024", 1024), ("2kb", 2048), ("1MB", 1 << 20), ("3gw", 24 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(size_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "gb", "4 gb", "4xb", "99999999999999pb"] {
            assert_eq!(size_bytes(text), None, "{text}");
        }
    }
}
