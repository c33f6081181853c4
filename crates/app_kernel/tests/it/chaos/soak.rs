//! Services on each database under a steady load, with a fault in each round: they grow neither in memory nor in open files.
//!
//! The long form has sixty rounds of a minute and fits a line through what each process holds; the small one has few short rounds, in which
//! caches still fill, and looks only that nothing grows by more than those.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::store::db::Backend;
use app_kernel::testing::{TestDatabase, Wire as Socket};
use axum::http::Method;
use tokio::task::JoinHandle;

use super::api::{Api, NO_LIMIT, Plan};
use super::load::{Asked, Load};
use super::wire::Wire;
use crate::support::redis_server::RedisServer;
use crate::support::servers::Servers;
use crate::support::{figure, is_full};

/// How many ask at once while it is found out how much the services can do.
const CROWD: usize = 16;
/// What of that is asked of them.
const SHARE: f64 = 0.7;
/// No service is asked for more in a second: while its database is away, requests wait, each on a connection of its own.
const MOST_PER_SECOND: usize = 400;
/// How long nobody asks after a round, so that connections that idle are closed; and how often memory and open files are read meanwhile.
const CALM: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The most that memory may grow by in a minute of the long form.
const MOST_MIB_A_MINUTE: f64 = 1.0;
/// The most that open files may grow by from the first rounds that count to the last.
const MOST_MORE_FILES: f64 = 16.0;
/// The most that a small form may leave behind in memory: caches that fill.
const MOST_MORE_MIB: f64 = 96.0;
/// How many clients leave without waiting for their answer, where that is the fault.
const LEAVING: usize = 200;

/// What happens in a round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed(Backend),
    Hung(Backend),
    CutOff(Backend),
    RedisKilled,
    RedisHung,
    ClientsLeave,
}

const FAULTS: [Fault; 9] = [
    Fault::RedisKilled,
    Fault::Killed(Backend::Postgres),
    Fault::ClientsLeave,
    Fault::Hung(Backend::MySql),
    Fault::CutOff(Backend::Postgres),
    Fault::RedisHung,
    Fault::Killed(Backend::MySql),
    Fault::Hung(Backend::Postgres),
    Fault::CutOff(Backend::MySql),
];

/// A service, who asks it, and what it was seen to hold.
struct Served {
    backend: Backend,
    /// The way to its database, where that is a server.
    wire: Option<Wire>,
    api: Api,
    load: Load,
    /// After each round: the least memory in MiB and the fewest open files. What a fault needs for a moment is no growth.
    held: Vec<(f64, f64)>,
}

impl Served {
    async fn start(backend: Backend, url: &Secret, redis: &str, home: &std::path::Path) -> Self {
        let (url, wire) = if backend == Backend::Sqlite { (url.clone(), None) } else { wired(url).await };
        let plan = Plan { limit: NO_LIMIT, redis: Some(redis.to_owned()), is_patient: false };
        let api = Api::start(&plan, &url, home);
        let token = api.sign_up("ann").await;
        let (read, write) = (api.address("/greeting"), api.address("/notes"));
        let load = Load::new(vec![(Method::GET, read.clone()), (Method::POST, write), (Method::GET, read)]);
        let load = load.with_header("authorization", &format!("Bearer {token}"));
        Served { backend, wire, api, load, held: Vec::new() }
    }
}

/// An address that leads over a wire.
async fn wired(url: &Secret) -> (Secret, Option<Wire>) {
    let (start, rest) = url.expose().split_once('@').expect("an address has a user");
    let (server, name) = rest.split_once('/').expect("an address has a database");
    let wire = Wire::to(server).await;
    (Secret::new(format!("{start}@{}/{name}", wire.address())), Some(wire))
}

/// Resident memory in MiB, and open files.
fn held_by(process: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the system tells it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
    (kib / 1024.0, files as f64)
}

/// Looks at each while nobody asks it; keeps the least of both.
async fn look(all: &mut [Served]) {
    let began = Instant::now();
    let mut least: Vec<(f64, f64)> = all.iter().map(|served| held_by(served.api.id())).collect();
    while began.elapsed() < CALM {
        tokio::time::sleep(LOOK_EVERY).await;
        for (least, served) in least.iter_mut().zip(&*all) {
            let (mib, files) = held_by(served.api.id());
            *least = (least.0.min(mib), least.1.min(files));
        }
    }
    for (least, served) in least.into_iter().zip(all) {
        served.held.push(least);
    }
}

/// How many requests in a second all of them answer together, where a crowd asks each.
async fn capacity(all: &[Served], time: Duration) -> usize {
    let (began, answered) = (Instant::now(), AtomicUsize::new(0));
    let everybody = all.iter().flat_map(|served| (0..CROWD).map(move |first| (served, first)));
    let asking = everybody.map(|(served, first)| {
        let answered = &answered;
        async move {
            for n in first.. {
                let asked = served.load.ask(n, began).await;
                assert!(matches!(asked.status, Some(200 | 201)), "{:?}: {asked:?}", served.backend);
                answered.fetch_add(1, Ordering::Relaxed);
                if began.elapsed() > time {
                    return;
                }
            }
        }
    });
    futures_util::future::join_all(asking).await;
    (answered.into_inner() as f64 / time.as_secs_f64()) as usize
}

