//! Two people change the schema at the same time, each on a branch.

use std::time::Duration;

use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::project::{first, with_both, with_color, with_size, with_size_in_words};
use super::{Checkout, catalogue};

on_every_database!(
    two_branches_meet_and_both_replay,
    the_same_change_on_two_branches_is_no_conflict,
    two_branches_that_mean_different_things_are_refused_by_name,
);

/// A checkout and its database, with the first form of the entity.
async fn developers(database: &TestDatabase) -> [(Checkout, TestDatabase); 2] {
    let (ann, anns) = (Checkout::new(), TestDatabase::fresh(database.backend()).await);
    ann.started(&anns, &[first::Project::definition()]).await;
    let (bob, bobs) = (ann.cloned(), TestDatabase::fresh(database.backend()).await);
    bob.started(&bobs, &[first::Project::definition()]).await;
    ann.clock.advance(Duration::from_secs(3600));
    [(ann, anns), (bob, bobs)]
}

fn merge(ann: &Checkout, bob: &Checkout) {
    bob.pull(ann);
    ann.pull(bob);
}

/// Promise: D6
async fn two_branches_meet_and_both_replay(database: TestDatabase) {
    let [(ann, anns), (bob, bobs)] = developers(&database).await;
    ann.started(&anns, &[with_size::Project::definition()]).await;
    bob.clock.advance(Duration::from_secs(60));
    bob.started(&bobs, &[with_color::Project::definition()]).await;
    let (size, color) = (ann.migrations()[1].clone(), bob.migrations()[1].clone());
    merge(&ann, &bob);

    let merged = [with_both::Project::definition()];
    let migration = ann.started(&anns, &merged).await;
    assert_eq!((migration.replayed, migration.files), (vec![color.clone()], vec![]));
    let migration = bob.started(&bobs, &merged).await;
    assert_eq!((migration.replayed, migration.files), (vec![size.clone()], vec![]));
    let migration = ann.started(&database, &merged).await;
    assert_eq!((migration.replayed.len(), migration.files), (3, vec![]));
    let wanted = catalogue(&anns).await;
    assert_eq!((catalogue(&bobs).await, catalogue(&database).await), (wanted.clone(), wanted));
}

/// Promise: D6
async fn the_same_change_on_two_branches_is_no_conflict(database: TestDatabase) {
    let [(ann, anns), (bob, bobs)] = developers(&database).await;
    ann.started(&anns, &[with_size::Project::definition()]).await;
    bob.clock.advance(Duration::from_secs(60));
    bob.started(&bobs, &[with_both::Project::definition()]).await;
    merge(&ann, &bob);
    let merged = [with_both::Project::definition()];
    for (checkout, database) in [(&ann, &anns), (&bob, &bobs), (&ann, &database)] {
        assert_eq!(checkout.started(database, &merged).await.files, Vec::<std::path::PathBuf>::new());
    }
    let wanted = catalogue(&anns).await;
    assert_eq!((catalogue(&bobs).await, catalogue(&database).await), (wanted.clone(), wanted));
}

/// Promise: D6
async fn two_branches_that_mean_different_things_are_refused_by_name(database: TestDatabase) {
    let [(ann, anns), (bob, bobs)] = developers(&database).await;
    ann.started(&anns, &[with_size::Project::definition()]).await;
    bob.clock.advance(Duration::from_secs(60));
    bob.started(&bobs, &[with_size_in_words::Project::definition()]).await;
    merge(&ann, &bob);
    let path = |number: usize| ann.path(&ann.migrations()[number], "sql").display().to_string();

    // On a fresh database, and on that of the first: the second file does not fit, and nothing is changed.
    for there in [&database, &anns] {
        let before = catalogue(there).await;
        let error = ann.start(there, &[with_size_in_words::Project::definition()]).await.expect_err("a conflict");
        let wanted = format!(
            "MIGRATIONS_DIR: {} can't be taken over: it makes the column projects.size `text`, but {} made it `int`; \
             two branches meant different things: delete both files of the one that the code does not mean, and start again",
            path(2),
            path(1)
        );
        assert_eq!(error.message(), wanted);
        assert_eq!(catalogue(there).await, before);
    }
    // The cure.
    let gone = ann.migrations()[1].clone();
    for ending in ["sql", "json"] {
        std::fs::remove_file(ann.path(&gone, ending)).expect("it is there");
    }
    ann.started(&database, &[with_size_in_words::Project::definition()]).await;
    assert_eq!(catalogue(&database).await, catalogue(&bobs).await);
}
