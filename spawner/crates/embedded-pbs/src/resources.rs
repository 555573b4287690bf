//! What a job asks for: `-l` values parsed into numbers, and numbers written back as PBS writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// Resources this server knows; the first group is counted, the second is carried along.
const COUNTED: [&str; 3] = ["mem", "ncpus", "walltime"];
const CARRIED: [&str; 16] = [
    "arch",
    "cput",
    "file",
    "host",
    "mpiprocs",
    "ngpus",
    "nice",
    "ompthreads",
    "pcput",
    "place",
    "pmem",
    "pvmem",
    "select",
    "software",
    "vmem",
    "vnode",
];
/// More select chunks than this is a typing mistake.
const CHUNK_COUNT_MAX: u32 = 10_000;

/// One `N:ncpus=..:mem=..` of a select statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SelectChunk {
    pub(crate) count: u32,
    pub(crate) ncpus: u32,
    pub(crate) mem_kb: Option<u64>,
    /// Processes that appear in the node file for each of these chunks.
    pub(crate) mpiprocs: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) chunks: Vec<SelectChunk>,
    /// The select statement as the user wrote it, or as PBS makes it up.
    pub(crate) select: String,
    pub(crate) place: String,
    /// Job-wide memory as text, the user's or the queue's.
    pub(crate) mem: Option<String>,
    pub(crate) walltime_s: Option<u64>,
    /// Anything else asked for, shown but not counted.
    pub(crate) others: BTreeMap<String, String>,
}

impl Request {
    /// Reads the `-l` items, later ones winning.
    pub(crate) fn parse(items: &[(String, String)]) -> Result<Self, Refusal> {
        let mut values: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in items {
            if name != "nodes" && !COUNTED.contains(&name.as_str()) && !CARRIED.contains(&name.as_str()) {
                return Err(Refusal::unknown_resource(name));
            }
            values.insert(name, value);
        }
        let walltime_s = values
            .get("walltime")
            .map(|text| parse_duration(text).ok_or_else(|| Refusal::bad_value("Resource_List.walltime")))
            .transpose()?;
        let (chunks, select, chosen) = match (values.get("select"), values.get("nodes")) {
            (Some(select), _) => (parse_select(select)?, (*select).to_owned(), true),
            (None, Some(nodes)) => {
                let select = nodes.replace("ppn=", "ncpus=");
                (parse_select(&select)?, select, true)
            }
            (None, None) => {
                let mut select = format!("1:ncpus={}", values.get("ncpus").unwrap_or(&"1"));
                if let Some(mem) = values.get("mem") {
                    select.push_str(&format!(":mem={mem}"));
                }
                (parse_select(&select)?, select, false)
            }
        };
        let from_chunks: Option<u64> = chunks
            .iter()
            .map(|chunk| chunk.mem_kb.map(|kb| kb.saturating_mul(u64::from(chunk.count))))
            .try_fold(0u64, |sum, kb| kb.map(|kb| sum.saturating_add(kb)));
        let mem = match values.get("mem") {
            Some(text) => {
                parse_size_kb(text).ok_or_else(|| Refusal::bad_value("Resource_List.mem"))?;
                Some((*text).to_owned())
            }
            None => from_chunks.map(|kb| match chunks.as_slice() {
                [one] if one.count == 1 => {
                    find_in_select(&select, "mem").unwrap_or_else(|| format!("{kb}kb"))
                }
                _ => format!("{kb}kb"),
            }),
        };
        let place = values
            .get("place")
            .map_or_else(|| if chosen { "free" } else { "pack" }.to_owned(), |place| (*place).to_owned());
        let others = values
            .iter()
            .filter(|(name, _)| {
                !COUNTED.contains(name) && !["select", "place", "nodes", "ncpus"].contains(name)
            })
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Ok(Self { chunks, select, place, mem, walltime_s, others })
    }

    pub(crate) fn ncpus(&self) -> u32 {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.count.saturating_mul(chunk.ncpus)))
    }

    pub(crate) fn chunk_count(&self) -> u32 {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.count))
    }

    pub(crate) fn mem_kb(&self) -> Option<u64> {
        self.mem.as_deref().and_then(parse_size_kb)
    }

    /// `Resource_List`, in the order PBS prints it.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let mut list: BTreeMap<String, String> = self.others.clone();
        if let Some(mem) = &self.mem {
            list.insert("mem".to_owned(), mem.clone());
        }
        list.insert("ncpus".to_owned(), self.ncpus().to_string());
        list.insert("nodect".to_owned(), self.chunk_count().to_string());
        list.insert("place".to_owned(), self.place.clone());
        list.insert("select".to_owned(), self.select.clone());
        if let Some(seconds) = self.walltime_s {
            list.insert("walltime".to_owned(), format_duration(seconds));
        }
        list.into_iter().collect()
    }
}

