//! What a command has to say beside its answer, on stderr: a wait for another process, and warnings. A person reads it, so it has no times and
//! no fields; what a move says is told by the command itself.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, registry};

use super::progress;

/// What is told, as `LOG_LEVEL` would say it.
const TOLD: &str = "warn,app_kernel::store::db::start=info,app_kernel::moves=off,app_kernel::dev_servers=info";

/// From now on the kernel's notes go to stderr, unless this process has a log already.
pub(super) fn to_stderr() {
    let _ = registry().with(EnvFilter::new(TOLD)).with(Notes).try_init();
}

struct Notes;

impl<S: Subscriber> Layer<S> for Notes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::from(if *event.metadata().level() <= Level::WARN { "warning: " } else { "note: " });
        event.record(&mut Message(&mut line));
        line.push('\n');
        progress::clear();
        // A stderr that is gone is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Takes the words out of an event.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}
