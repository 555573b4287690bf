//! What PBS's commands print, of which users write a part: names, variables, comments. The first byte says what it is taken for.

use nuna_pbs::{Indices, JobId, Snapshot, UserName, cleaned, fuzzing, words};

/// Nothing that would steer a terminal, break a line or turn its direction.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|letter| {
        letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

fn look(snapshot: &Snapshot) {
    for (id, job) in &snapshot.jobs {
        assert_eq!(id, &job.id);
        assert_eq!(id.as_str().parse::<JobId>().as_ref(), Ok(id), "an id is read as it is written");
        assert!(is_plain(id.as_str()), "{id:?}");
        let _ = snapshot.presence(id);
    }
}

pub(crate) fn check(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    match kind % 5 {
        0 => fuzzing::json(rest).iter().for_each(look),
        1 => fuzzing::separated(rest).iter().for_each(look),
        2 => drop(fuzzing::queues(rest)),
        3 => {
            let text = String::from_utf8_lossy(rest);
            for told in [words("qsub", &text), cleaned(&text)] {
                assert!(is_plain(&told) && told.chars().count() <= 2000, "{told:?}");
            }
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            if let Ok(id) = text.parse::<JobId>() {
                assert!(
                    id.as_str().starts_with(|letter: char| letter.is_ascii_digit()),
                    "never an option: {id}"
                );
                assert!(is_plain(id.as_str()) && !id.as_str().contains([' ', '/', ';']), "{id:?}");
            }
            if let Ok(name) = text.parse::<UserName>() {
                assert!(name.as_str().len() <= 32 && !name.as_str().starts_with(['-', '.']), "{name}");
            }
            if let Ok(indices) = text.parse::<Indices>() {
                assert_eq!(indices.to_string().parse::<Indices>().as_ref(), Ok(&indices));
            }
        }
    }
}
