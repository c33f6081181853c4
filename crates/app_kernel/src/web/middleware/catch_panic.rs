//! A panic in a handler is one answer 500, never a dead connection. It is logged with its place.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::Poll;

use axum::response::Response;

use crate::base::error::Error;
use crate::base::panic::text_of;
use crate::web::reply::problem;

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a caught panic said, and where.
#[derive(Debug)]
pub(in crate::web) struct Panic {
    pub(in crate::web) message: String,
    pub(in crate::web) place: String,
}

/// Whether a panic on this thread would be caught and logged here.
pub(crate) fn is_catching() -> bool {
    IS_CATCHING.get()
}

/// Makes panics that are caught here note their place instead of printing it. Once per process; other panics go where they went.
pub(in crate::web) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if is_catching() {
                let place = info.location().map(ToString::to_string);
                PLACE.with(|slot| slot.replace(place));
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs a future to its end or to its panic. It is pinned already: one that is moved stands twice in the future that waits for it.
pub(in crate::web) fn catch<F: Future>(mut future: Pin<&mut F>) -> impl Future<Output = Result<F::Output, Panic>> {
    poll_fn(move |cx| {
        let outer = IS_CATCHING.replace(true);
        // Whatever the future left half-done is dropped with it.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        IS_CATCHING.set(outer);
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(Panic::from_payload(&*payload))),
        }
    })
}

impl Panic {
    /// Writes it into the log, and answers the request.
    pub(in crate::web) fn answer(&self, request_id: &str) -> Response {
        tracing::error!(request_id, place = self.place, "a handler panicked: {}", self.message);
        let message = "something unexpected happened; it is in the log under this request's id";
        problem(&Error::internal(message), Some(request_id))
    }

    fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let place = PLACE.with(RefCell::take).unwrap_or_else(|| "an unknown place".to_owned());
        Panic { message: text_of(payload).unwrap_or("a value that is no text").to_owned(), place }
    }
}
