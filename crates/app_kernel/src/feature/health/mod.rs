//! Health. `/healthz` says that the process answers and touches nothing. `/readyz` says whether work should be sent here:
//! not while draining, and not without the database.

mod routes;

pub(crate) use routes::routes;
