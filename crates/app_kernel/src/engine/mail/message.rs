//! What a mail is on the wire. Nothing that somebody typed can end a header or begin another.

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};

use super::Mail;
use crate::base::error::{Error, OrInternal as _, Result};
use crate::base::id::new_id;

/// Says that no person wrote the mail.
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Reads `MAIL_FROM`.
pub(super) fn sender(mail_from: Option<&str>) -> Result<Mailbox> {
    let example = "Example: My app <no-reply@myapp.com>";
    let text =
        mail_from.ok_or_else(|| Error::invalid(format!("MAIL_FROM is not set; SMTP_URL needs it. {example}")))?;
    let parsed = text.parse().ok().filter(|_| !text.chars().any(char::is_control));
    parsed.ok_or_else(|| Error::invalid(format!("MAIL_FROM can't be used; it must be an address. {example}")))
}

/// Who mail comes from where it goes nowhere.
pub(super) fn nobody() -> Mailbox {
    "no-reply@localhost".parse().expect("a constant address")
}

/// The mail as it is sent.
pub(super) fn compose(from: &Mailbox, mail: &Mail) -> Result<Message> {
    if mail.subject.chars().any(char::is_control) {
        return Err(Error::invalid("the subject of a mail is one line without control characters"));
    }
    let to = mail.to.parse().map_err(|cause| Error::invalid("mail can't be sent to this address").cause(cause))?;
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(mail.subject.as_str())
        .message_id(Some(format!("<{}@{}>", new_id(), from.email.domain())))
        .header(MIME_VERSION_1_0)
        // No "I am on holiday" comes back (RFC 3834).
        .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .or_internal("writing a mail")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(to: &str, subject: &str, text: &str) -> Mail {
        Mail { to: to.into(), subject: subject.into(), text: text.into() }
    }

    fn headers(mail: &Mail) -> Result<String> {
        let whole = String::from_utf8(compose(&nobody(), mail)?.formatted()).expect("ASCII on the wire");
        Ok(whole.split("\r\n\r\n").next().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_mail_has_its_headers_and_no_others() {
        let headers = headers(&mail("ann@example.com", "Grüße", "hello\n\nBcc: eve@example.com\n")).expect("a mail");
        let names: Vec<&str> = headers.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
        let wanted = [
            "Auto-Submitted",
            "From",
            "To",
            "Subject",
            "Message-ID",
            "MIME-Version",
            "Date",
            "Content-Type",
            "Content-Transfer-Encoding",
        ];
        let mut missing = wanted.to_vec();
        missing.retain(|name| !names.contains(name));
        assert_eq!((missing, names.len()), (Vec::new(), wanted.len()), "{headers}");
        assert!(headers.contains("To: ann@example.com") && headers.is_ascii(), "{headers}");
    }

    #[test]
    fn no_text_becomes_a_header() {
        for (to, subject) in [
            ("ann@example.com\r\nBcc: eve@example.com", "hello"),
            ("ann@example.com\nBcc: eve@example.com", "hello"),
            ("ann@example.com, eve@example.com", "hello"),
            ("ann@example.com> RCPT TO:<eve@example.com", "hello"),
            ("", "hello"),
            ("ann@example.com", "hello\r\nBcc: eve@example.com"),
            ("ann@example.com", "hello\nBcc: eve@example.com"),
            ("ann@example.com", "hello\0"),
        ] {
            let refused = headers(&mail(to, subject, "hello")).expect_err("a refusal");
            assert_eq!(refused.http_status(), 400, "{to:?} {subject:?}");
        }
    }
}
