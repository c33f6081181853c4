//! Quotas: how much somebody may use of something in a month.

use std::collections::BTreeMap;
use std::future::IntoFuture;

use futures_util::future::BoxFuture;

use super::api::{GetUsage, get_usage};
use super::model::{Cell, REQUESTS, Sums, Who, check_metric, day_of, month_of};
use super::store::{add, make_row};
use super::worker::flush;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::secret::token_hash;
use crate::engine::courier::Destination;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::value::Value;

/// Whether less than the limit was used this month (UTC), with what this process has counted until now:
/// `check_quota(&kernel).workspace(id).metric("tokens").limit(100_000).await?`. It reserves nothing: see [`consume_quota`].
pub fn check_quota(kernel: &Kernel) -> CheckQuota {
    CheckQuota(Quota { kernel: kernel.clone(), who: Who::default(), metric: REQUESTS.to_owned(), limit: 0 })
}

/// Takes from a quota of this month (UTC), at once and never beyond the limit, however many ask at the same time in any number of processes:
/// `consume_quota(&kernel).workspace(id).metric("tokens").amount(1500).limit(100_000).await?` answers whether it was granted; what was granted
/// is counted, and need not be tracked again. Whoever shares a quota must ask for the same user and workspace.
pub fn consume_quota(kernel: &Kernel) -> ConsumeQuota {
    ConsumeQuota { quota: check_quota(kernel).0, amount: 1 }
}

#[derive(Debug, Clone)]
struct Quota {
    kernel: Kernel,
    who: Who,
    metric: String,
    limit: i64,
}

impl Quota {
    fn check(&self) -> Result<()> {
        check_metric(&self.metric)?;
        if self.who == Who::default() {
            return Err(Error::invalid("a quota is somebody's; say .user(..), .workspace(..) or .key(..)"));
        }
        Ok(())
    }

    async fn used(&self, db: &Db, now: Timestamp) -> Result<i64> {
        let Who { user_id, workspace_id, key_id } = &self.who;
        let usage = get_usage(db).app(self.kernel.service_name()).metric(&self.metric).period(month_of(now));
        let usage = user_id.iter().fold(usage, GetUsage::user);
        let usage = workspace_id.iter().fold(usage, GetUsage::workspace);
        let usage = key_id.iter().fold(usage, GetUsage::key);
        Ok(usage.await?.get(&self.metric))
    }

    /// Has the database know what this process has counted. Where a worker moves it, that is its affair, a second later.
    async fn settle(&self) -> Result<Db> {
        self.check()?;
        let admin = self.kernel.admin_db()?;
        if self.kernel.config().admin_worker_embedded {
            let to = Destination::Database(admin.clone());
            flush(self.kernel.usage()?, &to, self.kernel.service_name()).await?;
        }
        Ok(admin)
    }
}

macro_rules! whose {
    ($ty:ty, $($quota:tt)+) => {
        impl $ty {
            /// Of this user.
            pub fn user(mut self, id: impl Into<String>) -> Self {
                self.$($quota)+.who.user_id = Some(id.into());
                self
            }

            /// Of this workspace.
            pub fn workspace(mut self, id: impl Into<String>) -> Self {
                self.$($quota)+.who.workspace_id = Some(id.into());
                self
            }

            /// Of this API key.
            pub fn key(mut self, id: impl Into<String>) -> Self {
                self.$($quota)+.who.key_id = Some(id.into());
                self
            }

            /// Of what: `requests`, or a counter of the service's own.
            pub fn metric(mut self, metric: impl Into<String>) -> Self {
                self.$($quota)+.metric = metric.into();
                self
            }

            /// How much a month allows.
            pub fn limit(mut self, limit: i64) -> Self {
                self.$($quota)+.limit = limit;
                self
            }
        }
    };
}

/// A look at a quota; see [`check_quota`].
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until it is awaited"]
pub struct CheckQuota(Quota);

/// Taking from a quota; see [`consume_quota`].
#[derive(Debug, Clone)]
#[must_use = "nothing is taken until it is awaited"]
pub struct ConsumeQuota {
    quota: Quota,
    amount: i64,
}

whose!(CheckQuota, 0);
whose!(ConsumeQuota, quota);

impl ConsumeQuota {
    /// How much is taken; 1 where not said.
    pub fn amount(mut self, amount: i64) -> Self {
        self.amount = amount;
        self
    }
}

impl IntoFuture for CheckQuota {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let quota = self.0;
            let admin = quota.settle().await?;
            Ok(quota.used(&admin, quota.kernel.clock().now()).await? < quota.limit)
        })
    }
}

impl IntoFuture for ConsumeQuota {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let ConsumeQuota { quota, amount } = self;
            if amount < 0 || quota.metric == REQUESTS {
                return Err(Error::invalid(format!("{amount} of {} can't be taken from a quota", quota.metric)));
            }
            let admin = quota.settle().await?;
            admin.transaction(async |tx| take(&tx, &quota, amount).await).await
        })
    }
}

async fn take(tx: &Db, quota: &Quota, amount: i64) -> Result<bool> {
    let (app, now) = (quota.kernel.service_name(), quota.kernel.clock().now());
    let Who { user_id, workspace_id, key_id } = &quota.who;
    let mut row = token_hash(&serde_json::json!([app, quota.metric, user_id, workspace_id, key_id]).to_string());
    row.truncate(40);
    // Whoever takes from the same quota waits here until this one is done.
    make_row(tx, "kernel_usage_quotas", &row, &[("app", Value::from(app))]).await?;
    let sql = "UPDATE [kernel_usage_quotas] SET [updated_at] = [updated_at] WHERE [id] = ?";
    tx.execute(sql, [row.as_str()]).await?;
    let used = quota.used(tx, now).await?;
    if used.saturating_add(amount) > quota.limit {
        return Ok(false);
    }
    let cell =
        Cell { day: day_of(now), metric: quota.metric.clone(), endpoint: None, status: None, who: quota.who.clone() };
    add(tx, app, &BTreeMap::from([(cell, Sums { value: amount, ..Sums::default() })])).await?;
    Ok(true)
}
