//! Owns the names that a half-written cell itself has at the cursor: variables, parameters and items. Reads brackets and
//! the words that make names; a name too many does no harm.

use super::cursor::{self, Lexeme, Token};

/// A name of the cell, and the word that made it (`let`, `fn`, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    pub name: String,
    pub made_by: &'static str,
}

/// Names in scope at byte `cursor` of `text`, innermost last.
pub fn locals(text: &str, cursor: usize) -> Vec<Local> {
    let all = cursor::tokens(text);
    let tokens: Vec<&Token> = all.iter().filter(|token| !matches!(token.kind, Lexeme::Comment(_))).collect();
    let word =
        |at: usize| tokens.get(at).filter(|t| t.kind == Lexeme::Word).map_or("", |t| &text[t.range.clone()]);
    let sign = |at: usize| match tokens.get(at).map(|token| token.kind) {
        Some(Lexeme::Sign(sign)) => sign,
        _ => ' ',
    };
    let mut scopes: Vec<Vec<Local>> = vec![Vec::new()];
    // Names that begin with the next brace: parameters, patterns of `for` and `if let`.
    let mut pending: Vec<Local> = Vec::new();
    // A closure's parameters end with what it is an argument of.
    let mut at = 0;
    while at < tokens.len() && tokens[at].range.end <= cursor {
        match tokens[at].kind {
            Lexeme::Sign('{') => scopes.push(std::mem::take(&mut pending)),
            Lexeme::Sign('(' | '[') => scopes.push(Vec::new()),
            Lexeme::Sign('}' | ')' | ']') if scopes.len() > 1 => drop(scopes.pop()),
            Lexeme::Sign(';') => pending.clear(),
            Lexeme::Word => {
                let made_by = word(at);
                match made_by {
                    "let" => {
                        // `if let` and `while let` make names for their block alone.
                        let conditional =
                            at > 0 && matches!(word(at - 1), "if" | "while") || at > 1 && sign(at - 1) == '&';
                        let end = pattern_end(&tokens, at + 1, &['=', ':', ';']);
                        let names = names(text, &tokens[at + 1..end], "let");
                        if tokens.get(end).is_none_or(|token| token.range.start >= cursor) {
                            // Still being written.
                        } else if conditional {
                            pending.extend(names);
                        } else if statement_ends_before(&tokens, end, cursor) {
                            scopes.last_mut().into_iter().for_each(|scope| scope.extend(names.clone()));
                        }
                        at = end;
                        continue;
                    }
                    "for" if !word(at + 1).is_empty() || sign(at + 1) == '(' => {
                        if let Some(end) = (at + 1..tokens.len().min(at + 40)).find(|&end| word(end) == "in")
                        {
                            pending.extend(names(text, &tokens[at + 1..end], "for"));
                            at = end;
                            continue;
                        }
                    }
                    "fn" => {
                        if let Some(open) =
                            (at + 1..tokens.len()).find(|&open| matches!(sign(open), '(' | '{' | ';'))
                            && sign(open) == '('
                        {
                            let close = close_of(&tokens, open);
                            pending.extend(parameters(text, &tokens[open + 1..close.min(tokens.len())]));
                        }
                    }
                    _ => {}
                }
            }
            Lexeme::Sign('|') if at == 0 || begins_closure(text, tokens[at - 1]) => {
                if let Some(close) = (at + 1..tokens.len()).find(|&close| sign(close) == '|')
                    && tokens[close].range.end <= cursor
                {
                    let made = parameters(text, &tokens[at + 1..close]);
                    scopes.last_mut().into_iter().for_each(|scope| scope.extend(made.clone()));
                    at = close;
                }
            }
            _ => {}
        }
        at += 1;
    }
    scopes.into_iter().flatten().collect()
}

/// Items that the whole cell defines.
pub fn items(text: &str) -> Vec<Local> {
    let all = cursor::tokens(text);
    let mut found = Vec::new();
    for pair in all.windows(2) {
        if pair[0].kind != Lexeme::Word || pair[1].kind != Lexeme::Word {
            continue;
        }
        let made_by = match &text[pair[0].range.clone()] {
            "fn" => "fn",
            "struct" => "struct",
            "enum" => "enum",
            "union" => "union",
            "trait" => "trait",
            "const" => "const",
            "static" => "static",
            "type" => "type",
            "mod" => "mod",
            _ => continue,
        };
        let name = &text[pair[1].range.clone()];
        if !cursor::is_keyword(name) && name != "_" {
            found.push(Local { name: name.to_owned(), made_by });
        }
    }
    let signs: Vec<&Token> = all.iter().filter(|token| !matches!(token.kind, Lexeme::Comment(_))).collect();
    for three in signs.windows(3) {
        if &text[three[0].range.clone()] == "macro_rules" && three[2].kind == Lexeme::Word {
            found.push(Local { name: text[three[2].range.clone()].to_owned(), made_by: "macro" });
        }
    }
    found
}

/// Traits that `parameter` is bound by anywhere in the cell: `T: Clone + Iterator`.
pub fn bounds(text: &str, parameter: &str) -> Vec<String> {
    let all = cursor::tokens(text);
    let mut found = Vec::new();
    for (at, pair) in all.windows(2).enumerate() {
        if pair[0].kind != Lexeme::Word
            || &text[pair[0].range.clone()] != parameter
            || pair[1].kind != Lexeme::Sign(':')
        {
            continue;
        }
        let (mut depth, mut path) = (0, String::new());
        for token in &all[at + 2..] {
            match token.kind {
                Lexeme::Sign('<' | '(') => depth += 1,
                Lexeme::Sign('>' | ')') if depth > 0 => depth -= 1,
                _ if depth > 0 => {}
                Lexeme::Word | Lexeme::Colons => path.push_str(&text[token.range.clone()]),
                Lexeme::Sign('+') => found.push(std::mem::take(&mut path)),
                Lexeme::Lifetime | Lexeme::Sign('?') | Lexeme::Arrow => path.clear(),
                _ => break,
            }
        }
        found.push(path);
    }
    found.retain(|path| !path.is_empty());
    found
}

