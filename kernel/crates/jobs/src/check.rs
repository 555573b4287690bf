//! Owns what is wrong with a request, before PBS is asked to refuse it.

use std::time::Duration;

use nuna_pbs::{Queue, Queues};

use crate::{request::Request, select::SelectChunk, walltime::show_walltime};

/// Shorter jobs would spend their time starting and leaving.
const WALLTIME_MIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error(
        "{what} is {text:?}, but it must be one line without control characters, and not empty; say each line by itself"
    )]
    NotOneLine { what: &'static str, text: String },
    #[error("{what} is {text:?}, but PBS knows letters, digits, and `_ - . @ : /` there")]
    BadName { what: &'static str, text: String },
    #[error("a worker needs at least one core, and memory; {cores} cores and {bytes} bytes were asked for")]
    Nothing { cores: u32, bytes: u64 },
    #[error("a walltime of {} is too short for a worker to start and leave in; ask for {} at least, and say the unit: \"2h\"", show_walltime(*asked), show_walltime(*least))]
    WalltimeShort { asked: Duration, least: Duration },
    #[error(
        "the select {select:?} asks for more than one chunk; each worker is a job of one chunk, so write `1:…` and ask for more workers with `.scale(n)`"
    )]
    Chunks { select: String },
    #[error(
        "`{amount}` in the select {select:?} is no amount that PBS knows; write for example `ncpus=8:mem=32gb`"
    )]
    SelectAmount { select: String, amount: String },
    #[error(
        "the select {select:?} asks for {there}, but workers would use {asked}; leave one of the two out, or say the same in both"
    )]
    SelectLess { select: String, there: String, asked: String },
    #[error(
        "the directive {text:?} makes each worker's job an array of workers of one name; say `.job_array()` instead, and PBS gets one array for all of them"
    )]
    ArrayDirective { text: String },
    #[error(
        "queue {queue:?} lets {user} have {most} jobs at once, but {asked} workers were asked for, each a job; ask for fewer with more `.cores(n)`"
    )]
    Queued { queue: String, user: String, most: u64, asked: u64 },
    #[error("there is no queue {queue:?} here; there is {}", there.join(", "))]
    UnknownQueue { queue: String, there: Vec<String> },
    #[error("queue {queue:?} takes no jobs at present (`qstat -Qf {queue}` shows enabled = False); there is {}", there.join(", "))]
    QueueDisabled { queue: String, there: Vec<String> },
    #[error("queue {queue:?} takes jobs of certain people only, and {user} is not among them")]
    NotAllowed { queue: String, user: String },
    #[error("queue {queue:?} allows {most} cores for each job, but {asked} were asked for")]
    Cores { queue: String, most: u64, asked: u64 },
    #[error("queue {queue:?} allows {} of memory for each job, but {} were asked for", gibibytes(*most), gibibytes(*asked))]
    Memory { queue: String, most: u64, asked: u64 },
    #[error("queue {queue:?} allows a walltime of {}, but {} was asked for", show_walltime(*most), show_walltime(*asked))]
    Walltime { queue: String, most: Duration, asked: Duration },
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}

/// Whether PBS would take `workers` such jobs of `user`, as far as its queues say; `queues` is absent if it was not asked.
///
/// # Errors
/// The first thing that it would refuse, or that no script can say.
pub fn check(
    request: &Request,
    workers: u32,
    queues: Option<&Queues>,
    user: &str,
) -> Result<(), RequestError> {
    let named =
        [("the queue", &request.queue), ("the account", &request.account), ("the project", &request.project)];
    for (what, text) in named {
        if let Some(text) = text {
            let fine = |c: char| c.is_ascii_alphanumeric() || "_-.@:/".contains(c);
            if text.is_empty() || text.starts_with('-') || !text.chars().all(fine) {
                return Err(RequestError::BadName { what, text: text.clone() });
            }
        }
    }
    let lines = request.select.iter().map(|text| ("the select", text));
    let lines = lines.chain(request.directives.iter().map(|text| ("a directive", text)));
    let lines = lines.chain(request.set_up.iter().map(|text| ("a set-up line", text)));
    for (what, text) in lines {
        if text.trim().is_empty() || text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(RequestError::NotOneLine { what, text: text.clone() });
        }
    }
    if let Some(text) = request.directives.iter().find(|text| text.trim_start().starts_with("-J")) {
        return Err(RequestError::ArrayDirective { text: text.clone() });
    }
    if let Some(select) = &request.select {
        let count = select.split(':').next().unwrap_or_default();
        let several = count.parse::<u64>().is_ok_and(|count| count != 1) || select.contains('+');
        if several || select.contains(char::is_whitespace) {
            return Err(RequestError::Chunks { select: select.clone() });
        }
    }
    if let Some(select) = &request.select {
        let chunk = SelectChunk::read(select)?;
        let less = |there: String, asked: String| {
            Err(RequestError::SelectLess { select: select.clone(), there, asked })
        };
        if let Some(there) = chunk.cores.filter(|&there| there < request.cores) {
            return less(format!("{there} cores"), request.cores.to_string());
        }
        if let Some(there) = chunk.memory_bytes.filter(|&there| there < request.memory_bytes) {
            return less(gibibytes(there), gibibytes(request.memory_bytes));
        }
    }
    if request.cores == 0 || request.memory_bytes == 0 {
        return Err(RequestError::Nothing { cores: request.cores, bytes: request.memory_bytes });
    }
    if request.walltime < WALLTIME_MIN {
        return Err(RequestError::WalltimeShort { asked: request.walltime, least: WALLTIME_MIN });
    }
    let Some(queues) = queues else { return Ok(()) };
    let Some(name) = request.queue.as_ref().or(queues.default.as_ref()) else { return Ok(()) };
    let there = || {
        let usable = queues.queues.values().filter(|queue| queue.enabled);
        usable.map(|queue| queue.name.clone()).collect::<Vec<_>>()
    };
    // `queue@server` is another server's affair.
    if name.contains('@') {
        return Ok(());
    }
    match queues.queues.get(name) {
        None => Err(RequestError::UnknownQueue { queue: name.clone(), there: there() }),
        Some(queue) if !queue.enabled => {
            Err(RequestError::QueueDisabled { queue: name.clone(), there: there() })
        }
        Some(queue) => within(request, workers, queue, user),
    }
}

