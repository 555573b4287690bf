//! Owns types as text: whether a later cell can write one, and whose crates its paths name.

use std::borrow::Cow;

use quote::ToTokens;
use syn::{
    Path, Type,
    visit::Visit,
    visit_mut::{self, VisitMut},
};

use super::naming;

/// Types that every cell writes the same way.
const PLAIN: &[&str] = &[
    "bool", "char", "str", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
    "usize", "f32", "f64", "String", "Vec", "Option", "Box",
];

/// Rewrites the crates of the paths in `ty`: `change(first word, second word)` gives the new first word. `None` if it
/// cannot be read.
pub fn map_paths(ty: &str, change: impl FnMut(&str, &str) -> Option<String>) -> Option<String> {
    struct Change<F>(F);
    impl<F: FnMut(&str, &str) -> Option<String>> VisitMut for Change<F> {
        fn visit_path_mut(&mut self, path: &mut Path) {
            visit_mut::visit_path_mut(self, path);
            if path.leading_colon.is_none() && path.segments.len() > 1 {
                let (first, second) =
                    (path.segments[0].ident.to_string(), path.segments[1].ident.to_string());
                if let Some(new) = (self.0)(&first, &second) {
                    path.segments[0].ident = syn::Ident::new(&new, proc_macro2::Span::call_site());
                }
            }
        }
    }
    let mut parsed: Type = syn::parse_str(ty).ok()?;
    Change(change).visit_type_mut(&mut parsed);
    Some(tidy(&parsed))
}

/// A type as the compiler printed it inside crate `home`, whose own paths `is_own` tells by their first word, so that
/// every cell can write it. `None` for what no cell can write: closures, functions' own types, `impl Trait`.
pub fn absolute(ty: &str, home: &str, is_own: impl Fn(&str) -> bool) -> Option<String> {
    struct Prefix<'a, F>(&'a str, F);
    impl<F: Fn(&str) -> bool> VisitMut for Prefix<'_, F> {
        fn visit_path_mut(&mut self, path: &mut Path) {
            visit_mut::visit_path_mut(self, path);
            let first = path.segments.first().map(|segment| segment.ident.to_string()).unwrap_or_default();
            if path.leading_colon.is_none() && (self.1)(&first) {
                let home = syn::Ident::new(self.0, proc_macro2::Span::call_site());
                path.segments.insert(0, home.into());
            }
        }
    }
    struct Unnameable(bool);
    impl<'ast> Visit<'ast> for Unnameable {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }

        fn visit_type_infer(&mut self, _: &'ast syn::TypeInfer) {
            self.0 = true;
        }
    }
    let mut parsed: Type = syn::parse_str(ty).ok()?;
    let mut unnameable = Unnameable(false);
    unnameable.visit_type(&parsed);
    if unnameable.0 {
        return None;
    }
    Prefix(home, is_own).visit_type_mut(&mut parsed);
    Some(tidy(&parsed))
}

/// Whether the compiler could not tell a part of `ty`, which it prints as `_`.
pub fn has_gap(ty: &str) -> bool {
    struct Gap(bool);
    impl<'ast> Visit<'ast> for Gap {
        fn visit_type_infer(&mut self, _: &'ast syn::TypeInfer) {
            self.0 = true;
        }
    }
    let mut gap = Gap(false);
    if let Ok(parsed) = syn::parse_str::<Type>(ty) {
        gap.visit_type(&parsed);
    }
    gap.0
}

/// Whether `ty` means the same in every cell, given the names that cells brought in.
pub fn is_plain(ty: &str, is_taken: impl Fn(&str) -> bool) -> bool {
    struct Words<F>(F, bool);
    impl<'ast, F: Fn(&str) -> bool> Visit<'ast> for Words<F> {
        fn visit_type(&mut self, ty: &'ast Type) {
            self.1 &= matches!(ty, Type::Path(_) | Type::Tuple(_) | Type::Array(_) | Type::Paren(_));
            syn::visit::visit_type(self, ty);
        }

        fn visit_path(&mut self, path: &'ast Path) {
            self.1 &= path.segments.len() == 1;
            syn::visit::visit_path(self, path);
        }

        fn visit_ident(&mut self, ident: &'ast syn::Ident) {
            let word = ident.to_string();
            self.1 &= PLAIN.contains(&word.as_str()) && !(self.0)(&word);
        }
    }
    let Ok(parsed) = syn::parse_str::<Type>(ty) else { return false };
    let mut words = Words(is_taken, true);
    words.visit_type(&parsed);
    words.1
}

