//! What SQLite keeps of a table: the text of its CREATE TABLE. It alone names checks and foreign keys, and holds what people added.

/// One of the definitions between the parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    /// The name of the column or constraint; empty for a constraint without one.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// As it is written.
    pub(crate) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Column,
    PrimaryKey,
    Check,
    /// From the first of its columns to a table.
    ForeignKey {
        column: String,
        target: String,
    },
    /// A constraint of another kind.
    Other,
}

/// The definitions of a table. A text that is none has none.
pub(crate) fn definitions(sql: &str) -> Vec<Definition> {
    let tokens: Vec<Token<'_>> = tokens(sql).collect();
    let Some(open) = tokens.iter().position(|token| token.text == "(") else { return Vec::new() };
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, open + 1);
    for (i, token) in tokens.iter().enumerate().skip(open + 1) {
        match token.text {
            "(" => depth += 1,
            ")" if depth > 0 => depth -= 1,
            ")" | "," if depth == 0 => {
                found.extend(definition(sql, &tokens[start..i]));
                start = i + 1;
                if token.text == ")" {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn definition(sql: &str, tokens: &[Token<'_>]) -> Option<Definition> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let text = sql[first.start..last.start + last.text.len()].to_owned();
    let (name, rest) =
        if first.is_word("CONSTRAINT") { (tokens.get(1)?.name(), tokens.get(2..)?) } else { (String::new(), tokens) };
    let is = |word| rest.first().is_some_and(|token| token.is_word(word));
    let kind = if is("CHECK") {
        Kind::Check
    } else if is("FOREIGN") {
        let at = rest.iter().position(|token| token.is_word("REFERENCES"))?;
        Kind::ForeignKey { column: rest.get(3)?.name(), target: rest.get(at + 1)?.name() }
    } else if is("PRIMARY") {
        Kind::PrimaryKey
    } else if is("UNIQUE") || first.is_word("CONSTRAINT") {
        Kind::Other
    } else {
        return Some(Definition { name: first.name(), kind: Kind::Column, text });
    };
    Some(Definition { name, kind, text })
}

/// A word, a quoted name, a text, or one other character.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    start: usize,
}

impl Token<'_> {
    fn is_word(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// Without its quotes.
    fn name(&self) -> String {
        let quoted = |quote: char| self.text.strip_prefix(quote)?.strip_suffix(quote).map(|inner| (inner, quote));
        match quoted('"').or_else(|| quoted('`')).or_else(|| quoted('\'')) {
            Some((inner, quote)) => inner.replace(&format!("{quote}{quote}"), &quote.to_string()),
            None => self.text.trim_start_matches('[').trim_end_matches(']').to_owned(),
        }
    }
}

fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &sql[at..];
            let first = rest.chars().next()?;
            let start = at;
            let length = match first {
                _ if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |end| end + 1),
                _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                '"' | '\'' | '`' => length_of_quoted(rest, first),
                '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
                _ if is_in_word(first) => rest.find(|c| !is_in_word(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            at += length;
            if !first.is_whitespace() && !rest.starts_with("--") && !rest.starts_with("/*") {
                return Some(Token { text: &rest[..length], start });
            }
        }
    })
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// To the quote that ends it; two of them stand for one inside.
fn length_of_quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = text[at..].find(quote) {
        at += end + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_told_apart_whatever_texts_hold() {
        let sql = r#"CREATE TABLE "parts" (
            "id" TEXT NOT NULL, -- a comment, with a comma
            [note] TEXT DEFAULT 'a, "b") CONSTRAINT "x" CHECK (it''s)',
            size REAL CHECK (size > 0 /* , */),
            PRIMARY KEY ("id"),
            CONSTRAINT "ck.parts.note" CHECK ("note" IN ('(', ',')),
            CONSTRAINT "fk.parts.owner" FOREIGN KEY ("owner") REFERENCES "people" ("id"),
            UNIQUE (size, note), "owner" TEXT
        ) WITHOUT ROWID"#;
        let found = definitions(sql);
        let names: Vec<(&str, &Kind)> = found.iter().map(|found| (found.name.as_str(), &found.kind)).collect();
        let key = Kind::ForeignKey { column: "owner".to_owned(), target: "people".to_owned() };
        let wanted = [
            ("id", &Kind::Column),
            ("note", &Kind::Column),
            ("size", &Kind::Column),
            ("", &Kind::PrimaryKey),
            ("ck.parts.note", &Kind::Check),
            ("fk.parts.owner", &key),
            ("", &Kind::Other),
            ("owner", &Kind::Column),
        ];
        assert_eq!(names, wanted);
        assert_eq!(found[2].text, "size REAL CHECK (size > 0 /* , */)");
        assert_eq!(definitions("CREATE VIEW v AS SELECT 1"), []);
    }
}
