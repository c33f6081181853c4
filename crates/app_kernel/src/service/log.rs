//! The log: one line per event on stdout, JSON for machines or columns for people. A thread of its own writes, many lines at once; a full
//! queue holds the others up for a moment rather than lose lines, and a closed stdout stops nobody.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, registry};

use crate::base::clock::{Clock, push_timestamp};
use crate::base::config::{LogFormat, ServiceConfig, wants_no_colour};
use crate::base::digits::push_whole;
use crate::base::error::{Error, Result};

/// How much may wait to be written.
const MAX_QUEUE_BYTES: usize = 1 << 20;
/// How long lines gather before they are written together.
const GATHERING: Duration = Duration::from_millis(3);
/// How long a full queue holds up the one who logs. After that lines are counted instead, until there is room.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

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
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
        // A stdout that nobody reads must not keep the process from ending.
        self.queue.flush();
        if let Some(writer) = self.writer.take().filter(|_| self.queue.is_written()) {
            // The thread ends by itself; that it panicked would be news for nobody.
            let _ = writer.join();
        }
    }
}

/// Lines on their way to the writing thread.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<u8>,
    lost: u64,
    is_idle: bool,
    is_writing: bool,
    is_urgent: bool,
    is_closed: bool,
    is_stuck: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &str, is_urgent: bool) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > MAX_QUEUE_BYTES && !state.waiting.is_empty() && !state.is_stuck {
            let is_full = |state: &mut QueueState| {
                state.waiting.len() + line.len() > MAX_QUEUE_BYTES && !state.waiting.is_empty()
            };
            let waited =
                self.changed.wait_timeout_while(state, LONGEST_WAIT, is_full).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.is_stuck = waited.1.timed_out();
        }
        if state.is_stuck {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line.as_bytes());
        // The writer is woken once per batch, not once per line.
        let must_wake = state.is_idle || (is_urgent && !state.is_urgent);
        state.is_idle = false;
        state.is_urgent |= is_urgent;
        drop(state);
        if must_wake {
            self.changed.notify_all();
        }
    }

    fn is_written(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && !state.is_writing
    }

    fn flush(&self) {
        let mut state = self.lock();
        state.is_urgent = true;
        self.changed.notify_all();
        let is_unwritten = |state: &mut QueueState| !state.waiting.is_empty() || state.is_writing;
        drop(self.changed.wait_timeout_while(state, Duration::from_secs(1), is_unwritten));
    }

    /// The writing thread's life.
    fn write_to(&self, style: Style, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let lost = {
                let mut state = self.lock();
                state.is_writing = false;
                self.changed.notify_all();
                while state.waiting.is_empty() {
                    if state.is_closed {
                        return;
                    }
                    state.is_idle = true;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.is_idle = false;
                let is_early = |state: &mut QueueState| {
                    !state.is_urgent && !state.is_closed && state.waiting.len() < MAX_QUEUE_BYTES / 2
                };
                state = self
                    .changed
                    .wait_timeout_while(state, GATHERING, is_early)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                state.is_urgent = false;
                state.is_stuck = false;
                state.is_writing = true;
                std::mem::swap(&mut batch, &mut state.waiting);
                std::mem::take(&mut state.lost)
            };
            self.changed.notify_all();
            if lost > 0 {
                batch.extend_from_slice(style.losses(lost).as_bytes());
            }
            // Nobody is left to tell that stdout is closed.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Json,
    Pretty { is_colored: bool },
}

impl Style {
    /// The line that stands for lines that are not there.
    fn losses(self, lost: u64) -> String {
        let mut line = String::new();
        match self {
            Style::Json => {
                line.push_str("{\"timestamp\":\"");
                push_timestamp(&mut line, Clock::system().now());
                line.push_str("\",\"level\":\"WARN\",\"target\":\"app_kernel::log\",\"message\":\"log lines were lost: stdout was not read\",\"lost\":");
                push_number(&mut line, lost);
                line.push_str("}\n");
            }
            Style::Pretty { .. } => {
                push_timestamp(&mut line, Clock::system().now());
                push_number(&mut line, format_args!("  WARN log lines were lost: stdout was not read lost={lost}\n"));
            }
        }
        line
    }
}

struct LineLayer {
    style: Style,
    queue: Arc<Queue>,
    clock: Clock,
}

/// A span's fields, each as it will stand in the lines within the span.
struct SpanFields(Vec<(&'static str, String)>);

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = SpanFields(Vec::new());
        attributes.record(&mut SpanVisitor { style: self.style, fields: &mut fields });
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            record.record(&mut SpanVisitor { style: self.style, fields });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => self.write(event, &context, &mut line),
            // A `Display` that logs while it is being logged.
            Err(_) => self.write(event, &context, &mut String::new()),
        });
    }
}

