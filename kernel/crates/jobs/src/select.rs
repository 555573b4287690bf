//! Owns what a select in PBS's words says of a worker's cores and memory.

use crate::check::RequestError;

/// Of one chunk; nothing where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectChunk {
    pub cores: Option<u32>,
    pub memory_bytes: Option<u64>,
}

impl SelectChunk {
    /// Reads `1:ncpus=8:mem=32gb:ngpus=1`; what it does not know it leaves to PBS.
    ///
    /// # Errors
    /// If cores or memory are no numbers.
    pub fn read(select: &str) -> Result<Self, RequestError> {
        let mut chunk = Self::default();
        for part in select.split(':') {
            let Some((name, amount)) = part.split_once('=') else { continue };
            let bad = || RequestError::SelectAmount { select: select.to_owned(), amount: amount.to_owned() };
            match name.trim().to_ascii_lowercase().as_str() {
                "ncpus" => chunk.cores = Some(amount.parse().map_err(|_| bad())?),
                "mem" => chunk.memory_bytes = Some(nuna_pbs::size(amount).ok_or_else(bad)?),
                _ => {}
            }
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_memory_of_a_chunk_are_read() {
        let read = |text| SelectChunk::read(text).unwrap();
        let both = SelectChunk { cores: Some(8), memory_bytes: Some(32 << 30) };
        assert_eq!(read("1:ncpus=8:mem=32gb:ngpus=1"), both);
        assert_eq!(read("NCPUS=8:MEM=32GB"), both);
        assert_eq!(read("1:host=n1"), SelectChunk::default());
        let error = SelectChunk::read("1:ncpus=8:mem=32GiB").unwrap_err().to_string();
        assert!(error.contains("`32GiB`") && error.contains("mem=32gb"), "{error}");
    }
}
