//! Owns the order of what a process prints. Standard output and standard error are two pipes, so that programs which a cell
//! starts can use them as they are. The evaluator puts a mark into a pipe whenever the stream changes or another cell's
//! thread prints; marks count up over both pipes, and here the two are made one again. No I/O.
//!
//! What stands in a pipe before a mark that is not due was written by somebody who writes no marks, such as a child
//! process; it is passed on as soon as the other pipe has told whose it is.

use super::print::Parent;

/// Length of a mark in bytes; all have the same.
const MARK_BYTES: usize = 59;

/// Which pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl Stream {
    fn other(self) -> Self {
        match self {
            Self::Stdout => Self::Stderr,
            Self::Stderr => Self::Stdout,
        }
    }
}

/// What follows a mark in its pipe was printed for `parent`, after what stands before mark number `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub sequence: u64,
    pub parent: Parent,
    /// Something is done; all it printed stands before.
    pub end: Option<End>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The order that ran.
    Order,
    /// The handler of a comm's message, which is the mark's parent.
    Handler,
}

impl Mark {
    /// `nonce` tells marks from what a cell may print; it is made anew for each process.
    pub fn bytes(&self, nonce: &str) -> Vec<u8> {
        let end = match self.end {
            None => '.',
            Some(End::Order) => 'o',
            Some(End::Handler) => 'h',
        };
        format!("\x02nuna-{nonce}:{:016x}:{:016x}:{end}\x03", self.sequence, self.parent).into_bytes()
    }

    fn read(bytes: &[u8], prefix_bytes: usize) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(prefix_bytes..MARK_BYTES)?).ok()?;
        let mut fields = text.strip_suffix('\x03')?.split(':').skip(1);
        let number = |text: Option<&str>| u64::from_str_radix(text?, 16).ok();
        let (sequence, parent) = (number(fields.next())?, number(fields.next())?);
        let end = match fields.next()? {
            "." => None,
            "o" => Some(End::Order),
            "h" => Some(End::Handler),
            _ => return None,
        };
        Some(Self { sequence, parent, end })
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Text(Parent, Stream, Vec<u8>),
    /// All that it printed has been given.
    End(Parent, End),
    /// Read this pipe until it is empty or [`Streams::take`] says that a mark was found, then call [`Streams::drained`].
    Drain(Stream),
    /// Nothing until more is read.
    Wait,
}

pub struct Streams {
    prefix: Vec<u8>,
    held: [Vec<u8>; 2],
    /// Nothing was in the pipe after what is held.
    drained: [bool; 2],
    current: Stream,
    sequence: u64,
    parent: Parent,
}

/// What stands first in a pipe.
enum First {
    Text(usize),
    Mark(Mark),
    /// The beginning of a mark, perhaps.
    Part,
    Nothing,
}

impl Streams {
    /// `nonce` has 16 characters.
    pub fn new(nonce: &str) -> Self {
        Self {
            prefix: format!("\x02nuna-{nonce}").into_bytes(),
            held: Default::default(),
            drained: [false; 2],
            current: Stream::Stdout,
            sequence: 0,
            parent: 0,
        }
    }

    /// Adds what was read. Says whether a whole mark is held, so that reading may pause.
    pub fn take(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        self.held[stream as usize].extend_from_slice(bytes);
        self.drained[stream as usize] = false;
        find(bytes, &self.prefix).is_some()
    }

    pub fn drained(&mut self, stream: Stream) {
        self.drained[stream as usize] = true;
    }

    pub fn advance(&mut self) -> Next {
        loop {
            let (current, other) = (self.current, self.current.other());
            match (self.first(current), self.first(other)) {
                (First::Text(count), _) => return self.text(current, count),
                (First::Mark(mark), unmarked) if mark.sequence <= self.sequence + 1 => {
                    // The end is also that of what children have printed.
                    match (mark.end, unmarked) {
                        (Some(_), First::Text(count)) => return self.text(other, count),
                        (Some(_), _) if !self.drained[other as usize] => return Next::Drain(other),
                        _ => {}
                    }
                    if let Some(end) = self.step(current, mark) {
                        return end;
                    }
                }
                // The marks between are in the other pipe, written before this one.
                (First::Mark(_), First::Text(count)) => return self.text(other, count),
                (First::Mark(_), First::Mark(mark)) => {
                    if let Some(end) = self.step(other, mark) {
                        return end;
                    }
                }
                (First::Mark(_), _) if !self.drained[other as usize] => return Next::Drain(other),
                (First::Mark(_), _) => return Next::Wait,
                // What was printed before the mark in the other pipe is in this one already; and a mark in this one may
                // say whose the other's unmarked prints are.
                (_, First::Mark(_) | First::Text(_)) if !self.drained[current as usize] => {
                    return Next::Drain(current);
                }
                (_, First::Text(count)) => return self.text(other, count),
                (First::Part, First::Mark(_)) => {
                    let count = self.held[current as usize].len();
                    return self.text(current, count);
                }
                (First::Nothing, First::Mark(mark)) => {
                    if let Some(end) = self.step(other, mark) {
                        return end;
                    }
                }
                (First::Part | First::Nothing, First::Part | First::Nothing) => return Next::Wait,
            }
        }
    }

