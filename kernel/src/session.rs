//! Owns the state that outlives a cell in the kernel itself: the execution count and the history. No I/O; what earlier
//! sessions have typed is read in `history`.

use serde_json::{Value, json};

use crate::history::Typed;

/// Cells run so far, oldest first, and the number of the next.
#[derive(Default)]
pub struct Session {
    /// Of this kernel among those of its user; 0 until it is known.
    number: u32,
    count: u32,
    history: Vec<Entry>,
}

struct Entry {
    /// None is this session.
    session: Option<u32>,
    number: u32,
    input: String,
    output: Option<String>,
}

/// More cells than this are forgotten, oldest first.
const HISTORY_MAX: usize = 10_000;

impl Session {
    /// Takes what was typed before; cells may have run already.
    pub fn opened(&mut self, number: u32, earlier: Vec<Typed>) {
        self.number = number;
        let skip = earlier.len().saturating_sub(HISTORY_MAX / 2);
        let earlier = earlier.into_iter().skip(skip);
        let earlier = earlier.map(|t| Entry {
            session: Some(t.session),
            number: t.number,
            input: t.input,
            output: None,
        });
        self.history.splice(..0, earlier);
    }

    /// Which session of the user's this is.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Number of the last cell.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes the next number for a cell that is to be remembered.
    pub fn begin(&mut self, input: &str) -> u32 {
        self.count += 1;
        self.history.push(Entry { session: None, number: self.count, input: input.to_owned(), output: None });
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
        self.count
    }

    pub fn finish(&mut self, number: u32, output: Option<String>) {
        if let Some(entry) =
            self.history.iter_mut().rev().find(|entry| entry.session.is_none() && entry.number == number)
        {
            entry.output = output;
        }
    }

    /// Answers a `history_request`; session 0 is the current one, -1 the one before it.
    pub fn history(&self, request: &Value) -> Value {
        let wants_output = request["output"].as_bool().unwrap_or(false);
        let n = request["n"].as_u64().unwrap_or(u64::MAX) as usize;
        let mut chosen: Vec<&Entry> = match request["hist_access_type"].as_str().unwrap_or("tail") {
            "range" => {
                let at = |name: &str, default: i64| {
                    let value = request[name].as_i64().unwrap_or(default);
                    if value < 0 { value + i64::from(self.count) + 1 } else { value }
                };
                let (start, stop) = (at("start", 1), at("stop", i64::from(self.count) + 1));
                let own = i64::from(self.number);
                let session = match request["session"].as_i64().unwrap_or(0) {
                    0 => own,
                    session if session < 0 => own.saturating_add(session),
                    session => session,
                };
                let of_session = |e: &&Entry| e.session.map_or(own, i64::from) == session;
                let in_range = |e: &&Entry| (start..stop).contains(&i64::from(e.number));
                self.history.iter().filter(of_session).filter(in_range).collect()
            }
            "search" => {
                let pattern = request["pattern"].as_str().unwrap_or("*");
                self.history.iter().filter(|e| glob(pattern.as_bytes(), e.input.as_bytes())).collect()
            }
            _ => self.history.iter().collect(),
        };
        if request["unique"].as_bool().unwrap_or(false) {
            let mut seen = std::collections::HashSet::new();
            chosen = chosen.into_iter().rev().filter(|e| seen.insert(e.input.clone())).collect();
            chosen.reverse();
        }
        if request["hist_access_type"] != "range" {
            chosen.drain(..chosen.len().saturating_sub(n));
        }
        let rows: Vec<Value> = chosen
            .iter()
            .map(|e| {
                let session = e.session.unwrap_or(self.number);
                if wants_output {
                    json!([session, e.number, [e.input, e.output]])
                } else {
                    json!([session, e.number, e.input])
                }
            })
            .collect();
        json!({"status": "ok", "history": rows})
    }
}

/// `*` and `?` as in file names.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*`: its place, and how much text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let mut session = Session::default();
        for cell in ["let a = 1;", "a + 1", "let b = 2;", "a + 1"] {
            let number = session.begin(cell);
            session.finish(number, Some(format!("out {number}")));
        }
        session
    }

    #[test]
    fn tail_gives_the_last_cells() {
        let reply = session().history(&json!({"hist_access_type": "tail", "n": 2}));
        assert_eq!(reply["history"], json!([[0, 3, "let b = 2;"], [0, 4, "a + 1"]]));
    }

    #[test]
    fn range_excludes_its_end_and_counts_from_the_back() {
        let reply =
            session().history(&json!({"hist_access_type": "range", "start": 1, "stop": -1, "output": true}));
        assert_eq!(reply["history"].as_array().unwrap().len(), 3);
        assert_eq!(reply["history"][0], json!([0, 1, ["let a = 1;", "out 1"]]));
    }

    #[test]
    fn earlier_sessions_come_before_this_one() {
        let mut session = session();
        let typed = |session, number, input: &str| Typed { session, number, input: input.to_owned() };
        session.opened(7, vec![typed(5, 1, "old"), typed(6, 1, "less old"), typed(6, 2, "a + 1")]);
        let rows = |request| session.history(&request)["history"].clone();
        assert_eq!(rows(json!({"hist_access_type": "tail", "n": 5}))[0], json!([6, 2, "a + 1"]));
        let range = |session| json!({"hist_access_type": "range", "session": session, "start": 1, "stop": 2});
        assert_eq!(rows(range(0)), json!([[7, 1, "let a = 1;"]]));
        assert_eq!(rows(range(7)), rows(range(0)));
        assert_eq!(rows(range(-1)), json!([[6, 1, "less old"]]));
        assert_eq!(rows(range(5)), json!([[5, 1, "old"]]));
        assert_eq!(rows(range(9)), json!([]));
        assert_eq!(
            rows(json!({"hist_access_type": "search", "pattern": "a + 1", "unique": true})),
            json!([[7, 4, "a + 1"]])
        );
    }

    #[test]
    fn search_takes_globs_and_drops_repeats() {
        let reply =
            session().history(&json!({"hist_access_type": "search", "pattern": "a*", "unique": true}));
        assert_eq!(reply["history"], json!([[0, 4, "a + 1"]]));
    }
}
