//! Mail that leaves the process, to a server that listens.

use app_kernel::base::secret::Secret;
use app_kernel::engine::mail::{Mail, Mailer};
use app_kernel::prelude::*;
use app_kernel::testing::TestService;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{auth_only, sign_up};
use crate::support::smtp::SmtpServer;

fn mailer(url: String) -> Mailer {
    let config = ServiceConfig {
        smtp_url: Some(Secret::new(url)),
        mail_from: Some("The app <no-reply@example.com>".to_owned()),
        ..ServiceConfig::default()
    };
    Mailer::from_config(&config).expect("a mailer")
}

#[tokio::test]
async fn a_link_comes_by_smtp() {
    let mut server = SmtpServer::start().await;
    let post = mailer(format!("smtp://ann%40relay:p%40ss@{}", server.address()));
    let service = TestService::start(|config| auth_only(config).mailer(post)).await;
    sign_up(&service, "ann").await.expect(201);
    let mail = server.next().await;
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("no-reply@example.com", &["ann@example.com".to_owned()][..]));
    assert!(mail.data.contains("\r\nTo: ann@example.com\r\n"), "{}", mail.data);
    assert!(mail.data.contains("Subject: Confirm your address for app.example.com\r\n"), "{}", mail.data);
    // Quoted-printable, as far as links need it.
    let text = mail.data.replace("=\r\n", "").replace("=3D", "=");
    let token = text.split("/verify-email?token=").nth(1).and_then(|rest| rest.lines().next()).expect("a link");
    service.anonymous().post("/auth/verify-email", json!({ "token": token })).await.expect(204);
    assert_eq!(server.credentials(), [STANDARD.encode("\0ann@relay\0p@ss")]);
}

#[tokio::test]
async fn a_text_ends_no_mail_and_begins_none() {
    let mut server = SmtpServer::start().await;
    let text = "one\r\n.\r\nMAIL FROM:<eve@example.com>\r\nRCPT TO:<bob@example.com>\r\n..two\n.three\n";
    let mail = Mail { to: "ann@example.com".into(), subject: "Grüße =?x?".into(), text: text.into() };
    let post = mailer(format!("smtp://{}", server.address()));
    post.send(mail.clone()).await.expect("taken");
    post.send(mail).await.expect("taken");
    for _ in 0..2 {
        let taken = server.next().await;
        assert_eq!(
            (taken.from.as_str(), taken.to.as_slice()),
            ("no-reply@example.com", &["ann@example.com".to_owned()][..])
        );
        let body = taken.data.split_once("\r\n\r\n").expect("headers and text").1;
        let lines: Vec<&str> = body.trim_end().lines().collect();
        let wanted = ["one", ".", "MAIL FROM:<eve@example.com>", "RCPT TO:<bob@example.com>", "..two", ".three"];
        assert_eq!(lines, wanted, "{}", taken.data);
    }
    assert_eq!(server.credentials(), [""; 0]);
}

#[tokio::test]
async fn a_server_that_refuses_or_is_away_is_told_to_nobody_but_the_log() {
    let refusing = SmtpServer::answering("550 no such user").await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let closed = nobody.local_addr().expect("it has one");
    drop(nobody);
    for address in [refusing.address(), closed] {
        let post = mailer(format!("smtp://{address}"));
        let mail = Mail { to: "ann@example.com".into(), subject: "hello".into(), text: "hello".into() };
        let error = post.send(mail).await.expect_err("not taken");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), format!("SMTP_URL: the server at {address} did not take the mail"));

        let service = TestService::start(|config| auth_only(config).mailer(post)).await;
        sign_up(&service, "ann").await.expect(201);
        let body = json!({ "email": "ann@example.com" });
        service.anonymous().post("/auth/password-reset/request", body).await.expect(202);
        service.stop().await;
    }
}