fn find_in_select(select: &str, name: &str) -> Option<String> {
    select.split(':').find_map(|item| item.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

fn parse_select(text: &str) -> Result<Vec<SelectChunk>, Refusal> {
    let bad = || Refusal::bad_value("Resource_List.select");
    let mut chunks = Vec::new();
    let mut total = 0u32;
    for part in text.split('+') {
        let mut items = part.split(':').peekable();
        let count = match items.peek() {
            Some(first) if first.bytes().all(|byte| byte.is_ascii_digit()) && !first.is_empty() => {
                let count = first.parse::<u32>().map_err(|_| bad())?;
                items.next();
                count
            }
            Some(_) | None => 1,
        };
        total = total.saturating_add(count);
        if count == 0 || total > CHUNK_COUNT_MAX {
            return Err(bad());
        }
        let mut chunk = SelectChunk { count, ncpus: 1, mem_kb: None, mpiprocs: 0 };
        let mut mpiprocs = None;
        for item in items {
            let (name, value) = item.split_once('=').ok_or_else(bad)?;
            match name {
                "ncpus" => chunk.ncpus = value.parse().map_err(|_| bad())?,
                "mem" => chunk.mem_kb = Some(parse_size_kb(value).ok_or_else(bad)?),
                "mpiprocs" => mpiprocs = Some(value.parse::<u32>().map_err(|_| bad())?),
                name if CARRIED.contains(&name) && name != "select" && name != "place" => {}
                name => return Err(Refusal::unknown_resource(name)),
            }
        }
        chunk.mpiprocs = mpiprocs.unwrap_or(1);
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// `SS`, `MM:SS` or `HH:MM:SS`, fractions of a second dropped.
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    let text = text.split_once('.').map_or(text, |(whole, _)| whole);
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty() || part.len() > 9) {
        return None;
    }
    parts.iter().try_fold(0u64, |total, part| Some(total * 60 + part.parse::<u64>().ok()?))
}

pub(crate) fn format_duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `256mb`, `2gb`, `1024` (bytes), `100kw` (words of 8 bytes), in kilobytes rounded up.
pub(crate) fn parse_size_kb(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = lower[..digits].parse().ok()?;
    let unit = &lower[digits..];
    let (scale, word) = match unit {
        "" | "b" => (0, 1),
        "w" => (0, 8),
        "k" | "kb" => (1, 1),
        "kw" => (1, 8),
        "m" | "mb" => (2, 1),
        "mw" => (2, 8),
        "g" | "gb" => (3, 1),
        "gw" => (3, 8),
        "t" | "tb" => (4, 1),
        "tw" => (4, 8),
        _ => return None,
    };
    let bytes = number.checked_mul(1u64.checked_shl(10 * scale)?)?.checked_mul(word)?;
    Some(bytes.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(items: &[(&str, &str)]) -> Result<Request, Refusal> {
        let items: Vec<_> = items.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Request::parse(&items)
    }

    #[test]
    fn select_gives_cores_memory_and_free_placement() {
        let request = parse(&[("select", "2:ncpus=4:mem=256mb"), ("walltime", "01:00:00")]).unwrap();
        assert_eq!(request.ncpus(), 8);
        assert_eq!(request.mem.as_deref(), Some("524288kb"));
        assert_eq!(request.place, "free");
        assert_eq!(request.walltime_s, Some(3600));
    }

    #[test]
    fn no_select_is_one_packed_chunk() {
        let request = parse(&[]).unwrap();
        assert_eq!((request.select.as_str(), request.place.as_str()), ("1:ncpus=1", "pack"));
    }

    #[test]
    fn old_style_nodes_become_a_select() {
        assert_eq!(parse(&[("nodes", "2:ppn=3")]).unwrap().ncpus(), 6);
    }

    #[test]
    fn unknown_and_bad_values_are_named() {
        assert_eq!(parse(&[("select", "1:bogus=3")]).unwrap_err().message, "Unknown resource: bogus");
        assert_eq!(parse(&[("walltime", "abc")]).unwrap_err().exit_code(), 166);
        assert!(parse(&[("select", "0:ncpus=1")]).is_err());
        assert!(parse(&[("select", "99999999999:ncpus=1")]).is_err());
    }

    #[test]
    fn sizes_are_kilobytes_rounded_up() {
        assert_eq!(parse_size_kb("256mb"), Some(262_144));
        assert_eq!(parse_size_kb("1025"), Some(2));
        assert_eq!(parse_size_kb("1kw"), Some(8));
        assert_eq!(parse_size_kb("lots"), None);
        assert_eq!(parse_size_kb("99999999999999999tb"), None);
    }
}
