//! The collation of texts on MySQL and MariaDB: it compares bytes and does not pad, so that texts are the same where their bytes are.

use super::DbResult;
use super::dialect::Backend;
use super::driver::Session;

/// What MariaDB and MySQL call it.
pub(super) const BINARY_COLLATIONS: [&str; 2] = ["utf8mb4_nopad_bin", "utf8mb4_0900_bin"];

/// What the server of this session calls it; "" where it is another database.
pub(super) async fn binary_collation(session: &mut Session<'_>) -> DbResult<&'static str> {
    if session.dialect().backend() != Backend::MySql {
        return Ok("");
    }
    let version = session.query("SELECT VERSION()", &[], |row| row.text(0).map(str::to_owned)).await?;
    let is_mariadb = version.iter().any(|version| version.contains("MariaDB"));
    let [mariadb, mysql] = BINARY_COLLATIONS;
    Ok(if is_mariadb { mariadb } else { mysql })
}
