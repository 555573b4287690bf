//! Names that cross into commands: job ids and user names, checked once and never again.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::indices::INDEX_MAX;

/// PBS's own bound on a job id (`PBS_MAXSVRJOBID`) is of this order.
const ID_LENGTH_MAX: usize = 128;

/// `123.server`, `123[].server` for an array, `123[7].server` for one of its jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a PBS job id (expected digits, then [] for an array or [index] for one of its jobs, and .server)"
)]
pub struct InvalidJobId {
    text: String,
}

impl JobId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number before the first dot or bracket.
    pub fn sequence(&self) -> u64 {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        self.0[..digits].parse().unwrap_or(u64::MAX)
    }

    /// Whether it names a whole job array, `123[].server`.
    pub fn is_array(&self) -> bool {
        self.parts().0.ends_with("[]")
    }

    /// Which job of its array it is; nothing for an array itself and for a job of its own.
    pub fn index(&self) -> Option<u32> {
        self.parts().0.split_once('[')?.1.strip_suffix(']')?.parse().ok()
    }

    /// The array it is one job of; nothing for an array itself and for a job of its own.
    pub fn array(&self) -> Option<Self> {
        self.index()?;
        Some(self.as_array())
    }

    /// The job of this array that has that index. Of what is no array, the one that would be it if it were one.
    pub fn sub_job(&self, index: u32) -> Self {
        self.with_brackets(&format!("[{}]", index.min(INDEX_MAX)))
    }

    /// The array of this number.
    pub(crate) fn as_array(&self) -> Self {
        self.with_brackets("[]")
    }

    fn with_brackets(&self, brackets: &str) -> Self {
        let (number, server) = self.parts();
        let digits = number.split('[').next().unwrap_or_default();
        let dot = if server.is_empty() { "" } else { "." };
        Self(format!("{digits}{brackets}{dot}{server}"))
    }

    /// Whether both name one job, even if one gives the server's short name and the other its full one.
    pub fn is_same_job(&self, other: &Self) -> bool {
        let (number, server) = self.parts();
        let (other_number, other_server) = other.parts();
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        number == other_number
            && (server == other_server
                || server.is_empty()
                || other_server.is_empty()
                || short(server) == short(other_server))
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidJobId { text: text.chars().take(ID_LENGTH_MAX).collect() };
        if text.len() > ID_LENGTH_MAX {
            return Err(invalid());
        }
        let (number, server) = match text.split_once('.') {
            Some((number, server)) if !server.is_empty() => (number, server),
            Some(_) => return Err(invalid()),
            None => (text, ""),
        };
        let (digits, index) = match number.split_once('[') {
            Some((digits, rest)) => (digits, rest.strip_suffix(']').ok_or_else(invalid)?),
            None => (number, ""),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_server = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // One job has one name: no zeros in front.
        let is_index =
            |text: &str| is_number(text) && text.len() <= 9 && (text == "0" || !text.starts_with('0'));
        let is_good = !digits.is_empty()
            && digits.len() <= 18
            && is_number(digits)
            && is_index(index)
            && server.bytes().all(is_server);
        if is_good { Ok(Self(text.to_owned())) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// In the order of submission, an array before its jobs and these by index.
impl Ord for JobId {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |id: &Self| (id.sequence(), id.index());
        place(self).cmp(&place(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for JobId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A Unix account that jobs are submitted for: what Debian's `useradd` accepts, dots added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a user name: it starts with a small letter or _, and holds small letters, digits, _ . - (32 at most)"
)]
pub struct InvalidUserName {
    text: String,
}

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let is_later = |byte: u8| is_first(byte) || byte.is_ascii_digit() || b".-".contains(&byte);
        let is_good =
            text.len() <= 32 && text.bytes().next().is_some_and(is_first) && text.bytes().all(is_later);
        if is_good {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUserName { text: text.chars().take(64).collect() })
        }
    }
}

impl TryFrom<String> for UserName {
    type Error = InvalidUserName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_pbs_are_accepted_and_nothing_else() {
        for good in ["123.server", "123[].server", "123[7].pbs-1.example.org", "7"] {
            assert_eq!(good.parse::<JobId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "x.server",
            "1.",
            "1.a b",
            "1;rm",
            "-1.a",
            "1[.a",
            "1[x].a",
            "1.a\n",
            "1.a/b",
            "1.$(id)",
            "[].a",
            "1[1-3].a",
            "1[007].a",
            "1[9999999999].a",
            "1[][].a",
            "1[2]3.a",
            "1[-1].a",
            "1].a",
        ] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
        }
        assert!("1".repeat(200).parse::<JobId>().is_err());
    }

    #[test]
    fn ids_sort_by_number() {
        let mut ids: Vec<JobId> =
            ["100.a", "9[10].a", "9[].a", "9[2].a"].map(|id| id.parse().unwrap()).to_vec();
        ids.sort();
        assert_eq!(
            ids.iter().map(JobId::as_str).collect::<Vec<_>>(),
            ["9[].a", "9[2].a", "9[10].a", "100.a"]
        );
    }

    #[test]
    fn an_array_and_its_jobs_know_each_other() {
        let id = |text: &str| text.parse::<JobId>().unwrap();
        let (array, one, alone) = (id("12[].head.example.org"), id("12[3].head.example.org"), id("12.head"));
        assert!(array.is_array() && !one.is_array() && !alone.is_array());
        assert_eq!((array.index(), one.index(), alone.index()), (None, Some(3), None));
        assert_eq!((array.array(), one.array(), alone.array()), (None, Some(array.clone()), None));
        assert_eq!(array.sub_job(3), one);
        assert_eq!(id("12[]").sub_job(0), id("12[0]"));
        assert!(!array.is_same_job(&one) && id("12[3].head").is_same_job(&one));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_id_that_prints_the_same_or_is_refused(text in "[0-9]{0,4}(\\[[0-9x-]{0,11}\\]?)?(\\.[a-z.-]{0,8})?") {
            match text.parse::<JobId>() {
                Ok(id) => {
                    proptest::prop_assert_eq!(id.as_str(), &text);
                    if let (Some(array), Some(index)) = (id.array(), id.index()) {
                        proptest::prop_assert!(array.is_array());
                        proptest::prop_assert_eq!(array.sub_job(index), id);
                    }
                }
                Err(error) => proptest::prop_assert!(error.to_string().contains("is not a PBS job id")),
            }
        }
    }

    #[test]
    fn short_and_full_server_names_are_one_server() {
        let id = |text: &str| text.parse::<JobId>().unwrap();
        assert!(id("5.head").is_same_job(&id("5.head.example.org")));
        assert!(id("5").is_same_job(&id("5.head")));
        assert!(!id("5.head").is_same_job(&id("5.tail")));
        assert!(!id("5.head").is_same_job(&id("5[].head")));
        assert!(!id("5.head").is_same_job(&id("6.head")));
    }

    #[test]
    fn odd_user_names_are_refused() {
        for good in ["alice", "_svc", "a.b-c_9"] {
            assert!(good.parse::<UserName>().is_ok(), "{good:?}");
        }
        for bad in ["", "Alice", "-a", "9a", ".a", "a b", "a\n", "a/b", "a$", "ä", &"a".repeat(33)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<UserName>("\"root;\"").is_err());
    }
}
