//! The service as its clients meet it: people in a browser, programs with keys, and a receiver of webhooks.

use app_kernel::feature::metering::consume_quota;
use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestService, on_every_database};
use projects::routes::costs::FLAG;
use projects::routes::deployments::{DEPLOYMENTS_PER_MONTH, METRIC};
use serde_json::{Value, json};

on_every_database!(
    a_project_and_its_services_are_made_listed_changed_and_deleted,
    other_workspaces_see_nothing_and_members_delete_no_project,
    a_deployment_is_rolled_out_by_a_job_and_told_to_a_webhook,
    an_api_key_deploys_where_it_has_the_scope,
    a_workspace_has_so_many_deployments_a_month,
    costs_are_for_those_who_have_the_flag,
);

async fn start(database: TestDatabase) -> TestService {
    // The receiver of webhooks is on this machine.
    TestService::start_on(database, |config| projects::service(ServiceConfig { webhook_allow_private: true, ..config }))
        .await
}

/// Somebody with a project that has one service; answers who, and the path of the service.
async fn somebody_with_a_service(service: &TestService, name: &str) -> (Client, String) {
    let client = service.sign_up(name).await;
    let project = client.post("/projects", json!({ "name": "shop" })).await.expect(201).id();
    let new = json!({ "name": "api", "image": "registry.example.com/api:v1", "replicas": 3 });
    let id = client.post(&format!("/projects/{project}/services"), new).await.expect(201).id();
    (client, format!("/services/{id}"))
}

async fn workspace_of(client: &Client) -> String {
    let me = client.get("/auth/me").await.expect(200).json();
    me["workspace_id"].as_str().expect("everybody has one").to_owned()
}

async fn a_project_and_its_services_are_made_listed_changed_and_deleted(database: TestDatabase) {
    let service = start(database).await;
    let ann = service.sign_up("ann").await;
    let made = ann.post("/projects", json!({ "name": "shop", "description": "sells gears" })).await.expect(201);
    assert_eq!(made.json()["status"], "active");
    let project = format!("/projects/{}", made.id());
    ann.post("/projects", json!({ "name": "shop" })).await.expect_problem(409, "duplicate");
    ann.post("/projects", json!({ "name": "blog", "status": "archived" })).await.expect(201);

    let names = |page: Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a page").iter();
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(ann.get("/projects").await.expect(200).json()), ["blog", "shop"]);
    assert_eq!(names(ann.get("/projects?status=archived").await.expect(200).json()), ["blog"]);
    assert_eq!(ann.get("/projects?status=lost").await.expect(422).wrong_fields(), ["/status"]);

    let services = format!("{project}/services");
    let wrong = ann.post(&services, json!({ "name": "", "image": "api:v1", "port": 0 })).await.expect(422);
    assert_eq!(wrong.wrong_fields(), ["/name", "/port"]);
    let api = ann.post(&services, json!({ "name": "api", "image": "api:v1" })).await.expect(201);
    assert_eq!((&api.json()["port"], &api.json()["replicas"]), (&json!(8000), &json!(1)), "the defaults");
    let path = format!("/services/{}", api.id());
    let changed = ann.put(&path, json!({ "name": "api", "image": "api:v2", "replicas": 2 })).await.expect(200).json();
    assert_eq!((&changed["image"], &changed["version"]), (&json!("api:v2"), &json!(2)));
    assert_eq!(ann.get(&services).await.expect(200).json()[0]["project_id"], json!(made.id()));

    let changed = ann.put(&project, json!({ "name": "shop", "status": "archived" })).await.expect(200).json();
    assert_eq!(changed["status"], "archived");
    ann.delete(&project).await.expect(204);
    ann.get(&project).await.expect(404);
    ann.get(&path).await.expect(404);
    assert_eq!(names(ann.get("/projects").await.expect(200).json()), ["blog"]);
}

async fn other_workspaces_see_nothing_and_members_delete_no_project(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let acme = ann.post("/workspaces", json!({ "name": "Acme" })).await.expect(201).id();
    let (of_ann, of_bob) = (ann.with_header("x-workspace-id", &acme), bob.clone().with_header("x-workspace-id", &acme));
    let project = of_ann.post("/projects", json!({ "name": "shop" })).await.expect(201).id();
    let path = format!("/projects/{project}");

    // In his own workspace it is not there, and the other one is none of his.
    bob.get(&path).await.expect(404);
    bob.post(&format!("{path}/services"), json!({ "name": "api", "image": "i" })).await.expect(404);
    of_bob.get(&path).await.expect(404);
    service.anonymous().get(&path).await.expect(401);

    let invite = json!({ "email": "bob@example.com", "role": "member" });
    let invited = of_ann.post(&format!("/workspaces/{acme}/invite"), invite).await.expect(201).json();
    let token = invited["token"].as_str().expect("a token");
    bob.post(&format!("/workspaces/join/{token}"), json!({})).await.expect(200);
    of_bob.get(&path).await.expect(200);
    of_bob.delete(&path).await.expect(403);
    of_ann.delete(&path).await.expect(204);
    service.run_jobs().await; // the invitation's mail
}

