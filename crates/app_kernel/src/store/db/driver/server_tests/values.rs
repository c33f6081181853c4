//! Values come back as they went, and rows tell what they can not hold.

use serde_json::json;

use super::*;

on_both! {
    /// Promise: C13, R-14
    every_value_comes_back_as_it_went,
    null_is_null_in_every_column,
    /// Promise: R-29
    what_a_column_cannot_hold_is_unfit,
}

/// The torture set (of values that all databases must give back bit by bit).
fn torture() -> Vec<(ColumnType, Vec<Value>)> {
    // The last one is nearly the end of jiff's time.
    let times =
        ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2038-01-19T03:14:08Z", "9999-12-30T21:59:59.999999Z"];
    let all_bytes: Vec<u8> = (0..=255).collect();
    let texts = [
        "",
        " ",
        "a ",
        "A",
        "é",
        "e\u{301}",
        "ß",
        "İı",
        "👩‍👩‍👧‍👦",
        "\u{10FFFF}",
        "\u{FEFF}first",
        "\u{202E}abc",
        "\r\n\t",
        "'\"`[](){}",
        "\\",
        "\\N",
        "NULL",
        "=1+1",
        "-- ;",
        "?",
        "$1",
        ":name",
        "%_",
    ];
    let mut texts: Vec<Value> = texts.map(Value::from).to_vec();
    texts.push(Value::Text("x".repeat(1024 * 1024)));
    texts.extend([65_535, 65_536, 65_537].map(|n| Value::Text("y".repeat(n))));
    let json = [
        json!({"z": 1, "a": [null, true, 1.5, "é"], "big": 9_007_199_254_740_993_i64}),
        json!([]),
        json!("text"),
        json!(12),
    ];
    let floats = [0.1, 1e308, 5e-324, -0.0, 1.0 / 3.0, f64::MAX, f64::MIN_POSITIVE];
    let ints = [0, 1, -1, i64::from(i32::MAX) + 1, (1 << 53) + 1, i64::MAX, i64::MIN];
    vec![
        (ColumnType::Text, texts),
        (ColumnType::Bool, vec![Value::Bool(true), Value::Bool(false)]),
        (ColumnType::Int, ints.map(Value::Int).to_vec()),
        (ColumnType::Float, floats.map(Value::Float).to_vec()),
        (ColumnType::Decimal, ["0.1", "-12345678901234567890.000000001"].map(Value::from).to_vec()),
        (ColumnType::Timestamp, times.map(|t| Value::Timestamp(t.parse().expect("a time"))).to_vec()),
        (
            ColumnType::Date,
            ["0001-01-01", "1969-12-31", "9999-12-31"].map(|t| Value::Date(t.parse().expect("a day"))).to_vec(),
        ),
        (ColumnType::Time, ["00:00:00", "23:59:59.999999"].map(|t| Value::Time(t.parse().expect("a time"))).to_vec()),
        (ColumnType::Uuid, vec![Value::from("0190d5f4-7c3e-7000-8000-000000000001")]),
        (ColumnType::Bytes, vec![Value::Bytes(all_bytes), Value::Bytes(vec![]), Value::Bytes(vec![0; 70_000])]),
        (ColumnType::Json, json.map(|json| Value::Json(Box::new(json))).to_vec()),
    ]
}

