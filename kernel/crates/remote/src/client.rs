//! Owns the client: threads and connections of the process, how many requests run side by side, when a failed one is tried
//! again and when it is given up.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Runtime,
    sync::Semaphore,
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    attempt::{Attempt, Body, Failure, Got, Part, Version, Want},
    aws::Aws,
    error::RemoteError,
    location::Location,
    xml,
};

/// How long things may take, and how often they are tried.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// All attempts of one request, with the pauses between them.
    pub total: Duration,
    pub attempts: u32,
    /// Before the second attempt; it doubles from one to the next, up to `pause_max`.
    pub pause: Duration,
    pub pause_max: Duration,
    /// Requests of one process side by side.
    pub side_by_side: usize,
    /// `None`: from the environment and `~/.aws`, read again every minute.
    pub aws: Option<Aws>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            total: Duration::from_secs(600),
            attempts: 6,
            pause: Duration::from_millis(200),
            pause_max: Duration::from_secs(20),
            side_by_side: 32,
            aws: None,
        }
    }
}

/// Credentials of the environment's files are read again after this time; some are replaced every hour.
const AWS_KEPT: Duration = Duration::from_secs(60);
/// Pages of 1000 names that a listing may have.
const PAGES_MAX: usize = 200;
/// One page of a listing, and one answer of other use than data.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Regions of one request's bucket that are tried.
const REGIONS_MAX: usize = 3;

/// Reads what is at [`Location`]s. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    /// The same without a limit on silence: while bytes are sent, none come.
    uploads: reqwest::Client,
    settings: Settings,
    slots: Semaphore,
    aws: Mutex<Option<(Instant, Aws)>>,
    /// Of buckets that are not in the region that was set.
    regions: Mutex<HashMap<String, String>>,
}

/// The front of what lies at an address.
#[derive(Clone, Debug)]
pub struct Head {
    pub bytes: Bytes,
    pub version: Version,
}

/// A request under way. Dropping it gives it up.
#[derive(Debug)]
pub struct Pending {
    url: String,
    answer: Receiver<Result<Option<Got>, RemoteError>>,
    patience: Duration,
    task: AbortHandle,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The threads that wait for the network, however many clients there are.
fn runtime() -> Result<&'static Runtime, RemoteError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(2)
            .thread_name("nuna-remote")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| RemoteError::Setup { message: format!("no threads for requests: {error}") })
}

