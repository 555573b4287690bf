//! Owns reading one page of `rustdoc`: an item with its members, the traits it implements, and the documentation of all.

use anyhow::{Context, Result};
use syn::ItemImpl;

use super::{
    html::{Document, Id},
    index::Kind,
    markdown::markdown,
};

/// An item as its page shows it.
#[derive(Debug, Default)]
pub struct Page {
    pub signature: String,
    pub docs: String,
    pub deprecated: bool,
    /// Only a nightly compiler lets cells use it.
    pub unstable: bool,
    pub members: Vec<PageMember>,
    pub implemented: Vec<PageImplemented>,
}

#[derive(Debug)]
pub struct PageMember {
    pub name: String,
    pub kind: Kind,
    pub signature: String,
    pub docs: String,
    pub header: String,
    pub deprecated: bool,
}

#[derive(Debug)]
pub struct PageImplemented {
    /// The trait's path.
    pub of: String,
    pub header: String,
    pub blanket: bool,
    pub target: Option<String>,
}

/// Which part of a page is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Own,
    Traits,
    Blankets,
    /// Repeats what stands on other pages.
    Elsewhere,
}

/// Reads the page of `name`, an item of this kind, in the documentation of crate `root`.
///
/// # Errors
/// If it has no content where `rustdoc` puts it.
pub fn read(text: &str, root: &str, name: &str, kind: Kind) -> Result<Page> {
    let from = text.find("<section id=\"main-content\"").context("no main content on the page")?;
    let document = Document::read(&text[from..]);
    let main = document.children(0)[0];
    let mut page = Page::default();
    for &child in document.children(main) {
        if document.name(child) == "pre" && document.has_class(child, "item-decl") {
            page.signature = declaration(&document.text(child));
        } else if document.has_class(child, "top-doc") {
            page.docs = docblock(&document, child);
        } else if document.has_class(child, "item-info") {
            (page.unstable, page.deprecated) = notes(&document, child);
        }
    }
    let mut part = Part::Own;
    let mut header = String::new();
    // The `impl` whose type counts for this item, and what it was read as.
    let mut deref: Option<usize> = None;
    for id in document.below(main) {
        let element = document.name(id);
        if !["h2", "section", "span"].contains(&element) {
            continue;
        }
        let Some(mark) = document.attribute(id, "id") else { continue };
        if element == "h2" {
            part = match mark.as_ref() {
                "trait-implementations" => Part::Traits,
                "blanket-implementations" => Part::Blankets,
                "synthetic-implementations" | "implementors" | "foreign-impls" => Part::Elsewhere,
                mark if mark.starts_with("deref-methods") => Part::Elsewhere,
                _ if document.has_class(id, "section-header") => Part::Own,
                _ => part,
            };
            continue;
        }
        if document.has_class(id, "impl") {
            header = one_line(&header_text(&document, id));
            deref = None;
            if matches!(part, Part::Traits | Part::Blankets)
                && let Some(of) = trait_path(&document, id, root)
                && is_for(&header, name, part == Part::Blankets)
            {
                if of.ends_with("::Deref") {
                    deref = Some(page.implemented.len());
                }
                let blanket = part == Part::Blankets;
                page.implemented.push(PageImplemented { of, header: header.clone(), blanket, target: None });
            }
            continue;
        }
        let Some((what, member)) = mark.split_once('.') else { continue };
        if part == Part::Traits && what == "associatedtype" && member.starts_with("Target") {
            if let Some(at) = deref {
                let signature = one_line(&header_text(&document, id));
                page.implemented[at].target =
                    signature.split_once(" = ").map(|(_, target)| target.to_owned());
            }
            continue;
        }
        if part != Part::Own {
            continue;
        }
        let member_kind = match (what, element) {
            ("method" | "tymethod", "section") => Kind::Method,
            ("associatedconstant", "section") => Kind::AssociatedConstant,
            ("associatedtype", "section") => Kind::AssociatedType,
            ("variant", "section") => Kind::Variant,
            ("structfield", "span") => Kind::Field,
            _ => continue,
        };
        let (unstable, deprecated) = info_behind(&document, id);
        if unstable {
            continue;
        }
        let written = match member_kind {
            Kind::Field => {
                document.find(id, |id| document.name(id) == "code").map(|code| document.text(code))
            }
            _ => Some(header_text(&document, id)),
        };
        let Some(signature) = written.map(|written| one_line(&written)) else { continue };
        // Repeated names have a number behind them on a page: `len-1`.
        let member = member.split(['-', '.']).next().unwrap_or(member);
        let kind = match member_kind {
            Kind::Method if !takes_self(&signature) => Kind::AssociatedFunction,
            kind => kind,
        };
        let docs = docs_behind(&document, id);
        let header =
            if kind == Kind::Variant || kind == Kind::Field { String::new() } else { header.clone() };
        page.members.push(PageMember { name: member.to_owned(), kind, signature, docs, header, deprecated });
    }
    if page.signature.is_empty() && kind != Kind::Module && kind != Kind::Primitive {
        let macro_like = matches!(kind, Kind::Derive | Kind::Attribute);
        anyhow::ensure!(macro_like, "no declaration on the page of `{name}`");
    }
    Ok(page)
}

