//! A whole service with a real server: what mounts, what health says while things go away, who did what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use app_kernel::base::secret::Secret;
use app_kernel::prelude::*;
use app_kernel::store::db::Backend;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{Answer, Client, TestDatabase, TestService, on_every_database};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A thing that may be changed.
#[derive(Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Gadget {
    name: String,
}

async fn create(_user: CurrentUser, db: Db, Json(new): Json<Gadget>) -> Result<Created<Saved<Gadget>>> {
    db.save(new).await.map(Created::new)
}

async fn rename(
    _user: CurrentUser,
    db: Db,
    Path(id): Path<String>,
    Json(new): Json<Gadget>,
) -> Result<Json<Saved<Gadget>>> {
    let mut gadget = db.get::<Gadget>(&id).await?.or_not_found("gadget")?;
    gadget.name = new.name;
    db.save(gadget).await.map(Json)
}

async fn remove(_user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<bool>> {
    db.delete::<Gadget>(&id).await.map(Json)
}

async fn list(db: Db) -> Result<Json<Vec<Saved<Gadget>>>> {
    db.find("[name] <> ?", [""]).await.map(Json)
}

async fn history(db: Db, Path(id): Path<String>) -> Result<Json<Vec<Version>>> {
    db.history::<Gadget>(id).await.map(Json)
}

fn gadgets(config: ServiceConfig) -> Service {
    Service::new("gadget_service", config)
        .entity::<Gadget>()
        .route("/gadgets", post(create).get(list))
        .route("/gadgets/{id}", put(rename).delete(remove))
        .route("/gadgets/{id}/history", get(history))
}

// --- what mounts ---------------------------------------------------------------------------------------------------------------------

const AUTH_ROUTES: [&str; 4] = ["/auth/register", "/auth/login", "/auth/refresh", "/api/v1/auth/login"];

/// The status that each auth route gives to an empty object.
async fn auth_statuses(service: &TestService) -> Vec<u16> {
    let anonymous = service.anonymous();
    let mut statuses = Vec::new();
    for route in AUTH_ROUTES {
        statuses.push(anonymous.post(route, json!({})).await.status);
    }
    statuses
}

/// Promise: B1
#[tokio::test]
async fn auth_routes_are_mounted_with_a_database_and_a_secret_only() {
    let complete = TestService::start(gadgets).await;
    assert_eq!(auth_statuses(&complete).await, [422; 4]);

    type Change = fn(&mut ServiceConfig);
    let incomplete: [(&str, Change); 3] = [
        ("no JWT_SECRET", |config| config.jwt_secret = None),
        ("no DATABASE_URL", |config| config.database_url = None),
        ("AUTH_ENABLED=false", |config| config.auth_enabled = false),
    ];
    for (what, change) in incomplete {
        let service = TestService::start(|mut config| {
            change(&mut config);
            gadgets(config)
        })
        .await;
        assert_eq!(auth_statuses(&service).await, [404; 4], "{what}");
        let anonymous = service.anonymous();
        anonymous.get("/healthz").await.expect(200);
        anonymous.get("/readyz").await.expect(200);
        // What needs a user says so; nobody can be one.
        anonymous.post("/gadgets", json!({ "name": "gear" })).await.expect(401);
        let document = anonymous.get("/openapi.json").await.expect(200).json();
        assert_eq!(document["paths"]["/api/v1/auth/login"], Value::Null, "{what}");
    }
}

#[tokio::test]
async fn without_a_database_what_needs_one_says_503_and_how_to_have_one() {
    let service = TestService::start(|config| gadgets(ServiceConfig { database_url: None, ..config })).await;
    let problem = service.anonymous().get("/gadgets").await.expect(503).json();
    assert_eq!(
        problem["detail"],
        "this service has no database; set DATABASE_URL, for example to sqlite:///./data/app.db"
    );
}

// --- health --------------------------------------------------------------------------------------------------------------------------

/// Promise: A1, R-30
#[tokio::test]
async fn a_draining_service_lives_but_wants_nothing_new() {
    let service = TestService::start(gadgets).await;
    let anonymous = service.anonymous();
    let ready = anonymous.get("/readyz").await.expect(200).json();
    assert_eq!((&ready["status"], &ready["checks"]), (&json!("ok"), &json!({ "database": "ok" })));

    service.kernel().drain();
    let ready = anonymous.get("/readyz").await.expect(503).json();
    assert_eq!(ready["status"], "draining");
    assert_eq!(anonymous.get("/healthz").await.expect(200).json(), json!({ "status": "ok" }));
    // What comes all the same is served.
    anonymous.get("/gadgets").await.expect(200);
}

on_every_database!(
    a_database_of_another_service_is_refused,
    readiness_follows_the_database,
    work_beside_requests_reaches_the_database,
    the_history_tells_who_did_it_in_which_request,
);

/// Promise: A1, R-09
async fn readiness_follows_the_database(database: TestDatabase) {
    if database.backend() == Backend::Sqlite {
        return; // it is in the process
    }
    let (link, url) = Link::to(database.url()).await;
    let service =
        TestService::start_on(database, |config| gadgets(ServiceConfig { database_url: Some(url), ..config })).await;
    let ann = service.sign_up("ann").await;
    ann.post("/gadgets", json!({ "name": "gear" })).await.expect(201);
    ann.get("/readyz").await.expect(200);

    link.cut().await;
    let ready = ann.get("/readyz").await.expect(503).json();
    assert_eq!((&ready["status"], &ready["checks"]), (&json!("unavailable"), &json!({ "database": "unavailable" })));
    ann.get("/healthz").await.expect(200);
    let away = ann.get("/gadgets").await.expect(503);
    assert!(away.header("retry-after").is_some(), "{:?}", away.headers);
    assert_eq!(away.header("content-type"), Some("application/problem+json"));

    link.mend().await;
    // At once: connections that broke are not handed out again.
    ann.get("/readyz").await.expect(200);
    let gadgets = ann.get("/gadgets").await.expect(200).json();
    assert_eq!(gadgets[0]["name"], "gear");
}

/// A network between a service and its database, that can be cut and mended.
struct Link {
    here: SocketAddr,
    there: String,
    listening: Arc<Mutex<Option<JoinSet<()>>>>,
}

impl Link {
    /// A link, and the database's address through it.
    async fn to(database: &Secret) -> (Self, Secret) {
        let url = database.expose();
        let (before, rest) = url.rsplit_once('@').expect("the test servers' addresses name a user");
        let (there, after) = rest.split_once('/').expect("and a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let here = listener.local_addr().expect("it has one");
        let link = Link { here, there: there.to_owned(), listening: Arc::default() };
        link.listen(listener);
        (link, Secret::new(format!("{before}@{here}/{after}")))
    }

    fn listen(&self, listener: TcpListener) {
        let there = self.there.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let there = there.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(there).await.expect("the database listens");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        *self.listening.lock().expect("nobody panics while holding it") = Some(tasks);
    }

    /// Breaks every connection and takes no new one.
    async fn cut(&self) {
        let tasks = self.listening.lock().expect("nobody panics while holding it").take();
        tasks.expect("it was up").shutdown().await;
    }

    async fn mend(&self) {
        self.listen(TcpListener::bind(self.here).await.expect("the port is still ours"));
    }
}

// --- who did it ----------------------------------------------------------------------------------------------------------------------

/// Promise: C12
async fn work_beside_requests_reaches_the_database(database: TestDatabase) {
    let service = TestService::start_on(database, gadgets).await;
    let kernel = service.kernel().clone();
    let made = tokio::spawn(async move {
        let db = kernel.db()?;
        db.save(Gadget { name: "made at night".to_owned() }).await
    });
    let made = made.await.expect("it does not panic").expect("a save");

    let anonymous = service.anonymous();
    let listed = anonymous.get("/gadgets").await.expect(200).json();
    assert_eq!((&listed[0]["id"], &listed[0]["name"]), (&json!(made.id), &json!("made at night")));
    let history = anonymous.get(&format!("/gadgets/{}/history", made.id)).await.expect(200).json();
    assert_eq!((&history[0]["user_id"], &history[0]["request_id"]), (&Value::Null, &Value::Null));
}

/// Promise: C10, C14
async fn the_history_tells_who_did_it_in_which_request(database: TestDatabase) {
    let service = TestService::start_on(database, gadgets).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let made = ann.post("/gadgets", json!({ "name": "gear" })).await.expect(201);
    let path = format!("/gadgets/{}", made.id());
    let renamed = bob.clone().with_header("x-request-id", "bobs-own-id.1");
    let renamed = renamed.put(&path, json!({ "name": "cog" })).await.expect(200);
    let removed = bob.delete(&path).await.expect(200);
    assert_eq!(made.json().get("created_by"), None, "the row does not say who");

    let history = ann.get(&format!("{path}/history")).await.expect(200).json();
    let told: Vec<[&str; 4]> = history
        .as_array()
        .expect("versions")
        .iter()
        .map(|version| ["operation", "user_id", "request_id"].map(|field| version[field].as_str().unwrap_or_default()))
        .zip(history.as_array().expect("versions"))
        .map(|([operation, user, request], version)| {
            [operation, user, request, version["data"]["name"].as_str().unwrap_or_default()]
        })
        .collect();
    let (ann_id, bob_id) = (id_of(&ann).await, id_of(&bob).await);
    assert_eq!(
        told,
        [
            ["soft_deleted", &bob_id, request_id(&removed), "cog"],
            ["updated", &bob_id, "bobs-own-id.1", "cog"],
            ["created", &ann_id, request_id(&made), "gear"],
        ]
    );
    assert_eq!(request_id(&renamed), "bobs-own-id.1");
}

async fn id_of(client: &Client) -> String {
    client.get("/auth/me").await.expect(200).id()
}

fn request_id(answer: &Answer) -> &str {
    answer.header("x-request-id").expect("every answer says its request's id")
}

// --- whose database it is ------------------------------------------------------------------------------------------------------------

/// Promise: R-13
async fn a_database_of_another_service_is_refused(database: TestDatabase) {
    let service = TestService::start_on(database.clone(), gadgets).await;
    let ann = service.sign_up("ann").await;
    ann.post("/gadgets", json!({ "name": "cog" })).await.expect(201);
    let tables = service.db().plan_migration().await.expect("a plan");

    let config = |renamed_from: Option<&str>| ServiceConfig {
        database_url: Some(database.url().clone()),
        data_dir: database.data_dir().join("other").display().to_string(),
        allow_table_deletion: true,
        service_renamed_from: renamed_from.map(str::to_owned),
        ..ServiceConfig::default()
    };
    let refused =
        Service::new("other_service", config(None)).start().await.err().expect("it is not theirs").to_string();
    assert!(
        refused.contains("this database is of the service `gadget_service`")
            && refused.contains("SERVICE_RENAMED_FROM"),
        "{refused}"
    );
    assert_eq!(service.db().plan_migration().await.expect("a plan"), tables, "nothing was changed");
    assert_eq!(service.db().count::<Gadget>("", ()).await.expect("a count"), 1);

    let renamed = Service::new("other_service", config(Some("gadget_service"))).entity::<Gadget>();
    let started = renamed.start().await.expect("the same under a new name");
    assert_eq!(started.kernel().db().expect("a database").count::<Gadget>("", ()).await.expect("a count"), 1);
}