impl Client {
    /// The process's own, made when it is first asked for.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn shared() -> Result<&'static Self, RemoteError> {
        static SHARED: OnceLock<Result<Client, RemoteError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(Settings::default())).as_ref().map_err(Clone::clone)
    }

    /// # Errors
    /// If certificates that the environment names (`SSL_CERT_FILE`, `AWS_CA_BUNDLE`) cannot be read.
    pub fn new(settings: Settings) -> Result<Self, RemoteError> {
        // reqwest takes the process's provider; a second installation is refused and does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let setup = |message: String| RemoteError::Setup { message };
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(settings.connect)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(settings.side_by_side)
                .pool_idle_timeout(Duration::from_secs(30))
                .user_agent(concat!("nuna/", env!("CARGO_PKG_VERSION")))
        };
        let mut certificates = Vec::new();
        for name in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
            let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) else { continue };
            let wrong =
                |reason: String| setup(format!("the certificates in {} ({name}): {reason}", path.display()));
            let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
            let found =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            certificates.extend(found);
        }
        let build = |builder: reqwest::ClientBuilder| {
            let builder =
                certificates.iter().cloned().fold(builder, reqwest::ClientBuilder::add_root_certificate);
            builder.build().map_err(|error| setup(format!("the client for requests: {error}")))
        };
        let http = build(builder().read_timeout(settings.silence))?;
        let uploads = build(builder())?;
        let slots = Semaphore::new(settings.side_by_side.max(1));
        let (aws, regions) = (Mutex::new(None), Mutex::new(HashMap::new()));
        Ok(Self { inner: Arc::new(Inner { http, uploads, settings, slots, aws, regions }) })
    }

    fn begin(&self, location: &Location, want: Want, bytes_max: u64) -> Result<Pending, RemoteError> {
        let (sender, answer) = sync_channel(1);
        let (inner, place) = (self.inner.clone(), location.clone());
        let task = runtime()?.spawn(async move {
            let _ = sender.send(inner.run(&place, &want, bytes_max).await);
        });
        let patience = 2 * self.inner.settings.total + self.inner.settings.silence;
        Ok(Pending { url: location.to_string(), answer, patience, task: task.abort_handle() })
    }

    /// Begins to read a part of what is at `location`, and does not wait for it. More than `bytes_max` bytes are an error.
    ///
    /// # Errors
    /// If threads cannot be had.
    pub fn start(&self, location: &Location, part: Part, bytes_max: u64) -> Result<Pending, RemoteError> {
        self.begin(location, Want::Bytes(part), bytes_max)
    }

    /// Reads a part of what is at `location`; `None` if nothing is there.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub fn get(&self, location: &Location, part: Part, bytes_max: u64) -> Result<Option<Bytes>, RemoteError> {
        self.start(location, part, bytes_max)?.wait()
    }

    /// The first `count` bytes of what is at `location`, or all if there are fewer, and which version it is; `None` if nothing
    /// is there.
    ///
    /// # Errors
    /// As [`Pending::wait`], and [`RemoteError::NoRanges`] if the server sends no parts of it.
    pub fn head(&self, location: &Location, count: u64) -> Result<Option<Head>, RemoteError> {
        match self.begin(location, Want::Head(count), count)?.receive()? {
            None => Ok(None),
            Some(Got { bytes, total: Some(length), tag }) => {
                Ok(Some(Head { bytes, version: Version { length, tag } }))
            }
            Some(_) => Err(unsized_answer(location)),
        }
    }

    /// Begins to read bytes of one version of what is at `location`. Of another version they are an error.
    ///
    /// # Errors
    /// If threads cannot be had.
    pub fn start_of_version(
        &self,
        location: &Location,
        start: u64,
        length: u64,
        version: &Version,
    ) -> Result<Pending, RemoteError> {
        self.begin(location, Want::Same { start, length, version: version.clone() }, length)
    }

    /// How many bytes there are at `location`; `None` if nothing is there.
    ///
    /// # Errors
    /// As [`Pending::wait`], and if the server does not say it.
    pub fn size(&self, location: &Location) -> Result<Option<u64>, RemoteError> {
        match self.begin(location, Want::Size, 0)?.receive()? {
            None => Ok(None),
            Some(Got { total: Some(total), .. }) => Ok(Some(total)),
            Some(_) => Err(unsized_answer(location)),
        }
    }

    /// Begins to write `bytes` to a bucket's `location`, whatever was there before. It is there as a whole or not at all.
    ///
    /// # Errors
    /// If it is no place in a bucket, or threads cannot be had.
    pub fn put(&self, location: &Location, bytes: Bytes) -> Result<Pending, RemoteError> {
        self.changing(location, Want::Put(Body::new(bytes)))
    }

    /// Begins to remove what is at a bucket's `location`, if there is something.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub fn delete(&self, location: &Location) -> Result<Pending, RemoteError> {
        self.changing(location, Want::Gone)
    }

    fn changing(&self, location: &Location, want: Want) -> Result<Pending, RemoteError> {
        match location {
            Location::S3 { key, .. } if !key.is_empty() => self.begin(location, want, 0),
            other => {
                let message = "only what has a name in a bucket (s3://) is written or removed".to_owned();
                Err(RemoteError::Address { address: other.to_string(), message })
            }
        }
    }

    /// The first names of what lies below a bucket's `location`, however deep: up to 1000, relative to it; `None` for other addresses.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub fn below(&self, location: &Location) -> Result<Option<Vec<String>>, RemoteError> {
        let Location::S3 { key, .. } = location else { return Ok(None) };
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        let text = self.page(location, &[("list-type", "2"), ("prefix", prefix.as_str())])?;
        let keys = xml::sections(&text, "Contents").into_iter().filter_map(|part| xml::text(part, "Key"));
        Ok(Some(keys.filter_map(|key| key.strip_prefix(&prefix).map(str::to_owned)).collect()))
    }

    /// One page of a bucket's listing.
    fn page(&self, location: &Location, query: &[(&str, &str)]) -> Result<String, RemoteError> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let got = self.begin(location, Want::Listing(query), PAGE_BYTES_MAX)?.receive()?;
        let text = got.map(|got| String::from_utf8_lossy(&got.bytes).into_owned()).unwrap_or_default();
        if !text.contains("<ListBucketResult") {
            let message = "what comes is no listing of a bucket".to_owned();
            return Err(RemoteError::Answer { url: location.to_string(), message });
        }
        Ok(text)
    }

    /// The names of what is directly below a bucket's `location` and has something below itself; `None` for other addresses,
    /// whose servers do not list.
    ///
    /// # Errors
    /// As [`Pending::wait`], and if there are more than 200,000.
    pub fn folders(&self, location: &Location) -> Result<Option<Vec<String>>, RemoteError> {
        let Location::S3 { key, .. } = location else { return Ok(None) };
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("list-type", "2"), ("delimiter", "/"), ("prefix", prefix.as_str())];
            query.extend(next.as_deref().map(|token| ("continuation-token", token)));
            let text = self.page(location, &query)?;
            for part in xml::sections(&text, "CommonPrefixes") {
                let name = xml::text(part, "Prefix").unwrap_or_default();
                let name = name.strip_prefix(&prefix).map(|name| name.trim_end_matches('/'));
                found.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
            }
            next = xml::text(&text, "NextContinuationToken");
            if next.is_none() {
                return Ok(Some(found));
            }
        }
        let message = format!("its listing has more than {PAGES_MAX} pages");
        Err(RemoteError::Answer { url: location.to_string(), message })
    }
}

