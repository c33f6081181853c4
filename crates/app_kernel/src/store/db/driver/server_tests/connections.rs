//! Connections: killed, slow, exhausted, refused, encrypted, and how few round trips they need.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

on_both! {
    /// Promise: R-09
    a_killed_connection_costs_at_most_one_failure,
    /// Promise: R-09
    a_statement_that_takes_too_long_is_given_up,
    a_batch_has_no_limit_of_time,
    an_exhausted_pool_says_so_in_time,
    a_changed_table_does_not_break_prepared_statements,
    no_round_trip_is_wasted,
    a_start_that_fails_names_the_cause_and_the_cure,
    tls_is_spoken_where_it_is_asked_for,
    a_closed_pool_finishes_what_is_under_way,
}

async fn a_killed_connection_costs_at_most_one_failure(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let killer = db.connect_with(&one_connection()).await;
    for round in 0..3 {
        let mut transaction = (round == 2).then_some(driver.begin().await.expect("a transaction"));
        let who = if db.is_postgres() { "SELECT pg_backend_pid()" } else { "SELECT connection_id()" };
        let id = match &mut transaction {
            Some(open) => open.run(Any(who.to_owned(), vec![])).await.expect("an id")[0][0].as_int().expect("a number"),
            None => {
                drop(transaction.take());
                number(&driver, who).await
            }
        };
        let kill = if db.is_postgres() { format!("SELECT pg_terminate_backend({id})") } else { format!("KILL {id}") };
        killer.read(Batch(kill)).await.expect("it is gone");
        if let Some(open) = transaction {
            let outcome = open.commit().await;
            assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
        }
        let outcome = write(&driver, vec![add(format!("first {round}"))]).await;
        assert!(matches!(outcome, Ok(()) | Err(DbError::Away(_))), "{outcome:?}");
        write(&driver, vec![add(format!("second {round}"))]).await.expect("a new connection");
    }
    killer.close().await;
    driver.close().await;
}

async fn a_statement_that_takes_too_long_is_given_up(db: Database) {
    let options = Options { statement_timeout: Duration::from_millis(300), ..one_connection() };
    let driver = db.with_items(&options).await;
    let slow =
        if db.is_postgres() { "SELECT 1 FROM pg_sleep(60)" } else { "SELECT count(*) FROM (SELECT SLEEP(60)) s" };
    for _ in 0..2 {
        let outcome = driver.read(Any(slow.to_owned(), vec![])).await;
        assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
        assert_eq!(items(&driver).await, 0);
    }
    driver.close().await;
}

async fn a_batch_has_no_limit_of_time(db: Database) {
    let options = Options { statement_timeout: Duration::from_millis(100), ..one_connection() };
    let driver = db.with_items(&options).await;
    let slow = if db.is_postgres() { "SELECT pg_sleep(1.3)" } else { "DO SLEEP(1.3)" };
    driver.read(Batch(slow.to_owned())).await.expect("as long as it takes");
    let outcome = driver.read(Batch("SELECT nonsense".to_owned())).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    let limit = if db.is_postgres() {
        "SELECT current_setting('statement_timeout')"
    } else {
        "SELECT @@max_statement_time * 1000"
    };
    if db.is_postgres() || is_mariadb(&driver).await {
        let found = driver.read(Any(limit.to_owned(), vec![])).await.expect("the limit is back");
        let text = serde_json::to_string(&found[0][0]).expect("a value");
        assert!(text.contains("100"), "{text}");
    }
    driver.close().await;
}

async fn is_mariadb(driver: &Driver) -> bool {
    let version = driver.read(Any("SELECT version()".to_owned(), vec![])).await.expect("a version");
    version[0][0].as_str().is_some_and(|text| text.contains("MariaDB"))
}

async fn an_exhausted_pool_says_so_in_time(db: Database) {
    let options = Options { connect_timeout: Duration::from_millis(300), ..one_connection() };
    let driver = db.with_items(&options).await;
    let mut transaction = driver.begin().await.expect("the only connection");
    transaction.run(Steps(vec![add("a")])).await.expect("a row");
    let outcome = driver.read(Any("SELECT 1".to_owned(), vec![])).await;
    assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
    transaction.commit().await.expect("it lasts");
    assert_eq!(items(&driver).await, 1);
    driver.close().await;
}

