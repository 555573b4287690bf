//! Owns turning a documentation block of a page back into Markdown, which notebooks and terminals read.

use super::html::{Document, Id};

/// The Markdown of what is below `id`.
pub fn markdown(page: &Document<'_>, id: Id) -> String {
    let mut out = String::new();
    blocks(page, id, "", &mut out);
    let mut tidy = String::with_capacity(out.len());
    for line in out.lines() {
        if !line.is_empty() || !(tidy.is_empty() || tidy.ends_with("\n\n")) {
            tidy.push_str(line);
            tidy.push('\n');
        }
    }
    tidy.truncate(tidy.trim_end().len());
    tidy
}

fn blocks(page: &Document<'_>, id: Id, indent: &str, out: &mut String) {
    for &child in page.children(id) {
        match page.name(child) {
            "p" => {
                begin(indent, out);
                inline(page, child, indent, out);
                out.push_str("\n\n");
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                begin(indent, out);
                out.push_str("#### ");
                inline(page, child, indent, out);
                out.push_str("\n\n");
            }
            "pre" => {
                let is_rust = page.has_class(child, "rust");
                begin(indent, out);
                out.push_str(if is_rust { "```rust\n" } else { "```text\n" });
                for line in page.text(child).trim_end().lines() {
                    out.push_str(indent);
                    out.push_str(line);
                    out.push('\n');
                }
                out.push_str(indent);
                out.push_str("```\n\n");
            }
            "ul" | "ol" => {
                let numbered = page.name(child) == "ol";
                let items = page.children(child).iter().filter(|&&item| page.name(item) == "li");
                for (number, &item) in items.enumerate() {
                    let mark = if numbered { format!("{}. ", number + 1) } else { "- ".to_owned() };
                    let inner = format!("{indent}{}", " ".repeat(mark.len()));
                    let mut text = String::new();
                    let is_inline = page
                        .children(item)
                        .iter()
                        .all(|&part| !["p", "ul", "ol", "div", "pre"].contains(&page.name(part)));
                    if is_inline {
                        inline(page, item, &inner, &mut text);
                    } else {
                        blocks(page, item, &inner, &mut text);
                    }
                    begin(indent, out);
                    out.push_str(&mark);
                    out.push_str(text.trim());
                    out.push('\n');
                }
                out.push('\n');
            }
            "table" => {
                for row in page.below(child).into_iter().filter(|&row| page.name(row) == "tr") {
                    let cells: Vec<String> =
                        page.children(row).iter().map(|&cell| page.text(cell).trim().to_owned()).collect();
                    begin(indent, out);
                    out.push_str(&format!("| {} |\n", cells.join(" | ")));
                    if page.children(row).iter().any(|&cell| page.name(cell) == "th") {
                        out.push_str(&format!("{indent}|{}\n", " --- |".repeat(cells.len())));
                    }
                }
                out.push('\n');
            }
            // The mark in front of an example says how it is tested.
            "a" if page.has_class(child, "tooltip") => {}
            "" | "a" | "code" | "em" | "strong" | "span" | "br" | "sup" | "sub" => {
                inline_node(page, child, indent, out)
            }
            _ => blocks(page, child, indent, out),
        }
    }
}

fn begin(indent: &str, out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str("\n\n");
    }
    out.push_str(indent);
}

fn inline(page: &Document<'_>, id: Id, indent: &str, out: &mut String) {
    for &child in page.children(id) {
        inline_node(page, child, indent, out);
    }
}

fn inline_node(page: &Document<'_>, id: Id, indent: &str, out: &mut String) {
    if let Some(text) = page.own_text(id) {
        // A line break in a paragraph is one in its source.
        out.push_str(&text.replace('\n', &format!("\n{indent}")));
        return;
    }
    let mark = match page.name(id) {
        "a" if page.has_class(id, "doc-anchor") || page.has_class(id, "anchor") => return,
        "code" => "`",
        "em" | "i" => "*",
        "strong" | "b" => "**",
        "br" => {
            out.push_str("  \n");
            return;
        }
        _ => "",
    };
    out.push_str(mark);
    if mark == "`" {
        out.push_str(&page.text(id))
    } else {
        inline(page, id, indent, out)
    }
    out.push_str(mark);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_reads_as_it_was_written() {
        let page = Document::read(
            "<div><p>Appends an <em>element</em> to <a href=\"x\"><code>Vec&lt;T&gt;</code></a>,\nat the back.</p>\n\
             <h5 id=\"p\"><a class=\"doc-anchor\">§</a>Panics</h5>\n<ul>\n<li>one <code>a</code></li>\n<li>\n<p>two</p>\n</li>\n</ul>\
             <div class=\"example-wrap\"><pre class=\"rust x\"><code><span class=\"kw\">let </span>v = 1;\n\nv</code></pre></div></div>",
        );
        assert_eq!(
            markdown(&page, 0),
            "Appends an *element* to `Vec<T>`,\nat the back.\n\n#### Panics\n\n- one `a`\n- two\n\n```rust\nlet v = 1;\n\nv\n```"
        );
    }
}
