//! Work on a connection that is not cut off with its caller: axum drops a handler's future when the client leaves,
//! and a connection must not be left in the middle of a statement or a transaction.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// Runs a future in the caller's task and, where the caller goes away before its end, hands the rest to the runtime.
/// Nobody then receives its output; what the output owns is dropped, and must clean up after itself.
///
/// Against `tokio::spawn` from the start, this saves two switches between threads for each write.
///
/// No `async fn`: its own future would hold the whole of the work beside the box that the work is in.
pub(super) fn to_the_end<F>(future: F) -> impl Future<Output = F::Output> + Send
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Unfinished { work: Some(Box::pin(future)), has_begun: false }
}

struct Unfinished<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    work: Option<Pin<Box<F>>>,
    has_begun: bool,
}

impl<F> Future for Unfinished<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out for the time of the poll: where it panics, it is dropped and not run again.
        let mut future = self.work.take().expect("a future is not polled after its end");
        self.has_begun = true;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => {
                self.work = Some(future);
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Unfinished<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn drop(&mut self) {
        if let (Some(future), true, Ok(runtime)) = (self.work.take(), self.has_begun, Handle::try_current()) {
            // As one type: the runtime's machinery of a task would else be compiled for each kind of work there is.
            let rest: BoxFuture<'static, ()> = Box::pin(async move { drop(future.await) });
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_future_that_is_dropped_half_way_runs_to_its_end() {
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<&str>();
        let work = to_the_end(async move {
            gate.await.expect("the test opens the gate");
            done.send("finished").expect("the test listens");
        });
        let cut_off = tokio::time::timeout(Duration::from_millis(1), work).await;
        assert!(cut_off.is_err(), "the gate was still closed");
        go.send(()).expect("the work waits");
        assert_eq!(finished.await, Ok("finished"));
    }

    #[tokio::test]
    async fn a_future_that_panics_is_not_run_again() {
        let work = tokio::spawn(to_the_end(async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        }));
        assert!(work.await.expect_err("it panicked").is_panic());
    }

    #[tokio::test]
    async fn a_future_that_was_never_polled_does_nothing() {
        let (done, finished) = oneshot::channel::<()>();
        drop(to_the_end(async move { done.send(()).expect("the test listens") }));
        assert!(finished.await.is_err());
    }
}