/// A bar that stands where an expression begins opens a closure's parameters.
fn begins_closure(text: &str, before: &Token) -> bool {
    match before.kind {
        Lexeme::Sign(sign) => matches!(sign, '(' | ',' | '=' | '{' | ';' | '[' | ':'),
        Lexeme::Word => matches!(&text[before.range.clone()], "move" | "return" | "async" | "in" | "else"),
        Lexeme::Arrow => true,
        _ => false,
    }
}

fn close_of(tokens: &[&Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Lexeme::Sign('(' | '[' | '{') => depth += 1,
            Lexeme::Sign(')' | ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn pattern_end(tokens: &[&Token], from: usize, ends: &[char]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.kind {
            Lexeme::Sign('(' | '[' | '{') => depth += 1,
            Lexeme::Sign(')' | ']' | '}') => depth -= 1,
            Lexeme::Sign(sign) if depth <= 0 && ends.contains(&sign) => return at,
            _ => {}
        }
    }
    tokens.len()
}

/// A variable is there behind its statement, not within it.
fn statement_ends_before(tokens: &[&Token], from: usize, cursor: usize) -> bool {
    let mut depth = 0;
    for token in &tokens[from..] {
        match token.kind {
            Lexeme::Sign('(' | '[' | '{') => depth += 1,
            Lexeme::Sign(')' | ']' | '}') => depth -= 1,
            Lexeme::Sign(';') if depth == 0 => return token.range.end <= cursor,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    false
}

/// Names that a pattern binds: words written small, outside of paths.
fn names(text: &str, pattern: &[&Token], made_by: &'static str) -> Vec<Local> {
    let mut out = Vec::new();
    for (at, token) in pattern.iter().enumerate() {
        let name = &text[token.range.clone()];
        let in_path = |at: usize| pattern.get(at).is_some_and(|token| token.kind == Lexeme::Colons);
        let is_field = pattern.get(at + 1).is_some_and(|token| token.kind == Lexeme::Sign(':'));
        if token.kind == Lexeme::Word
            && !cursor::is_keyword(name)
            && name != "_"
            && name.starts_with(|c: char| c.is_lowercase() || c == '_')
            && !in_path(at + 1)
            && !is_field
            && !(at > 0 && in_path(at - 1))
        {
            out.push(Local { name: name.to_owned(), made_by });
        }
    }
    out
}

/// Parameters: the pattern before each `:`, or the whole where there is no type.
fn parameters(text: &str, tokens: &[&Token]) -> Vec<Local> {
    let mut out = Vec::new();
    let mut from = 0;
    let mut depth = 0;
    for at in 0..=tokens.len() {
        let ends = at == tokens.len() || (depth == 0 && tokens[at].kind == Lexeme::Sign(','));
        if ends {
            let one = &tokens[from.min(at)..at];
            let colon = one.iter().position(|token| token.kind == Lexeme::Sign(':')).unwrap_or(one.len());
            out.extend(names(text, &one[..colon], "parameter"));
            from = at + 1;
        } else {
            match tokens[at].kind {
                Lexeme::Sign('(' | '[' | '{' | '<') => depth += 1,
                Lexeme::Sign(')' | ']' | '}' | '>') => depth -= 1,
                _ => {}
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(marked: &str) -> Vec<String> {
        let cursor = marked.find('¦').unwrap();
        let text = marked.replacen('¦', "", 1);
        locals(&text, cursor).into_iter().map(|local| local.name).collect()
    }

    #[test]
    fn variables_live_from_their_statement_to_their_brace() {
        assert_eq!(at("let a = 1; let (b, mut c) = (2, 3);\n¦"), ["a", "b", "c"]);
        assert_eq!(at("{ let inner = 1; } let a = 1; ¦"), ["a"]);
        assert_eq!(at("let a = ¦"), [""; 0]);
        assert_eq!(at("let a: Vec<f64> = f(); if let Some(x) = a { ¦"), ["a", "x"]);
        assert_eq!(at("let P { x, y: z } = p; ¦"), ["x", "z"]);
    }

    #[test]
    fn parameters_are_names() {
        assert_eq!(at("fn f(a: i32, (b, c): (i32, i32)) -> i32 { ¦ }"), ["a", "b", "c"]);
        assert_eq!(at("v.map(|x| ¦"), ["x"]);
        assert_eq!(at("v.map(|(i, x): (usize, f64)| { ¦"), ["i", "x"]);
        assert_eq!(at("v.map(|x| x + 1).¦"), [""; 0]);
        assert_eq!(at("for (i, row) in v.iter() { ¦"), ["i", "row"]);
        assert_eq!(at("let z = a | b; ¦"), ["z"]);
    }

    #[test]
    fn parameters_have_bounds() {
        let text = "fn f<T: Clone + std::io::Read, U: Fn(i32) -> T>(t: T, u: U) where T: 'static + Iterator<Item = u8> {";
        assert_eq!(bounds(text, "T"), ["Clone", "std::io::Read", "Iterator"]);
    }

    #[test]
    fn items_have_names() {
        let found = items("fn f() {}\npub struct P;\nmacro_rules! sq { () => {} }\nconst N: usize = 1;");
        let names: Vec<&str> = found.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["f", "P", "N", "sq"]);
    }
}