impl Database {
    /// Whether a value came back. -0.0 and 0.0 are the same number and other bits; MariaDB does not keep the sign.
    fn is_same(&self, found: &Value, sent: &Value) -> bool {
        match (found, sent) {
            (Value::Float(a), Value::Float(b)) if self.is_postgres() || *b != 0.0 => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }
}

async fn every_value_comes_back_as_it_went(db: Database) {
    let driver = db.connect().await;
    for (ty, values) in torture() {
        let column = driver.dialect().column_type(ty, false);
        driver.read(Batch(format!("CREATE TABLE t (c0 {column})"))).await.expect("a table");
        for value in values {
            let insert = Execute("INSERT INTO t (c0) VALUES (?)", vec![value.clone()]);
            assert_eq!(driver.write(Arc::new(insert)).await.unwrap_or_else(|error| panic!("{value:?}: {error:?}")), 1);
            let twice = Together("INSERT INTO t (c0) VALUES (?)", vec![value.clone(), value.clone()]);
            assert_eq!(driver.write(Arc::new(twice)).await.unwrap_or_else(|error| panic!("{value:?}: {error:?}")), 1);
            let typed = driver.read(Typed(vec![ty])).await.expect("the rows by their type");
            assert_eq!(typed.len(), 3);
            let is_right = typed.iter().all(|row| db.is_same(&row[0], &value));
            assert!(is_right, "{ty:?}: {typed:?} are not {value:?}");
            let any = driver.read(Any("SELECT c0 FROM t".to_owned(), vec![])).await.expect("the row by itself");
            match (&any[0][0], &value) {
                // MySQL's JSON columns are texts, so that nothing is rewritten.
                (Value::Text(text), Value::Json(json)) => assert_eq!(text, &json.to_string()),
                (any, value) => assert!(db.is_same(any, value), "{ty:?}: {any:?} is not {value:?}"),
            }
            driver.write(Arc::new(Execute("DELETE FROM t", vec![]))).await.expect("an empty table");
        }
        driver.read(Batch("DROP TABLE t".to_owned())).await.expect("it goes");
    }
    driver.close().await;
}

async fn null_is_null_in_every_column(db: Database) {
    let driver = db.connect().await;
    let types: Vec<_> = torture().into_iter().map(|(ty, _)| ty).collect();
    let columns = types.iter().enumerate().map(|(i, ty)| format!("c{i} {}", driver.dialect().column_type(*ty, false)));
    driver.read(Batch(format!("CREATE TABLE t ({})", columns.collect::<Vec<_>>().join(", ")))).await.expect("a table");
    let insert = Execute(
        "INSERT INTO t (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        vec![Value::Null; types.len()],
    );
    driver.write(Arc::new(insert)).await.expect("a row of nothing");
    let nothing = vec![vec![Value::Null; types.len()]];
    assert_eq!(driver.read(Typed(types)).await.expect("the row by its types"), nothing);
    assert_eq!(driver.read(Any("SELECT * FROM t".to_owned(), vec![])).await.expect("the row by itself"), nothing);
    let error = driver.read(Read(|row| row.int(2))).await.expect_err("null is no number");
    assert_eq!(format!("{error}"), "column `c2` is null");
    let error = driver.read(Read(|row| row.int(99))).await.expect_err("there is no such column");
    assert_eq!(format!("{error}"), "column `` is missing: the row has 11 columns");
    driver.close().await;
}

/// One read of the table `t`.
struct Read<T: 'static>(fn(&RowRef<'_>) -> Result<T, DecodeError>);

impl<T: Send + 'static> Operation for Read<T> {
    type Output = Vec<T>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<T>, DbError> {
        session.query("SELECT * FROM t", &[], self.0).await
    }
}

async fn what_a_column_cannot_hold_is_unfit(db: Database) {
    let driver = db.connect().await;
    let table = "CREATE TABLE t (small SMALLINT, short VARCHAR(3), at_time TIME, on_day DATE, amount NUMERIC(5, 2))";
    driver.read(Batch(table.to_owned())).await.expect("a table");
    let day = Value::Date(jiff::civil::date(-1, 1, 1));
    for (sql, value) in [
        ("INSERT INTO t (small) VALUES (?)", Value::Int(70_000)),
        ("INSERT INTO t (small) VALUES (?)", Value::from("seven")),
        ("INSERT INTO t (short) VALUES (?)", Value::from("four")),
        ("INSERT INTO t (at_time) VALUES (?)", Value::from("noon")),
        ("INSERT INTO t (amount) VALUES (?)", Value::from("12345.67")),
        ("INSERT INTO t (amount) VALUES (?)", Value::Float(f64::NAN)),
        ("INSERT INTO t (amount) VALUES (?)", Value::Float(f64::INFINITY)),
    ] {
        let outcome = driver.write(Arc::new(Execute(sql, vec![value.clone()]))).await;
        assert!(matches!(outcome, Err(DbError::Unfit(_))), "{value:?}: {outcome:?}");
    }
    if !db.is_postgres() {
        let outcome = driver.write(Arc::new(Execute("INSERT INTO t (on_day) VALUES (?)", vec![day]))).await;
        assert!(matches!(outcome, Err(DbError::Unfit(_))), "{outcome:?}");
    }
    // A text can be any of them.
    for (column, text, back) in [
        ("amount", "12.30", "12.30"),
        ("small", "-7", "-7"),
        ("on_day", "2026-01-30", "2026-01-30"),
        ("at_time", "12:30:00", "12:30:00"),
    ] {
        let sql = placed(driver.dialect(), &format!("INSERT INTO t ({column}) VALUES (?)"));
        driver.write(Arc::new(OwnExecute(sql, vec![Value::from(text)]))).await.expect("it fits");
        let found = driver
            .read(Any(format!("SELECT {column} FROM t WHERE {column} IS NOT NULL"), vec![]))
            .await
            .expect("a row");
        let shown = serde_json::to_value(&found[0][0]).expect("a value");
        assert_eq!(shown.as_str().map_or_else(|| shown.to_string(), ToOwned::to_owned), back);
    }
    driver.close().await;
}

