//! Owns reading the markup that `rustdoc` writes: elements, their attributes and text. Reads well-formed pages of one
//! program, not the web: an end tag without a partner is passed over, an element that is never closed ends with its parent.

use std::{borrow::Cow, ops::Range};

/// A page as a tree. Node 0 is the root.
pub struct Document<'t> {
    text: &'t str,
    nodes: Vec<Node>,
}

/// Number of a node in its document.
pub type Id = usize;

struct Node {
    kind: Kind,
    parent: Id,
    children: Vec<Id>,
}

enum Kind {
    Root,
    Text(Range<usize>),
    Element { name: Range<usize>, attributes: Range<usize> },
}

/// Elements that have no end tag.
const VOID: &[&str] = &["br", "wbr", "hr", "img", "meta", "link", "input"];

impl<'t> Document<'t> {
    pub fn read(text: &'t str) -> Self {
        let root = Node { kind: Kind::Root, parent: 0, children: Vec::new() };
        let mut document = Self { text, nodes: vec![root] };
        let (mut at, mut open) = (0, 0);
        while at < text.len() {
            let Some(lt) = text[at..].find('<').map(|n| at + n) else {
                document.add(open, Kind::Text(at..text.len()));
                break;
            };
            if lt > at {
                document.add(open, Kind::Text(at..lt));
            }
            if text[lt..].starts_with("<!--") {
                at = text[lt..].find("-->").map_or(text.len(), |n| lt + n + 3);
                continue;
            }
            let end = tag_end(text, lt);
            let inside = lt + 1..end.saturating_sub(1).max(lt + 1);
            at = end;
            if let Some(name) = text[inside.clone()].strip_prefix('/') {
                let name = name.trim();
                let mut here = open;
                while here != 0 && document.name(here) != name {
                    here = document.nodes[here].parent;
                }
                if here != 0 {
                    open = document.nodes[here].parent;
                }
                continue;
            }
            let size =
                text[inside.clone()].find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inside.len());
            let name = inside.start..inside.start + size;
            let element = Kind::Element { name: name.clone(), attributes: name.end..inside.end };
            let id = document.add(open, element);
            let name = &text[name];
            if name == "script" || name == "style" {
                let close = format!("</{name}>");
                at = text[at..].find(&close).map_or(text.len(), |n| at + n + close.len());
            } else if !VOID.contains(&name) && !text[inside].ends_with('/') {
                open = id;
            }
        }
        document
    }

    fn add(&mut self, parent: Id, kind: Kind) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node { kind, parent, children: Vec::new() });
        self.nodes[parent].children.push(id);
        id
    }

    /// Name of an element; empty for text.
    pub fn name(&self, id: Id) -> &'t str {
        match &self.nodes[id].kind {
            Kind::Element { name, .. } => &self.text[name.clone()],
            Kind::Root | Kind::Text(_) => "",
        }
    }

    pub fn children(&self, id: Id) -> &[Id] {
        &self.nodes[id].children
    }

    pub fn parent(&self, id: Id) -> Id {
        self.nodes[id].parent
    }

    /// The text of a text node.
    pub fn own_text(&self, id: Id) -> Option<Cow<'t, str>> {
        match &self.nodes[id].kind {
            Kind::Text(range) => Some(decode(&self.text[range.clone()])),
            Kind::Root | Kind::Element { .. } => None,
        }
    }

    pub fn attribute(&self, id: Id, wanted: &str) -> Option<Cow<'t, str>> {
        let Kind::Element { attributes, .. } = &self.nodes[id].kind else { return None };
        let mut rest = &self.text[attributes.clone()];
        loop {
            rest = rest.trim_start();
            let name_end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
            if name_end == 0 {
                return None;
            }
            let name = &rest[..name_end];
            rest = &rest[name_end..];
            let mut value = "";
            if let Some(after) = rest.strip_prefix('=') {
                let quote = after.chars().next().filter(|c| *c == '"' || *c == '\'');
                let (from, end) = match quote {
                    Some(quote) => (1, after[1..].find(quote).map_or(after.len(), |n| n + 1)),
                    None => (0, after.find(char::is_whitespace).unwrap_or(after.len())),
                };
                value = &after[from..end];
                rest = &after[(end + from).min(after.len())..];
            }
            if name == wanted {
                return Some(decode(value));
            }
        }
    }

    pub fn has_class(&self, id: Id, class: &str) -> bool {
        self.attribute(id, "class").is_some_and(|classes| classes.split(' ').any(|own| own == class))
    }

    /// Every node below `id`, in the order of the page.
    pub fn below(&self, id: Id) -> Vec<Id> {
        let mut out = Vec::new();
        let mut open: Vec<Id> = self.nodes[id].children.iter().rev().copied().collect();
        while let Some(id) = open.pop() {
            out.push(id);
            open.extend(self.nodes[id].children.iter().rev());
        }
        out
    }

    pub fn find(&self, id: Id, mut wanted: impl FnMut(Id) -> bool) -> Option<Id> {
        self.below(id).into_iter().find(|&id| wanted(id))
    }

    /// All text below `id`.
    pub fn text(&self, id: Id) -> String {
        let mut out = String::new();
        self.write_text(id, &mut out);
        out
    }

    fn write_text(&self, id: Id, out: &mut String) {
        if let Some(text) = self.own_text(id) {
            out.push_str(&text);
        }
        for &child in &self.nodes[id].children {
            // A sign that opens a note on the returned type.
            if self.name(child) == "a" && self.has_class(child, "tooltip") {
                continue;
            }
            // Bounds stand on lines of their own, which only their box tells.
            if self.name(child) == "div" && !out.ends_with('\n') {
                out.push('\n');
            }
            self.write_text(child, out);
        }
    }
}

/// Where the tag that begins at `lt` ends; a `>` within quotes is none.
fn tag_end(text: &str, lt: usize) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate().skip(lt + 1) {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest.find(';').filter(|end| *end <= 10).map(|end| &rest[1..end]);
        match entity.and_then(entity_character) {
            Some(character) => {
                out.push(character);
                rest = &rest[entity.map_or(0, str::len) + 2..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn entity_character(entity: &str) -> Option<char> {
    Some(match entity {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "nbsp" => ' ',
        numbered => {
            let number = numbered.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_tree() {
        let page = Document::read(
            r#"<section id="method.push" class="method x"><h4 class='code-header'>fn <a title="a > b" href=#>push</a>(&amp;self, v: Vec&lt;T&gt;)<a class="tooltip">i</a><div class="where">where T: &#39;static</div></h4><br>x</section>y"#,
        );
        let section = page.children(0)[0];
        assert_eq!(page.attribute(section, "id").unwrap(), "method.push");
        assert!(page.has_class(section, "x") && !page.has_class(section, "meth"));
        let header = page.find(section, |id| page.name(id) == "h4").unwrap();
        assert_eq!(page.text(header), "fn push(&self, v: Vec<T>)\nwhere T: 'static");
        let link = page.find(header, |id| page.name(id) == "a").unwrap();
        assert_eq!(page.attribute(link, "title").unwrap(), "a > b");
        assert_eq!(page.attribute(link, "href").unwrap(), "#");
        assert_eq!(page.children(0).len(), 2);
    }

    #[test]
    fn broken_markup_ends_somewhere() {
        for text in ["<", "</p>", "<p", "<p a=\"", "a & b &bogus; <p>x</q></p>", "<!-- x", "<script>x"] {
            let page = Document::read(text);
            let _ = page.text(0);
            assert!(page.below(0).iter().all(|&id| page.attribute(id, "id").is_none()));
        }
    }
}