impl LineLayer {
    fn write<S>(&self, event: &Event<'_>, context: &Context<'_, S>, line: &mut String)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        line.clear();
        let meta = event.metadata();
        match self.style {
            Style::Json => self.begin_json(meta, line),
            Style::Pretty { is_colored } => self.begin_pretty(meta, is_colored, line),
        }
        let mut fields = EventVisitor { style: self.style, line, pretty_rest: String::new() };
        event.record(&mut fields);
        let rest = fields.pretty_rest;
        line.push_str(&rest);
        let mut written = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                for (name, text) in fields {
                    // The nearer one wins where a name comes twice.
                    if meta.fields().field(name).is_none() && !written.contains(name) {
                        line.push_str(text);
                        written.push(*name);
                    }
                }
            }
        }
        line.push_str(if matches!(self.style, Style::Json) { "}\n" } else { "\n" });
        self.queue.push(line, *meta.level() == Level::ERROR);
        // One huge line must not hold its memory for ever.
        line.shrink_to(16 << 10);
    }

    fn begin_json(&self, meta: &Metadata<'_>, line: &mut String) {
        line.push_str("{\"timestamp\":\"");
        push_timestamp(line, self.clock.now());
        line.push_str("\",\"level\":\"");
        line.push_str(meta.level().as_str());
        line.push_str("\",\"target\":");
        push_json_text(line, meta.target());
    }

    fn begin_pretty(&self, meta: &Metadata<'_>, is_colored: bool, line: &mut String) {
        let color = match *meta.level() {
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            Level::INFO => "\x1b[32m",
            Level::DEBUG => "\x1b[34m",
            Level::TRACE => "\x1b[35m",
        };
        push_timestamp(line, self.clock.now());
        line.push(' ');
        let level = meta.level().as_str();
        if is_colored {
            line.push_str(color);
        }
        // Writing into a String can't fail.
        let _ = write!(line, "{level:>5}");
        if is_colored {
            line.push_str("\x1b[0m");
        }
    }
}

struct EventVisitor<'a> {
    style: Style,
    line: &'a mut String,
    /// For people the message comes first, wherever it stands among the fields.
    pretty_rest: String,
}

struct SpanVisitor<'a> {
    style: Style,
    fields: &'a mut SpanFields,
}

/// Where a field's name and value go.
trait Output {
    fn field(&mut self, name: &'static str, write: impl FnOnce(&mut String, Style));
}

impl Output for EventVisitor<'_> {
    fn field(&mut self, name: &'static str, write: impl FnOnce(&mut String, Style)) {
        match self.style {
            Style::Json => push_json_field(self.line, name, write),
            Style::Pretty { .. } if name == "message" => {
                self.line.push(' ');
                write(self.line, self.style);
            }
            Style::Pretty { .. } => push_pretty_field(&mut self.pretty_rest, name, self.style, write),
        }
    }
}

impl Output for SpanVisitor<'_> {
    fn field(&mut self, name: &'static str, write: impl FnOnce(&mut String, Style)) {
        let mut text = String::new();
        match self.style {
            Style::Json => push_json_field(&mut text, name, write),
            Style::Pretty { .. } => push_pretty_field(&mut text, name, self.style, write),
        }
        self.fields.0.retain(|(other, _)| *other != name);
        self.fields.0.push((name, text));
    }
}

fn push_json_field(line: &mut String, name: &str, write: impl FnOnce(&mut String, Style)) {
    line.push_str(",\"");
    // Names that the line itself uses.
    if matches!(name, "timestamp" | "level" | "target") {
        line.push_str("field.");
    }
    push_json_escaped(line, name.strip_prefix("r#").unwrap_or(name));
    line.push_str("\":");
    write(line, Style::Json);
}

fn push_pretty_field(line: &mut String, name: &str, style: Style, write: impl FnOnce(&mut String, Style)) {
    line.push(' ');
    line.push_str(name.strip_prefix("r#").unwrap_or(name));
    line.push('=');
    write(line, style);
}

