//! Owns addresses: `https://host/path?query` and `s3://bucket/key`, and names below them.

use std::fmt;

use reqwest::Url;

use crate::error::RemoteError;

/// Where something lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Http(Url),
    /// The key is as it is, nothing in it is encoded.
    S3 {
        bucket: String,
        key: String,
    },
}

impl Location {
    /// Whether the text is an address of any scheme, and no path.
    pub fn is_address(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        })
    }

    /// # Errors
    /// If it is of another scheme, holds a password, or a bucket's name that cannot be one.
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        let wrong = |message: String| RemoteError::Address { address: without_query(text), message };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme".to_owned()));
        };
        match scheme {
            "http" | "https" => {
                let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
                if !url.username().is_empty() || url.password().is_some() {
                    // Not repeated in the message.
                    let address = format!("{scheme}://…");
                    let message =
                        "it holds a user or password, which are not sent; use a signed address".to_owned();
                    return Err(RemoteError::Address { address, message });
                }
                Ok(Self::Http(url))
            }
            "s3" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
                if bucket.is_empty()
                    || bucket.len() > 255
                    || !bucket.bytes().all(plain)
                    || bucket.starts_with('.')
                {
                    return Err(wrong(format!("`{bucket}` is no name of a bucket")));
                }
                let key = key.trim_end_matches('/').to_owned();
                refuse_dots(&key).map_err(wrong)?;
                Ok(Self::S3 { bucket: bucket.to_owned(), key })
            }
            "gs" | "gcs" => Err(wrong(
                "`gs` is not supported; what is public is also at https://storage.googleapis.com/BUCKET/KEY"
                    .to_owned(),
            )),
            other => Err(wrong(format!("`{other}` is not supported, only http, https and s3"))),
        }
    }

    /// What lies below: `key` is a path of plain names; of none, it is the same. An HTTP address keeps its query.
    ///
    /// # Errors
    /// If a name is `.` or `..`.
    pub fn join(&self, key: &str) -> Result<Self, RemoteError> {
        refuse_dots(key).map_err(|message| RemoteError::Address { address: self.to_string(), message })?;
        Ok(match self {
            _ if key.is_empty() => self.clone(),
            Self::Http(url) => {
                let mut url = url.clone();
                let path = format!("{}/{}", url.path().trim_end_matches('/'), encoded(key, true));
                url.set_path(&path);
                Self::Http(url)
            }
            Self::S3 { bucket, key: own } => {
                let key = if own.is_empty() { key.to_owned() } else { format!("{own}/{key}") };
                Self::S3 { bucket: bucket.clone(), key }
            }
        })
    }

    /// What an address without a scheme means in a file that is here: a name beside it, or below that.
    ///
    /// # Errors
    /// If it leads through `.` or `..`.
    pub fn beside(&self, name: &str) -> Result<Self, RemoteError> {
        let mut folder = self.clone();
        match &mut folder {
            Self::Http(url) => {
                let path = url.path().rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                url.set_path(&path);
            }
            Self::S3 { key, .. } => *key = key.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned(),
        }
        folder.join(name)
    }

    /// What a link of a document that is here means, relative or not, as in a browser: `../a/b.json`.
    ///
    /// # Errors
    /// If it is of another scheme, or leads out of a bucket.
    pub fn resolve(&self, link: &str) -> Result<Self, RemoteError> {
        let wrong = |message: String| RemoteError::Address { address: without_query(link), message };
        match self {
            _ if Self::is_address(link) => Self::parse(link),
            Self::Http(url) => {
                let to = url.join(link).map_err(|error| wrong(error.to_string()))?;
                Self::parse(to.as_str())
            }
            Self::S3 { bucket, key } => {
                let mut names: Vec<&str> = match link.strip_prefix('/') {
                    Some(_) => Vec::new(),
                    None => key.split('/').collect(),
                };
                names.pop();
                for name in link.split('/') {
                    match name {
                        "" | "." => {}
                        ".." => {
                            names
                                .pop()
                                .ok_or_else(|| wrong(format!("it leads out of the bucket `{bucket}`")))?;
                        }
                        name => names.push(name),
                    }
                }
                Ok(Self::S3 { bucket: bucket.clone(), key: names.join("/") })
            }
        }
    }

    /// The address with everything in it, which may include a token. [`Display`](fmt::Display) leaves the query out.
    pub fn to_text(&self) -> String {
        match self {
            Self::Http(url) => url.to_string(),
            Self::S3 { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&shown(url)),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

/// An address as it may be shown.
pub(crate) fn shown(url: &Url) -> String {
    without_query(url.as_str())
}

fn without_query(text: &str) -> String {
    match text.find(['?', '#']) {
        Some(at) if text.starts_with("http") => format!("{}?…", &text[..at]),
        _ => text.to_owned(),
    }
}

/// URLs have no such names: what lies there would be another thing than was meant.
fn refuse_dots(key: &str) -> Result<(), String> {
    match key.split('/').any(|name| name == "." || name == "..") {
        true => Err(format!("`{key}` leads through `.` or `..`")),
        false => Ok(()),
    }
}

/// Percent-encoded as signatures of version 4 have it: all but letters, digits and `-._~`; of a path also `/`.
pub(crate) fn encoded(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn names_below_an_address_come_before_its_query() {
        let joined = at("https://h.org/a%20b.zarr/?sig=x%2F").join("t m/c/0#").unwrap();
        assert_eq!(joined.to_text(), "https://h.org/a%20b.zarr/t%20m/c/0%23?sig=x%2F");
        assert_eq!(joined.to_string(), "https://h.org/a%20b.zarr/t%20m/c/0%23?…", "no token is shown");
        assert_eq!(at("s3://b/p/").join("x/0").unwrap().to_text(), "s3://b/p/x/0");
        assert_eq!(at("s3://b").join("x").unwrap().to_text(), "s3://b/x");
        assert_eq!(at("s3://b/p").join("").unwrap(), at("s3://b/p"));
        assert_eq!(at(&joined.to_text()), joined);
        assert_eq!(
            at("https://h/a/r.json?t=1").beside("b/c.nc").unwrap().to_text(),
            "https://h/a/b/c.nc?t=1"
        );
        assert_eq!(at("https://h/r.json").beside("c.nc").unwrap().to_text(), "https://h/c.nc");
        assert_eq!(at("s3://b/r.json").beside("c.nc").unwrap().to_text(), "s3://b/c.nc");
    }

    #[test]
    fn links_are_followed_as_in_a_browser() {
        let to = |from: &str, link: &str| Ok::<_, RemoteError>(at(from).resolve(link)?.to_text());
        assert_eq!(to("https://h/a/b.json?t=1", "../c/./d.json").unwrap(), "https://h/c/d.json");
        assert_eq!(to("https://h/a/b.json", "/d.json").unwrap(), "https://h/d.json");
        assert_eq!(to("https://h/a/b.json", "s3://b/x").unwrap(), "s3://b/x");
        assert_eq!(to("s3://b/a/b.json", "../c/./d.json").unwrap(), "s3://b/c/d.json");
        assert_eq!(to("s3://b/a/b.json", "d.json").unwrap(), "s3://b/a/d.json");
        assert!(to("s3://b/a/b.json", "../../d.json").is_err());
        assert!(to("https://h/a", "file:///etc/passwd").is_err());
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, said) in [
            ("ftp://h/a", "only http, https and s3"),
            ("gs://b/a", "storage.googleapis.com"),
            ("https://", "empty host"),
            ("s3:///a", "no name of a bucket"),
            ("s3://a b/a", "no name of a bucket"),
            ("s3://b/../a", "`..`"),
            ("https://me:secret@h/a", "password"),
        ] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        for key in ["../a", "a/..", "./a"] {
            assert!(at("https://h/x").join(key).is_err() && at("s3://h/x").join(key).is_err(), "{key}");
        }
        assert!(!Location::is_address("/a/b://c") && !Location::is_address("a.zarr"));
        assert!(Location::is_address("memory://x"));
    }
}
