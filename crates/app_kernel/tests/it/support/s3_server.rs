//! A store that speaks as much of S3 as copies of backups need: it verifies each signature and each checksum, and keeps files in memory.
//! It refuses what it is told to refuse. Lists come in short pages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use app_kernel::base::config::S3Config;
use app_kernel::base::secret::Secret;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use ring::{digest, hmac};

const KEY_ID: &str = "AKIATEST";
const KEY: &str = "a/secret+key";
const REGION: &str = "eu-test-1";
const BUCKET: &str = "backups";
/// How many files a page of a list has.
const PAGE: usize = 3;

#[derive(Default)]
struct Store {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    parts: Mutex<BTreeMap<(String, u32), Vec<u8>>>,
    /// How many requests that write are granted still.
    granted: AtomicUsize,
    multiparts: AtomicUsize,
}

/// The store, on a port of its own. Stops when dropped.
pub(crate) struct S3Server {
    store: Arc<Store>,
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        let store = Arc::new(Store { granted: AtomicUsize::new(usize::MAX), ..Store::default() });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&store));
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it has one"));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        S3Server { store, address, task }
    }

    /// How a service is configured to use it.
    pub(crate) fn config(&self) -> S3Config {
        S3Config {
            bucket: BUCKET.to_owned(),
            endpoint: self.address.clone(),
            region: REGION.to_owned(),
            prefix: "some/where".to_owned(),
            access_key_id: Secret::new(KEY_ID),
            secret_access_key: Secret::new(KEY),
        }
    }

    /// The same for a program.
    pub(crate) fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("BACKUP_S3_BUCKET", BUCKET.to_owned()),
            ("BACKUP_S3_ENDPOINT", self.address.clone()),
            ("BACKUP_S3_REGION", REGION.to_owned()),
            ("BACKUP_S3_PREFIX", "/some/where/".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ]
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.store.files.lock().expect("nobody panics").keys().cloned().collect()
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.store.files.lock().expect("nobody panics").get_mut(name).expect("a file"));
    }

    /// Grants so many requests that write, and refuses the others.
    pub(crate) fn grant(&self, requests: usize) {
        self.store.granted.store(requests, Ordering::SeqCst);
    }

    /// How many files came in parts.
    pub(crate) fn multiparts(&self) -> usize {
        self.store.multiparts.load(Ordering::SeqCst)
    }
}

