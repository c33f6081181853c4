//! A service under load whose database server is killed, hangs, or is cut off. Everybody is answered in time, those who can't be served with
//! 503 and when to come again; once the server is back, the service is too, by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::store::db::{Backend, Db, DbOptions};
use axum::http::Method;

use super::api::{Api, NO_LIMIT, Plan};
use super::load::{Asked, Load, statuses};
use super::wire::Wire;
use crate::support::figure;
use crate::support::open_transactions::open_transactions;
use crate::support::servers::Servers;

/// How long a statement may take (30 s), and one second more: nobody waits longer, whatever becomes of the server.
const LONGEST: Duration = Duration::from_secs(31);
/// How soon the first one is served again.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// How long the load goes on before anything happens.
const CALM: Duration = Duration::from_secs(1);
/// How long the load goes on once the server is back.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Connections of a service: its pool, and those on which it hears of jobs and of flags.
const MOST_CONNECTIONS: i64 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Hung,
    CutOff,
}

/// A service and its database, with what comes between them.
struct Stage {
    servers: Servers,
    backend: Backend,
    wire: Wire,
    api: Api,
    load: Load,
    _home: tempfile::TempDir,
}

impl Stage {
    async fn new(backend: Backend) -> Option<Self> {
        let servers = Servers::start(&[backend], None)?;
        let url = servers.database(backend, "faults").await;
        let (scheme, rest) = url.expose().split_once("://").expect("an address");
        let (user, place) = rest.split_once('@').expect("an address has a user");
        let (server, name) = place.split_once('/').expect("an address has a database");
        let wire = Wire::to(server).await;
        let wired = format!("{scheme}://{user}@{}/{name}", wire.address());
        let home = tempfile::tempdir().expect("the temporary folder can be written");
        let plan = Plan { limit: NO_LIMIT, redis: None, is_patient: false };
        let api = Api::start(&plan, &Secret::new(wired), home.path());
        let token = api.sign_up("ann").await;
        let notes = api.address("/notes");
        let load = Load::new(vec![(Method::POST, notes.clone()), (Method::GET, notes)]);
        let load = load.with_header("authorization", &format!("Bearer {token}"));
        Some(Stage { servers, backend, wire, api, load, _home: home })
    }

    /// Takes the server away for so long, and gives it back. Gives when it was gone and when it was back.
    async fn inflict(&self, fault: Fault, time: Duration) -> (Instant, Instant) {
        let gone = Instant::now();
        match fault {
            Fault::Killed => self.servers.kill(self.backend),
            Fault::Hung => self.servers.hang(self.backend),
            Fault::CutOff => self.wire.cut(),
        }
        tokio::time::sleep(time).await;
        match fault {
            Fault::Killed => self.servers.start_again(self.backend, &self.servers.url(self.backend, "faults")).await,
            Fault::Hung => self.servers.go_on(self.backend),
            Fault::CutOff => self.wire.mend(),
        }
        (gone, Instant::now())
    }

    /// One fault under load. Gives the slowest refusal, and how soon after its end the first one was served.
    async fn survive(&self, fault: Fault, per_second: usize, time: Duration) -> (usize, Duration, Duration) {
        let name = format!("{} {fault:?}", self.backend.as_str());
        let (load, is_over) = (self.load.clone(), Arc::new(AtomicBool::new(false)));
        let goes_on = Arc::clone(&is_over);
        let began = Instant::now();
        let asking =
            tokio::spawn(async move { load.run_while(per_second, |_| !goes_on.load(Ordering::Relaxed)).await });
        tokio::time::sleep(CALM).await;
        let (gone, back) = self.inflict(fault, time).await;
        let (gone, back) = (gone.duration_since(began), back.duration_since(began));
        tokio::time::sleep(AFTERWARDS).await;
        is_over.store(true, Ordering::Relaxed);
        let all = asking.await.expect("asking does not panic");

        let ends = |asked: &Asked| asked.at + asked.took;
        let is_served = |asked: &Asked| matches!(asked.status, Some(200 | 201));
        let refused: Vec<&Asked> = all.iter().filter(|asked| !is_served(asked)).collect();
        for asked in &refused {
            assert!(asked.status == Some(503) && asked.says_when, "{name}: {asked:?}");
            assert!(ends(asked) >= gone, "{name}: refused before anything happened: {asked:?}");
        }
        assert!(!refused.is_empty(), "{name}: nobody noticed: {:?}", statuses(&all));
        let slowest = all.iter().map(|asked| asked.took).max().expect("there are requests");
        assert!(slowest <= LONGEST, "{name}: an answer took {slowest:?}");
        let served = all.iter().filter(|asked| is_served(asked)).map(ends).filter(|end| *end >= back).min();
        let served = served.unwrap_or_else(|| panic!("{name}: nobody is served again: {:?}", statuses(&all))) - back;
        assert!(served <= BACK_WITHIN, "{name}: the first was served {served:?} after the server was back");
        let late = all.iter().filter(|asked| asked.at >= back + BACK_WITHIN && !is_served(asked)).count();
        assert_eq!(late, 0, "{name}: some are refused although the server is back");
        (refused.len(), slowest, served)
    }

    /// Nothing is left on the server of what was interrupted.
    async fn is_tidy(&self) {
        let url = self.servers.url(self.backend, "faults");
        let db = Db::open(&url, &[], DbOptions::default()).await.expect("the server answers");
        assert_eq!(open_transactions(&db).await, 0);
        let sessions = match self.backend {
            Backend::Postgres => {
                "SELECT COUNT(*) AS [n] FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            }
            _ => {
                "SELECT COUNT(*) AS [n] FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            }
        };
        let sessions = db.query(sessions, ()).await.expect("a count")[0]["n"].as_int().expect("a number");
        assert!(sessions <= MOST_CONNECTIONS, "{sessions} connections");
        db.close().await;
    }
}

/// Promise: R-09
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_answers_without_its_postgres_and_comes_back_with_it() {
    survive_all(Backend::Postgres).await;
}

/// Promise: R-09
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_answers_without_its_mysql_and_comes_back_with_it() {
    survive_all(Backend::MySql).await;
}

async fn survive_all(backend: Backend) {
    let Some(stage) = Stage::new(backend).await else { return };
    let per_second = figure(10, 50);
    // Whoever waits for a connection is told so after 5 s, and not before.
    for (fault, secs) in [(Fault::Killed, figure(2, 10)), (Fault::Hung, figure(6, 15)), (Fault::CutOff, figure(6, 20))]
    {
        let (refused, slowest, served) = stage.survive(fault, per_second, Duration::from_secs(secs as u64)).await;
        stage.is_tidy().await;
        println!(
            "R-09 held: {} {} {secs} s under {per_second} requests/s, {refused} × 503 with Retry-After and nothing worse, slowest answer {} ms, \
             first 2xx {} ms after its return, 0 stuck connections",
            backend.as_str(),
            match fault {
                Fault::Killed => "killed",
                Fault::Hung => "hung",
                Fault::CutOff => "cut off",
            },
            slowest.as_millis(),
            served.as_millis()
        );
    }
    stage.api.until_well("database").await;
}
