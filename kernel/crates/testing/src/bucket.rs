//! Owns a bucket as an S3-compatible store shows it, in memory: what is put is there, listed page by page, and removed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{WebReply, WebRequest};

/// Names on one page of a listing: few, so that tests have several.
const PAGE: usize = 10;

/// What a bucket holds, by its keys. Clones are the same bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    values: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Bucket {
    /// What is in it now.
    pub fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys in it now.
    pub fn keys(&self) -> Vec<String> {
        self.values().keys().cloned().collect()
    }

    /// What the store answers whose bucket of this `name` this is. Signatures are not looked at.
    pub fn answer(&self, request: &WebRequest, name: &str) -> WebReply {
        let path = decoded(request.path());
        let Some(key) = path.strip_prefix(&format!("/{name}/")) else {
            return WebReply::new(404, "<Error><Code>NoSuchBucket</Code><Message>No</Message></Error>");
        };
        let mut values = self.values();
        match request.method.as_str() {
            "PUT" => {
                values.insert(key.to_owned(), request.body.clone());
                WebReply::new(200, "")
            }
            "DELETE" => {
                values.remove(key);
                WebReply::new(204, "")
            }
            _ if key.is_empty() => listing(&values, &request.target),
            _ => match values.get(key) {
                Some(value) => WebReply::of(request, value).with("etag", &format!("\"{}\"", value.len())),
                None => WebReply::new(404, "<Error><Code>NoSuchKey</Code><Message>No</Message></Error>"),
            },
        }
    }
}

fn listing(values: &BTreeMap<String, Vec<u8>>, target: &str) -> WebReply {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let of = |name: &str| {
        query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(decoded)
    };
    let (prefix, after) = (of("prefix").unwrap_or_default(), of("continuation-token").unwrap_or_default());
    let is_deep = of("delimiter").is_none();
    let mut names: Vec<String> = values
        .keys()
        .filter_map(|key| key.strip_prefix(&prefix))
        .map(|rest| match rest.split_once('/') {
            Some((folder, _)) if !is_deep => format!("{prefix}{folder}/"),
            _ => format!("{prefix}{rest}"),
        })
        .filter(|name| *name > after)
        .collect();
    names.dedup();
    let next = match names.get(PAGE - 1) {
        Some(last) if names.len() > PAGE => {
            format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last))
        }
        _ => String::new(),
    };
    let items = names.iter().take(PAGE).map(|name| match name.ends_with('/') {
        true => format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(name)),
        false => format!("<Contents><Key>{}</Key><Size>1</Size></Contents>", escaped(name)),
    });
    WebReply::new(200, format!("<ListBucketResult>{}{next}</ListBucketResult>", items.collect::<String>()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte =
            after.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
