//! Owns what may come next at the cursor, and in which order it is offered.

use std::ops::Range;

use super::{
    Request,
    cursor::{self, Place},
    files,
    index::Kind,
    members::{Found, Known, Nearness, World},
    names::{Name, Near, Sight},
    own::Own,
};

/// The most that is offered.
const OFFERED_MAX: usize = 600;

/// One thing that may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub text: String,
    /// A word that JupyterLab has a sign for.
    pub kind: &'static str,
    pub signature: String,
}

/// Answer to a completion request. Positions count characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    pub offers: Vec<Offer>,
    pub start: usize,
    pub end: usize,
}

impl Completion {
    fn new(text: &str, range: Range<usize>, offers: Vec<Offer>) -> Self {
        let start = text[..range.start].chars().count();
        Self { offers, start, end: start + text[range].chars().count() }
    }

    pub fn of_words(text: &str, range: Range<usize>, words: Vec<(String, String)>) -> Self {
        let offer = |(text, signature)| Offer { text, kind: "keyword", signature };
        Self::new(text, range, words.into_iter().map(offer).collect())
    }

    pub fn of_files(text: &str, range: Range<usize>, entries: Vec<files::Entry>) -> Self {
        let offer = |entry: files::Entry| Offer {
            text: entry.name,
            kind: "path",
            signature: if entry.is_folder { "folder" } else { "file" }.to_owned(),
        };
        Self::new(text, range, entries.into_iter().map(offer).collect())
    }
}

