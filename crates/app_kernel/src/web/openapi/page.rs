//! `/openapi.json`, and `/docs`: a page to read and try the service on. All of it is in the binary, packed; the page's
//! own policy forbids the browser to load anything from elsewhere.

use std::io::Read;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Document;
use crate::base::error::Error;
use crate::web::etag;

/// The version of Swagger UI in `assets`, as the tag of its files: weak, since they go out packed and unpacked.
const VERSION: &str = "W/\"5.35.0\"";
const SCRIPT: &[u8] = include_bytes!("../assets/swagger-ui-bundle.js.gz");
const STYLE: &[u8] = include_bytes!("../assets/swagger-ui.css.gz");
const PAGE: &str = include_str!("../assets/docs.html");
const START: &str = include_str!("../assets/docs.js");

/// Only our own files; the images of the style sheet lie in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/openapi.json`, `/docs` and what the page is made of.
pub(super) fn routes(name: &str, document: &Document) -> Router {
    let document = document.clone();
    let page = Bytes::from(PAGE.replace("{title}", &escaped(name)));
    Router::new()
        .route("/openapi.json", get(move |headers: HeaderMap| async move { revalidated(&headers, &document) }))
        .route("/docs", get(move || async move { html(page) }))
        .route("/docs/docs.js", get(|| async { plain(START, "text/javascript; charset=utf-8") }))
        .route("/docs/swagger-ui-bundle.js", get(|headers| packed(SCRIPT, "text/javascript; charset=utf-8", headers)))
        .route("/docs/swagger-ui.css", get(|headers| packed(STYLE, "text/css; charset=utf-8", headers)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn revalidated(headers: &HeaderMap, document: &Document) -> Response {
    let common = [(ETAG, document.etag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if etag::is_current(headers.get(IF_NONE_MATCH), &document.etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, "application/json")], document.json.clone()).into_response()
}

fn html(page: Bytes) -> Response {
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")];
    (headers, page).into_response()
}

fn plain(text: &'static str, media: &'static str) -> Response {
    ([(CONTENT_TYPE, media), (CACHE_CONTROL, "no-cache")], text).into_response()
}

/// Sends a packed file as it is to those who can unpack it, which is every browser.
async fn packed(gzip: &'static [u8], media: &'static str, headers: HeaderMap) -> Response {
    let etag = HeaderValue::from_static(VERSION);
    let common = [
        (ETAG, etag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400")),
        (VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if etag::is_current(headers.get(IF_NONE_MATCH), &etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    if takes_gzip(&headers) {
        return (common, [(CONTENT_TYPE, media), (CONTENT_ENCODING, "gzip")], Body::from(gzip)).into_response();
    }
    let mut text = Vec::new();
    match flate2::read::GzDecoder::new(gzip).read_to_end(&mut text) {
        Ok(_) => (common, [(CONTENT_TYPE, media)], text).into_response(),
        Err(error) => Error::internal("the page can't be unpacked").cause(error).into_response(),
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|text| text.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()) == Some(0.0);
        matches!(name.trim(), "gzip" | "*") && !is_refused
    })
}
