//! What is stored can't be used to sign in, and the history does not have it either.

use app_kernel::feature::auth::{Session, User};
use app_kernel::testing::{TestDatabase, on_every_database};
use jiff::SignedDuration;

use super::{new_user, start, user_called};

on_every_database!(no_secret_is_stored_readable_or_kept_in_the_history);

/// Promise: R-32
async fn no_secret_is_stored_readable_or_kept_in_the_history(database: TestDatabase) {
    let service = start(database).await;
    let (tokens, db) = (new_user(&service, "ann").await, service.db());
    let user = user_called(&db, "ann").await;
    assert!(!format!("{user:?}").contains("argon2id"));
    let versions = db.history::<User>(&user.id).await.expect("versions");
    assert!(!versions.is_empty());
    assert!(!format!("{versions:?}").contains("argon2id"), "{versions:?}");
    let session = db.get::<Session>(tokens.session_id()).await.expect("a read").expect("a session");
    assert_ne!(session.refresh_hash.expose(), tokens.refresh);
    assert_eq!(session.expires_at, service.now() + SignedDuration::from_hours(30 * 24));
}
