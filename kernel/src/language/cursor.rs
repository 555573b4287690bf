//! Owns where the cursor stands in a cell that may be half written: behind a dot, in a path, in a string, in a call. Reads
//! words and brackets only, since what is being typed is mostly no Rust yet.

use std::ops::Range;

/// A word, sign or literal; ranges are bytes of the cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Lexeme,
    pub range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lexeme {
    Word,
    Number,
    /// A string or character; false if it does not end.
    Literal(bool),
    Lifetime,
    /// A comment; false if it does not end before the text does.
    Comment(bool),
    Sign(char),
    /// `::`
    Colons,
    /// `->` or `=>`, whose `>` closes nothing.
    Arrow,
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Takes `text` apart, comments included.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, size) = lexeme(rest, c, out.last());
        out.push(Token { kind, range: at..at + size });
        at += size;
    }
    out
}

fn lexeme(rest: &str, c: char, before: Option<&Token>) -> (Lexeme, usize) {
    let word_size = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
    if rest.starts_with("//") {
        let end = rest.find('\n');
        return (Lexeme::Comment(end.is_some()), end.unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(found) = string(rest) {
        return found;
    }
    if c == '\'' {
        return quote(rest);
    }
    if c.is_ascii_digit() {
        let mut size = word_size(rest);
        let behind_dot = before.is_some_and(|token| token.kind == Lexeme::Sign('.'));
        let fraction = &rest[size..];
        let next = fraction.strip_prefix('.').and_then(|fraction| fraction.chars().next());
        // `1.5` and `1.` are numbers, `1..2` and `1.max(2)` are not; `t.0.1` are two fields.
        if fraction.starts_with('.')
            && !behind_dot
            && next.is_none_or(|next| next.is_ascii_digit())
            && next.is_some()
        {
            size += 1 + word_size(&fraction[1..]);
        }
        if rest[..size].ends_with(['e', 'E'])
            && rest[size..].starts_with(['+', '-'])
            && !rest.starts_with("0x")
        {
            size += 1 + word_size(&rest[size + 1..]);
        }
        return (Lexeme::Number, size);
    }
    if is_word(c) {
        return (Lexeme::Word, word_size(rest));
    }
    if rest.starts_with("::") {
        return (Lexeme::Colons, 2);
    }
    if rest.starts_with("->") || rest.starts_with("=>") {
        return (Lexeme::Arrow, 2);
    }
    (Lexeme::Sign(c), c.len_utf8())
}

fn block_comment(rest: &str) -> (Lexeme, usize) {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return (Lexeme::Comment(true), at);
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    (Lexeme::Comment(false), rest.len())
}

/// A string of any sort at the beginning of `rest`.
fn string(rest: &str) -> Option<(Lexeme, usize)> {
    let prefix = rest.find(|c: char| !c.is_ascii_alphabetic())?;
    let raw = matches!(&rest[..prefix], "r" | "br" | "cr");
    if !raw && !matches!(&rest[..prefix], "" | "b" | "c") {
        return None;
    }
    let hashes = if raw { rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len() } else { 0 };
    let open = prefix + hashes;
    if !rest[open..].starts_with('"') {
        return None;
    }
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(match rest[open + 1..].find(&close) {
            Some(at) => (Lexeme::Literal(true), open + 1 + at + close.len()),
            None => (Lexeme::Literal(false), rest.len()),
        });
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at <= open) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((Lexeme::Literal(true), at + 1)),
            _ => {}
        }
    }
    Some((Lexeme::Literal(false), rest.len()))
}

/// A character or a lifetime.
fn quote(rest: &str) -> (Lexeme, usize) {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            // What is escaped may be a quote itself.
            let escaped = rest[2..].chars().next().map_or(0, char::len_utf8);
            let end = rest[2 + escaped..].find('\'').map(|at| 2 + escaped + at + 1);
            (Lexeme::Literal(end.is_some()), end.unwrap_or(rest.len()))
        }
        Some((_, c)) => match characters.next() {
            Some((at, '\'')) => (Lexeme::Literal(true), at + 1),
            _ if is_word(c) => {
                let size = rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |at| at + 1);
                (Lexeme::Lifetime, size)
            }
            _ => (Lexeme::Sign('\''), 1),
        },
        None => (Lexeme::Sign('\''), 1),
    }
}

