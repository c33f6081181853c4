//! Tampering shows.

use app_kernel::feature::audit::{ChainEnd, Tampering, purge_audit_logs, verify};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::{carried, deployment, deployments};

on_every_database!(whatever_is_done_to_entries_shows, a_purged_chain_goes_on);

const ENTRIES: i64 = 6;

/// Its admin database, with so many entries.
async fn chained(service: &TestService) -> Db {
    for n in 0..ENTRIES {
        service.db().save(deployment("web", n)).await.expect("a save");
    }
    carried(&service.db()).await;
    service.kernel().admin_db().expect("an admin database")
}

async fn end(admin: &Db) -> ChainEnd {
    verify(admin, "deployer", None).await.expect("a look").expect("nothing is wrong").end
}

async fn found(admin: &Db, noted: Option<&ChainEnd>) -> Tampering {
    verify(admin, "deployer", noted).await.expect("a look").expect_err("something is wrong")
}

/// Promise: P4
async fn whatever_is_done_to_entries_shows(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let admin = chained(&service).await;
    let noted = end(&admin).await;
    assert_eq!(noted.position, ENTRIES);
    assert_eq!(noted.to_string().parse::<ChainEnd>().expect("an end"), noted);
    let run = async |sql: &str| admin.execute(sql, ()).await.expect("a change");
    let log = "[kernel_audit_log]";

    run(&format!("UPDATE {log} SET [user_id] = 'somebody else' WHERE [position] = 3")).await;
    assert_eq!(found(&admin, None).await, Tampering::Broken(3));
    run(&format!("UPDATE {log} SET [user_id] = NULL WHERE [position] = 3")).await;
    assert_eq!(end(&admin).await, noted, "put back as it was, it fits again");

    run(&format!("UPDATE {log} SET [position] = 99 WHERE [position] = 4")).await;
    assert_eq!(found(&admin, None).await, Tampering::Missing(4));
    run(&format!("UPDATE {log} SET [position] = 4 WHERE [position] = 5")).await;
    run(&format!("UPDATE {log} SET [position] = 5 WHERE [position] = 99")).await;
    assert_eq!(found(&admin, None).await, Tampering::Broken(4), "two changed places");
    run(&format!("UPDATE {log} SET [position] = 99 WHERE [position] = 4")).await;
    run(&format!("UPDATE {log} SET [position] = 4 WHERE [position] = 5")).await;
    run(&format!("UPDATE {log} SET [position] = 5 WHERE [position] = 99")).await;
    assert_eq!(end(&admin).await, noted);

    run(&format!("UPDATE {log} SET [position] = 7 WHERE [position] = 6")).await;
    assert!(matches!(found(&admin, None).await, Tampering::Missing(6)));
    run(&format!("DELETE FROM {log} WHERE [position] = 7")).await;
    let cut = found(&admin, None).await;
    assert!(matches!(&cut, Tampering::End { said, found } if said.position == 6 && found.position == 5), "{cut}");

    // Who moves the end too is found out by an end that was noted elsewhere only.
    let fifth = "(SELECT [hash] FROM [kernel_audit_log] WHERE [position] = 5)";
    run(&format!("UPDATE [kernel_audit_chains] SET [length] = 5, [hash] = {fifth}")).await;
    assert_eq!(end(&admin).await.position, 5);
    assert_eq!(found(&admin, Some(&noted)).await, Tampering::NotedEnd(noted));
}

/// Promise: P4
async fn a_purged_chain_goes_on(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let admin = chained(&service).await;
    let noted = end(&admin).await;
    service.advance(std::time::Duration::from_secs(1));
    assert_eq!(purge_audit_logs(&admin, "deployer", service.now()).await.expect("a purge"), ENTRIES as u64);
    let all_purged = verify(&admin, "deployer", Some(&noted)).await.expect("a look").expect("nothing is wrong");
    assert_eq!((all_purged.entries, all_purged.purged, &all_purged.end), (0, ENTRIES, &noted));
    chained(&service).await;
    let verified = verify(&admin, "deployer", Some(&noted)).await.expect("a look").expect("nothing is wrong");
    assert_eq!((verified.entries, verified.purged, verified.end.position), (ENTRIES, ENTRIES, 2 * ENTRIES));
    admin.execute("DELETE FROM [kernel_audit_log] WHERE [position] = ?", [ENTRIES + 1]).await.expect("a removal");
    assert_eq!(found(&admin, None).await, Tampering::Missing(ENTRIES + 1));
}