fn within(request: &Request, workers: u32, queue: &Queue, user: &str) -> Result<(), RequestError> {
    let name = || queue.name.clone();
    if let Some(users) = &queue.users {
        // Entries may be `user@host`, and `+` or `-` in front says whether that one may.
        let listed = users.iter().filter_map(|entry| {
            let entry = entry.split('@').next().unwrap_or_default();
            (!entry.starts_with('-')).then(|| entry.trim_start_matches('+'))
        });
        if !listed.into_iter().any(|entry| entry == user || entry == "*") {
            return Err(RequestError::NotAllowed { queue: name(), user: user.to_owned() });
        }
    }
    if let Some(most) = queue.walltime_max
        && request.walltime > most
    {
        return Err(RequestError::Walltime { queue: name(), most, asked: request.walltime });
    }
    if let Some(most) = queue.cores_max
        && u64::from(request.cores) > most
    {
        return Err(RequestError::Cores { queue: name(), most, asked: u64::from(request.cores) });
    }
    if let Some(most) = queue.memory_max_bytes
        && request.memory_bytes > most
    {
        return Err(RequestError::Memory { queue: name(), most, asked: request.memory_bytes });
    }
    if let Some(most) = queue.queued_max.of(user)
        && u64::from(workers) > most
    {
        let (user, asked) = (user.to_owned(), u64::from(workers));
        return Err(RequestError::Queued { queue: name(), user, most, asked });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nuna_pbs::Share;

    use super::*;

    fn request(queue: &str) -> Request {
        Request {
            queue: Some(queue.into()),
            select: None,
            cores: 2,
            memory_bytes: 1 << 30,
            walltime: Duration::from_secs(3600),
            account: None,
            project: None,
            directives: Vec::new(),
            set_up: Vec::new(),
        }
    }

    fn queues() -> Queues {
        let short = Queue {
            name: "short".into(),
            enabled: true,
            started: true,
            cores_max: Some(2),
            memory_max_bytes: Some(2 << 30),
            walltime_max: Some(Duration::from_secs(3600)),
            queued_max: Share { each: Some(5), ..Share::default() },
            ..Queue::default()
        };
        let closed = Queue { name: "closed".into(), enabled: false, ..short.clone() };
        let vip = Queue { name: "vip".into(), users: Some(vec!["bob@*".into()]), ..short.clone() };
        let queues = [short, closed, vip].map(|queue| (queue.name.clone(), queue)).into();
        Queues { queues, default: Some("short".into()), array_size_max: None }
    }

    #[test]
    fn limits_of_a_queue_are_named() {
        let said = |request: &Request| check(request, 4, Some(&queues()), "alice").unwrap_err().to_string();
        assert_eq!(check(&request("short"), 4, Some(&queues()), "alice"), Ok(()));
        let long = Request { walltime: Duration::from_secs(7200), ..request("short") };
        assert_eq!(said(&long), "queue \"short\" allows a walltime of 01:00:00, but 02:00:00 was asked for");
        // The default queue's limits hold for those who name none.
        assert!(said(&Request { queue: None, ..long }).contains("short"));
        assert!(said(&Request { cores: 3, ..request("short") }).contains("2 cores"));
        assert!(said(&Request { memory_bytes: 3 << 30, ..request("short") }).contains("memory"));
        assert_eq!(said(&request("sort")), "there is no queue \"sort\" here; there is short, vip");
        assert!(said(&request("closed")).contains("takes no jobs"));
        assert!(said(&request("vip")).contains("alice is not among them"));
        let many = check(&request("short"), 6, Some(&queues()), "alice").unwrap_err().to_string();
        assert!(many.contains("lets alice have 5 jobs at once, but 6 workers"), "{many}");
        assert_eq!(check(&request("vip"), 4, Some(&queues()), "bob"), Ok(()));
    }

    #[test]
    fn nothing_can_break_out_of_its_line() {
        let bad = |request: Request| check(&request, 4, None, "alice").unwrap_err();
        assert!(matches!(bad(request("a b")), RequestError::BadName { .. }));
        let evil = Request { set_up: vec!["a\nb".into()], ..request("short") };
        assert!(matches!(bad(evil), RequestError::NotOneLine { .. }));
        let two = Request { select: Some("2:ncpus=1".into()), ..request("short") };
        assert!(matches!(bad(two), RequestError::Chunks { .. }));
        let less = Request { select: Some("1:ncpus=1:mem=4gb".into()), ..request("short") };
        assert!(bad(less).to_string().contains("asks for 1 cores, but workers would use 2"));
        let little = Request { select: Some("1:ncpus=2:mem=512mb".into()), ..request("short") };
        assert!(bad(little).to_string().contains("asks for 0.5 GiB, but workers would use 1.0 GiB"));
        let array = Request { directives: vec!["-J 1-9".into()], ..request("short") };
        assert!(bad(array).to_string().contains(".job_array()"));
        let brief = Request { walltime: Duration::from_secs(3), ..request("short") };
        assert!(matches!(bad(brief), RequestError::WalltimeShort { .. }));
    }
}
