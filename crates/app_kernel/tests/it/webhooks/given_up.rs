//! Webhooks that are given up: the owners of their workspace hear of it by mail.

use std::time::Duration;

use app_kernel::engine::mail::Mail;
use app_kernel::feature::auth::User;
use app_kernel::feature::webhooks::update_webhook;
use app_kernel::feature::workspaces::MemberRole;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::{make, owner, start, thing, trigger};
use crate::support::receiver::{Receiver, Way};
use crate::workspaces::{make_workspace, person, put};

on_every_database!(
    owners_are_told_of_a_receiver_that_wants_no_more,
    owners_are_told_of_a_receiver_that_failed_for_five_days,
);

/// The next mail about a webhook to somebody.
async fn mail_about_a_webhook(service: &TestService, to: &str) -> Mail {
    loop {
        let mail = service.mail_to(to).await;
        if mail.subject.contains("webhook") {
            return mail;
        }
    }
}

async fn owners_are_told_of_a_receiver_that_wants_no_more(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let acme = make_workspace(&ann.client, "Acme").await;
    for (name, role, is_active) in [
        ("bob", MemberRole::Owner, true),
        ("carl", MemberRole::Admin, true),
        ("dora", MemberRole::Member, true),
        ("eve", MemberRole::Owner, false),
    ] {
        let somebody = person(&service, name).await;
        put(&service, &acme, &somebody.id, role).await;
        let mut user = service.db().get::<User>(&somebody.id).await.expect("an answer").expect("a user");
        user.is_active = is_active;
        service.db().save(user).await.expect("saved");
    }
    let receiver = Receiver::always(Way::Status(410, String::new())).await;
    let webhook = make(&service, &acme, &format!("{}?token=hunter2", receiver.url())).await;
    trigger(&service, &acme, thing(1)).await;
    service.run_jobs().await;
    for owner in ["ann@example.com", "bob@example.com"] {
        let mail = mail_about_a_webhook(&service, owner).await;
        assert_eq!(mail.subject, "A webhook at app.example.com is disabled");
        let place = format!("leads to   {}\n", receiver.address());
        for part in [&*webhook.id, &*acme, &*place, "answered 410"] {
            assert!(mail.text.contains(part), "{part} is not in: {}", mail.text);
        }
        assert!(!mail.text.contains("hunter2"), "{}", mail.text);
    }

    // Somebody who disables one knows of it; and of each webhook is told once.
    let by_hand = make(&service, &acme, &receiver.url()).await;
    update_webhook(&service.db(), &acme, &by_hand.id).enabled(false).await.expect("a change");
    let last = make(&service, &acme, &receiver.url()).await;
    trigger(&service, &acme, thing(2)).await;
    service.run_jobs().await;
    for owner in ["ann@example.com", "bob@example.com"] {
        assert!(mail_about_a_webhook(&service, owner).await.text.contains(&last.id));
    }
    let others = service.outbox().mails();
    assert!(others.iter().all(|mail| !mail.subject.contains("webhook")), "{others:?}");
}

async fn owners_are_told_of_a_receiver_that_failed_for_five_days(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::always(Way::Status(500, String::new())).await;
    make(&service, &ours, &receiver.url()).await;
    for hours in [29, 29, 29, 33, 0] {
        let told = service.outbox().mails().iter().any(|mail| mail.subject.contains("webhook"));
        assert!(!told, "not before five days are over");
        trigger(&service, &ours, thing(1)).await;
        service.run_jobs().await;
        service.advance(Duration::from_secs(hours * 3600));
    }
    let mail = mail_about_a_webhook(&service, "ann@example.com").await;
    assert!(mail.text.contains("every try of five days has failed"), "{}", mail.text);
}
