//! An admin database apart from the app's, and one for several services.

use app_kernel::feature::audit::{get_audit_logs, verify};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::{Deployment, carried, deployment, deployments};

on_every_database!(several_services_share_an_admin_database);

fn blog(config: ServiceConfig) -> Service {
    Service::new("blog", config).entity::<Deployment>()
}

/// Promise: R4, P3
async fn several_services_share_an_admin_database(database: TestDatabase) {
    let admin = database.url().clone();
    let with = |build: fn(ServiceConfig) -> Service| {
        let admin = admin.clone();
        move |config| build(ServiceConfig { admin_db_url: Some(admin), ..config })
    };
    // The apps on SQLite, and the deployer on the database at hand in a second round, where it is a server.
    let shop = TestService::start_on(TestDatabase::sqlite().await, with(deployments)).await;
    let blog = TestService::start_on(TestDatabase::fresh(database.backend()).await, with(blog)).await;
    for (service, images) in [(&shop, ["web:1", "web:2"]), (&blog, ["blog:1", "blog:2"])] {
        for image in images {
            service.db().save(deployment(image, 1)).await.expect("a save");
        }
        carried(&service.db()).await;
        let own = service.db().query("SELECT * FROM [kernel_audit_log]", ()).await.expect("a query");
        assert_eq!(own.len(), 0, "nothing of it is in the app's database");
    }
    let admin = shop.kernel().admin_db().expect("an admin database");
    let images = async |app: &str| {
        let logs = get_audit_logs(&admin).app(app).entity("deployments").await.expect("entries").items;
        let image = |entry: &app_kernel::feature::audit::AuditEntry| {
            entry.changes.as_ref().expect("changes")["image"]["new"].as_str().expect("a text").to_owned()
        };
        logs.iter().map(image).collect::<Vec<_>>()
    };
    assert_eq!(
        (images("deployer").await, images("blog").await),
        (vec!["web:2".into(), "web:1".into()], vec!["blog:2".into(), "blog:1".into()])
    );
    for app in ["deployer", "blog"] {
        assert_eq!(verify(&admin, app, None).await.expect("a look").expect("nothing is wrong").entries, 2);
    }
}