/// Takes something away for so long, and gives it back.
async fn inflict(fault: Fault, time: Duration, servers: &Servers, redis: &mut RedisServer, all: &[Served]) {
    let wire = |backend| all.iter().find(|served| served.backend == backend).and_then(|served| served.wire.as_ref());
    match fault {
        Fault::Killed(backend) => servers.kill(backend),
        Fault::Hung(backend) => servers.hang(backend),
        Fault::CutOff(backend) => wire(backend).expect("a server has a wire").cut(),
        Fault::RedisKilled => redis.kill(),
        Fault::RedisHung => redis.hang(),
        Fault::ClientsLeave => leave(all).await,
    }
    tokio::time::sleep(time).await;
    match fault {
        Fault::Killed(backend) => servers.start_again(backend, &servers.url(backend, "soak")).await,
        Fault::Hung(backend) => servers.go_on(backend),
        Fault::CutOff(backend) => wire(backend).expect("a server has a wire").mend(),
        Fault::RedisKilled => redis.start_again(),
        Fault::RedisHung => redis.go_on(),
        Fault::ClientsLeave => {}
    }
}

/// Clients that send half a request, or a whole one, and reset the connection.
async fn leave(all: &[Served]) {
    for n in 0..LEAVING {
        let mut socket = Socket::connect(all[n % all.len()].api.url()).await;
        let end: &[u8] = if n.is_multiple_of(2) { b"" } else { b"\r\n" };
        socket.send(&[b"GET /hello HTTP/1.1\r\nhost: h\r\n", end].concat()).await;
        socket.reset();
    }
}

/// The slope of a line through these, in units of each step.
fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let of = |f: &dyn Fn(f64, f64) -> f64| {
        values.iter().enumerate().map(|(i, value)| f(i as f64 - middle, *value)).sum::<f64>()
    };
    of(&|at, value| at * (value - mean)) / of(&|at, _| at * at)
}

#[test]
fn a_slope_is_that_of_the_line() {
    assert_eq!(slope(&[5.0, 7.0, 9.0, 11.0]), 2.0);
    assert_eq!(slope(&[3.0, 3.0, 3.0]), 0.0);
}

/// Promise: R-34
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn services_grow_neither_in_memory_nor_in_open_files() {
    let Some(mut redis) = RedisServer::start() else { return };
    let Some(servers) = Servers::start(&[Backend::Postgres, Backend::MySql], None) else { return };
    let (rounds, round_secs, fault_secs) = (figure(4, 60), figure(3, 56).max(1), figure(1, 5).max(1));
    let (round, fault_time) = (Duration::from_secs(round_secs as u64), Duration::from_secs(fault_secs as u64));
    let url = redis.redis().url().expose().to_owned();
    let sqlite = TestDatabase::sqlite().await;
    let home = sqlite.data_dir();
    let mut all = vec![Served::start(Backend::Sqlite, sqlite.url(), &url, &home).await];
    for backend in servers.backends() {
        let database = servers.database(backend, "soak").await;
        all.push(Served::start(backend, &database, &url, &home).await);
    }
    let faults: Vec<Fault> = FAULTS
        .into_iter()
        .filter(|fault| match fault {
            Fault::Killed(backend) | Fault::Hung(backend) | Fault::CutOff(backend) => {
                servers.backends().contains(backend)
            }
            _ => true,
        })
        .collect();

    let most = capacity(&all, round / 3).await;
    let per_second = ((most as f64 * SHARE) as usize / all.len()).clamp(1, MOST_PER_SECOND);
    let (mut sent, mut refused) = (0, 0);
    for number in 0..rounds {
        let loads: Vec<JoinHandle<Vec<Asked>>> = all
            .iter()
            .map(|served| {
                let load = served.load.clone();
                tokio::spawn(async move { load.run(per_second, round).await })
            })
            .collect();
        tokio::time::sleep(round / 3).await;
        let fault = faults[number % faults.len()];
        inflict(fault, fault_time, &servers, &mut redis, &all).await;
        for (load, served) in loads.into_iter().zip(&all) {
            for asked in load.await.expect("asking does not panic") {
                sent += 1;
                refused += usize::from(asked.status == Some(503));
                let is_well = matches!(asked.status, Some(200 | 201)) || asked.status == Some(503) && asked.says_when;
                assert!(is_well, "{:?} in round {number}, {fault:?}: {asked:?}", served.backend);
            }
        }
        look(&mut all).await;
    }
    // Caches and pools fill first.
    let counted = rounds / 6;
    for served in &all {
        let (mib, files): (Vec<f64>, Vec<f64>) = served.held[counted..].iter().copied().unzip();
        let (first, last) = (mib[0], mib[mib.len() - 1]);
        let a_minute = slope(&mib) * 60.0 / (round + CALM).as_secs_f64();
        let more_files = slope(&files) * (files.len() - 1) as f64;
        let name = served.backend.as_str();
        assert!(more_files <= MOST_MORE_FILES, "{name}: open files grow: {files:?}");
        match is_full() {
            true => assert!(a_minute < MOST_MIB_A_MINUTE, "{name}: {a_minute:.2} MiB more a minute: {mib:?}"),
            false => assert!(last - first <= MOST_MORE_MIB, "{name}: memory grows: {mib:?}"),
        }
        println!(
            "R-34 held: {name}, {rounds} rounds of {round_secs} s at {per_second} requests/s ({:.0} % of what it can), a fault in each; memory \
             {first:.1} to {last:.1} MiB, {a_minute:+.2} MiB a minute; open files {:.0} to {:.0}",
            100.0 * (per_second * all.len()) as f64 / most as f64,
            files[0],
            files[files.len() - 1]
        );
    }
    println!("R-34 held: {sent} requests in all, {refused} × 503 with Retry-After, and nothing worse");
}
