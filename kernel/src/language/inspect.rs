//! Owns what something is: the signature, type, documentation or source of what the cursor stands on.

use super::{
    Request,
    cursor::Place,
    index::Kind,
    members::{Found, Known},
    names::{KEYWORDS, Sight},
};
use crate::evaluator::types::shown;

/// An answer in two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub plain: String,
    pub markdown: String,
}

/// What is said of something, before it is laid out.
#[derive(Default)]
struct About {
    /// Rust: a signature or declaration.
    code: String,
    /// Where it comes from, in words.
    from: String,
    docs: String,
    /// Its text in a cell.
    source: Option<String>,
}

/// Answers a request about the word that ends at the cursor.
pub fn inspect(request: &Request, place: &Place, detailed: bool) -> Option<Inspection> {
    let own = super::complete::own(request);
    let sight = Sight::of(request, &own);
    let world = sight.world;
    let about = match place {
        Place::Member { word, .. } => {
            let name = &request.text[word.clone()];
            let ty = request.receiver.as_deref()?;
            let found = world.of_value(ty).into_iter().find(|found| found.name == *name)?;
            Some(of_member(&found, Some(ty)))
        }
        Place::Path { before, word, .. } => {
            let name = request.text[word.clone()].to_owned();
            let mut segments = before.clone();
            segments.push(name);
            of_path(&sight, &segments)
        }
        Place::Name { word, .. } if !word.is_empty() => of_name(&sight, &request.text[word.clone()], request),
        Place::Nothing if request.cursor > 0 => {
            let word = super::cursor::word_at(&request.text, request.cursor);
            let name = &request.text[word];
            if name.is_empty() { None } else { of_name(&sight, name, request) }
        }
        Place::Name { .. } | Place::Text { .. } | Place::Nothing => None,
    }?;
    Some(laid_out(&about, detailed))
}

fn of_name(sight: &Sight<'_>, name: &str, request: &Request) -> Option<About> {
    let is_local = super::scope::locals(sight.text, sight.cursor).iter().any(|local| local.name == name);
    if let Some(ty) = sight.known.variables.get(name)
        && !is_local
    {
        return Some(of_variable(sight, name, ty));
    }
    if is_local {
        let code = match &request.receiver {
            Some(ty) => format!("let {name}: {}", shown(ty)),
            None => format!("let {name}"),
        };
        return Some(About { code, from: "variable of this cell".to_owned(), ..About::default() });
    }
    if let Some(found) = of_path(sight, &[name.to_owned()]) {
        return Some(found);
    }
    if let Some((word, about)) = KEYWORDS.iter().find(|(word, _)| *word == name) {
        return Some(About {
            code: (*word).to_owned(),
            from: "keyword".to_owned(),
            docs: (*about).to_owned(),
            source: None,
        });
    }
    if let Some((name, ty)) = request.snapshot.names.iter().find(|(own, _)| own == name) {
        return Some(About { code: format!("{name}: {ty}"), ..About::default() });
    }
    None
}

fn of_variable(sight: &Sight<'_>, name: &str, ty: &str) -> About {
    let mut about =
        About { code: format!("let {name}: {}", shown(ty)), from: "variable".to_owned(), ..About::default() };
    // What its type is, in a few words.
    if let Ok(parsed) = syn::parse_str::<syn::Type>(ty)
        && let Some(path) = super::members::path_of(super::unify::bare(&parsed))
        && let Some(known) = sight.world.item(&path)
    {
        let of_type = of_item(known);
        about.docs = first_paragraphs(&of_type.docs, 1);
    }
    about
}