fn unsized_answer(location: &Location) -> RemoteError {
    let message = "it does not say how many bytes there are".to_owned();
    RemoteError::Answer { url: location.to_string(), message }
}

impl Pending {
    /// Waits for the bytes; `None` if there is no such thing.
    ///
    /// # Errors
    /// What the server or the way to it said, at last.
    pub fn wait(self) -> Result<Option<Bytes>, RemoteError> {
        Ok(self.receive()?.map(|got| got.bytes))
    }

    fn receive(&self) -> Result<Option<Got>, RemoteError> {
        match self.answer.recv_timeout(self.patience) {
            Ok(answer) => answer,
            Err(error) => {
                let message = match error {
                    RecvTimeoutError::Timeout => "it was never tried",
                    RecvTimeoutError::Disconnected => "it broke off",
                };
                let seconds = self.patience.as_secs();
                Err(RemoteError::Late { url: self.url.clone(), seconds, message: message.to_owned() })
            }
        }
    }
}

impl Inner {
    async fn run(
        &self,
        location: &Location,
        want: &Want,
        bytes_max: u64,
    ) -> Result<Option<Got>, RemoteError> {
        let Settings { total, attempts, .. } = self.settings;
        let late = |message: &str| RemoteError::Late {
            url: location.to_string(),
            seconds: total.as_secs(),
            message: message.to_owned(),
        };
        // Who waits for a place has not begun, so the time of its own attempts starts after.
        let _slot = match timeout(total, self.slots.acquire()).await {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) | Err(_) => return Err(late("too many others were before it")),
        };
        let deadline = Instant::now() + total;
        let mut last = "it did not end".to_owned();
        let (mut attempt, mut regions) = (0, 0);
        loop {
            let aws = match location {
                Location::S3 { .. } => Some(self.aws()?),
                Location::Http(_) => None,
            };
            let region = self.region(location, aws.as_ref());
            let http = if matches!(want, Want::Put(_)) { &self.uploads } else { &self.http };
            let one = Attempt { http, location, want, bytes_max, aws: aws.as_ref(), region: &region };
            let Ok(outcome) = timeout_at(deadline, one.run()).await else { return Err(late(&last)) };
            let wait = match outcome {
                Ok(got) => return Ok(got),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Region(to)) => {
                    regions += 1;
                    if regions > REGIONS_MAX {
                        let message = format!("from region {region} to {to}, after {REGIONS_MAX} others");
                        return Err(RemoteError::Redirect { url: location.to_string(), message });
                    }
                    self.moved(location, to);
                    continue;
                }
                Err(Failure::Transient { message, wait }) => {
                    last = message;
                    wait
                }
            };
            attempt += 1;
            if attempt >= attempts {
                return Err(RemoteError::Unreachable { url: location.to_string(), attempts, message: last });
            }
            let pause = self.pause(attempt).max(wait.unwrap_or_default().min(self.settings.pause_max));
            if Instant::now() + pause >= deadline {
                return Err(late(&last));
            }
            sleep(pause).await;
        }
    }

    /// Half of it by chance, so that many who failed together do not come again together.
    fn pause(&self, attempt: u32) -> Duration {
        let Settings { pause, pause_max, .. } = self.settings;
        let longest = pause.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(pause_max);
        let chance = (RandomState::new().hash_one(attempt) % 1000) as f64 / 1000.0;
        longest.mul_f64(0.5 + chance / 2.0)
    }

    fn aws(&self) -> Result<Aws, RemoteError> {
        if let Some(aws) = &self.settings.aws {
            return Ok(aws.clone());
        }
        let mut known = self.aws.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((read, aws)) if read.elapsed() < AWS_KEPT => Ok(aws.clone()),
            _ => {
                let aws = Aws::from_environment()?;
                *known = Some((Instant::now(), aws.clone()));
                Ok(aws)
            }
        }
    }

    fn region(&self, location: &Location, aws: Option<&Aws>) -> String {
        let Location::S3 { bucket, .. } = location else { return String::new() };
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.get(bucket).cloned().or_else(|| aws.map(|aws| aws.region.clone())).unwrap_or_default()
    }

    fn moved(&self, location: &Location, region: String) {
        if let Location::S3 { bucket, .. } = location {
            self.regions.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket.clone(), region);
        }
    }
}