async fn a_deployment_is_rolled_out_by_a_job_and_told_to_a_webhook(database: TestDatabase) {
    let receiver = TestService::start(receiver).await;
    let service = start(database).await;
    let (ann, api) = somebody_with_a_service(&service, "ann").await;
    let workspace = workspace_of(&ann).await;
    let hook = json!({ "url": format!("{}/hook", receiver.url()) });
    ann.post(&format!("/workspaces/{workspace}/webhooks"), hook).await.expect(201);

    let begun = ann.post(&format!("{api}/deployments"), json!({})).await.expect(201).json();
    assert_eq!(begun["deployment"]["status"], "pending");
    let job = format!("/jobs/{}", begun["job_id"].as_str().expect("an id"));
    assert_eq!(ann.get(&job).await.expect(200).json()["state"], "ready");
    service.run_jobs().await;
    let done = ann.get(&job).await.expect(200).json();
    assert_eq!((&done["state"], &done["result"]), (&json!("succeeded"), &json!({ "replicas": 3 })));
    assert_eq!(done["progress"], json!({ "replica": 3, "of": 3 }));
    let listed = ann.get(&format!("{api}/deployments")).await.expect(200).json();
    assert_eq!((&listed[0]["status"], &listed[0]["version"]), (&json!("running"), &json!(2)));

    let heard = receiver.db().find_entities("heard").order_by("[event] ASC").await.expect("rows");
    let events: Vec<Value> = heard.iter().map(|row| row.to_json()["event"].clone()).collect();
    assert_eq!(events, ["deployment.created", "deployment.running"]);
    // Who is not signed in to the workspace sees no job.
    service.sign_up("bob").await.get(&job).await.expect(404);
}

/// Whoever is told: it keeps the names of the events.
fn receiver(config: ServiceConfig) -> Service {
    async fn hear(kernel: Kernel, Json(told): Json<Value>) -> Result<()> {
        kernel.db()?.save_entity("heard", json!({ "event": told["event"] })).await?;
        Ok(())
    }
    Service::new("receiver", config).route("/hook", post(hear))
}

async fn an_api_key_deploys_where_it_has_the_scope(database: TestDatabase) {
    let service = start(database).await;
    let (ann, api) = somebody_with_a_service(&service, "ann").await;
    let deployments = format!("{api}/deployments");
    let key = async |scopes: &[&str]| {
        let made = ann.post("/api-keys", json!({ "name": "CI", "scopes": scopes })).await.expect(201).json();
        service.anonymous().with_token(made["key"].as_str().expect("a key"))
    };
    let (ci, reader) = (key(&["deployments:*"]).await, key(&["deployments:read"]).await);
    ci.post(&deployments, json!({})).await.expect(201);
    reader.post(&deployments, json!({})).await.expect_problem(403, "insufficient_scope");
    assert_eq!(reader.get(&deployments).await.expect(200).json().as_array().map(Vec::len), Some(1));
    ci.get("/projects").await.expect(403);
    let beyond = json!({ "name": "all", "scopes": ["*"] });
    assert_eq!(ann.post("/api-keys", beyond).await.expect(422).wrong_fields(), ["/scopes/0"]);
    service.run_jobs().await;
}

async fn a_workspace_has_so_many_deployments_a_month(database: TestDatabase) {
    let service = start(database).await;
    let (ann, api) = somebody_with_a_service(&service, "ann").await;
    let deployments = format!("{api}/deployments");
    let used = consume_quota(service.kernel()).workspace(workspace_of(&ann).await).metric(METRIC);
    assert!(used.amount(DEPLOYMENTS_PER_MONTH - 1).limit(DEPLOYMENTS_PER_MONTH).await.expect("an answer"));
    ann.post(&deployments, json!({})).await.expect(201);
    ann.post(&deployments, json!({})).await.expect_problem(402, "quota_exceeded");
    assert_eq!(ann.get(&deployments).await.expect(200).json().as_array().map(Vec::len), Some(1));
    somebody_with_a_service(&service, "bob").await.0.get("/projects").await.expect(200);
    service.run_jobs().await;
}

async fn costs_are_for_those_who_have_the_flag(database: TestDatabase) {
    let service = start(database).await;
    let (ann, api) = somebody_with_a_service(&service, "ann").await;
    let bob = service.sign_up("bob").await;
    ann.get("/costs").await.expect(404);
    set_flag(service.kernel(), FLAG).enabled(true).workspaces([workspace_of(&ann).await]).await.expect("a flag");
    bob.get("/costs").await.expect(404);
    ann.post(&format!("{api}/deployments"), json!({})).await.expect(201);
    service.run_jobs().await;

    // What a process has counted is told a moment later.
    let costs = async {
        loop {
            let costs = ann.get("/costs").await.expect(200).json();
            if costs["replicas_started"] == 3 {
                return costs;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let costs = tokio::time::timeout(std::time::Duration::from_secs(60), costs).await.expect("usage arrives");
    assert_eq!(costs["deployments"], 1);
    assert!(costs["requests"].as_i64() > Some(3), "{costs}");
}
