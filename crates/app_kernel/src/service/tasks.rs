//! What runs beside the requests, from when a service serves until it stops.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Work beside the requests. It ends soon after it is told to stop.
pub(super) type Task = Box<dyn FnOnce(watch::Receiver<bool>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Tasks under way. Given up when dropped.
pub(super) struct Tasks {
    stop: watch::Sender<bool>,
    under_way: JoinSet<()>,
}

impl Tasks {
    pub(super) fn start(tasks: Vec<Task>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut under_way = JoinSet::new();
        for task in tasks {
            under_way.spawn(task(stopped.clone()));
        }
        Tasks { stop, under_way }
    }

    /// Lets them finish what they have begun, for so long at most.
    pub(super) async fn stop(mut self, patience: Duration) {
        let _ = self.stop.send(true);
        let finished = tokio::time::timeout(patience, async {
            while let Some(ended) = self.under_way.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a background task ended badly");
                }
            }
        });
        if finished.await.is_err() {
            tracing::warn!("background tasks did not finish in SHUTDOWN_TIMEOUT_SECS and are given up");
        }
    }
}