/// What is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `receiver.wo`
    Member { receiver: Range<usize>, word: Range<usize> },
    /// `a::b::wo`; the segments before the word. In a `use` line with braces, the path in front of them is among them.
    Path { before: Vec<String>, word: Range<usize>, in_use: bool },
    /// `wo`, where a name may stand.
    Name { word: Range<usize>, in_use: bool },
    /// Behind the quote of a string that goes on to the cursor.
    Text { content: Range<usize> },
    /// A number, a comment, a name that is being made: nothing is to be offered.
    Nothing,
}

/// Where `cursor` stands. Only what is before it counts.
pub fn place(text: &str, cursor: usize) -> Place {
    let before = &text[..cursor];
    let all = tokens(before);
    match all.last() {
        Some(Token { kind: Lexeme::Comment(false), .. }) => return Place::Nothing,
        Some(Token { kind: Lexeme::Literal(false), range }) => {
            let written = &before[range.clone()];
            let Some(open) = written.find('"') else { return Place::Nothing };
            return Place::Text { content: range.start + open + 1..cursor };
        }
        _ => {}
    }
    let tokens: Vec<&Token> = all.iter().filter(|token| !matches!(token.kind, Lexeme::Comment(_))).collect();
    let touching = tokens.last().filter(|token| token.range.end == cursor);
    let (word, tokens) = match touching.map(|token| token.kind) {
        Some(Lexeme::Word) => (tokens[tokens.len() - 1].range.clone(), &tokens[..tokens.len() - 1]),
        Some(Lexeme::Number) if !behind_dot(&tokens) => return Place::Nothing,
        Some(Lexeme::Number) => (tokens[tokens.len() - 1].range.clone(), &tokens[..tokens.len() - 1]),
        Some(Lexeme::Lifetime) => return Place::Nothing,
        _ => (cursor..cursor, &tokens[..]),
    };
    let Some(last) = tokens.last() else { return Place::Name { word, in_use: false } };
    let in_use = is_in_use(text, tokens);
    match last.kind {
        Lexeme::Sign('.') => {
            let two = tokens.len() > 1 && tokens[tokens.len() - 2].kind == Lexeme::Sign('.');
            if two {
                return Place::Name { word, in_use };
            }
            match receiver(text, &tokens[..tokens.len() - 1]) {
                Some(from) => {
                    let end = tokens[tokens.len() - 2].range.end;
                    Place::Member { receiver: from..end, word }
                }
                None => Place::Nothing,
            }
        }
        Lexeme::Colons => {
            let before = path_before(text, tokens, in_use);
            Place::Path { before, word, in_use }
        }
        Lexeme::Sign('{' | ',') if in_use => {
            let before = path_before(text, tokens, true);
            if before.is_empty() {
                Place::Name { word, in_use }
            } else {
                Place::Path { before, word, in_use }
            }
        }
        // A name that is being made is nobody else's; behind `if let` a pattern begins.
        Lexeme::Word
            if !is_condition(text, tokens)
                && matches!(
                    &text[last.range.clone()],
                    "let" | "fn" | "struct" | "enum" | "trait" | "mod" | "union" | "macro_rules"
                ) =>
        {
            Place::Nothing
        }
        _ => Place::Name { word, in_use },
    }
}

/// Whether `tokens` end with `if let` or `while let`.
fn is_condition(text: &str, tokens: &[&Token]) -> bool {
    let Some(before) = tokens.len().checked_sub(2) else { return false };
    matches!(&text[tokens[before].range.clone()], "if" | "while")
}

