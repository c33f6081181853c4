//! Health. `/healthz` says that the process answers and touches nothing. `/readyz` says whether work should be sent here:
//! not while draining, and not without the database.
//! Without Redis, or with a worker that is not well, it is `degraded`: requests are served, so 200. It tells of each worker since when it works,
//! how far it lags behind, and what it has done.

mod routes;

pub(crate) use routes::routes;
