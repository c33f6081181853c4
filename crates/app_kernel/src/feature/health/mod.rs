//! Health. `/healthz` says that the process answers and touches nothing. `/readyz` says whether work should be sent here:
//! not while draining, and not without the database.
//! Without Redis it is `degraded`: work goes on, so 200.

mod routes;

pub(crate) use routes::routes;
