//! The arguments: a user's name, one of four words, and what may follow each. Everything else is refused.

use std::ffi::OsString;

const USER_LENGTH_MAX: usize = 32;
const JOB_ID_LENGTH_MAX: usize = 128;
const JOB_IDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Qsub,
    Qdel,
    Sbatch,
    Scancel,
}

impl Verb {
    pub fn word(self) -> &'static str {
        match self {
            Self::Qsub => "qsub",
            Self::Qdel => "qdel",
            Self::Sbatch => "sbatch",
            Self::Scancel => "scancel",
        }
    }

    /// The only option there is. Everything else about a job is in its script.
    fn option(self) -> Option<&'static str> {
        match self {
            // No background process of the user's.
            Self::Qsub => Some("-f"),
            // The job's number, and nothing around it.
            Self::Sbatch => Some("--parsable"),
            Self::Qdel | Self::Scancel => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub user: String,
    pub verb: Verb,
    pub arguments: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("expected a user name, qsub, qdel, sbatch or scancel, and arguments; see nuna-submit --help")]
    Incomplete,
    #[error("{word:?} is not a user name: small letters, digits, _ . - (32 at most, a letter or _ first)")]
    UserName { word: String },
    #[error("{word:?} is none of qsub, qdel, sbatch and scancel")]
    Verb { word: String },
    #[error("{word:?} is not an argument {verb} may have here")]
    Argument { word: String, verb: &'static str },
    #[error("{verb} needs 1 to {JOB_IDS_MAX} job ids, not {count}")]
    JobIdCount { count: usize, verb: &'static str },
}

impl Request {
    pub fn parse(arguments: &[OsString]) -> Result<Self, RequestError> {
        // A word that is no text is no valid word of any kind either; it shows with replacement characters.
        let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let [user, verb, rest @ ..] = words.as_slice() else { return Err(RequestError::Incomplete) };
        if !is_user_name(user) {
            return Err(RequestError::UserName { word: shown(user) });
        }
        let verb = match verb.as_str() {
            "qsub" => Verb::Qsub,
            "qdel" => Verb::Qdel,
            "sbatch" => Verb::Sbatch,
            "scancel" => Verb::Scancel,
            other => return Err(RequestError::Verb { word: shown(other) }),
        };
        let is_allowed = |word: &str| match verb {
            Verb::Qsub | Verb::Sbatch => verb.option() == Some(word),
            Verb::Qdel => is_job_id(word),
            Verb::Scancel => is_slurm_job_id(word),
        };
        if let Some(word) = rest.iter().find(|word| !is_allowed(word)) {
            return Err(RequestError::Argument { word: shown(word), verb: verb.word() });
        }
        match verb {
            Verb::Qsub | Verb::Sbatch if rest.len() > 1 => {
                return Err(RequestError::Argument { word: shown(&rest[1]), verb: verb.word() });
            }
            Verb::Qdel | Verb::Scancel if rest.is_empty() || rest.len() > JOB_IDS_MAX => {
                return Err(RequestError::JobIdCount { count: rest.len(), verb: verb.word() });
            }
            Verb::Qsub | Verb::Qdel | Verb::Sbatch | Verb::Scancel => {}
        }
        Ok(Self { user: user.clone(), verb, arguments: rest.to_vec() })
    }
}

fn shown(word: &str) -> String {
    word.chars().take(64).collect()
}

fn is_user_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let is_later = |byte: u8| is_first(byte) || byte.is_ascii_digit() || b".-".contains(&byte);
    name.len() <= USER_LENGTH_MAX && name.bytes().next().is_some_and(is_first) && name.bytes().all(is_later)
}

/// `123.server`, `123[].server`, `123[7].server`: starts with a digit, so it is never an option.
fn is_job_id(word: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"[]._-".contains(&byte);
    word.len() <= JOB_ID_LENGTH_MAX
        && word.bytes().next().is_some_and(|first| first.is_ascii_digit())
        && word.bytes().all(is_legal)
}

/// `123`, or `123_7` of an array.
fn is_slurm_job_id(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word.len() <= JOB_ID_LENGTH_MAX
        && match word.split_once('_') {
            Some((number, index)) => is_number(number) && is_number(index),
            None => is_number(word),
        }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse(words: &[&str]) -> Result<Request, RequestError> {
        Request::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_commands_are_understood() {
        let request = parse(&["alice", "qsub", "-f"]).unwrap();
        assert_eq!((request.user.as_str(), request.verb, request.arguments.len()), ("alice", Verb::Qsub, 1));
        assert!(parse(&["alice", "qsub"]).is_ok());
        let request = parse(&["a.b-c_9", "qdel", "12.head", "13[].head", "14[3].head.example.org"]).unwrap();
        assert_eq!(request.arguments.len(), 3);
        assert_eq!(parse(&["alice", "sbatch", "--parsable"]).unwrap().verb, Verb::Sbatch);
        assert_eq!(parse(&["alice", "scancel", "12", "13_4"]).unwrap().arguments, ["12", "13_4"]);
    }

    #[test]
    fn everything_else_is_refused() {
        for words in [
            &["alice"][..],
            &[],
            &["root;id", "qsub"],
            &["-u", "qsub"],
            &["Alice", "qsub"],
            &["../root", "qsub"],
            &["alice\n", "qsub"],
            &["", "qsub"],
            &["alice", "qstat"],
            &["alice", "/opt/pbs/bin/qsub"],
            &["alice", "sh", "-c", "id"],
            &["alice", "qsub", "-f", "-f"],
            &["alice", "qsub", "/etc/shadow"],
            &["alice", "qsub", "-v", "A=1"],
            &["alice", "qsub", "--", "sh"],
            &["alice", "qdel"],
            &["alice", "qdel", "-W", "force", "1.head"],
            &["alice", "qdel", "all"],
            &["alice", "qdel", "1.head;id"],
            &["alice", "qdel", "1.head 2.head"],
            &["alice", "sbatch", "-f"],
            &["alice", "sbatch", "--parsable", "--parsable"],
            &["alice", "sbatch", "--parsable=1"],
            &["alice", "sbatch", "--uid=root"],
            &["alice", "sbatch", "--wrap=id"],
            &["alice", "sbatch", "/etc/shadow"],
            &["alice", "scancel"],
            &["alice", "scancel", "-u", "bob"],
            &["alice", "scancel", "--me"],
            &["alice", "scancel", "1.head"],
            &["alice", "scancel", "1_"],
            &["alice", "scancel", "_1"],
            &["alice", "scancel", "1_[2-3]"],
            &["alice", "squeue"],
            &["alice", "scontrol", "shutdown"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let many = vec!["1.head"; JOB_IDS_MAX + 1];
        assert!(parse(&[&["alice", "qdel"][..], &many].concat()).is_err());
        let not_text = OsString::from_vec(vec![b'a', 0xff]);
        assert!(Request::parse(&[not_text, "qsub".into()]).is_err());
    }
}