/// What only one of them has.
mod types_of_postgres {
    use super::*;

    #[tokio::test]
    async fn raw_sql_reads_every_common_type() {
        on(Backend::Postgres, async |db: Database| {
            let driver = db.connect().await;
            driver.read(Batch("CREATE TYPE mood AS ENUM ('sad', 'ok')".to_owned())).await.expect("a type");
            let sql = "SELECT 1::int2, 2::int4, 3::oid, 1.5::float4, 12.50::numeric, sum(x), \
                       'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid, '{\"b\": 1}'::jsonb, 'ok'::mood, 'x'::name, 'ab'::char(3), \
                       '2026-01-30 12:00'::timestamp, pg_advisory_unlock_all(), NULL FROM (VALUES (1::int8), (2)) v (x)";
            let found = driver.read(Any(sql.to_owned(), vec![])).await.expect("a row");
            let at: Timestamp = "2026-01-30T12:00:00Z".parse().expect("a time");
            let wanted = vec![
                Value::Int(1),
                Value::Int(2),
                Value::Int(3),
                Value::Float(1.5),
                Value::from("12.50"),
                Value::from("3"),
                Value::from("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                Value::Json(Box::new(json!({"b": 1}))),
                Value::from("ok"),
                Value::from("x"),
                Value::from("ab "),
                Value::Timestamp(at),
                Value::Null,
                Value::Null,
            ];
            assert_eq!(found, [wanted]);
            let error = driver.read(Any("SELECT '1 day'::interval AS long".to_owned(), vec![])).await.expect_err("no such value");
            assert_eq!(
                error.to_string(),
                "column `long` is of the PostgreSQL type `interval` and can't be read as a text; cast it to text"
            );
            for infinite in ["'infinity'::timestamptz", "'-infinity'::date", "'24:00'::time"] {
                let outcome = driver.read(Any(format!("SELECT {infinite}"), vec![])).await;
                assert!(matches!(outcome, Err(DbError::Decode(_))), "{infinite}: {outcome:?}");
            }
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn parameters_take_the_type_that_the_statement_wants() {
        on(Backend::Postgres, async |db: Database| {
            let driver = db.connect().await;
            let sql = "SELECT ?::numeric, ?::uuid, ?::timestamptz, ?::int2, ?::float8, ?::jsonb, ?::text, ?::date, ?::bool::text";
            let params = vec![
                Value::Int(12),
                Value::from("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
                Value::from("2026-01-30T12:00:00Z"),
                Value::Int(7),
                Value::Int(8),
                Value::from("[1]"),
                Value::Json(Box::new(json!({"a": 1}))),
                Value::Timestamp("2026-01-30T12:00:00Z".parse().expect("a time")),
                Value::Bool(true),
            ];
            let found = driver.read(Any(sql.to_owned(), params)).await.expect("a row");
            let wanted = vec![
                Value::from("12"),
                Value::from("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                Value::Timestamp("2026-01-30T12:00:00Z".parse().expect("a time")),
                Value::Int(7),
                Value::Float(8.0),
                Value::Json(Box::new(json!([1]))),
                Value::from("{\"a\":1}"),
                Value::Date(jiff::civil::date(2026, 1, 30)),
                Value::from("true"),
            ];
            assert_eq!(found, [wanted]);
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn prepared_statements_do_not_pile_up() {
        on(Backend::Postgres, async |db: Database| {
            let driver = db.connect_with(&one_connection()).await;
            for i in 0..700 {
                assert_eq!(number(&driver, &format!("SELECT {i}")).await, i);
            }
            assert!(number(&driver, "SELECT count(*) FROM pg_prepared_statements").await < 650);
            driver.close().await;
        })
        .await;
    }
}

/// What only the other has.
mod types_of_mysql {
    use super::*;

    #[tokio::test]
    async fn raw_sql_reads_every_common_type() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect().await;
            let sql = "SELECT CAST(12.50 AS DECIMAL(5,2)), SUM(x), CAST(18446744073709551615 AS UNSIGNED), b'101' + 0, \
                       CAST('ab' AS BINARY), CAST('2026-01-30' AS DATE), CAST('2026-01-30 12:00:00' AS DATETIME), \
                       CAST('12:30:00' AS TIME), 1.5e0, NULL, 'x' FROM (SELECT 1 AS x UNION ALL SELECT 2) v";
            let found = driver.read(Any(sql.to_owned(), vec![])).await.expect("a row");
            let wanted = vec![
                Value::from("12.50"),
                Value::from("3"),
                Value::from("18446744073709551615"),
                Value::Int(5),
                Value::Bytes(b"ab".to_vec()),
                Value::Date(jiff::civil::date(2026, 1, 30)),
                Value::Timestamp("2026-01-30T12:00:00Z".parse().expect("a time")),
                Value::Time(jiff::civil::time(12, 30, 0, 0)),
                Value::Float(1.5),
                Value::Null,
                Value::from("x"),
            ];
            assert_eq!(found, [wanted]);
            for long in ["CAST('25:00:00' AS TIME)", "CAST('-01:00:00' AS TIME)"] {
                let outcome = driver.read(Any(format!("SELECT {long}"), vec![])).await;
                assert!(matches!(outcome, Err(DbError::Decode(_))), "{long}: {outcome:?}");
            }
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn prepared_statements_do_not_pile_up() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect_with(&one_connection()).await;
            for i in 0..600 {
                assert_eq!(number(&driver, &format!("SELECT {i}")).await, i);
            }
            let sql = "SHOW SESSION STATUS WHERE Variable_name IN ('Com_stmt_close', 'Com_stmt_prepare')";
            let counts = driver.read(Any(sql.to_owned(), vec![])).await.expect("two counts");
            let [closed, prepared] =
                [0, 1].map(|row| counts[row][1].as_str().and_then(|text| text.parse::<i64>().ok()));
            assert_eq!((closed, prepared), (Some(512), Some(601)));
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn each_session_is_strict_and_in_utc() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect().await;
            let sql = "SELECT @@session.time_zone, @@session.character_set_connection, @@session.collation_connection, \
                       @@session.sql_mode, @@session.innodb_lock_wait_timeout";
            let found = driver.read(Any(sql.to_owned(), vec![])).await.expect("the settings");
            let modes = found[0][3].as_str().expect("a text").to_owned();
            assert_eq!(found[0][..3], ["+00:00", "utf8mb4", "utf8mb4_bin"].map(Value::from));
            assert!(modes.contains("STRICT_ALL_TABLES") && !modes.contains("ANSI_QUOTES"), "{modes}");
            assert!(!modes.contains("NO_BACKSLASH_ESCAPES"), "{modes}");
            assert_eq!(found[0][4].as_int(), Some(10));
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_from_a_missing_database() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect().await;
            let user = format!("u{}", &db.name[db.name.len() - 12..]);
            let make = format!(
                "CREATE USER '{user}'@'%' IDENTIFIED BY 'p@ss/?#%: +&é'; GRANT ALL ON {}.* TO '{user}'@'%'",
                db.name
            );
            driver.read(Batch(make)).await.expect("a user");
            let (_, place) = db.url.split_once('@').expect("a user in the address");
            let options = Options::default();
            let good = format!("mysql://{user}:p%40ss%2F%3F%23%25%3A%20%2B%26%C3%A9@{place}");
            let outcome = try_connect(Backend::MySql, &good, &options).await.map_err(text_of);
            let bad = try_connect(Backend::MySql, &format!("mysql://{user}:hunter2@{place}"), &options)
                .await
                .map_err(text_of);
            driver.read(Batch(format!("DROP USER '{user}'@'%'"))).await.expect("it goes");
            outcome.expect("the password is right").close().await;
            let text = bad.expect_err("the password is wrong");
            assert!(text.contains("correct the user or the password") && !text.contains("hunter2"), "{text}");
            driver.close().await;
        })
        .await;
    }
}
