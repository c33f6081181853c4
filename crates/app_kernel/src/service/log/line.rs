//! How an event becomes a line: JSON for machines, columns for people. This is done in the thread that logs.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::queue::Queue;
use crate::base::clock::{Clock, push_timestamp};
use crate::base::digits::push_whole;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Json,
    Pretty { is_colored: bool },
}

impl Style {
    /// The line that stands for lines that are not there.
    pub(super) fn losses(self, lost: u64) -> String {
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

pub(super) struct LineLayer {
    pub(super) style: Style,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Clock,
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
pub(super) fn is_plain(bytes: &[u8]) -> bool {
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
