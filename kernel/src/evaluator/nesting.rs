//! Owns how deep a cell may be nested. Parsers call themselves for each level, and one that runs out of stack takes the
//! kernel along; so nobody parses what is nested deeper than any person writes.

use proc_macro2::{LineColumn, TokenStream, TokenTree, token_stream};

/// Brackets within brackets, or operators one after the other.
pub const DEPTH_MAX: usize = 200;

/// Where the text is nested too deeply, if it is.
pub fn too_deep(tokens: TokenStream) -> Option<LineColumn> {
    // No recursion here either.
    let mut levels: Vec<token_stream::IntoIter> = vec![tokens.into_iter()];
    let mut operators = 0;
    while let Some(level) = levels.last_mut() {
        let Some(token) = level.next() else {
            levels.pop();
            continue;
        };
        let at = token.span().start();
        match token {
            TokenTree::Group(group) => {
                operators = 0;
                levels.push(group.stream().into_iter());
            }
            TokenTree::Punct(_) => operators += 1,
            TokenTree::Ident(_) | TokenTree::Literal(_) => operators = 0,
        }
        if levels.len() > DEPTH_MAX || operators > DEPTH_MAX {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::evaluator::split::split;

    #[test]
    fn what_would_fill_a_stack_is_refused() {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{", "}"), ("!", "true"), ("&", "x"), ("-", "1"), ("|", "")]
        {
            let text = format!("let a = 1;\nlet b = {}{};", open.repeat(100_000), close.repeat(100_000));
            let error = split(&text).unwrap_err();
            assert!(error.message.contains("nested") && error.line == 2, "{open}: {error:?}");
        }
    }

    #[test]
    fn a_large_cell_is_read() {
        let text = format!("let v = vec![{}];", "(1, [2, 3]), ".repeat(200_000));
        assert_eq!(split(&text).unwrap().statements.len(), 1);
    }
}