fn behind_dot(tokens: &[&Token]) -> bool {
    tokens.len() > 1 && tokens[tokens.len() - 2].kind == Lexeme::Sign('.')
}

/// Whether the statement that ends `tokens` is a `use` line.
fn is_in_use(text: &str, tokens: &[&Token]) -> bool {
    for token in tokens.iter().rev() {
        match token.kind {
            Lexeme::Word if &text[token.range.clone()] == "use" => return true,
            Lexeme::Word | Lexeme::Colons | Lexeme::Sign('{' | '}' | ',' | '*') => {}
            _ => return false,
        }
    }
    false
}

/// The segments of the path that ends `tokens` with `::`, or with a brace or comma of a `use` line.
fn path_before(text: &str, tokens: &[&Token], in_use: bool) -> Vec<String> {
    let mut segments = Vec::new();
    let mut at = tokens.len();
    loop {
        // Behind a `,` or `{`: the path in front of the brace that is open here.
        if in_use && at > 0 && matches!(tokens[at - 1].kind, Lexeme::Sign('{' | ',')) {
            let mut depth = 0;
            while at > 0 {
                at -= 1;
                match tokens[at].kind {
                    Lexeme::Sign('}') => depth += 1,
                    Lexeme::Sign('{') if depth == 0 => break,
                    Lexeme::Sign('{') => depth -= 1,
                    _ => {}
                }
            }
        }
        if at == 0 || tokens[at - 1].kind != Lexeme::Colons {
            break;
        }
        at -= 1;
        if at == 0 {
            break;
        }
        if tokens[at - 1].kind == Lexeme::Sign('>') {
            let Some(open) = open_angle(tokens, at - 1) else { break };
            // `Vec::<f64>::` and `Vec<f64>::` mean the same; `<T as X>::` is written out by the one who asks.
            at = open;
            if at > 0 && tokens[at - 1].kind == Lexeme::Colons {
                at -= 1;
            }
        }
        if at == 0 || tokens[at - 1].kind != Lexeme::Word {
            break;
        }
        segments.push(text[tokens[at - 1].range.clone()].to_owned());
        at -= 1;
    }
    segments.reverse();
    segments
}

/// The `<` whose partner is number `close`.
fn open_angle(tokens: &[&Token], close: usize) -> Option<usize> {
    let mut depth = 0;
    for at in (0..=close).rev() {
        match tokens[at].kind {
            Lexeme::Sign('>') => depth += 1,
            Lexeme::Sign('<') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            Lexeme::Sign(';' | '{' | '}') => return None,
            _ => {}
        }
    }
    None
}

