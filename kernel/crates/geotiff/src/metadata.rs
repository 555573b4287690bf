//! Owns GDAL's metadata: the XML of tag 42112, of which each item belongs to the image or to one band, and says a scale, an
//! offset, a unit, a description, or anything else.

use nuna_inputs::Meta;

use crate::{Result, directory::Directory, image::number, tag};

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    /// Of one band, counted from 0; otherwise of the image.
    pub band: Option<u64>,
    pub role: Option<String>,
    pub value: String,
}

/// All items, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub items: Vec<Item>,
}

impl Metadata {
    pub(crate) fn of(meta: &Meta<'_>, directory: &Directory, bands: u64) -> Result<Self> {
        let text = directory.text(meta, tag::GDAL_METADATA)?.unwrap_or_default();
        let mut items = parse(&text);
        items.retain(|item| item.band.is_none_or(|band| band < bands));
        Ok(Self { items })
    }

    /// What has that role, for each band.
    fn role(&self, role: &str, bands: u64) -> Vec<Option<&str>> {
        let mut found = vec![None; usize::try_from(bands).unwrap_or_default()];
        for item in self.items.iter().filter(|item| item.role.as_deref() == Some(role)) {
            let band = item.band.and_then(|band| usize::try_from(band).ok());
            if let Some(last) = band.and_then(|band| found.get_mut(band)) {
                *last = Some(item.value.as_str());
            }
        }
        found
    }

    /// Stored values are multiplied by this, band by band; then [`offsets`](Self::offsets) are added.
    pub fn scales(&self, bands: u64) -> Vec<f64> {
        self.role("scale", bands).into_iter().map(|text| text.and_then(number).unwrap_or(1.0)).collect()
    }

    pub fn offsets(&self, bands: u64) -> Vec<f64> {
        self.role("offset", bands).into_iter().map(|text| text.and_then(number).unwrap_or(0.0)).collect()
    }

    pub fn units(&self, bands: u64) -> Vec<Option<&str>> {
        self.role("unittype", bands)
    }

    pub fn descriptions(&self, bands: u64) -> Vec<Option<&str>> {
        self.role("description", bands)
    }

    /// What is said about the whole image, for people.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let plain = self.items.iter().filter(|item| item.band.is_none() && item.role.is_none());
        plain.map(|item| (item.name.as_str(), item.value.as_str()))
    }
}

impl Metadata {
    /// As GDAL writes it; empty without items.
    pub(crate) fn xml(&self) -> String {
        if self.items.is_empty() {
            return String::new();
        }
        let mut out = "<GDALMetadata>\n".to_owned();
        for Item { name, band, role, value } in &self.items {
            let band = band.map(|band| format!(" sample=\"{band}\"")).unwrap_or_default();
            let role = role.as_ref().map(|role| format!(" role=\"{}\"", escape(role))).unwrap_or_default();
            let (name, value) = (escape(name), escape(&escape(value)));
            out.push_str(&format!("  <Item name=\"{name}\"{band}{role}>{value}</Item>\n"));
        }
        out.push_str("</GDALMetadata>\n");
        out
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `<Item name="…" sample="0" role="scale">0.1</Item>`, wherever they stand. What is not of that form is left out.
fn parse(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    for part in text.split("<Item").skip(1) {
        let Some((head, rest)) = part.split_once('>') else { continue };
        let value = if head.ends_with('/') {
            ""
        } else {
            let Some((value, _)) = rest.split_once("</Item") else { continue };
            value
        };
        let attribute = |key: &str| {
            let (_, after) = head.split_once(&format!(" {key}=\""))?;
            Some(plain(after.split_once('"')?.0))
        };
        // Items of other domains belong to their programs.
        let Some(name) = attribute("name").filter(|_| attribute("domain").is_none()) else { continue };
        let band = match attribute("sample") {
            None => None,
            Some(text) => match text.parse() {
                Ok(band) => Some(band),
                Err(_) => continue,
            },
        };
        // GDAL escapes values before they become XML, which escapes them again.
        items.push(Item { name, band, role: attribute("role"), value: plain(&plain(value)) });
    }
    items
}

/// Letters of a longest name of a letter, such as `#x10ffff`.
const NAME_MAX: usize = 12;

/// Text without XML's escapes.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        // No name is longer: what follows is not searched for its end again and again.
        let end = after.bytes().take(NAME_MAX + 1).position(|byte| byte == b';');
        let known = end.and_then(|end| Some((escaped(&after[..end])?, &after[end + 1..])));
        match known {
            Some((letter, after)) => {
                out.push(letter);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn escaped(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_of_the_image_or_of_a_band() {
        let text = "<GDALMetadata>\n  <Item name=\"a &amp; b\">1 &amp;lt; 2 &#228; &nothing; &</Item>\n  \
                    <Item name=\"OFFSET\" sample=\"1\" role=\"offset\">10.5</Item>\n  \
                    <Item name=\"SCALE\" sample=\"1\" role=\"scale\">0.1</Item>\n  \
                    <Item name=\"DESCRIPTION\" sample=\"0\" role=\"description\">red</Item>\n  \
                    <Item name=\"X\" domain=\"OTHER\">no</Item><Item name=\"odd\" sample=\"x\">no</Item>\n  \
                    <Item name=\"empty\"/>\n</GDALMetadata>";
        let metadata = Metadata { items: parse(text) };
        assert_eq!(metadata.scales(2), [1.0, 0.1]);
        assert_eq!(metadata.offsets(2), [0.0, 10.5]);
        assert_eq!(metadata.descriptions(2), [Some("red"), None]);
        let tags: Vec<_> = metadata.tags().collect();
        assert_eq!(tags, [("a & b", "1 < 2 ä &nothing; &"), ("empty", "")]);
    }

    #[test]
    fn text_that_begins_escapes_and_ends_none_is_read_in_one_go() {
        let many = "&".repeat(1 << 20);
        let begun = std::time::Instant::now();
        assert_eq!(plain(&many), many);
        let items: Vec<_> =
            (0..40_000).map(|_| "<Item name=\"a\" sample=\"0\" role=\"scale\">2</Item>").collect();
        let metadata = Metadata { items: parse(&items.concat()) };
        assert_eq!(metadata.scales(65_535)[..2], [2.0, 1.0]);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn broken_metadata_is_left_out() {
        for text in
            ["<Item", "<Item name=\"a\">", "<Item name=\"a", "<Item name=\"a\">b</Ite", "<Item>b</Item>"]
        {
            assert_eq!(parse(text), [], "{text}");
        }
    }
}