/// The code of a section's heading.
fn header_text(document: &Document<'_>, id: Id) -> String {
    let code = document.children(id).iter().find(|&&child| document.has_class(child, "code-header"));
    code.map(|&code| document.text(code)).unwrap_or_default()
}

/// The path in the title of the heading's link to the trait.
fn trait_path(document: &Document<'_>, section: Id, root: &str) -> Option<String> {
    let code = document.children(section).iter().find(|&&child| document.has_class(child, "code-header"))?;
    // Bounds of the type's parameters come before the trait in `impl<T: Bound>`, in a text of their own.
    let header = document.text(*code);
    if header.contains("> !") || header.starts_with("impl !") {
        return None;
    }
    let links: Vec<Id> = document
        .children(*code)
        .iter()
        .copied()
        .filter(|&child| document.has_class(child, "trait"))
        .collect();
    let before_for = |id: Id| {
        let mut between = String::new();
        let siblings = document.children(*code);
        let at = siblings.iter().position(|&sibling| sibling == id)?;
        siblings[at + 1..].iter().for_each(|&sibling| between.push_str(&document.text(sibling)));
        between.contains(" for ").then_some(())
    };
    let link = links.into_iter().filter(|&id| before_for(id).is_some()).find(|&id| {
        // The first link whose text is the trait of the header, parameters of `impl<…>` skipped.
        let own = document.text(id);
        one_line(&header).split(" for ").next().is_some_and(|head| {
            let head = after_generics(head);
            head.starts_with(&own)
        })
    })?;
    let title = document.attribute(link, "title")?;
    let path = title.strip_prefix("trait ")?;
    Some(match path.strip_prefix(root).and_then(|rest| rest.strip_prefix("::")) {
        Some(own) => own.to_owned(),
        // Of another crate: by its whole path there, whose private modules `Libraries` sees through.
        None => path.to_owned(),
    })
}

/// `impl<…> Rest` without its front.
fn after_generics(header: &str) -> &str {
    let rest = header.strip_prefix("unsafe ").unwrap_or(header);
    let rest = rest.strip_prefix("impl").unwrap_or(rest);
    if !rest.starts_with('<') {
        return rest.trim_start().trim_start_matches("const ");
    }
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = c;
        if depth == 0 {
            return rest[at + 1..].trim_start().trim_start_matches("const ");
        }
    }
    rest
}

/// Whether an `impl` is for the page's own type or a reference to it, and not for another that only names it.
fn is_for(header: &str, name: &str, blanket: bool) -> bool {
    if blanket {
        return true;
    }
    let Ok(block) = syn::parse_str::<ItemImpl>(&format!("{} {{}}", header.replace("impl !", "impl "))) else {
        return false;
    };
    let mut ty = &*block.self_ty;
    while let syn::Type::Reference(reference) = ty {
        ty = &reference.elem;
    }
    match ty {
        syn::Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == name),
        syn::Type::Slice(_) => name == "slice",
        syn::Type::Array(_) => name == "array",
        syn::Type::Tuple(_) => name == "tuple" || name == "unit",
        syn::Type::BareFn(_) => name == "fn",
        syn::Type::Ptr(_) => name == "pointer",
        _ => false,
    }
}

