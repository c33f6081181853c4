//! Files in a bucket of S3, or of a store that speaks its language. Requests are signed by `rusty_s3` and sent by [`Outbound`].
//!
//! A file is on its way in parts of some MiB, so memory does not grow with it. The store is told the checksum of each part that it gets.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use ring::digest;
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::time::timeout;

use crate::base::clock::Clock;
use crate::base::config::S3Config;
use crate::base::error::{Error, OrInternal as _, Result};
use crate::engine::outbound::{Outbound, chain};
use crate::store::db::backup::{Remote, RemoteFile};

/// The size of a part, and of what is sent at once.
const PART: u64 = 16 << 20;
/// S3 takes no more parts than this.
const MOST_PARTS: u64 = 10_000;
/// How long a signature is good: a clock may be some minutes off.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// How long an answer may take after a part was sent, and the next piece of a file that is fetched.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is kept of an answer that tells of a failure.
const LONGEST_REFUSAL: usize = 64 << 10;
/// The checksum of a part, in base64. Stores that know it compare.
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// A bucket, and what names in it start with.
pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    http: Outbound,
    clock: Clock,
    part: u64,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl S3 {
    /// A bucket by configuration. Connects nowhere yet.
    ///
    /// # Errors
    /// Where the address is none; names the variable.
    pub fn new(config: &S3Config) -> Result<Self> {
        let endpoint = config.endpoint.parse().map_err(|cause| {
            Error::invalid(format!(
                "BACKUP_S3_ENDPOINT is `{}`, which is no address: {cause}. Example: https://s3.eu-central-1.amazonaws.com",
                config.endpoint
            ))
        })?;
        // Every store that speaks the language knows the bucket as the first part of the path.
        let bucket = Bucket::new(endpoint, UrlStyle::Path, config.bucket.clone(), config.region.clone());
        let bucket = bucket.map_err(|cause| {
            Error::invalid(format!("BACKUP_S3_BUCKET or BACKUP_S3_ENDPOINT can't be used: {cause}")).cause(cause)
        })?;
        Ok(S3 {
            bucket,
            credentials: Credentials::new(config.access_key_id.expose(), config.secret_access_key.expose()),
            prefix: config.prefix.trim_matches('/').to_owned(),
            http: Outbound::new()?,
            // A signature tells the time of the world, whatever the service takes it for.
            clock: Clock::system(),
            part: PART,
        })
    }

    /// The same with parts of another size, for tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_parts_of(mut self, bytes: u64) -> Self {
        self.part = bytes;
        self
    }

    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// Signs and sends. An answer that is no success becomes an error with the store's own word for it.
    async fn send<'a, A: S3Action<'a>>(
        &self,
        action: A,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let url = action.sign_with_time(SIGNED_FOR, &self.clock.now());
        let method = Method::from_bytes(A::METHOD.to_str().as_bytes()).or_internal("naming a method of HTTP")?;
        let mut request = Request::builder().method(method).uri(url.as_str()).header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).or_internal("building a request to the store of backups")?;
        let answer = self.http.send(request, PATIENCE).await.map_err(|problem| self.unreachable(&problem))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = self.text(answer, LONGEST_REFUSAL).await.unwrap_or_default();
        Err(self.refused(status, &text))
    }

    async fn text(&self, answer: Response<Incoming>, most: usize) -> Result<String> {
        let mut bytes = Vec::new();
        let mut body = answer.into_body();
        while let Some(piece) = self.piece(&mut body).await? {
            if bytes.len() + piece.len() > most {
                return Err(self.unreachable(&"its answer is too long"));
            }
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).map_err(|_| self.unreachable(&"its answer is no text"))
    }

    async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>> {
        loop {
            let frame = timeout(PATIENCE, body.frame()).await.map_err(|_| self.unreachable(&"it fell silent"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|cause| self.unreachable(&chain(&cause)))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    fn unreachable(&self, problem: &dyn fmt::Display) -> Error {
        Error::unavailable(format!(
            "the backups' store at {} can't be reached: {problem}; is BACKUP_S3_ENDPOINT right, and may this machine connect to it?",
            self.bucket.base_url()
        ))
    }

    fn refused(&self, status: StatusCode, text: &str) -> Error {
        let code = between(text, "<Code>", "</Code>").unwrap_or(status.as_str());
        let cure = match code {
            "NoSuchBucket" => "make the bucket, or correct BACKUP_S3_BUCKET",
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" => "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            "AccessDenied" | "403" => "let this key list, read, write and delete in the bucket",
            "RequestTimeTooSkewed" => "set this machine's clock",
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => "correct BACKUP_S3_REGION and BACKUP_S3_ENDPOINT",
            _ => "see the store's documentation for the word",
        };
        Error::unavailable(format!("the backups' store refuses {}: {code}; {cure}", self.place()))
    }

    async fn list_all(&self, start: &str) -> Result<Vec<RemoteFile>> {
        let start = self.key(start);
        let strip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let mut files = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(start.as_str());
            if let Some(token) = &next {
                action.with_continuation_token(token.as_str());
            }
            let text = self.text(self.send(action, &[], Bytes::new()).await?, 16 << 20).await?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|cause| self.unreachable(&format_args!("its list is none: {cause}")))?;
            let file = |file: rusty_s3::actions::list_objects_v2::ListObjectsContent| {
                Some(RemoteFile { name: file.key.get(strip..)?.to_owned(), bytes: file.size? })
            };
            files.extend(page.contents.into_iter().filter_map(file));
            next = page.next_continuation_token;
            if next.is_none() {
                return Ok(files);
            }
        }
    }

    async fn put_file(&self, name: &str, path: &Path) -> Result<()> {
        let key = self.key(name);
        let failed = |cause| cant_read(path, cause);
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes <= self.part {
            let (body, sum) = read_part(path, 0, bytes).await?;
            let mut action = self.bucket.put_object(Some(&self.credentials), &key);
            action.headers_mut().insert(CHECKSUM, sum.clone());
            return self.send(action, &[(CHECKSUM, &sum)], body).await.map(drop);
        }
        let mut action = self.bucket.create_multipart_upload(Some(&self.credentials), &key);
        action.headers_mut().insert("x-amz-checksum-algorithm", "SHA256");
        let answer = self.send(action, &[("x-amz-checksum-algorithm", "SHA256")], Bytes::new()).await?;
        let answer = self.text(answer, LONGEST_REFUSAL).await?;
        let upload = CreateMultipartUpload::parse_response(&answer)
            .map_err(|cause| self.unreachable(&format_args!("its answer is none: {cause}")))?;
        let sent = self.put_parts(&key, upload.upload_id(), path, bytes).await;
        if sent.is_err() {
            // Parts that nobody completes are stored, and paid for.
            let action = self.bucket.abort_multipart_upload(Some(&self.credentials), &key, upload.upload_id());
            if let Err(error) = self.send(action, &[], Bytes::new()).await {
                tracing::warn!(target: "app_kernel::backup", %error, "parts of {key} are left behind");
            }
        }
        sent
    }

    async fn put_parts(&self, key: &str, upload: &str, path: &Path, bytes: u64) -> Result<()> {
        let size = self.part.max(bytes.div_ceil(MOST_PARTS));
        let mut parts = String::from("<CompleteMultipartUpload>");
        for number in 1..=bytes.div_ceil(size) {
            let length = size.min(bytes - (number - 1) * size);
            let (body, sum) = read_part(path, (number - 1) * size, length).await?;
            let part = u16::try_from(number).or_internal("counting parts")?;
            let mut action = self.bucket.upload_part(Some(&self.credentials), key, part, upload);
            action.headers_mut().insert(CHECKSUM, sum.clone());
            let answer = self.send(action, &[(CHECKSUM, &sum)], body).await?;
            let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let etag = etag.ok_or_else(|| self.unreachable(&"it names no part"))?.replace('"', "&quot;");
            parts.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256></Part>"
            ));
        }
        parts.push_str("</CompleteMultipartUpload>");
        let action =
            self.bucket.complete_multipart_upload(Some(&self.credentials), key, upload, std::iter::empty::<&str>());
        let answer = self.send(action, &[("content-type", "application/xml")], parts.into()).await?;
        // It may say yes before it knows.
        let text = self.text(answer, LONGEST_REFUSAL).await?;
        if text.contains("<Error>") { Err(self.refused(StatusCode::OK, &text)) } else { Ok(()) }
    }

    async fn get_file(&self, name: &str, path: &Path) -> Result<()> {
        let key = self.key(name);
        let answer = self.send(self.bucket.get_object(Some(&self.credentials), &key), &[], Bytes::new()).await?;
        let failed = |cause: std::io::Error| {
            Error::unavailable(format!("{} can't be written: {cause}; is there room?", path.display())).cause(cause)
        };
        let mut file = File::options().write(true).truncate(true).open(path).map_err(failed)?;
        let mut body = answer.into_body();
        while let Some(piece) = self.piece(&mut body).await? {
            file.write_all(&piece).map_err(failed)?;
        }
        file.sync_all().map_err(failed)
    }
}