fn push_number(line: &mut String, number: impl fmt::Display) {
    // Writing into a String can't fail.
    let _ = write!(line, "{number}");
}

fn push_text(line: &mut String, style: Style, is_message: bool, text: &str) {
    match style {
        Style::Json => push_json_text(line, text),
        Style::Pretty { .. } if is_message => push_one_line(line, text),
        Style::Pretty { .. }
            if !text.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=')) =>
        {
            line.push_str(text);
        }
        Style::Pretty { .. } => push_json_text(line, text),
    }
}

/// A message for people: line breaks stay visible, nothing steers the terminal.
fn push_one_line(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\n    "),
            '\t' => line.push(c),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
}

fn push_json_text(line: &mut String, text: &str) {
    line.push('"');
    push_json_escaped(line, text);
    line.push('"');
}

/// Whether nothing needs to be escaped, as in nearly all texts: eight bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    // Sets a high bit where a byte is smaller; also above such a byte, which changes nothing here.
    let any_below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_ne_bytes(*word);
        let any = |byte: u8| any_below(word ^ (ONES * u64::from(byte)), 1);
        found | any_below(word, 0x20) | any(b'"') | any(b'\\') | any(0x7f)
    });
    let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f);
    found & HIGH_BITS == 0 && !rest.iter().any(is_special)
}

/// RFC 8259, 7. Runs of plain characters are copied whole.
fn push_json_escaped(line: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        return line.push_str(text);
    }
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f | 0x7f => "",
            _ => continue,
        };
        line.push_str(&text[copied..at]);
        if escape.is_empty() {
            push_number(line, format_args!("\\u{byte:04x}"));
        } else {
            line.push_str(escape);
        }
        copied = at + 1;
    }
    line.push_str(&text[copied..]);
}

/// Escapes what a `Display` writes, without a text in between.
struct JsonEscaping<'a>(&'a mut String);

impl fmt::Write for JsonEscaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_json_escaped(self.0, text);
        Ok(())
    }
}

fn push_debug(line: &mut String, style: Style, is_message: bool, value: &dyn fmt::Debug) {
    match style {
        Style::Json => {
            line.push('"');
            // A `Debug` that fails leaves what it wrote.
            let _ = write!(JsonEscaping(line), "{value:?}");
            line.push('"');
        }
        Style::Pretty { .. } => push_text(line, style, is_message, &format!("{value:?}")),
    }
}

fn push_float(line: &mut String, value: f64) {
    // Durations have few digits, and are in every request's line.
    let thousandths = (value * 1000.0).round();
    if (1.0..1e12).contains(&thousandths) && thousandths / 1000.0 == value {
        let whole = thousandths as u64;
        push_whole(line, whole / 1000);
        let rest = [whole / 100 % 10, whole / 10 % 10, whole % 10].map(|digit| b'0' + digit as u8);
        let digits = rest.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        if digits > 0 {
            line.push('.');
            line.extend(rest[..digits].iter().map(|digit| char::from(*digit)));
        }
    } else if value.is_finite() {
        push_number(line, value);
    } else {
        // JSON has no such number.
        push_number(line, format_args!("\"{value}\""));
    }
}

macro_rules! visits {
    ($($visitor:ident),*) => {$(
        impl Visit for $visitor<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let is_message = field.name() == "message";
                self.field(field.name(), |line, style| push_debug(line, style, is_message, value));
            }

            fn record_str(&mut self, field: &Field, value: &str) {
                let is_message = field.name() == "message";
                self.field(field.name(), |line, style| push_text(line, style, is_message, value));
            }

            fn record_f64(&mut self, field: &Field, value: f64) {
                self.field(field.name(), |line, _| push_float(line, value));
            }

            fn record_i64(&mut self, field: &Field, value: i64) {
                self.field(field.name(), |line, _| push_number(line, value));
            }

            fn record_u64(&mut self, field: &Field, value: u64) {
                self.field(field.name(), |line, _| push_whole(line, value));
            }

            fn record_bool(&mut self, field: &Field, value: bool) {
                self.field(field.name(), |line, _| push_number(line, value));
            }
        }
    )*};
}

visits!(EventVisitor, SpanVisitor);

#[cfg(test)]
mod tests;