/// Whether something is unstable or deprecated, by the boxes between its heading and its documentation.
fn info_behind(document: &Document<'_>, id: Id) -> (bool, bool) {
    let mut info = (false, false);
    for &next in behind(document, id) {
        if document.has_class(next, "item-info") {
            let (unstable, deprecated) = notes(document, next);
            info = (info.0 | unstable, info.1 | deprecated);
        } else if document.name(next) == "section" || document.name(next) == "details" {
            break;
        }
    }
    info
}

fn notes(document: &Document<'_>, id: Id) -> (bool, bool) {
    let has = |class: &str| document.find(id, |id| document.has_class(id, class)).is_some();
    (has("unstable"), has("deprecated"))
}

fn behind<'d>(document: &'d Document<'_>, id: Id) -> &'d [Id] {
    let siblings = document.children(document.parent(id));
    let at = siblings.iter().position(|&sibling| sibling == id).unwrap_or(0);
    &siblings[(at + 1).min(siblings.len())..]
}

/// The documentation of a member: behind its heading, or beside the summary that the heading is in.
fn docs_behind(document: &Document<'_>, id: Id) -> String {
    let parent = document.parent(id);
    let from = if document.name(parent) == "summary" { parent } else { id };
    for &next in behind(document, from) {
        match document.name(next) {
            "div" if document.has_class(next, "docblock") => return markdown(document, next),
            "section" | "details" | "h2" => return String::new(),
            "span" if document.has_class(next, "structfield") => return String::new(),
            _ => {}
        }
    }
    String::new()
}

fn docblock(document: &Document<'_>, id: Id) -> String {
    let block = document.find(id, |id| document.has_class(id, "docblock"));
    block.map(|block| markdown(document, block)).unwrap_or_default()
}

/// Whether the first parameter is a receiver.
pub fn takes_self(signature: &str) -> bool {
    let Some(open) = parameters_at(signature) else { return false };
    let first = signature[open + 1..].split([',', ')']).next().unwrap_or_default();
    let word = first.split(':').next().unwrap_or_default().trim();
    word.rsplit([' ', '&']).next() == Some("self")
}

/// Where the parameter list of a function's signature opens: not within `<F: Fn(A) -> B>`.
pub fn parameters_at(signature: &str) -> Option<usize> {
    let from = signature.find("fn ")? + 3;
    let (mut depth, mut before) = (0, ' ');
    for (at, c) in signature.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            '(' if depth == 0 => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

/// A heading without its line breaks.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() && !out.ends_with('(') && word != ")" {
            out.push(' ');
        }
        out.push_str(word);
    }
    let out = out.replace(",)", ")");
    let out = out.trim_end_matches(',');
    out.strip_prefix("pub ").unwrap_or(out).to_owned()
}

/// A declaration keeps its lines; what is longer than a screen is cut.
fn declaration(text: &str) -> String {
    const LINES_MAX: usize = 40;
    let text = text.trim();
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines.push("    …");
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_told_from_parameters() {
        assert!(takes_self("fn push(&mut self, value: T)"));
        assert!(takes_self("const fn len(&'a self) -> usize"));
        assert!(takes_self("fn map<F: FnMut(A) -> B>(self, f: F)"));
        assert!(takes_self("fn new(self: Pin<&mut Self>)"));
        assert!(!takes_self("fn with_capacity(capacity: usize) -> Vec<T>"));
        assert!(!takes_self("fn new() -> Vec<T>"));
        assert!(!takes_self("fn from(itself: T) -> Self"));
    }

    #[test]
    fn the_trait_comes_behind_the_parameters() {
        assert_eq!(after_generics("impl<T: Fn(A) -> B, A> Iterator for X"), "Iterator for X");
        assert_eq!(after_generics("impl Clone for X"), "Clone for X");
        assert_eq!(after_generics("unsafe impl<#[may_dangle] T> Drop for X<T>"), "Drop for X<T>");
    }
}
