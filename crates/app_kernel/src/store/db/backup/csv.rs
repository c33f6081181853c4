//! Comma-separated values (RFC 4180), with nothing told apart from an empty text: nothing is an empty field, an empty text is `""`.
//! PostgreSQL's `COPY … CSV` reads and writes the same form. Lines end with a line feed; each record has one way to be written.

use std::io::{self, BufRead, Write};

/// The longest field that a reader takes, in bytes: more than any database of ours holds in one value.
const LONGEST_FIELD: usize = 1 << 30;

/// Writes one field after a comma, where it is not the first. `None` is nothing.
pub(super) fn write_field(out: &mut impl Write, is_first: bool, field: Option<&str>) -> io::Result<()> {
    if !is_first {
        out.write_all(b",")?;
    }
    let Some(text) = field else { return Ok(()) };
    let needs_quotes = text.is_empty() || text.bytes().any(|b| matches!(b, b'"' | b',' | b'\n' | b'\r'));
    if !needs_quotes {
        return out.write_all(text.as_bytes());
    }
    out.write_all(b"\"")?;
    for (i, piece) in text.split('"').enumerate() {
        if i > 0 {
            out.write_all(b"\"\"")?;
        }
        out.write_all(piece.as_bytes())?;
    }
    out.write_all(b"\"")
}

/// Reads records one by one, whatever line feeds lie inside their fields.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Reader { input, line: 1 }
    }

    pub(super) fn into_inner(self) -> R {
        self.input
    }

    /// The line that the next record starts at, for messages.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next record of `columns` fields; none at the end of the file. A file that ends inside of a record is an error.
    pub(super) fn record(&mut self, columns: usize) -> io::Result<Option<Vec<Option<String>>>> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut record = Vec::with_capacity(columns);
        loop {
            let (field, ends_line) = self.field()?;
            record.push(field);
            if ends_line {
                break;
            }
        }
        if record.len() != columns {
            return Err(malformed(format!("has {} fields where there are {columns} columns", record.len())));
        }
        Ok(Some(record))
    }

    /// A field, and whether it is the last of its record.
    fn field(&mut self) -> io::Result<(Option<String>, bool)> {
        let is_quoted = self.input.fill_buf()?.first() == Some(&b'"');
        let mut bytes = Vec::new();
        if !is_quoted {
            let end = self.until(b",\n", &mut bytes)?;
            if bytes.iter().any(|b| matches!(b, b'"' | b'\r')) {
                return Err(malformed("has a quote or a carriage return outside of quotes"));
            }
            self.line += u64::from(end == b'\n');
            let field = if bytes.is_empty() { None } else { Some(utf8(bytes)?) };
            return Ok((field, end == b'\n'));
        }
        self.input.consume(1);
        loop {
            self.until(b"\"", &mut bytes)?;
            let next = self.byte()?;
            match next {
                b'"' => bytes.push(b'"'),
                b',' | b'\n' => {
                    self.line += bytes.iter().filter(|b| **b == b'\n').count() as u64 + u64::from(next == b'\n');
                    return Ok((Some(utf8(bytes)?), next == b'\n'));
                }
                _ => return Err(malformed("has something behind a closing quote")),
            }
        }
    }

    /// Reads up to and with one of these bytes, which is answered and not kept.
    fn until(&mut self, ends: &[u8], into: &mut Vec<u8>) -> io::Result<u8> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Err(malformed("ends in the middle of a record"));
            }
            let end = buffer.iter().position(|byte| ends.contains(byte));
            let length = end.unwrap_or(buffer.len());
            into.extend_from_slice(&buffer[..length]);
            let found = end.map(|at| buffer[at]);
            self.input.consume(length + usize::from(end.is_some()));
            if into.len() > LONGEST_FIELD {
                return Err(malformed("has a field that is too long"));
            }
            if let Some(byte) = found {
                return Ok(byte);
            }
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let next = self.input.fill_buf()?.first().copied();
        self.input.consume(usize::from(next.is_some()));
        next.ok_or_else(|| malformed("ends in the middle of a record"))
    }
}

fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| malformed("is not UTF-8"))
}

fn malformed(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &[Option<&str>]) -> String {
        let mut out = Vec::new();
        for (i, field) in fields.iter().enumerate() {
            write_field(&mut out, i == 0, *field).expect("memory can be written");
        }
        out.push(b'\n');
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn nothing_and_an_empty_text_are_two_things() {
        let record = [None, Some(""), Some("\"\""), None];
        assert_eq!(written(&record), ",\"\",\"\"\"\"\"\",\n");
        let text = written(&record);
        let read = Reader::new(text.as_bytes()).record(4).expect("a record").expect("not the end");
        assert_eq!(read, [None, Some(String::new()), Some("\"\"".to_owned()), None]);
    }

    #[test]
    fn every_text_is_read_as_it_was_written() {
        let texts = ["a", " a ", "\n", "\r\n", ",", "\"", "a\"b,c\nd", "\u{FEFF}x", "NULL", "\\N", "👩‍👩‍👧‍👦", "=1+1", "'"];
        let lines: String = texts.iter().map(|text| written(&[Some(text), None, Some(text)])).collect();
        // A reader that gets few bytes at a time must find the same.
        for capacity in [1, 2, 3, 8192] {
            let mut reader = Reader::new(io::BufReader::with_capacity(capacity, lines.as_bytes()));
            for text in texts {
                let read = reader.record(3).expect("a record").expect("not the end");
                assert_eq!(read, [Some(text.to_owned()), None, Some(text.to_owned())]);
            }
            assert_eq!(reader.record(3).expect("the end"), None);
            assert_eq!(reader.line(), lines.matches('\n').count() as u64 + 1);
        }
    }

    #[test]
    fn what_is_cut_or_bent_is_refused() {
        for text in ["a", "a,b", "\"a", "\"a\"", "a,b,c\n", "a\n", "\"a\"b,c\n", "a\"b,c\n", "a\r,b\n"] {
            assert!(Reader::new(text.as_bytes()).record(2).is_err(), "{text:?}");
        }
    }
}