async fn a_changed_table_does_not_break_prepared_statements(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let other = db.connect().await;
    write(&driver, vec![add("a")]).await.expect("a row");
    let all = || Any("SELECT * FROM items".to_owned(), vec![]);
    assert_eq!(driver.read(all()).await.expect("prepared")[0].len(), 2);
    other.read(Batch("ALTER TABLE items ADD COLUMN extra INTEGER".to_owned())).await.expect("a new column");
    assert_eq!(driver.read(all()).await.expect("prepared again")[0].len(), 3);
    other.read(Batch("ALTER TABLE items ADD COLUMN more INTEGER".to_owned())).await.expect("a new column");
    // In a transaction, the whole of it can be tried again.
    match driver.write(Arc::new(all())).await {
        Err(error) if error.is_worth_a_retry() => {
            assert_eq!(driver.write(Arc::new(all())).await.expect("prepared again")[0].len(), 4);
        }
        outcome => assert_eq!(outcome.expect("prepared again")[0].len(), 4),
    }
    other.close().await;
    driver.close().await;
}

async fn no_round_trip_is_wasted(db: Database) {
    let counter = Arc::new(AtomicUsize::new(0));
    let url = through_a_counter(&db.url, counter.clone()).await;
    let driver = connect(db.backend, &url, &one_connection()).await;
    drop(db.with_items(&one_connection()).await);
    let (one, two, together, read) = (
        async |id: &str| {
            let insert = Execute("INSERT INTO items (id, n) VALUES (?, 0)", vec![id.into()]);
            driver.write(Arc::new(insert)).await.expect("one statement");
        },
        async |id: &str| {
            write(&driver, vec![add(format!("{id}-1")), add(format!("{id}-2"))]).await.expect("two statements")
        },
        async |ids: [&str; 2]| {
            let ids = ids.map(Value::from).to_vec();
            let both = Together("INSERT INTO items (id, n) VALUES (?, 0)", ids);
            driver.write(Arc::new(both)).await.expect("two statements together");
        },
        async || items(&driver).await,
    );
    let spent = async |work: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
        let before = counter.load(Ordering::SeqCst);
        work.await;
        counter.load(Ordering::SeqCst) - before
    };
    // The first time, statements are prepared.
    one("a").await;
    two("b").await;
    read().await;
    assert_eq!(spent(Box::pin(async { _ = read().await })).await, 1);
    assert_eq!(spent(Box::pin(one("c"))).await, 1);
    // PostgreSQL: BEGIN with the first statement, the second, COMMIT. MySQL sends each alone.
    assert_eq!(spent(Box::pin(two("d"))).await, if db.is_postgres() { 3 } else { 4 });
    // Sent together, they are one text on MySQL, with the beginning and the end.
    assert_eq!(spent(Box::pin(together(["e", "f"]))).await, if db.is_postgres() { 3 } else { 1 });
    driver.close().await;
}

/// An address that leads to the same server, where each turn of the client is counted.
async fn through_a_counter(url: &str, counter: Arc<AtomicUsize>) -> String {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let (authority, path) = rest.split_once('/').expect("a database");
    let (user, host) = authority.split_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let host = host.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&host).await.expect("the server");
            tokio::spawn(count_turns(client, server, counter.clone()));
        }
    });
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}://{user}127.0.0.1:{port}/{path}")
}