type Refusal = (StatusCode, &'static str);

async fn answer(
    State(store): State<Arc<Store>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let result = verify(&method, &uri, &headers, &body).and_then(|()| serve(&store, &method, &uri, &body));
    result.unwrap_or_else(|(status, code)| {
        (status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>")).into_response()
    })
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Signature Version 4 in the query, as Amazon's documents describe it.
fn verify(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let refused = (StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    let query = query(uri);
    let get = |name: &str| query.get(name).cloned().ok_or((StatusCode::FORBIDDEN, "AccessDenied"));
    let (date, signed, signature) = (get("X-Amz-Date")?, get("X-Amz-SignedHeaders")?, get("X-Amz-Signature")?);
    let credential = get("X-Amz-Credential")?;
    let (id, scope) = credential.split_once('/').ok_or(refused)?;
    let day = date.get(..8).ok_or(refused)?;
    if id != KEY_ID {
        return Err((StatusCode::FORBIDDEN, "InvalidAccessKeyId"));
    }
    if scope != format!("{day}/{REGION}/s3/aws4_request") {
        return Err((StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed"));
    }
    let mut pairs: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
    pairs.retain(|pair| !pair.starts_with("X-Amz-Signature="));
    pairs.sort_unstable();
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let lines: String = signed.split(';').map(|name| format!("{name}:{}\n", value(name))).collect();
    // Every header of theirs must be signed.
    let all_are_signed = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-"))
        .all(|name| signed.split(';').any(|signed| signed == name.as_str()));
    let request = format!("{method}\n{}\n{}\n{lines}\n{signed}\nUNSIGNED-PAYLOAD", uri.path(), pairs.join("&"));
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref())
    );
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let key = [REGION, "s3", "aws4_request"]
        .iter()
        .fold(sign(format!("AWS4{KEY}").as_bytes(), day), |key, part| sign(key.as_ref(), part));
    if !all_are_signed || hex(sign(key.as_ref(), &to_sign).as_ref()) != signature {
        return Err(refused);
    }
    let checksum = base64::engine::general_purpose::STANDARD.encode(digest::digest(&digest::SHA256, body));
    let told = value("x-amz-checksum-sha256");
    if !told.is_empty() && told != checksum { Err((StatusCode::BAD_REQUEST, "BadDigest")) } else { Ok(()) }
}

fn serve(store: &Store, method: &Method, uri: &Uri, body: &[u8]) -> Result<Response, Refusal> {
    let path = percent_decode_str(uri.path()).decode_utf8().expect("UTF-8").into_owned();
    let key = path.strip_prefix(&format!("/{BUCKET}")).ok_or((StatusCode::NOT_FOUND, "NoSuchBucket"))?;
    let (key, query) = (key.trim_start_matches('/').to_owned(), query(uri));
    let mut files = store.files.lock().expect("nobody panics");
    let mut parts = store.parts.lock().expect("nobody panics");
    if method != Method::GET {
        let granted = store.granted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            usize::MAX => Some(usize::MAX),
            left => left.checked_sub(1),
        });
        granted.map_err(|_| (StatusCode::FORBIDDEN, "AccessDenied"))?;
    }
    let has = |name: &str| query.contains_key(name);
    Ok(match method.as_str() {
        "GET" if key.is_empty() => list(&files, &query).into_response(),
        "GET" => files.get(&key).cloned().ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?.into_response(),
        "POST" if has("uploads") => format!(
            "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><UploadId>{key}</UploadId></InitiateMultipartUploadResult>"
        )
        .into_response(),
        "PUT" if has("partNumber") => {
            let number: u32 = query["partNumber"].parse().expect("a number");
            parts.insert((key, number), body.to_vec());
            ([("etag", format!("\"{number}\""))], "").into_response()
        }
        "POST" => {
            let list = String::from_utf8_lossy(body).into_owned();
            let numbers = list.split("<ETag>&quot;").skip(1).filter_map(|rest| rest.split_once("&quot;")?.0.parse().ok());
            let whole: Vec<u8> = numbers.flat_map(|number: u32| parts.remove(&(key.clone(), number)).expect("a part")).collect();
            files.insert(key, whole);
            store.multiparts.fetch_add(1, Ordering::SeqCst);
            "<CompleteMultipartUploadResult/>".into_response()
        }
        "DELETE" if has("uploadId") => {
            parts.retain(|(name, _), _| *name != key);
            StatusCode::NO_CONTENT.into_response()
        }
        "PUT" => {
            files.insert(key, body.to_vec());
            "".into_response()
        }
        "DELETE" => {
            files.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
    })
}

fn list(files: &BTreeMap<String, Vec<u8>>, query: &BTreeMap<String, String>) -> String {
    let (prefix, after) = (&query["prefix"], query.get("continuation-token").cloned().unwrap_or_default());
    let mut matching = files.iter().filter(|(name, _)| name.starts_with(prefix.as_str()) && **name > after);
    let page: Vec<_> = matching.by_ref().take(PAGE).collect();
    let encode =
        |name: &str| percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
    let contents: String = page
        .iter()
        .map(|(name, bytes)| {
            format!(
                "<Contents><Key>{}</Key><LastModified>2026-01-30T12:00:00.000Z</LastModified><ETag>\"0\"</ETag><Size>{}</Size></Contents>",
                encode(name),
                bytes.len()
            )
        })
        .collect();
    let next = match (matching.next(), page.last()) {
        (Some(_), Some((last, _))) => {
            format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>")
        }
        _ => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    format!(
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>{next}{contents}</ListBucketResult>"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
