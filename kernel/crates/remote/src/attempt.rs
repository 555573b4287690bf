//! Owns one attempt at one request: following redirects within bounds, checking that the answer is what was asked for, and
//! saying whether a failure may pass. When there is another attempt is the client's business.

use std::{error::Error as _, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
    },
};

use crate::{
    aws::Aws,
    error::RemoteError,
    location::{Location, encoded, shown},
    sign::{digest, sign},
    xml,
};

/// What is wanted of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    All,
    Range {
        start: u64,
        length: u64,
    },
    /// The last so many bytes, or all if there are fewer.
    Last(u64),
}

/// Which of the things that lay at an address over time: as long as this, and called so by its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub length: u64,
    /// The server's name of its state, or when it was changed; `None` if the server says neither.
    pub tag: Option<String>,
}

/// What a request is for.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Bytes(Part),
    /// The first so many bytes, or all if there are fewer, of a server that knows ranges.
    Head(u64),
    /// A range of one version, and of no other.
    Same {
        start: u64,
        length: u64,
        version: Version,
    },
    /// Only how many bytes there are.
    Size,
    /// What a bucket's listing says, by this query.
    Listing(Vec<(String, String)>),
    /// That this is there, whatever was there before.
    Put(Body),
    /// That nothing is there.
    Gone,
}

/// What is sent with a request, and its digest for signatures.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    digest: String,
}

impl Body {
    pub(crate) fn new(bytes: Bytes) -> Self {
        let digest = digest(&bytes);
        Self { bytes, digest }
    }
}

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Bytes,
    /// The whole value's bytes, if the server said it.
    pub(crate) total: Option<u64>,
    /// As [`Version::tag`].
    pub(crate) tag: Option<String>,
}

impl Got {
    fn new(bytes: Bytes, total: Option<u64>) -> Self {
        Self { bytes, total, tag: None }
    }
}

pub(crate) enum Failure {
    Final(RemoteError),
    /// It may be different next time, not before `wait`.
    Transient {
        message: String,
        wait: Option<Duration>,
    },
    /// The bucket is in this region.
    Region(String),
}

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// What an upload may take, and more for so many bytes each second.
const UPLOAD_TIME: Duration = Duration::from_secs(60);
const UPLOAD_BYTES_PER_SECOND: u64 = 256 << 10;
/// Of the text that comes with a refusal.
const REFUSAL_BYTES_MAX: u64 = 16 << 10;
/// What is reserved because a server says that so much will come.
const RESERVED_BYTES_MAX: u64 = 8 << 20;

pub(crate) struct Attempt<'a> {
    pub(crate) http: &'a reqwest::Client,
    pub(crate) location: &'a Location,
    pub(crate) want: &'a Want,
    /// A longer answer is none.
    pub(crate) bytes_max: u64,
    /// Of buckets only.
    pub(crate) aws: Option<&'a Aws>,
    pub(crate) region: &'a str,
}