fn of_path(sight: &Sight<'_>, segments: &[String]) -> Option<About> {
    let world = sight.world;
    let resolved = sight.resolve(segments)?;
    if let Some(known) = world.item(&resolved) {
        return Some(of_item(known));
    }
    // A member of a type or trait.
    let (ty, name) = resolved.rsplit_once("::")?;
    let found = match world.item(ty)? {
        Known::Library(entry) if entry.item.kind == Kind::Trait => world.of_trait(Known::Library(entry)),
        Known::Own(item) if item.kind == Kind::Trait => world.of_trait(Known::Own(item)),
        _ => syn::parse_str(ty).map(|ty| world.of_type(&ty)).unwrap_or_default(),
    };
    found.into_iter().find(|found| found.name == name).map(|found| of_member(&found, None))
}

fn of_item(known: Known<'_>) -> About {
    match known {
        Known::Library(entry) => {
            let item = entry.item;
            let code = match item.kind {
                Kind::Module => format!("mod {}", item.path),
                Kind::Primitive | Kind::Derive | Kind::Attribute if item.signature.is_empty() => {
                    item.path.clone()
                }
                _ => item.signature.clone(),
            };
            About { code, from: item.path.clone(), docs: entry.docs(item.docs), source: None }
        }
        Known::Own(item) => About {
            code: item.signature.clone(),
            from: "defined in this notebook".to_owned(),
            docs: item.docs.clone(),
            source: Some(item.source.clone()),
        },
    }
}

fn of_member(found: &Found<'_>, receiver: Option<&str>) -> About {
    let of = found.of.rsplit("::").next().unwrap_or(&found.of);
    let mut from = match (found.is_trait, found.kind) {
        (true, _) => format!("of trait `{}`", found.of),
        (false, Kind::Field) => format!("field of `{of}`"),
        (false, Kind::Variant) => format!("variant of `{of}`"),
        (false, _) => format!("of `{of}`"),
    };
    if let Some(ty) = receiver.filter(|_| found.step > 0) {
        from.push_str(&format!(", through `{}`", shown(ty)));
    }
    About { code: found.signature.clone(), from, docs: found.docs.read(), source: found.source.clone() }
}

fn first_paragraphs(docs: &str, count: usize) -> String {
    docs.split("\n\n").take_while(|part| !part.starts_with('#')).take(count).collect::<Vec<_>>().join("\n\n")
}

fn laid_out(about: &About, detailed: bool) -> Inspection {
    let docs = if detailed { about.docs.clone() } else { short(&about.docs) };
    let source = about.source.as_deref().filter(|_| detailed);
    let code = source.unwrap_or(&about.code);
    let mut markdown = format!("```rust\n{code}\n```\n");
    // Colours as a terminal and JupyterLab know them: the signature alone stands out.
    let mut plain = format!("\x1b[34m{code}\x1b[0m\n");
    if !about.from.is_empty() {
        markdown.push_str(&format!("\n*{}*\n", about.from.replace('*', "")));
        plain.push_str(&format!("{}\n", about.from));
    }
    if !docs.is_empty() && source.is_none() {
        markdown.push_str(&format!("\n{docs}\n"));
        plain.push_str(&format!("\n{docs}\n"));
    }
    Inspection { plain, markdown }
}

/// As much of a documentation as a tooltip holds: up to the first section behind the examples.
fn short(docs: &str) -> String {
    const CHARACTERS_MAX: usize = 1800;
    if docs.chars().count() <= CHARACTERS_MAX {
        return docs.to_owned();
    }
    let mut out = String::new();
    let mut in_code = false;
    for line in docs.lines() {
        if out.chars().count() + line.chars().count() > CHARACTERS_MAX {
            break;
        }
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        out.push_str(line);
        out.push('\n');
    }
    if in_code {
        out.push_str("```\n");
    }
    out + "\n…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_documentation_is_cut_between_lines() {
        let docs = format!("First.\n\n```rust\n{}\n```", "let x = 1;\n".repeat(400));
        let cut = short(&docs);
        assert!(cut.starts_with("First.") && cut.ends_with('…'));
        assert_eq!(cut.matches("```").count(), 2);
        assert_eq!(short("short"), "short");
    }
}
