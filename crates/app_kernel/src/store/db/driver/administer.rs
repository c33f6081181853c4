//! Making and dropping whole databases, for tests: statements that run alone on a server, outside of any transaction.

use std::sync::Arc;

use super::{Backend, DatabaseUrl, DbError, Driver, Operation, Options, Session};

/// One connection to a server, for statements about databases rather than in one.
#[derive(Debug)]
pub(crate) struct Administrator(Driver);

impl Administrator {
    /// Connects to the server.
    pub(crate) async fn connect(url: &DatabaseUrl) -> Result<Self, DbError> {
        let options = Options { pool_size: Some(1), ..Options::default() };
        Driver::connect(url, &options).await.map(Administrator)
    }

    /// Runs one statement.
    pub(crate) async fn run(&self, statement: impl Into<String>) -> Result<(), DbError> {
        self.0.write(Arc::new(Statement(statement.into()))).await
    }

    /// Answers the first column of a query, which must be text.
    pub(crate) async fn texts(&self, query: impl Into<String>) -> Result<Vec<String>, DbError> {
        self.0.read(Texts(query.into())).await
    }

    /// Hangs up.
    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}

struct Statement(String);

impl Operation for Statement {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), DbError> {
        session.batch(&self.0).await
    }

    // PostgreSQL refuses to make or drop a database inside a transaction.
    fn is_one_statement(&self, _: Backend) -> bool {
        true
    }
}

struct Texts(String);

impl Operation for Texts {
    type Output = Vec<String>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<String>, DbError> {
        let text = |row: &super::RowRef<'_>| row.text(0).map(str::to_owned);
        session.query(&self.0, &[], text).await
    }
}