async fn count_turns(mut client: TcpStream, mut server: TcpStream, counter: Arc<AtomicUsize>) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_server_next = false;
    loop {
        tokio::select! {
            n = client.read(&mut asked) => match n {
                Ok(n) if n > 0 => {
                    if !is_server_next {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    is_server_next = true;
                    if server.write_all(&asked[..n]).await.is_err() { return }
                }
                _ => return,
            },
            n = server.read(&mut answered) => match n {
                Ok(n) if n > 0 => {
                    is_server_next = false;
                    if client.write_all(&answered[..n]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
}

async fn a_start_that_fails_names_the_cause_and_the_cure(db: Database) {
    let options = Options { connect_timeout: Duration::from_secs(2), ..Options::default() };
    let refused = async |url: &str| {
        let text = text_of(try_connect(db.backend, url, &options).await.expect_err("no such database"));
        assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
        text
    };
    let name = if db.is_postgres() { "PostgreSQL" } else { "MySQL" };
    let scheme = db.backend.as_str();
    assert_eq!(
        refused(&format!("{scheme}://ann:hunter2@127.0.0.1:1/app")).await,
        format!(
            "DATABASE_URL: cannot reach {name} at 127.0.0.1:1: nothing listens there; start it, or correct the host and port"
        )
    );
    let text = refused(&format!("{scheme}://ann:hunter2@no-such-host.invalid/app")).await;
    assert!(
        text.contains("at no-such-host.invalid:") && text.contains("the host is unknown; correct its name"),
        "{text}"
    );
    let text = refused(&with_database(&db.server, "not_there")).await;
    let cure = if db.is_postgres() { "make it: createdb not_there" } else { "make it: CREATE DATABASE `not_there`" };
    assert!(text.starts_with(&format!("DATABASE_URL: {name} at ")) && text.ends_with(cure), "{text}");
    let socket = if db.is_postgres() { "host=/nowhere" } else { "socket=/nowhere/mysqld.sock" };
    let text = refused(&format!("{scheme}:///app?{socket}")).await;
    assert!(
        text.contains("at /nowhere/") && text.contains("there is no such socket; start it, or correct the path"),
        "{text}"
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("an address").port();
    let text = refused(&format!("{scheme}://ann:hunter2@127.0.0.1:{port}/app")).await;
    assert!(text.contains("no answer within 2 s"), "{text}");
}

async fn tls_is_spoken_where_it_is_asked_for(db: Database) {
    let plain = db.connect().await;
    let can = if db.is_postgres() {
        number(&plain, "SELECT (current_setting('ssl') = 'on')::int").await == 1
    } else {
        let found = plain.read(Any("SHOW VARIABLES LIKE 'have_ssl'".to_owned(), vec![])).await.expect("a setting");
        found.is_empty() || found[0][1] == "YES"
    };
    plain.close().await;
    let options = Options { connect_timeout: Duration::from_secs(5), ..Options::default() };
    let with = async |mode: &str| {
        let separator = if db.url.contains('?') { '&' } else { '?' };
        try_connect(db.backend, &format!("{}{separator}sslmode={mode}", db.url), &options).await
    };
    for mode in ["disable", "prefer"] {
        with(mode).await.unwrap_or_else(|error| panic!("{mode}: {}", text_of(error))).close().await;
    }
    if !can {
        let text = text_of(with("require").await.expect_err("the server has no TLS"));
        assert!(text.contains("TLS"), "{text}");
        return;
    }
    let encrypted = with("require").await.unwrap_or_else(|error| panic!("{}", text_of(error)));
    let sql = if db.is_postgres() {
        "SELECT count(*) FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()"
    } else {
        "SELECT count(*) FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher' AND variable_value <> ''"
    };
    if db.is_postgres() || is_mariadb(&encrypted).await {
        assert_eq!(number(&encrypted, sql).await, 1);
    }
    encrypted.close().await;
    // A test server's certificate is signed by nobody whom the web trusts.
    let text = text_of(with("verify-full").await.expect_err("an unknown root"));
    assert!(text.contains("refuses: TLS failed") && text.contains("sslrootcert=FILE"), "{text}");
}

async fn a_closed_pool_finishes_what_is_under_way(db: Database) {
    let driver = Arc::new(db.with_items(&Options::default()).await);
    let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let steps = Steps(vec![add("a"), Step::Gate(here.clone(), go.clone()), add("b")]);
    let writer = driver.clone();
    let under_way = tokio::spawn(async move { writer.write(Arc::new(steps)).await });
    here.notified().await;
    let closing = tokio::spawn({
        let driver = driver.clone();
        async move { driver.close().await }
    });
    tokio::task::yield_now().await;
    go.notify_one();
    under_way.await.expect("no panic").expect("both rows");
    closing.await.expect("no panic");
    let outcome = driver.read(Any("SELECT 1".to_owned(), vec![])).await;
    assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
    let again = db.connect().await;
    assert_eq!(items(&again).await, 2);
    again.close().await;
}