    /// Whatever is held when the pipes are closed.
    pub fn rest(&mut self) -> Vec<Next> {
        let mut rest = Vec::new();
        loop {
            [Stream::Stdout, Stream::Stderr].into_iter().for_each(|stream| self.drained(stream));
            match self.advance() {
                Next::Wait | Next::Drain(_) => break,
                next => rest.push(next),
            }
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let count = self.held[stream as usize].len();
            if count > 0 {
                rest.push(self.text(stream, count));
            }
        }
        rest
    }

    fn text(&mut self, stream: Stream, count: usize) -> Next {
        let held = &mut self.held[stream as usize];
        let rest = held.split_off(count);
        Next::Text(self.parent, stream, std::mem::replace(held, rest))
    }

    /// Passes a mark.
    fn step(&mut self, stream: Stream, mark: Mark) -> Option<Next> {
        self.held[stream as usize].drain(..MARK_BYTES);
        (self.current, self.sequence, self.parent) = (stream, mark.sequence, mark.parent);
        self.drained = [false; 2];
        mark.end.map(|end| Next::End(mark.parent, end))
    }

    fn first(&self, stream: Stream) -> First {
        let held = &self.held[stream as usize];
        if held.is_empty() {
            return First::Nothing;
        }
        match find(held, &self.prefix) {
            Some(0) if held.len() < MARK_BYTES => First::Part,
            Some(0) => match Mark::read(held, self.prefix.len()) {
                Some(mark) => First::Mark(mark),
                // Only the beginning of one, which a cell has printed.
                None => First::Text(1),
            },
            Some(at) => First::Text(at),
            None => {
                let longest = self.prefix.len().min(held.len());
                let part = (1..=longest).rev().find(|&n| self.prefix.starts_with(&held[held.len() - n..]));
                match held.len() - part.unwrap_or(0) {
                    0 => First::Part,
                    count => First::Text(count),
                }
            }
        }
    }
}