/// Commands that begin as what is typed, with what they do.
pub fn commands(text: &str, word: Range<usize>) -> Completion {
    let typed = &text[word.clone()];
    let mut found: Vec<(String, String)> = Vec::new();
    for line in crate::evaluator::commands::HELP.lines() {
        let about = line.trim();
        // `;` and what follows may name another spelling: "also :t", "%%time at the top".
        let spelled = |word: &&str| word.starts_with([':', '%']) && word.len() > 1;
        for (number, word) in about.split([' ', ',', ';']).enumerate().filter(|(_, word)| spelled(word)) {
            let is_first = number == 0;
            if word.starts_with(typed) && (is_first || about.starts_with([':', '%'])) {
                found.push((word.to_owned(), about.to_owned()));
            }
        }
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    Completion::of_words(text, word, found)
}

/// Variables of the environment that begin as what is typed.
pub fn environment(text: &str, word: Range<usize>) -> Completion {
    let typed = &text[word.clone()];
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut found: Vec<(String, String)> =
        names.filter(|name| name.starts_with(typed)).map(|name| (name, "environment".to_owned())).collect();
    found.sort();
    Completion::of_words(text, word, found)
}

/// Whether a string is being formatted, and the cursor stands in a brace of it.
pub fn is_in_format(content: &str) -> bool {
    let bare = content.replace("{{", "").replace("}}", "");
    bare.rfind('{') > bare.rfind('}') && !bare.contains('/')
}

/// Answers a request.
pub fn complete(request: &Request, place: Place) -> Completion {
    let own = own(request);
    let sight = Sight::of(request, &own);
    let world = sight.world;
    let (word, candidates) = match place {
        Place::Member { word, .. } => {
            let found = request.receiver.as_deref().map(|ty| world.of_value(ty)).unwrap_or_default();
            let mut candidates = members(&sight, found, !word.is_empty());
            if request.receiver.is_some() {
                // The one keyword behind a dot.
                candidates.push(Candidate::new("await", Kind::Keyword, "keyword".to_owned(), 50));
            }
            (word, candidates)
        }
        Place::Path { before, word, in_use } => {
            let candidates = path(&sight, &before, in_use, !word.is_empty());
            (word, candidates)
        }
        Place::Name { word, in_use: true } => {
            let crates = request.libraries.inside("").into_iter().map(|(name, _)| name.to_owned());
            let modules =
                own.inside("").into_iter().filter(|(_, item)| matches!(item.kind, Kind::Module | Kind::Enum));
            let mut candidates: Vec<Candidate> =
                crates.map(|name| Candidate::new(&name, Kind::Module, "crate".to_owned(), 1)).collect();
            let added = sight.known.crates.names.iter();
            candidates
                .extend(added.map(|name| Candidate::new(name, Kind::Module, "crate, by :dep".to_owned(), 1)));
            candidates.extend(
                modules.map(|(name, item)| Candidate::new(name, item.kind, item.signature.clone(), 0)),
            );
            (word, candidates)
        }
        Place::Name { word, .. } => (word.clone(), names(&sight, word.is_empty())),
        Place::Text { content } => {
            let written = &request.text[content.clone()];
            let from = written.rfind('{').map_or(0, |at| at + 1);
            let mut names = names(&sight, true);
            names.retain(|candidate| candidate.kind == Kind::Variable);
            (content.start + from..content.end, names)
        }
        Place::Nothing => (request.cursor..request.cursor, Vec::new()),
    };
    let typed = request.text[word.clone()].to_owned();
    Completion::new(&request.text, word, ordered(candidates, &typed))
}

/// What the notebook defines: earlier cells, and as far as it can be read this one.
pub fn own(request: &Request) -> Own {
    let mut own = (*request.own).clone();
    read_cell(&request.text, &mut own);
    own
}

/// Reads the items of a cell that may be broken elsewhere: each from its first word to its last bracket.
fn read_cell(text: &str, own: &mut Own) {
    let tokens = cursor::tokens(text);
    let mut at = 0;
    let mut attributes = None;
    while at < tokens.len() {
        let token = &tokens[at];
        let word = &text[token.range.clone()];
        match token.kind {
            cursor::Lexeme::Comment(true) if word.starts_with("///") => {
                attributes = attributes.or(Some(token.range.start));
            }
            cursor::Lexeme::Sign('#') => {
                attributes = attributes.or(Some(token.range.start));
                at = end_of(&tokens, at + 1);
                continue;
            }
            cursor::Lexeme::Word if word == "pub" => attributes = attributes.or(Some(token.range.start)),
            cursor::Lexeme::Word
                if matches!(
                    word,
                    "struct"
                        | "enum"
                        | "union"
                        | "fn"
                        | "impl"
                        | "trait"
                        | "mod"
                        | "const"
                        | "static"
                        | "type"
                        | "macro_rules"
                ) =>
            {
                let start = attributes.take().unwrap_or(token.range.start);
                let end = item_end(&tokens, at);
                if let Some(last) = tokens.get(end.saturating_sub(1)) {
                    own.read(&text[start..last.range.end]);
                }
                at = end.max(at + 1);
                continue;
            }
            _ => attributes = None,
        }
        at += 1;
    }
}

/// Behind the bracket that opens at or behind `from`.
fn end_of(tokens: &[cursor::Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.kind {
            cursor::Lexeme::Sign('(' | '[' | '{') => depth += 1,
            cursor::Lexeme::Sign(')' | ']' | '}') => {
                depth -= 1;
                if depth <= 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Behind the item that begins at `from`: its braces, or its semicolon.
fn item_end(tokens: &[cursor::Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.kind {
            cursor::Lexeme::Sign('(' | '[' | '{') => depth += 1,
            cursor::Lexeme::Sign(sign @ (')' | ']' | '}')) => {
                depth -= 1;
                if depth <= 0 && sign == '}' {
                    return at + 1;
                }
            }
            cursor::Lexeme::Sign(';') if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Something that may come next, before it is known whether it fits what is typed.
struct Candidate {
    text: String,
    kind: Kind,
    signature: String,
    /// Lower comes first.
    rank: u32,
    /// Without a word typed, nobody wants to see it.
    hidden: bool,
}

impl Candidate {
    fn new(text: &str, kind: Kind, signature: String, rank: u32) -> Self {
        Self { text: text.to_owned(), kind, signature, rank, hidden: false }
    }
}

fn members(sight: &Sight<'_>, found: Vec<Found<'_>>, typed: bool) -> Vec<Candidate> {
    let in_scope = sight.traits();
    let candidate = |found: Found<'_>| {
        let of = found.of.rsplit("::").next().unwrap_or(&found.of).to_owned();
        let missing = found.is_trait && !in_scope.contains(&of) && found.nearness != Nearness::Noise;
        let rank = found.nearness as u32 * 4 + if missing { 6 } else { 0 } + found.step.min(3) as u32;
        let signature = match (missing, found.is_trait) {
            (true, _) => format!("{} (with `use {};`)", found.signature, found.of),
            (false, true) => format!("{} ({of})", found.signature),
            (false, false) => found.signature.clone(),
        };
        let hidden = !typed && matches!(found.nearness, Nearness::Noise | Nearness::Deprecated);
        Candidate { text: found.name, kind: found.kind, signature, rank, hidden }
    };
    found.into_iter().map(candidate).collect()
}

fn path(sight: &Sight<'_>, before: &[String], in_use: bool, typed: bool) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let Some(resolved) = sight.resolve(before) else { return candidates };
    let world = sight.world;
    for (name, item) in world.own.inside(&resolved) {
        if resolved.is_empty() && item.kind == Kind::Macro {
            continue;
        }
        candidates.push(Candidate::new(name, item.kind, super::names::first_line(&item.signature), 0));
    }
    for (name, entry) in world.libraries.inside(&resolved) {
        if name.starts_with("rust_20") {
            continue;
        }
        let text = match entry.item.kind {
            Kind::Macro if !in_use => format!("{name}!"),
            _ => name.to_owned(),
        };
        let rank = match entry.item.kind {
            _ if entry.item.deprecated => 9,
            Kind::Module => 2,
            Kind::Macro => 3,
            _ => 1,
        };
        candidates.push(Candidate::new(
            &text,
            entry.item.kind,
            super::names::first_line(&entry.item.signature),
            rank,
        ));
    }
    let found = match world.item(&resolved) {
        Some(Known::Library(entry)) if entry.item.kind == Kind::Trait => {
            world.of_trait(Known::Library(entry))
        }
        Some(Known::Own(item)) if item.kind == Kind::Trait => world.of_trait(Known::Own(item)),
        Some(Known::Library(entry)) if entry.item.kind.is_type() => type_members(world, &resolved),
        Some(Known::Own(item)) if item.kind.is_type() => type_members(world, &resolved),
        // `f64::consts` and `f64::sqrt`: a primitive type shares its name with a module.
        _ => Vec::new(),
    };
    // What makes a value comes before what is done with one.
    let mut more = members(sight, found, typed);
    for candidate in &mut more {
        if candidate.kind == Kind::Method {
            candidate.rank += 2;
        }
    }
    candidates.extend(more.into_iter().filter(|candidate| !in_use || candidate.kind == Kind::Variant));
    candidates
}

/// Members of a type without its parameters, which are open.
fn type_members<'a>(world: World<'a>, path: &str) -> Vec<Found<'a>> {
    let text = match path {
        "slice" => "[_]".to_owned(),
        path => path.to_owned(),
    };
    syn::parse_str(&text).map(|ty| world.of_type(&ty)).unwrap_or_default()
}

fn names(sight: &Sight<'_>, empty: bool) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    // Within a struct's braces its fields are meant first.
    if let Some(open) = cursor::open(sight.text, sight.cursor)
        && open.bracket == '{'
        && open.at_field
    {
        let name = sight.text[open.name.clone()].to_owned();
        if name.starts_with(char::is_uppercase)
            && let Some(path) = sight.resolve(&[name])
        {
            let fields = fields(sight.world, &path);
            candidates.extend(
                fields.into_iter().map(|(name, signature)| Candidate::new(&name, Kind::Field, signature, 0)),
            );
        }
    }
    for Name { text, kind, signature, near, .. } in sight.names() {
        let hidden = empty && near >= Near::Language;
        candidates.push(Candidate { text, kind, signature, rank: 1 + near as u32, hidden });
    }
    candidates
}

fn fields(world: World<'_>, path: &str) -> Vec<(String, String)> {
    match world.item(path) {
        Some(Known::Own(item)) => {
            let fields = item.members.iter().filter(|member| member.kind == Kind::Field);
            fields.map(|member| (member.name.clone(), member.signature.clone())).collect()
        }
        Some(Known::Library(entry)) => {
            let fields = entry.item.members.iter().filter(|member| member.kind == Kind::Field);
            fields.map(|member| (member.name.clone(), member.signature.clone())).collect()
        }
        None => Vec::new(),
    }
}

/// Those that fit what is typed: first by how they fit, then by how near they are, then by name.
fn ordered(candidates: Vec<Candidate>, typed: &str) -> Vec<Offer> {
    let small = typed.to_lowercase();
    let fit = |text: &str| {
        if text.starts_with(typed) {
            return Some(0);
        }
        let text = text.to_lowercase();
        if text.starts_with(&small) {
            return Some(1);
        }
        (small.len() > 1 && is_within(&text, &small)).then_some(2)
    };
    let mut fitting: Vec<(u32, Candidate)> = candidates
        .into_iter()
        .filter(|candidate| !candidate.hidden && !candidate.text.is_empty())
        .filter_map(|candidate| Some((fit(&candidate.text)?, candidate)))
        .collect();
    // What only has the letters somewhere is for when nothing begins with them.
    if fitting.iter().any(|(fit, _)| *fit < 2) {
        fitting.retain(|(fit, _)| *fit < 2);
    }
    fitting.sort_by(|(a_fit, a), (b_fit, b)| {
        (*a_fit, a.rank, a.text.starts_with('_'), &a.text).cmp(&(
            *b_fit,
            b.rank,
            b.text.starts_with('_'),
            &b.text,
        ))
    });
    let mut seen = std::collections::BTreeSet::new();
    fitting.retain(|(_, candidate)| seen.insert(candidate.text.clone()));
    fitting.truncate(OFFERED_MAX);
    let offer = |(_, candidate): (u32, Candidate)| Offer {
        text: candidate.text,
        kind: candidate.kind.word(),
        signature: candidate.signature,
    };
    fitting.into_iter().map(offer).collect()
}

/// Whether the letters of `small` are in `text` in this order.
fn is_within(text: &str, small: &str) -> bool {
    let mut letters = text.chars();
    small.chars().all(|wanted| letters.any(|letter| letter == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_best_comes_first() {
        let texts = |typed: &str| -> Vec<String> {
            let candidates = [("push", 5), ("pop", 4), ("Path", 1), ("partition_point", 5), ("sort", 4)]
                .map(|(text, rank)| Candidate::new(text, Kind::Method, String::new(), rank));
            ordered(candidates.into(), typed).into_iter().map(|offer| offer.text).collect()
        };
        assert_eq!(texts("p"), ["pop", "partition_point", "push", "Path"]);
        assert_eq!(texts("P"), ["Path", "pop", "partition_point", "push"]);
        assert_eq!(texts("prt"), ["partition_point"]);
        assert_eq!(texts("zz"), [""; 0]);
    }

    #[test]
    fn positions_count_characters() {
        let completion = Completion::new("let 🦀 = é.pu", 16.min("let 🦀 = é.pu".len()) - 2..15, Vec::new());
        assert_eq!((completion.start, completion.end), (10, 11));
    }

    #[test]
    fn commands_complete_with_what_they_do() {
        let found = commands(":ti", 0..3);
        assert_eq!((found.offers[0].text.as_str(), found.start, found.end), (":timing", 0, 3));
        assert!(commands("%t", 0..2).offers.iter().any(|offer| offer.text == "%time"));
        assert!(commands(":type", 0..5).offers.iter().all(|offer| offer.text == ":type"));
    }

    #[test]
    fn braces_of_a_format_want_names() {
        assert!(is_in_format("x = {na") && !is_in_format("x = {name} y") && !is_in_format("/data/{x"));
    }

    #[test]
    fn items_of_an_unfinished_cell_are_read() {
        let mut own = Own::default();
        read_cell(
            "/// A place.\n#[derive(Clone)]\nstruct P { x: f64 }\nimpl P { fn f(&self) -> f64 { self.x } }\nlet p = P { x: 1.0 };\nif p.",
            &mut own,
        );
        assert_eq!((own.items.len(), own.impls.len()), (1, 1));
        assert_eq!(own.items[0].docs, "A place.");
    }
}