/// The bracket that number `close` closes.
fn open_bracket(tokens: &[&Token], close: usize) -> Option<usize> {
    let mut depth = 0;
    for at in (0..=close).rev() {
        match tokens[at].kind {
            Lexeme::Sign(')' | ']' | '}') => depth += 1,
            Lexeme::Sign('(' | '[' | '{') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where the expression begins that ends `tokens` and stands in front of a dot.
pub fn receiver(text: &str, tokens: &[&Token]) -> Option<usize> {
    let mut at = tokens.len();
    loop {
        // One operand, from its end.
        while at > 0 && tokens[at - 1].kind == Lexeme::Sign('?') {
            at -= 1;
        }
        let mut last = at.checked_sub(1)?;
        let mut callee_needed = false;
        while let Lexeme::Sign(')' | ']') = tokens[last].kind {
            let open = open_bracket(tokens, last)?;
            let Some(before) = open.checked_sub(1) else { return Some(tokens[open].range.start) };
            let callable = match tokens[before].kind {
                Lexeme::Word => !is_keyword(&text[tokens[before].range.clone()]),
                Lexeme::Sign(')' | ']' | '?') => true,
                Lexeme::Sign('!') => before > 0 && tokens[before - 1].kind == Lexeme::Word,
                // `collect::<Vec<_>>()`
                Lexeme::Sign('>') => open_angle(tokens, before)
                    .is_some_and(|open| open > 0 && tokens[open - 1].kind == Lexeme::Colons),
                _ => false,
            };
            if !callable {
                // In brackets, or an array.
                return Some(tokens[open].range.start);
            }
            last = before;
            callee_needed = true;
            while tokens[last].kind == Lexeme::Sign('?') {
                last = last.checked_sub(1)?;
            }
            if tokens[last].kind == Lexeme::Sign('!') {
                last -= 1;
                break;
            }
            if tokens[last].kind == Lexeme::Sign('>') {
                last = open_angle(tokens, last)?.checked_sub(2)?;
                break;
            }
        }
        let start = match tokens[last].kind {
            Lexeme::Word => {
                if !callee_needed && is_keyword(&text[tokens[last].range.clone()]) {
                    return None;
                }
                path_start(tokens, last)
            }
            Lexeme::Number | Lexeme::Literal(true) if !callee_needed => last,
            // `Point { x: 1 }.` and blocks.
            Lexeme::Sign('}') => {
                let open = open_bracket(tokens, last)?;
                match open.checked_sub(1) {
                    Some(before) if tokens[before].kind == Lexeme::Word => {
                        let word = &text[tokens[before].range.clone()];
                        if word.starts_with(char::is_uppercase) {
                            path_start(tokens, before)
                        } else {
                            return None;
                        }
                    }
                    _ => open,
                }
            }
            _ => return None,
        };
        let is_member = start > 0
            && tokens[start - 1].kind == Lexeme::Sign('.')
            && !(start > 1 && tokens[start - 2].kind == Lexeme::Sign('.'));
        if !is_member {
            return Some(tokens[start].range.start);
        }
        at = start - 1;
    }
}

/// Where the path begins whose last word is number `last`.
fn path_start(tokens: &[&Token], last: usize) -> usize {
    let mut start = last;
    while start > 1 && tokens[start - 1].kind == Lexeme::Colons {
        let before = match tokens[start - 2].kind {
            Lexeme::Word => start - 2,
            Lexeme::Sign('>') => match open_angle(tokens, start - 2) {
                Some(open) if open > 0 && tokens[open - 1].kind == Lexeme::Word => open - 1,
                Some(open) if open > 1 && tokens[open - 1].kind == Lexeme::Colons => open - 2,
                Some(open) => open,
                None => break,
            },
            _ => break,
        };
        start = before;
    }
    start
}

/// Words behind which an expression begins anew.
pub fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "as" | "break"
            | "const"
            | "continue"
            | "else"
            | "enum"
            | "fn"
            | "for"
            | "if"
            | "impl"
            | "in"
            | "let"
            | "loop"
            | "match"
            | "mod"
            | "move"
            | "mut"
            | "pub"
            | "ref"
            | "return"
            | "static"
            | "struct"
            | "trait"
            | "type"
            | "unsafe"
            | "use"
            | "where"
            | "while"
            | "dyn"
    )
}

/// What stands in front of the bracket that is open at `cursor`: of a call `f(a, |`, or of a struct `P { x: 1, |`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub bracket: char,
    /// Bytes of the last word in front: the function, method, macro or type.
    pub name: Range<usize>,
    /// A `!` stands between.
    pub is_macro: bool,
    /// How many commas stand between the bracket and the cursor.
    pub commas: usize,
    /// The name of a field may stand at the cursor, if this is a struct.
    pub at_field: bool,
}

