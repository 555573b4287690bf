//! What Slurm's commands print, of which users write a part. The first byte says what it is taken for; `|` stands for what ends a
//! field, which nobody can guess.

use nuna_pbs::JobId;
use nuna_slurm::fuzzing;

pub(crate) fn check(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 3 {
        0 => {
            let answer = text.replace('|', &fuzzing::mark());
            let Ok((all, one_by_one)) = fuzzing::jobs(answer.as_bytes()) else { return };
            for (id, job) in all.jobs.iter().chain(&one_by_one.jobs) {
                assert_eq!(id, &job.id);
                assert_eq!(id.as_str().parse::<JobId>().as_ref(), Ok(id), "an id is read as it is written");
            }
        }
        1 => {
            if let Ok(facts) = fuzzing::cluster(&text) {
                assert!(!facts.name.is_empty());
            }
        }
        _ => assert!(fuzzing::partitions(&text).queues.keys().all(|name| !name.is_empty())),
    }
}
