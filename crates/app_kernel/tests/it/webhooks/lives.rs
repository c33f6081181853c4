//! What outlives a start: secrets under a new `JWT_SECRET`; and what does not: the log of a month ago.

use std::time::Duration;

use app_kernel::base::secret::Secret;
use app_kernel::feature::webhooks::{Outcome, WebhookDelivery, WebhookEvent};
use app_kernel::prelude::*;
use app_kernel::testing::service::JWT_SECRET;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::{app, last, log_of, make, owner, signed_by, start, thing, trigger};
use crate::jobs::until;
use crate::support::receiver::Receiver;

on_every_database!(secrets_outlive_a_change_of_jwt_secret, deliveries_are_swept_out_after_a_month,);

async fn with_secrets(database: TestDatabase, present: &'static str, previous: &'static [&str]) -> TestService {
    TestService::start_on(database, move |config| {
        let jwt_secret_previous = previous.iter().map(|secret| Secret::new(*secret)).collect();
        app(ServiceConfig { jwt_secret: Some(Secret::new(present)), jwt_secret_previous, ..config })
    })
    .await
}

/// Promise: R-32
async fn secrets_outlive_a_change_of_jwt_secret(database: TestDatabase) {
    const NEW: &str = "another secret of the tests, long enough too";
    const THIRD: &str = "a third secret of the tests that is long enough";
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let service = with_secrets(service.stop().await, NEW, &[JWT_SECRET]).await;
    trigger(&service, &ours, thing(1)).await;
    service.run_jobs().await;
    let seal = async |service: &TestService| {
        let sql = "SELECT [sealed_secret] FROM [kernel_webhooks]";
        service.db().query(sql, ()).await.expect("a row")[0]["sealed_secret"].as_str().expect("a text").to_owned()
    };
    // A start seals it anew; then the former secret is not needed any more.
    let name = |sealed: &str| sealed.split_once('.').expect("a name").0.to_owned();
    let service = with_secrets(service.stop().await, NEW, &[JWT_SECRET]).await;
    let fresh = with_secrets(TestDatabase::sqlite().await, NEW, &[]).await;
    let (_, theirs) = owner(&fresh, "bob").await;
    make(&fresh, &theirs, &receiver.url()).await;
    let todays = name(&seal(&fresh).await);
    until("the secret is sealed anew", async || name(&seal(&service).await) == todays).await;
    let service = with_secrets(service.stop().await, NEW, &[]).await;
    trigger(&service, &ours, thing(2)).await;
    service.run_jobs().await;
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|request| signed_by(request, &[&webhook.secret]).len() == 1));

    // A secret that is lost: nothing is sent that nobody can verify, and the log says why.
    let service = with_secrets(service.stop().await, THIRD, &[]).await;
    trigger(&service, &ours, thing(3)).await;
    service.run_jobs().await;
    assert_eq!(last(&service, &webhook).await.info.last_outcome, Some(Outcome::SecretUnreadable));
    assert_eq!(receiver.received().len(), 2);
}

async fn deliveries_are_swept_out_after_a_month(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    trigger(&service, &ours, thing(1)).await;
    service.run_jobs().await;
    trigger(&service, &ours, thing(2)).await;
    service.advance(Duration::from_secs(29 * 24 * 3600));
    trigger(&service, &ours, thing(3)).await;
    service.advance(Duration::from_secs(2 * 24 * 3600));
    // A start sweeps at once.
    let beside = service.beside(app).await;
    until("the oldest is swept out", async || log_of(&service, &webhook).await.len() == 2).await;
    let db = service.db();
    let events = async || db.count::<WebhookEvent>("", ()).await.expect("a count");
    until("its event is swept out", async || events().await == 2).await;
    assert_eq!(db.count::<WebhookDelivery>("", ()).await.expect("a count"), 2, "what is under way stays, however old");
    assert_eq!(db.query("SELECT [id] FROM [kernel_webhook_attempts]", ()).await.expect("rows").len(), 0);
    drop(beside);
    service.run_jobs().await;
    assert_eq!(receiver.received().len(), 3);
}