/// The innermost bracket that is open at `cursor` and has a name in front.
pub fn open(text: &str, cursor: usize) -> Option<Open> {
    let all = tokens(&text[..cursor]);
    let tokens: Vec<&Token> = all
        .iter()
        .filter(|token| {
            !matches!(token.kind, Lexeme::Comment(_))
                && (token.range.end < cursor || !matches!(token.kind, Lexeme::Word))
        })
        .collect();
    let (mut depth, mut commas) = (0, 0);
    let last_sign = tokens.last().map(|token| token.kind);
    for at in (0..tokens.len()).rev() {
        match tokens[at].kind {
            Lexeme::Sign(')' | ']' | '}') => depth += 1,
            Lexeme::Sign('(' | '[' | '{') if depth > 0 => depth -= 1,
            Lexeme::Sign(bracket @ ('(' | '[' | '{')) => {
                let mut before = at.checked_sub(1)?;
                let is_macro = tokens[before].kind == Lexeme::Sign('!');
                if is_macro {
                    before = before.checked_sub(1)?;
                }
                if tokens[before].kind == Lexeme::Sign('>') {
                    before = open_angle(&tokens, before)?.checked_sub(1)?;
                    if tokens[before].kind == Lexeme::Colons {
                        before = before.checked_sub(1)?;
                    }
                }
                if tokens[before].kind != Lexeme::Word {
                    return None;
                }
                let at_field = matches!(last_sign, Some(Lexeme::Sign('{' | ',')));
                return Some(Open {
                    bracket,
                    name: tokens[before].range.clone(),
                    is_macro,
                    commas,
                    at_field,
                });
            }
            Lexeme::Sign(',') if depth == 0 => commas += 1,
            Lexeme::Sign(';') if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The word that touches `cursor`, on either side.
pub fn word_at(text: &str, cursor: usize) -> Range<usize> {
    let start = text[..cursor]
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_word(*c))
        .last()
        .map_or(cursor, |(at, _)| at);
    let end = text[cursor..].find(|c| !is_word(c)).map_or(text.len(), |at| cursor + at);
    start..end
}

/// Bytes in front of character number `count`, as Jupyter counts.
pub fn byte_of(text: &str, count: usize) -> usize {
    text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `|` is the cursor.
    fn at(marked: &str) -> (String, usize) {
        let cursor = marked.find('|').unwrap();
        (marked.replacen('|', "", 1), cursor)
    }

    fn receiver_of(marked: &str) -> Option<String> {
        // A closure has bars of its own; `¦` is the cursor then.
        let cursor = marked.find('¦').unwrap_or_else(|| marked.find('|').unwrap());
        let text =
            if marked.contains('¦') { marked.replacen('¦', "", 1) } else { marked.replacen('|', "", 1) };
        match place(&text, cursor) {
            Place::Member { receiver, .. } => Some(text[receiver].to_owned()),
            _ => None,
        }
    }

    #[test]
    fn receivers_are_whole_expressions() {
        for (marked, expected) in [
            ("x.|", "x"),
            ("let y = x.pu|", "x"),
            ("f(a, b).|", "f(a, b)"),
            ("v.iter().map(|x| x + 1).¦", "v.iter().map(|x| x + 1)"),
            ("a + b.len().|", "b.len()"),
            ("&self.data[i].|", "self.data[i]"),
            ("vec![1, 2].|", "vec![1, 2]"),
            ("std::fs::File::open(p)?.|", "std::fs::File::open(p)?"),
            ("(1..3).|", "(1..3)"),
            ("\"text\".|", "\"text\""),
            ("x.collect::<Vec<_>>().|", "x.collect::<Vec<_>>()"),
            ("Vec::<f64>::new().|", "Vec::<f64>::new()"),
            ("t.0.|", "t.0"),
            ("t.0.1.le|", "t.0.1"),
            ("for i in v.|", "v"),
            ("if x.|", "x"),
            ("-x.|", "x"),
            ("foo(bar.|", "bar"),
            ("let f = |x| x.¦", "x"),
            ("P { x: 1 }.|", "P { x: 1 }"),
            ("2.5.|", "2.5"),
            ("a = b;\nc\n    .d()\n    .|", "c\n    .d()"),
            ("println!(\"{}\", größe.|", "größe"),
            ("\"🦀\".to_string().|", "\"🦀\".to_string()"),
            ("a?.b().await.|", "a?.b().await"),
            ("return x.|", "x"),
        ] {
            assert_eq!(receiver_of(marked).as_deref(), Some(expected), "{marked}");
        }
    }

    #[test]
    fn what_is_no_receiver_is_none() {
        for marked in ["1..|", "..|", "\"a.|", "// x.|", "/* x.|", "x. |;"] {
            let receiver = receiver_of(marked);
            assert!(receiver.is_none() || marked.contains("x. "), "{marked} gave {receiver:?}");
        }
    }

    #[test]
    fn paths_have_their_segments() {
        let path = |marked: &str| {
            let (text, cursor) = at(marked);
            match place(&text, cursor) {
                Place::Path { before, word, .. } => Some((before.join("::"), text[word].to_owned())),
                _ => None,
            }
        };
        let found = |before: &str, word: &str| Some((before.to_owned(), word.to_owned()));
        assert_eq!(path("std::coll|"), found("std", "coll"));
        assert_eq!(path("let x = Vec::<f64>::wi|"), found("Vec", "wi"));
        assert_eq!(path("use std::{fs, io::|"), found("std::io", ""));
        assert_eq!(path("use std::{fs, i|"), found("std", "i"));
        assert_eq!(path("use std::collections::{HashMap, |"), found("std::collections", ""));
        assert_eq!(path("HashMap<String, Vec<u8>>::|"), found("HashMap", ""));
        assert_eq!(path("x::|"), found("x", ""));
        assert_eq!(path("x|"), None);
    }

    #[test]
    fn names_texts_and_nothing() {
        let of = |marked: &str| {
            let (text, cursor) = at(marked);
            place(&text, cursor)
        };
        assert_eq!(of("let x = wo|"), Place::Name { word: 8..10, in_use: false });
        assert_eq!(of("use st|"), Place::Name { word: 4..6, in_use: true });
        assert_eq!(of("open_zarr(\"/da|"), Place::Text { content: 11..14 });
        assert_eq!(of("f(r#\"/da|"), Place::Text { content: 5..8 });
        assert_eq!(of("let x|"), Place::Nothing);
        assert_eq!(of("if let So|"), Place::Name { word: 7..9, in_use: false });
        assert_eq!(of("1.5|"), Place::Nothing);
        assert_eq!(of("'a|"), Place::Nothing);
        assert_eq!(of("\"done\"|"), Place::Name { word: 6..6, in_use: false });
        assert_eq!(of("0..le|"), Place::Name { word: 3..5, in_use: false });
        assert_eq!(of("|"), Place::Name { word: 0..0, in_use: false });
    }

    #[test]
    fn open_brackets_have_names() {
        let of = |marked: &str| {
            let (text, cursor) = at(marked);
            open(&text, cursor).map(|open| (text[open.name.clone()].to_owned(), open.bracket, open.commas))
        };
        assert_eq!(of("f(a, |"), Some(("f".into(), '(', 1)));
        assert_eq!(of("x.sel(g(1, 2), |"), Some(("sel".into(), '(', 1)));
        assert_eq!(of("println!(|"), Some(("println".into(), '(', 0)));
        assert_eq!(of("collect::<Vec<_>>(|"), Some(("collect".into(), '(', 0)));
        assert_eq!(of("P { x: 1, y|"), Some(("P".into(), '{', 1)));
        assert_eq!(of("f(1); |"), None);
        assert_eq!(of("(1 + |"), None);
    }

    #[test]
    fn no_text_breaks_the_reader() {
        let pieces = [
            "\"", "'", "'\\", "r#\"", "/*", "//", "(", ")", "é", "🦀", ".", "::", "<", ">", "x", "1.", " ",
            "\n", "!", "?", "{", "}",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let text = format!("{a}{b}{c}");
                    for (cursor, _) in text.char_indices().chain([(text.len(), ' ')]) {
                        let _ = (place(&text, cursor), open(&text, cursor), word_at(&text, cursor));
                    }
                }
            }
        }
    }
}
