//! Errors for people: a browser that asks for a page gets one, everybody else the problem document.

use std::sync::Arc;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{ProblemBody, pending};
use crate::base::error::Error;

/// Nothing is loaded and nothing runs; only the style in the page counts.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// An error on somebody's way from page to page.
#[derive(Debug)]
pub(crate) struct ErrorPage {
    error: Error,
    wants_page: bool,
    back: Option<String>,
}

impl ErrorPage {
    /// In the form that these headers ask for.
    pub(crate) fn new(error: Error, headers: &HeaderMap) -> Self {
        let accepts =
            headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")));
        ErrorPage { error, wants_page: accepts, back: None }
    }

    /// Offers a way on. The address must be one that is safe to follow.
    pub(crate) fn with_way_back(mut self, address: Option<String>) -> Self {
        self.back = address;
        self
    }
}

impl IntoResponse for ErrorPage {
    fn into_response(self) -> Response {
        if !self.wants_page {
            return self.error.into_response();
        }
        let back = self.back;
        let write = move |error: &Error, status: StatusCode, id: Option<&str>| page(error, status, id, back.as_deref());
        let mut response = pending(self.error, Arc::new(write));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}

fn page(error: &Error, status: StatusCode, request_id: Option<&str>, back: Option<&str>) -> Vec<u8> {
    let title = status.canonical_reason().unwrap_or("Error");
    let back = back.map(|back| format!("<p><a href=\"{}\">Go back</a></p>\n", escaped(back))).unwrap_or_default();
    let id = request_id.map(|id| format!(" &middot; {}", escaped(id))).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem }} \
         small {{ color: #666 }}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n{back}\
         <p><small>{} &middot; {}{id}</small></p>\n</body>\n</html>\n",
        escaped(error.message()),
        status.as_u16(),
        escaped(error.error_code()),
    )
    .into_bytes()
}

/// A text as it may stand between tags and in quotes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, c| {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
        html
    })
}

impl OperationOutput for ErrorPage {
    type Inner = ProblemBody<'static>;

    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        let mut response = Error::operation_response(ctx, operation)?;
        response.content.insert("text/html".to_owned(), MediaType::default());
        Some(response)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|response| (None, response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn answer(accept: &'static str) -> (Response, String) {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let error = Error::forbidden("that <b>is</b> \"it\"").code("no_way");
        let page = ErrorPage::new(error, &headers).with_way_back(Some("/a?b=1&c=\"d\"".to_owned()));
        let (parts, body) = super::super::complete(page.into_response(), "r'1").into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        (Response::from_parts(parts, axum::body::Body::empty()), String::from_utf8(body.to_vec()).expect("text"))
    }

    /// Promise: A4
    #[tokio::test]
    async fn a_browser_gets_a_page_in_which_nothing_can_be_smuggled_and_a_program_the_document() {
        let (response, text) = answer("text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[CONTENT_TYPE]),
            (403, &HeaderValue::from_static("text/html; charset=utf-8"))
        );
        assert_eq!(response.headers()[CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(response.headers()["cache-control"], "no-store");
        for wanted in [
            "<h1>Forbidden</h1>",
            "<p>that &lt;b&gt;is&lt;/b&gt; &quot;it&quot;</p>",
            "<a href=\"/a?b=1&amp;c=&quot;d&quot;\">Go back</a>",
            "403 &middot; no_way &middot; r&#39;1",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        let (response, text) = answer("*/*").await;
        assert_eq!(response.headers()[CONTENT_TYPE], super::super::PROBLEM_JSON);
        assert!(text.contains(r#""code":"no_way""#) && text.contains(r#""request_id":"r'1""#), "{text}");
    }
}