fn find(held: &[u8], prefix: &[u8]) -> Option<usize> {
    // The mark begins with a byte that text hardly holds.
    let mut from = 0;
    while let Some(at) = held[from..].iter().position(|byte| *byte == prefix[0]) {
        if held[from + at..].starts_with(prefix) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "0123456789abcdef";

    /// Two pipes and who writes marks into them.
    struct Writer {
        pipes: [Vec<u8>; 2],
        sequence: u64,
        last: Option<(Stream, Parent)>,
    }

    impl Writer {
        fn new() -> Self {
            Self { pipes: Default::default(), sequence: 0, last: None }
        }

        fn mark(&mut self, stream: Stream, parent: Parent, end: Option<End>) {
            self.sequence += 1;
            let mark = Mark { sequence: self.sequence, parent, end };
            self.pipes[stream as usize].extend(mark.bytes(NONCE));
            self.last = Some((stream, parent));
        }

        fn print(&mut self, stream: Stream, parent: Parent, text: &[u8]) {
            if self.last != Some((stream, parent)) {
                self.mark(stream, parent, None);
            }
            self.pipes[stream as usize].extend(text);
        }
    }

    /// Reads the pipes in portions, as told, and joins what follows on each other.
    fn read(writer: &Writer, portions: &[(bool, usize)]) -> Vec<(Parent, Stream, Vec<u8>)> {
        let mut streams = Streams::new(NONCE);
        let mut at = [0, 0];
        let mut out: Vec<(Parent, Stream, Vec<u8>)> = Vec::new();
        let mut turn = |streams: &mut Streams, at: &mut [usize; 2], last: bool| {
            loop {
                let next = streams.advance();
                let found = match next {
                    Next::Text(parent, stream, text) => vec![(parent, stream, text)],
                    Next::End(..) => vec![],
                    Next::Drain(stream) => {
                        let index = stream as usize;
                        streams.take(stream, &writer.pipes[index][at[index]..]);
                        at[index] = writer.pipes[index].len();
                        streams.drained(stream);
                        continue;
                    }
                    Next::Wait if last => streams
                        .rest()
                        .into_iter()
                        .filter_map(|next| match next {
                            Next::Text(parent, stream, text) => Some((parent, stream, text)),
                            _ => None,
                        })
                        .collect(),
                    Next::Wait => return,
                };
                let done = last && found.is_empty();
                for (parent, stream, text) in found {
                    match out.last_mut() {
                        Some((p, s, held)) if (*p, *s) == (parent, stream) => held.extend(text),
                        _ => out.push((parent, stream, text)),
                    }
                }
                if done {
                    return;
                }
            }
        };
        for (second, count) in portions {
            let stream = if *second { Stream::Stderr } else { Stream::Stdout };
            let index = stream as usize;
            let end = (at[index] + count).min(writer.pipes[index].len());
            streams.take(stream, &writer.pipes[index][at[index]..end]);
            at[index] = end;
            turn(&mut streams, &mut at, false);
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = stream as usize;
            streams.take(stream, &writer.pipes[index][at[index]..]);
            at[index] = writer.pipes[index].len();
        }
        turn(&mut streams, &mut at, true);
        out
    }

    #[test]
    fn marks_are_as_long_as_they_say() {
        assert_eq!(
            Mark { sequence: u64::MAX, parent: 3, end: Some(End::Order) }.bytes(NONCE).len(),
            MARK_BYTES
        );
    }

    #[test]
    fn a_mark_of_another_process_is_text() {
        let mut streams = Streams::new(NONCE);
        let foreign = Mark { sequence: 9, parent: 3, end: Some(End::Order) }.bytes("fedcba9876543210");
        streams.take(Stream::Stdout, &foreign);
        assert_eq!(streams.advance(), Next::Text(0, Stream::Stdout, foreign));
    }

    #[test]
    fn what_a_child_prints_is_passed_on_with_the_cell_that_runs() {
        let mut writer = Writer::new();
        writer.print(Stream::Stdout, 7, b"own\n");
        writer.pipes[1].extend(b"child\n");
        let out = read(&writer, &[]);
        assert!(out.contains(&(7, Stream::Stdout, b"own\n".to_vec())));
        assert!(out.iter().any(|(_, stream, text)| *stream == Stream::Stderr && text == b"child\n"));
    }

    #[test]
    fn what_a_child_prints_waits_for_the_mark_of_its_cell() {
        let mut streams = Streams::new(NONCE);
        streams.take(Stream::Stderr, b"child\n");
        assert_eq!(streams.advance(), Next::Drain(Stream::Stdout));
        streams.take(Stream::Stdout, &Mark { sequence: 1, parent: 7, end: None }.bytes(NONCE));
        streams.drained(Stream::Stdout);
        assert_eq!(streams.advance(), Next::Drain(Stream::Stdout));
        streams.drained(Stream::Stdout);
        assert_eq!(streams.advance(), Next::Text(7, Stream::Stderr, b"child\n".to_vec()));
    }

    proptest! {
        /// However the pipes are read, everything comes out once and in the order it was printed.
        #[test]
        fn order_is_kept(
            prints in prop::collection::vec((any::<bool>(), 1u64..4, "[a\u{2}n]{1,9}"), 0..40),
            portions in prop::collection::vec((any::<bool>(), 1usize..90), 0..80),
        ) {
            let mut writer = Writer::new();
            let mut expected: Vec<(Parent, Stream, Vec<u8>)> = Vec::new();
            for (second, parent, text) in &prints {
                let stream = if *second { Stream::Stderr } else { Stream::Stdout };
                writer.print(stream, *parent, text.as_bytes());
                match expected.last_mut() {
                    Some((p, s, held)) if (*p, *s) == (*parent, stream) => held.extend(text.as_bytes()),
                    _ => expected.push((*parent, stream, text.as_bytes().to_vec())),
                }
            }
            prop_assert_eq!(read(&writer, &portions), expected);
        }
    }
}
