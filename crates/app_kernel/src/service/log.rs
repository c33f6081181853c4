//! The log: one line per event on stdout, JSON for machines or columns for people. A thread of its own writes, many lines at once; a full
//! queue holds the others up for a moment rather than lose lines, and a closed stdout stops nobody.

mod line;
mod queue;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, registry};

use self::line::{LineLayer, Style};
use self::queue::Queue;
use crate::base::clock::Clock;
use crate::base::config::{LogFormat, ServiceConfig, wants_no_colour};
use crate::base::error::{Error, Result};

/// Starts the log of this process. Keep the guard until the end: what is still queued is written when it drops.
///
/// # Errors
/// Where `LOG_LEVEL` is no filter, or the process has a log already.
pub fn init(config: &ServiceConfig) -> Result<LogGuard> {
    let is_terminal = io::stdout().is_terminal();
    let format = config.log_format.unwrap_or(if is_terminal { LogFormat::Pretty } else { LogFormat::Json });
    let is_colored = is_terminal && !wants_no_colour();
    let filter = filter(&config.log_level)?;
    let style = match format {
        LogFormat::Json => Style::Json,
        LogFormat::Pretty => Style::Pretty { is_colored },
    };
    let queue = Arc::new(Queue::default());
    let mut guard = LogGuard::start(queue.clone(), style, io::stdout())?;
    guard.is_pretty = format == LogFormat::Pretty;
    let subscriber = registry().with(filter).with(LineLayer { style, queue: queue.clone(), clock: Clock::system() });
    subscriber.try_init().map_err(|cause| Error::internal("this process has a log already").cause(cause))?;
    log_panics(queue);
    Ok(guard)
}

/// Reads `LOG_LEVEL`. A word that is no level would silently mean a module of that name, so it is refused.
pub(super) fn filter(level: &str) -> Result<EnvFilter> {
    let refuse = || {
        Error::invalid(format!(
            "LOG_LEVEL is `{level}`; it must be error, warn, info, debug, trace or off, or a filter such as `info,app_kernel::store=debug`"
        ))
    };
    let is_level = |word: &str| {
        ["error", "warn", "info", "debug", "trace", "off"].iter().any(|level| level.eq_ignore_ascii_case(word))
    };
    let is_clear = |directive: &str| is_level(directive) || directive.contains(['=', '[']) || directive.contains("::");
    if !level.split(',').map(str::trim).filter(|directive| !directive.is_empty()).all(is_clear) {
        return Err(refuse());
    }
    EnvFilter::builder().parse(level.replace(' ', "")).map_err(|cause| refuse().cause(cause))
}

/// A panic nobody catches is an event too, and in the log before the process ends.
fn log_panics(queue: Arc<Queue>) {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !crate::web::is_catching_panics() {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let message = crate::base::panic::text_of(info.payload()).unwrap_or("a value that is no text");
            let thread = std::thread::current();
            tracing::error!(place, thread = thread.name(), "a thread panicked: {message}");
            queue.flush();
        }
        previous(info);
    }));
}

/// Keeps the writing thread; writes the rest when it drops.
#[derive(Debug)]
pub struct LogGuard {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
    is_pretty: bool,
}

impl LogGuard {
    fn start(queue: Arc<Queue>, style: Style, output: impl Write + Send + 'static) -> Result<Self> {
        let writer = {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name("log".to_owned());
            thread
                .spawn(move || queue.write_to(style, output))
                .map_err(|cause| Error::internal("the log's thread did not start").cause(cause))?
        };
        Ok(LogGuard { queue, writer: Some(writer), is_pretty: false })
    }

    /// Whether a person reads it.
    #[must_use]
    pub fn is_pretty(&self) -> bool {
        self.is_pretty
    }

    /// Waits until everything logged so far is written, but no longer than a second.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.close();
        // A stdout that nobody reads must not keep the process from ending.
        self.queue.flush();
        if let Some(writer) = self.writer.take().filter(|_| self.queue.is_written()) {
            // The thread ends by itself; that it panicked would be news for nobody.
            let _ = writer.join();
        }
    }
}