impl Attempt<'_> {
    /// `None`: there is no such thing.
    pub(crate) async fn run(&self) -> Result<Option<Got>, Failure> {
        let range = match self.want {
            Want::Bytes(Part::All) | Want::Listing(_) | Want::Put(_) | Want::Gone => None,
            Want::Head(count) => Some(format!("bytes=0-{}", count.saturating_sub(1))),
            Want::Bytes(Part::Range { start, length }) | Want::Same { start, length, .. } => {
                let last = length.checked_sub(1).and_then(|n| start.checked_add(n));
                let last =
                    last.ok_or_else(|| self.answer(format!("{length} bytes from {start} are no range")))?;
                Some(format!("bytes={start}-{last}"))
            }
            Want::Bytes(Part::Last(count)) => Some(format!("bytes=-{count}")),
            Want::Size => Some("bytes=0-0".to_owned()),
        };
        let mut url = self.url()?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(&url, range.as_deref()).await?;
            if !response.status().is_redirection() {
                return self.receive(response).await;
            }
            if let Some(region) = self.other_region(&response) {
                return Err(Failure::Region(region));
            }
            url = self.redirected(&url, &response)?;
        }
        Err(self.redirect(format!("more than {REDIRECTS_MAX} times")))
    }

    fn name(&self) -> String {
        self.location.to_string()
    }

    fn answer(&self, message: String) -> Failure {
        Failure::Final(RemoteError::Answer { url: self.name(), message })
    }

    fn changed(&self, message: String) -> Failure {
        Failure::Final(RemoteError::Changed { url: self.name(), message })
    }

    fn redirect(&self, message: String) -> Failure {
        Failure::Final(RemoteError::Redirect { url: self.name(), message })
    }

    fn url(&self) -> Result<Url, Failure> {
        let (bucket, key) = match self.location {
            Location::Http(url) => return Ok(url.clone()),
            Location::S3 { bucket, key } => (bucket, key),
        };
        let key = if matches!(self.want, Want::Listing(_)) { String::new() } else { encoded(key, true) };
        let region = self.region;
        let host_style = bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let mut text = match self.aws.and_then(|aws| aws.endpoint.as_deref()) {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
            None if host_style => format!("https://{bucket}.s3.{region}.{domain}/{key}"),
            None => format!("https://s3.{region}.{domain}/{bucket}/{key}"),
        };
        if let Want::Listing(query) = self.want {
            let parts = query
                .iter()
                .map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false)));
            text = format!("{text}?{}", parts.collect::<Vec<_>>().join("&"));
        }
        let wrong = |reason: String| {
            let message =
                format!("`{text}` is no address ({reason}); look at AWS_ENDPOINT_URL and AWS_REGION");
            Failure::Final(RemoteError::Setup { message })
        };
        let url = Url::parse(&text).map_err(|error| wrong(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            _ => Err(wrong("it is neither http nor https".to_owned())),
        }
    }

    async fn send(&self, url: &Url, range: Option<&str>) -> Result<Response, Failure> {
        // Compressed on the way, ranges would be of something else.
        let mut headers = vec![(ACCEPT_ENCODING.as_str().to_owned(), "identity".to_owned())];
        headers.extend(range.map(|range| (RANGE.as_str().to_owned(), range.to_owned())));
        let (method, body) = match self.want {
            Want::Put(body) => (Method::PUT, Some(body)),
            Want::Gone => (Method::DELETE, None),
            Want::Bytes(_) | Want::Head(_) | Want::Same { .. } | Want::Size | Want::Listing(_) => {
                (Method::GET, None)
            }
        };
        if let Some(aws) = self.aws
            && let Some(credentials) = &aws.credentials
        {
            let digest = body.map_or_else(|| digest(&[]), |body| body.digest.clone());
            let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
            headers = sign(method.as_str(), url, &headers, &digest, credentials, self.region, &time);
        }
        let mut request = self.http.request(method, url.clone());
        if let Some(body) = body {
            // Nothing comes back while it is sent, so its time is that of its bytes.
            let time = UPLOAD_TIME + Duration::from_secs(body.bytes.len() as u64 / UPLOAD_BYTES_PER_SECOND);
            request = request.timeout(time).body(body.bytes.clone());
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.map_err(transient)
    }

    fn redirected(&self, from: &Url, response: &Response) -> Result<Url, Failure> {
        let status = response.status().as_u16();
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.and_then(|to| from.join(to).ok());
        let Some(to) = to else {
            return Err(self.redirect(format!("with status {status}, but does not say where to")));
        };
        let name = shown(&to);
        if self.aws.is_some_and(|aws| aws.credentials.is_some()) {
            // A signature is for one host, and whoever is at the other one has no business with it.
            return Err(self.redirect(format!(
                "to {name}, which is not followed with credentials; look at AWS_ENDPOINT_URL"
            )));
        }
        match (from.scheme(), to.scheme()) {
            (_, "https") | ("http", "http") => Ok(to),
            _ => Err(self.redirect(format!("to {name}, which is not followed from {}", from.scheme()))),
        }
    }

    /// A bucket that is elsewhere says where.
    fn other_region(&self, response: &Response) -> Option<String> {
        self.aws?;
        let region = response.headers().get("x-amz-bucket-region")?.to_str().ok()?;
        // It becomes part of a host's name.
        let plain = !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && region != self.region).then(|| region.to_owned())
    }

    async fn receive(&self, response: Response) -> Result<Option<Got>, Failure> {
        let status = response.status();
        let total = content_range(&response);
        let tag = tag(&response);
        match (status, self.want) {
            (StatusCode::OK, _) if is_encoded(&response) => {
                Err(self.answer("it is compressed on the way, though that was not allowed".to_owned()))
            }
            (StatusCode::OK, Want::Size) => Ok(Some(Got::new(Bytes::new(), response.content_length()))),
            (StatusCode::PARTIAL_CONTENT, Want::Size) => match total {
                Some((.., Some(total))) => Ok(Some(Got::new(Bytes::new(), Some(total)))),
                _ => Err(self.answer("it does not say how many bytes there are".to_owned())),
            },
            (StatusCode::RANGE_NOT_SATISFIABLE, Want::Size | Want::Head(_)) => {
                Ok(Some(Got { tag, ..Got::new(Bytes::new(), Some(0)) }))
            }
            // All of it is as good as its front.
            (StatusCode::OK, Want::Head(count))
                if response.content_length().is_some_and(|total| total <= *count) =>
            {
                let bytes = self.body(response, 0, None).await?;
                Ok(Some(Got { tag, ..Got::new(bytes.clone(), Some(bytes.len() as u64)) }))
            }
            (StatusCode::OK, Want::Head(_)) => {
                Err(Failure::Final(RemoteError::NoRanges { url: self.name() }))
            }
            (StatusCode::OK, Want::Same { start, length, version }) => {
                if response.content_length() != Some(version.length) || tag != version.tag {
                    return Err(self.changed("its length or its server's tag is another one".to_owned()));
                }
                let bytes = self.body(response, *start, Some(*length)).await?;
                Ok(Some(Got::new(bytes, Some(version.length))))
            }
            (StatusCode::PARTIAL_CONTENT, Want::Head(count)) => {
                let Some((first, last, Some(length))) = total else {
                    return Err(self.answer("it does not say how many bytes there are".to_owned()));
                };
                if first != 0 || last.checked_add(1) != Some(length.min(*count)) {
                    return Err(self.answer(format!(
                        "the first {count} bytes are wanted and bytes {first} to {last} of {length} come"
                    )));
                }
                let bytes = self.body(response, 0, Some(length.min(*count))).await?;
                Ok(Some(Got { tag, ..Got::new(bytes, Some(length)) }))
            }
            (StatusCode::PARTIAL_CONTENT, Want::Same { start, length, version }) => {
                let count = self.check_range(Part::Range { start: *start, length: *length }, total)?;
                let now = total.and_then(|(.., total)| total);
                if now != Some(version.length) || tag != version.tag {
                    return Err(self.changed("its length or its server's tag is another one".to_owned()));
                }
                let bytes = self.body(response, 0, Some(count)).await?;
                Ok(Some(Got::new(bytes, now)))
            }
            (status, Want::Put(_) | Want::Gone) if status.is_success() => {
                Ok(Some(Got::new(Bytes::new(), None)))
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Want::Same { .. }) => {
                Err(self.changed("it is shorter now".to_owned()))
            }
            (StatusCode::OK, Want::Bytes(Part::All) | Want::Listing(_)) => {
                let bytes = self.body(response, 0, None).await?;
                let total = Some(bytes.len() as u64);
                Ok(Some(Got::new(bytes, total)))
            }
            // A server that knows no ranges sends everything: what comes before is let go, the rest is not waited for.
            (StatusCode::OK, Want::Bytes(Part::Range { start, length })) => {
                let total = response.content_length();
                let bytes = self.body(response, *start, Some(*length)).await?;
                Ok(Some(Got::new(bytes, total)))
            }
            (StatusCode::OK, Want::Bytes(Part::Last(count))) => {
                let Some(total) = response.content_length() else {
                    let message = "it knows no ranges, and does not say how many bytes there are";
                    return Err(self.answer(message.to_owned()));
                };
                let count = (*count).min(total);
                let bytes = self.body(response, total - count, Some(count)).await?;
                Ok(Some(Got::new(bytes, Some(total))))
            }
            (StatusCode::PARTIAL_CONTENT, Want::Bytes(part)) => {
                let count = self.check_range(*part, total)?;
                let bytes = self.body(response, 0, Some(count)).await?;
                Ok(Some(Got::new(bytes, total.and_then(|(.., total)| total))))
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                let has = response.headers().get(CONTENT_RANGE).and_then(|text| text.to_str().ok());
                let has = has.and_then(|text| text.split_once('/')).map_or("fewer", |(_, total)| total);
                let wanted = self.wanted();
                Err(self.answer(format!(
                    "it has {has} bytes, and {wanted} are wanted; was it changed since it was described?"
                )))
            }
            _ => self.refusal(response).await,
        }
    }

    fn wanted(&self) -> String {
        match self.want {
            Want::Bytes(Part::Range { start, length }) | Want::Same { start, length, .. } => {
                format!("bytes {start} to {}", start.saturating_add(*length))
            }
            Want::Bytes(Part::Last(count)) => format!("the last {count} bytes"),
            Want::Head(count) => format!("the first {count} bytes"),
            Want::Bytes(Part::All) | Want::Size | Want::Listing(_) | Want::Put(_) | Want::Gone => {
                "all".to_owned()
            }
        }
    }

    /// Of how many bytes the part is that is sent, if it is the one that is wanted.
    fn check_range(&self, part: Part, sent: Option<(u64, u64, Option<u64>)>) -> Result<u64, Failure> {
        let Some((first, last, total)) = sent else {
            return Err(self.answer("it sends a part and does not say which".to_owned()));
        };
        let count = last.checked_sub(first).and_then(|n| n.checked_add(1));
        let fits = match part {
            Part::All => false,
            Part::Range { start, length } => first == start && count == Some(length),
            Part::Last(wanted) => match total {
                Some(total) => last.checked_add(1) == Some(total) && count == Some(wanted.min(total)),
                None => count == Some(wanted),
            },
        };
        match count {
            Some(count) if fits => Ok(count),
            _ => {
                let total = total.map_or("an unknown number".to_owned(), |total| total.to_string());
                Err(self.answer(format!(
                    "{} are wanted and bytes {first} to {} of {total} come; was it changed since it was described?",
                    self.wanted(),
                    last.saturating_add(1)
                )))
            }
        }
    }

    /// The body, but for its first `skip` bytes, and no more than `take`.
    async fn body(&self, mut response: Response, mut skip: u64, take: Option<u64>) -> Result<Bytes, Failure> {
        let too_long = |bytes: u64| {
            self.answer(format!(
                "it is longer than {} bytes, and no more is read of it ({bytes})",
                self.bytes_max
            ))
        };
        let expected = take.or(response.content_length());
        if let Some(bytes) = expected.filter(|&bytes| bytes > self.bytes_max) {
            return Err(too_long(bytes));
        }
        let mut out = BytesMut::with_capacity(expected.unwrap_or(0).min(RESERVED_BYTES_MAX) as usize);
        let is_done = |out: &BytesMut| take.is_some_and(|take| out.len() as u64 >= take);
        while !is_done(&out) {
            let Some(mut chunk) = response.chunk().await.map_err(transient)? else { break };
            let skipped = skip.min(chunk.len() as u64);
            let _ = chunk.split_to(skipped as usize);
            skip -= skipped;
            if let Some(take) = take {
                chunk.truncate(usize::try_from(take - out.len() as u64).unwrap_or(usize::MAX));
            }
            out.extend_from_slice(&chunk);
            if out.len() as u64 > self.bytes_max {
                return Err(too_long(out.len() as u64));
            }
        }
        if let Some(take) = take.filter(|_| !is_done(&out)) {
            let message = format!("it ends after {} of the {take} bytes that are wanted", out.len());
            return Err(self.answer(message));
        }
        Ok(out.freeze())
    }

    async fn refusal(&self, response: Response) -> Result<Option<Got>, Failure> {
        let status = response.status();
        let wait =
            response.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.trim().parse().ok());
        let region = self.other_region(&response);
        let text = if self.aws.is_some() {
            let mut text = BytesMut::new();
            let mut response = response;
            while (text.len() as u64) < REFUSAL_BYTES_MAX
                && let Ok(Some(chunk)) = response.chunk().await
            {
                text.extend_from_slice(&chunk);
            }
            String::from_utf8_lossy(&text).into_owned()
        } else {
            String::new()
        };
        let code = xml::text(&text, "Code").unwrap_or_default();
        let detail = match xml::text(&text, "Message") {
            Some(message) => format!(" ({code}: {})", message.chars().take(300).collect::<String>()),
            None => String::new(),
        };
        let is_absent = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) && code != "NoSuchBucket";
        match status.as_u16() {
            _ if is_absent && !matches!(self.want, Want::Listing(_)) => return Ok(None),
            400 | 403 => {
                if let Some(region) = region {
                    return Err(Failure::Region(region));
                }
            }
            408 | 425 | 429 | 500 | 502..=504 => {
                let wait = wait.map(Duration::from_secs);
                return Err(Failure::Transient { message: format!("status {status}{detail}"), wait });
            }
            _ => {}
        }
        let is_bucket = self.aws.is_some();
        let is_signed = self.aws.is_some_and(|aws| aws.credentials.is_some());
        let writes = matches!(self.want, Want::Put(_) | Want::Gone);
        let hint = match (status.as_u16(), is_bucket, is_signed) {
            (401 | 403, true, _) if writes => {
                "check whose credentials these are (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws), and that they may write there and delete"
            }
            (401 | 403, true, true) => {
                "check whose credentials these are (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws) and what they may read; a bucket that may not be listed says this also of what is not there"
            }
            (401 | 403, true, false) => {
                "no credentials were found, so it was asked for without any: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY before the notebook and its workers start; a bucket that may not be listed says this also of what is not there"
            }
            (401 | 403, false, _) => {
                "no user and password are sent: it must be public, or its address signed; a signed address may have expired"
            }
            (404, true, _) => "check the bucket's name, and AWS_ENDPOINT_URL if it is not at AWS",
            _ => "open the address in a browser to see what the server says",
        };
        Err(Failure::Final(RemoteError::Status { url: self.name(), status: status.as_u16(), detail, hint }))
    }
}

fn is_encoded(response: &Response) -> bool {
    response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// What the server calls the state of what it sends. A proxy that changes how it is sent weakens the name, and means the same.
fn tag(response: &Response) -> Option<String> {
    let text = |name| response.headers().get(name).and_then(|text| text.to_str().ok());
    let tag = text(ETAG).map(|tag| tag.strip_prefix("W/").unwrap_or(tag));
    tag.or_else(|| text(LAST_MODIFIED)).map(str::to_owned)
}

/// First and last byte of a part, and how many the whole has.
fn content_range(response: &Response) -> Option<(u64, u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()))
}

/// What the way to a server says, without its address, which may hold a token.
fn transient(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let hint = match error.is_connect() {
        true => " (if other hosts reach it, this one may need HTTPS_PROXY)",
        false => "",
    };
    let mut message = if error.is_timeout() { "it took too long".to_owned() } else { error.to_string() };
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    Failure::Transient { message: message + hint, wait: None }
}