impl Remote for S3 {
    fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket.name(), self.prefix)
    }

    fn list<'a>(&'a self, start: &'a str) -> BoxFuture<'a, Result<Vec<RemoteFile>>> {
        Box::pin(self.list_all(start))
    }

    fn put<'a>(&'a self, name: &'a str, file: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.put_file(name, file))
    }

    fn get<'a>(&'a self, name: &'a str, file: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.get_file(name, file))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let key = self.key(name);
            let action = self.bucket.delete_object(Some(&self.credentials), &key);
            self.send(action, &[], Bytes::new()).await.map(drop)
        })
    }
}

/// A part of a file, and its checksum as the store wants it.
async fn read_part(path: &Path, offset: u64, bytes: u64) -> Result<(Bytes, String)> {
    let file = path.to_owned();
    let read = move || {
        let mut part = vec![0; usize::try_from(bytes).map_err(std::io::Error::other)?];
        let mut file = File::open(&file)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut part)?;
        let sum = STANDARD.encode(digest::digest(&digest::SHA256, &part));
        Ok((Bytes::from(part), sum))
    };
    let part = tokio::task::spawn_blocking(read).await.or_internal("reading a backup to copy it")?;
    part.map_err(|cause| cant_read(path, cause))
}

fn cant_read(path: &Path, cause: std::io::Error) -> Error {
    Error::unavailable(format!("{} can't be read: {cause}", path.display())).cause(cause)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inner, _)| inner)
}
