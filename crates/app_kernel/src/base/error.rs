//! The one public error. Its message is always safe to show to a client; its cause never leaves the process.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What a fallible call of the kernel returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, seen by the person who asked. Callers branch on this and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request can't be understood or breaks a rule: 400, or 422 where it names fields.
    Invalid,
    /// Nobody is signed in, or the proof is not good: 401.
    Unauthenticated,
    /// Signed in, but not allowed: 403.
    Forbidden,
    /// Not there, or not there for this caller: 404.
    NotFound,
    /// Against the present state, such as a duplicate or a stale version: 409.
    Conflict,
    /// Too much in too short a time: 429.
    TooManyRequests,
    /// A service that is needed is away; trying again later may help: 503.
    Unavailable,
    /// Our fault: 500.
    Internal,
}

impl ErrorKind {
    /// The HTTP status of this kind, where the error names no other.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::Invalid => 400,
            ErrorKind::Unauthenticated => 401,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::TooManyRequests => 429,
            ErrorKind::Unavailable => 503,
            ErrorKind::Internal => 500,
        }
    }

    /// The word that stands in `code` where the error names no other.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unauthenticated => "unauthenticated",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::TooManyRequests => "too_many_requests",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Internal => "internal",
        }
    }
}

/// What is wrong with one field of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where the field is, as a JSON Pointer (RFC 6901): `/address/zip`; `""` is the whole input.
    pub pointer: String,
    /// What is wrong, as a sentence part: `is required`, `must be an integer`.
    pub message: String,
}

/// An error of the kernel or of a service built on it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    status: Option<u16>,
    code: Option<Cow<'static, str>>,
    message: Cow<'static, str>,
    fields: Vec<FieldError>,
    retry_after_secs: Option<u32>,
    members: Vec<(&'static str, String)>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
            Self::new(ErrorKind::$kind, message)
        })*
    };
}

impl Error {
    /// An error of `kind`; `message` is shown to the client.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Error(Box::new(Inner {
            kind,
            status: None,
            code: None,
            message: message.into(),
            fields: Vec::new(),
            retry_after_secs: None,
            members: Vec::new(),
            cause: None,
        }))
    }

    constructors! {
        /// The input is wrong: 400, or 422 once [`Error::field`] named a field.
        invalid => Invalid,
        /// Nobody is signed in: 401.
        unauthenticated => Unauthenticated,
        /// Not allowed: 403.
        forbidden => Forbidden,
        /// Not there: 404.
        not_found => NotFound,
        /// Against the present state: 409.
        conflict => Conflict,
        /// Too much in too short a time: 429.
        too_many_requests => TooManyRequests,
        /// Something needed is away for now: 503.
        unavailable => Unavailable,
        /// Our fault: 500. The message is shown, so it says nothing of the inside.
        internal => Internal,
    }

    /// Names a field that is wrong; may be called for each of them.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.fields.push(FieldError { pointer: pointer.into(), message: message.into() });
        self
    }

    /// Names all the fields that are wrong.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = FieldError>) -> Self {
        self.0.fields.extend(fields);
        self
    }

    /// The machine-readable word in `code`, such as `signup_closed`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// An HTTP status other than the kind's own, such as 402 or 413.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// After how many seconds a new try makes sense: the `Retry-After` header.
    #[must_use]
    pub fn retry_after_secs(mut self, secs: u32) -> Self {
        self.0.retry_after_secs = Some(secs);
        self
    }

    /// One more member of the problem document, for what the client needs to go on (RFC 9457, 3.2). Sent, never logged.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.members.push((name, value.into()));
        self
    }

    /// What lies behind it: logged, never sent.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What went wrong, as one of eight kinds.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence that the client may read.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match (self.0.status, self.0.kind) {
            (Some(status), _) => status,
            (None, ErrorKind::Invalid) if !self.0.fields.is_empty() => 422,
            (None, kind) => kind.status(),
        }
    }

    /// The machine-readable word for the client.
    #[must_use]
    pub fn error_code(&self) -> &str {
        self.0.code.as_deref().unwrap_or_else(|| self.0.kind.code())
    }

    /// The fields that are wrong, where the error is about fields.
    #[must_use]
    pub fn field_errors(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// The members that the problem document has beside its usual ones.
    #[must_use]
    pub fn members(&self) -> &[(&'static str, String)] {
        &self.0.members
    }

    /// The seconds for `Retry-After`, where a new try makes sense.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.0.retry_after_secs
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, field) in self.0.fields.iter().enumerate() {
            f.write_str(if i == 0 { ": " } else { "; " })?;
            write!(f, "{} {}", field.pointer, field.message)?;
        }
        Ok(())
    }
}

/// For people who debug: the message and the whole chain of causes, in one line, because that is what `fn main() -> Result<()>` prints
/// when a service can't start.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            let because = error.to_string();
            // Some errors tell their cause themselves.
            if !text.ends_with(&because) {
                text.push_str("; because: ");
                text.push_str(&because);
            }
            cause = error.source();
        }
        for (i, line) in text.lines().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(line.trim())?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// Turns a failure that is our fault into an [`Error`] that says what was being done.
pub trait OrInternal<T> {
    /// `send(&mail).await.or_internal("sending the invitation")?`
    ///
    /// # Errors
    /// Answers `Internal`, with the failure as its cause.
    fn or_internal(self, doing: &'static str) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> OrInternal<T> for std::result::Result<T, E> {
    fn or_internal(self, doing: &'static str) -> Result<T> {
        self.map_err(|cause| Error::internal(format!("{doing} failed")).cause(cause))
    }
}

/// Turns nothing into a 404 that says what was looked for.
pub trait OrNotFound<T> {
    /// `db.get::<Widget>(&id).await?.or_not_found("widget")?`
    ///
    /// # Errors
    /// Answers `NotFound` where there is nothing.
    fn or_not_found(self, what: &str) -> Result<T>;
}

impl<T> OrNotFound<T> for Option<T> {
    fn or_not_found(self, what: &str) -> Result<T> {
        self.ok_or_else(|| Error::not_found(format!("there is no such {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_a_field_makes_an_invalid_request_422() {
        assert_eq!(Error::invalid("bad JSON").http_status(), 400);
        assert_eq!(Error::invalid("the body is wrong").field("/name", "is required").http_status(), 422);
    }

    #[test]
    fn the_cause_is_in_debug_only() {
        let error = Error::internal("saving failed").cause("password=hunter2");
        assert!(!error.to_string().contains("hunter2"));
        assert!(format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn the_chain_of_causes_is_one_line() {
        let cause = Error::invalid("syntax error\n  LINE 1: SELEC").cause("a typing mistake\n");
        let error = Error::internal("saving failed").cause(cause);
        assert_eq!(
            format!("{error:?}"),
            "saving failed; because: syntax error LINE 1: SELEC; because: a typing mistake"
        );
    }
}
