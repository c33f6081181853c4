//! Which parts tell their numbers to whoever scrapes: a line or two for each. A part that nobody lists here, or hands the kernel's metrics, is
//! not told of.

use crate::base::error::Result;
use crate::base::metrics::Samples;
use crate::feature::metrics::process_numbers;
use crate::kernel::Kernel;
use crate::web::events::EventStreams;

/// The version of the library, beside the service's own.
const KERNEL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What every process has.
pub(super) fn of_the_kernel(kernel: &Kernel, version: &str) {
    let metrics = kernel.metrics();
    metrics.collect(process_numbers);
    let (service, version) = (kernel.service_name().to_owned(), version.to_owned());
    metrics.collect(move |samples| {
        let labels = [("service", &*service), ("version", &*version), ("kernel_version", KERNEL_VERSION)];
        samples.gauge("app_kernel_build_info", "Always 1; the labels say what runs.", &labels, 1.0);
    });
    if let Ok(db) = kernel.db() {
        let admin_db = kernel.admin_db().ok().filter(|admin_db| !admin_db.is_same_as(&db));
        metrics.collect(move |samples| db.tell(samples, "app"));
        if let Some(admin_db) = admin_db {
            metrics.collect(move |samples| admin_db.tell(samples, "admin"));
        }
    }
    if let Some(redis) = kernel.redis().cloned() {
        metrics.collect(move |samples| {
            let about = "1 while a server counts as away, so that nobody asks it.";
            let is_open = if redis.is_away() { 1.0 } else { 0.0 };
            samples.gauge("app_kernel_breaker_open", about, &[("server", "redis")], is_open);
        });
    }
    let mails = kernel.mail_queue().clone();
    metrics.collect(move |samples| mails.tell(samples));
    let workers = kernel.pulses().clone();
    metrics.collect(move |samples| workers.tell(samples));
    let cache = kernel.cache().clone();
    metrics.collect(move |samples| cache.tell(samples));
    let streams = kernel.kept::<EventStreams>();
    metrics.collect(move |samples| streams.tell(samples));
    let http_pools = kernel.http_pools().clone();
    metrics.collect(move |samples| http_pools.tell(samples));
}

pub(super) fn of_jobs(kernel: &Kernel) -> Result<()> {
    let jobs = kernel.jobs()?;
    let here = jobs.clone();
    kernel.metrics().collect(move |samples| here.tell(samples));
    kernel.scrape().ask("jobs", move || {
        let jobs = jobs.clone();
        async move { jobs.backlog().await }
    });
    Ok(())
}

pub(super) fn of_the_audit(kernel: &Kernel) -> Result<()> {
    let (db, clock) = (kernel.db()?, kernel.clock().clone());
    kernel.scrape().ask("audit", move || {
        let (db, clock) = (db.clone(), clock.clone());
        async move {
            let oldest = db.oldest_pending().await?;
            let waits = oldest.map_or(0.0, |oldest| clock.now().duration_since(oldest).as_secs_f64().max(0.0));
            let mut samples = Samples::default();
            let about = "Age of the oldest change that the audit log does not have yet; 0 where it has all.";
            samples.gauge("app_kernel_audit_lag_seconds", about, &[], waits);
            Ok(samples)
        }
    });
    Ok(())
}

pub(super) fn of_the_usage(kernel: &Kernel) -> Result<()> {
    let spool = kernel.usage()?.clone();
    kernel.scrape().ask("usage", move || {
        let spool = spool.clone();
        async move {
            let bytes = spool.backlog_bytes().await;
            let mut samples = Samples::default();
            let about = "Usage that this process noted down and that is not counted yet.";
            samples.gauge("app_kernel_usage_backlog_bytes", about, &[], bytes as f64);
            Ok(samples)
        }
    });
    Ok(())
}