/// `text` without the places of closures, which are in the files that are made of cells.
pub fn without_places(text: &str) -> Cow<'_, str> {
    const CLOSURE: &str = "{closure@";
    let mut text = Cow::Borrowed(text);
    while let Some(at) = text.find(CLOSURE)
        && let Some(end) = text[at..].find('}')
    {
        text.to_mut().replace_range(at..at + end + 1, "{closure}");
    }
    text
}

/// For people: without the crates of cells, and without the places of closures, which are not the cells' own.
pub fn shown(ty: &str) -> String {
    let ty = without_places(ty);
    let ty = ty.as_ref();
    let mut out = String::with_capacity(ty.len());
    let mut rest = ty;
    while let Some(at) = rest.find(naming::PREFIX) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = rest[at..].split(|c| !is_word(c)).next().unwrap_or_default();
        let after = &rest[at + word.len()..];
        let begins_word = !rest[..at].ends_with(is_word);
        if begins_word
            && naming::is_cell(word)
            && let Some(after) = after.strip_prefix("::")
        {
            out.push_str(&rest[..at]);
            rest = after;
        } else {
            out.push_str(&rest[..at + word.len()]);
            rest = after;
        }
    }
    out + rest
}

/// Tokens as people space them.
fn tidy(ty: &Type) -> String {
    let mut text = ty.to_token_stream().to_string();
    for (spaced, close) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        (" ;", ";"),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        ("Fn (", "Fn("),
        ("FnMut (", "FnMut("),
        ("FnOnce (", "FnOnce("),
        ("fn (", "fn("),
    ] {
        text = text.replace(spaced, close);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_types_get_their_crate_and_others_keep_theirs() {
        let own = |word: &str| word == "P";
        assert_eq!(
            absolute("std::collections::HashMap<i32, (P, cell_1::Q)>", "cell_4", own).as_deref(),
            Some("std::collections::HashMap<i32, (cell_4::P, cell_1::Q)>")
        );
        assert_eq!(
            absolute("std::boxed::Box<dyn std::ops::Fn(f64) -> P>", "cell_4", own).as_deref(),
            Some("std::boxed::Box<dyn std::ops::Fn(f64) -> cell_4::P>")
        );
        assert_eq!(absolute("impl std::iter::Iterator<Item = i32>", "cell_4", own), None);
        assert_eq!(absolute("{closure@cell_1.rs:3:9: 3:12}", "cell_4", own), None);
    }

    #[test]
    fn paths_change_their_crate() {
        let after = map_paths("std::vec::Vec<cell_1::P>", |home, name| {
            (home == "cell_1" && name == "P").then(|| "cell_3".to_owned())
        });
        assert_eq!(after.as_deref(), Some("std::vec::Vec<cell_3::P>"));
    }

    #[test]
    fn plain_types_are_those_that_nobody_redefined() {
        assert!(is_plain("Vec<(f64, Option<String>)>", |_| false));
        assert!(!is_plain("Vec<f64>", |word| word == "Vec"));
        assert!(!is_plain("HashMap<i32, i32>", |_| false));
        assert!(!is_plain("&'static str", |_| false));
        assert!(!is_plain("Vec<_>", |_| false));
    }

    #[test]
    fn gaps_are_not_names() {
        assert!(has_gap("std::vec::Vec<_>"));
        assert!(!has_gap("std::vec::Vec<my_type>"));
    }

    #[test]
    fn people_do_not_see_the_crates_of_cells() {
        assert_eq!(shown("std::vec::Vec<cell_0123456789abcdef_2::P>"), "std::vec::Vec<P>");
        assert_eq!(shown("my_cell_1::P, cell_x"), "my_cell_1::P, cell_x");
        assert_eq!(
            shown("Map<Range<i32>, {closure@/tmp/c/cell_1.rs:3:9: 3:12}>"),
            "Map<Range<i32>, {closure}>"
        );
    }
}
