//! Mail: one text to one person at a time.
//!
//! - What is sent is plain text in UTF-8. No text can become a header: an address and a subject are one line, or refused.
//! - Over SMTP, a server that does not answer is given up after half a minute. Without `SMTP_URL`, mail is files in development and off in
//!   production; tests have an [`Outbox`].
//! - A delivery takes its time, and whoever asks must not notice whether somebody was written to: features ask a queue, which outlives the process.

mod folder;
mod message;
mod outbox;
mod queue;
mod smtp;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use self::folder::Folder;
use self::smtp::Smtp;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};

pub use self::outbox::Outbox;
pub(crate) use self::queue::{MailQueue, Writer};

/// A text to one person.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The address: `ann@example.com`.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Plain text; lines end with `\n`.
    pub text: String,
}

/// Mail has secrets in its text, such as a link that sets a password.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Sends mail. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mailer(Arc<Form>);

#[derive(Debug)]
enum Form {
    Off,
    Smtp(Smtp),
    Folder(Folder),
    Outbox(Outbox),
}

impl Mailer {
    /// What a configuration says: the server of `SMTP_URL`; without it files in `DATA_DIR/mail`, or no mail in production.
    ///
    /// # Errors
    /// Where `SMTP_URL`, `MAIL_FROM` or `PUBLIC_URL` can't be used; names the variable and the cure.
    pub fn from_config(config: &ServiceConfig) -> Result<Self> {
        let form = match &config.smtp_url {
            Some(_) if config.production && config.public_url.is_none() => {
                return Err(Error::invalid(
                    "PUBLIC_URL is not set; the links in mails need it. Example: https://myapp.com",
                ));
            }
            Some(url) => Form::Smtp(Smtp::new(url, config.mail_from.as_deref(), config.production)?),
            None if config.production => Form::Off,
            None => Form::Folder(Folder::new(Path::new(&config.data_dir).join("mail"), config.mail_from.as_deref())?),
        };
        Ok(Mailer(Arc::new(form)))
    }

    /// Sends nothing: [`Mailer::send`] is an error.
    #[must_use]
    pub fn off() -> Self {
        Mailer(Arc::new(Form::Off))
    }

    /// Keeps what is sent, for tests to read.
    #[must_use]
    pub fn into_outbox(outbox: &Outbox) -> Self {
        Mailer(Arc::new(Form::Outbox(outbox.clone())))
    }

    /// Whether mail can be sent at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !matches!(*self.0, Form::Off)
    }

    /// Where mail goes, for the table at start.
    #[must_use]
    pub fn describe(&self) -> String {
        match &*self.0 {
            Form::Off => "SMTP_URL is not set".to_owned(),
            Form::Smtp(smtp) => format!("by {}", smtp.server()),
            Form::Folder(folder) => format!("files in {}; SMTP_URL sends them", folder.path().display()),
            Form::Outbox(_) => "kept for tests".to_owned(),
        }
    }

    /// Whether the server lets us in, where there is one. Sends nothing.
    ///
    /// # Errors
    /// `Unavailable` where it does not; says why.
    pub async fn check(&self) -> Result<()> {
        match &*self.0 {
            Form::Smtp(smtp) => smtp.check().await,
            Form::Off | Form::Folder(_) | Form::Outbox(_) => Ok(()),
        }
    }

    /// Hands a mail to the server, and waits until it has taken it.
    ///
    /// # Errors
    /// `Invalid` where the address or the subject can't be a header, `Unavailable` where mail is off or the server does not take it.
    pub async fn send(&self, mail: Mail) -> Result<()> {
        match &*self.0 {
            Form::Off => Err(Error::unavailable("this service sends no mail; set SMTP_URL").code("mail_off")),
            Form::Smtp(smtp) => smtp.send(&mail).await,
            Form::Folder(folder) => folder.send(&mail).await,
            Form::Outbox(outbox) => message::compose(&message::nobody(), &mail).map(|_| outbox.put(mail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn config(production: bool, smtp_url: &str) -> ServiceConfig {
        ServiceConfig {
            production,
            smtp_url: Some(Secret::new(smtp_url)).filter(|url| !url.expose().is_empty()),
            mail_from: Some("The app <no-reply@example.com>".to_owned()),
            public_url: Some("https://example.com".to_owned()),
            ..ServiceConfig::default()
        }
    }

    #[tokio::test]
    async fn without_a_server_mail_is_files_in_development_and_off_in_production() {
        let mailer = Mailer::from_config(&config(false, "")).expect("a mailer");
        assert_eq!(mailer.describe(), "files in .data/mail; SMTP_URL sends them");
        let off = Mailer::from_config(&config(true, "")).expect("a mailer");
        assert!(mailer.is_on() && !off.is_on());
        let mail = Mail { to: "ann@example.com".into(), subject: "hello".into(), text: "hello".into() };
        assert_eq!(off.send(mail).await.expect_err("off").error_code(), "mail_off");
    }

    /// Promise: R-32
    #[tokio::test]
    async fn what_can_not_be_used_is_named_with_the_cure_and_without_the_password() {
        let refusal = |config: &ServiceConfig| {
            let error = format!("{:?}", Mailer::from_config(config).expect_err("a refusal"));
            assert!(!error.contains("hunter2"), "{error}");
            error
        };
        for (production, url, start) in [
            (false, "http://ann:hunter2@mail.example.com", "SMTP_URL can't be used"),
            (false, "smtps://ann:hunter2@", "SMTP_URL can't be used"),
            (false, "hunter2", "SMTP_URL can't be used"),
            (true, "smtp://ann:hunter2@mail.example.com", "SMTP_URL has a password that would travel in the clear"),
            (true, "smtp://ann:hunter2@mail.example.com?tls=opportunistic", "SMTP_URL has a password"),
        ] {
            let told = refusal(&config(production, url));
            assert!(told.starts_with(start), "{url}: {told}");
        }
        let url = "smtps://ann:hunter2@mail.example.com";
        let nobody = ServiceConfig { mail_from: None, ..config(true, url) };
        assert!(refusal(&nobody).starts_with("MAIL_FROM is not set"));
        let forged =
            ServiceConfig { mail_from: Some("ann@example.com\r\nBcc: eve@example.com".into()), ..config(true, url) };
        assert!(refusal(&forged).starts_with("MAIL_FROM can't be used"));
        let nowhere = ServiceConfig { public_url: None, ..config(true, url) };
        assert!(refusal(&nowhere).starts_with("PUBLIC_URL is not set"));
        for good in [url, "smtp://ann:hunter2@127.0.0.1:2525", "smtp://relay:25", "smtp://a:hunter2@h?tls=required"] {
            let mailer = Mailer::from_config(&config(true, good)).expect("a mailer");
            assert!(!format!("{mailer:?} {}", mailer.describe()).contains("hunter2"));
        }
    }
}
