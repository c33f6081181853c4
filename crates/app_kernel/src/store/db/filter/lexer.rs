//! Cuts a clause into tokens. What is no token of the language ends the reading with its place and a cure.

use std::borrow::Cow;

use super::tree::Comparison;

/// What is wrong with a clause, and the byte where.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) message: String,
}

pub(super) fn mistake<T>(at: usize, message: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { at, message: message.into() })
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Column(&'a str),
    Parameter,
    Text(Cow<'a, str>),
    /// A number as written, with its minus.
    Number(&'a str),
    Word(&'a str),
    Comparison(Comparison),
    Open,
    Close,
    Comma,
    End,
}

impl Token<'_> {
    /// As it is told to people: never longer than a line.
    pub(super) fn described(&self) -> String {
        match self {
            Token::Column(name) => format!("[{}]", shortened(name)),
            Token::Parameter => "`?`".to_owned(),
            Token::Text(text) => format!("'{}'", shortened(text)),
            Token::Number(text) | Token::Word(text) => format!("`{}`", shortened(text)),
            Token::Comparison(comparison) => format!("`{}`", comparison.sql()),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Comma => "`,`".to_owned(),
            Token::End => "the end".to_owned(),
        }
    }

    pub(super) fn is_word(&self, wanted: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(wanted))
    }
}

/// The beginning of a text that may be long.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    /// The next token and the byte where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), Mistake> {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let Some(&first) = rest.first() else { return Ok((Token::End, start)) };
        let second = rest.get(1).copied().unwrap_or(0);
        let (token, width) = match (first, second) {
            (b'[', _) => return Ok((self.column()?, start)),
            (b'\'', _) => return Ok((self.quoted()?, start)),
            (b'0'..=b'9', _) | (b'-', b'0'..=b'9') => return Ok((self.number()?, start)),
            (b'A'..=b'Z' | b'a'..=b'z' | b'_', _) => {
                self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                return Ok((Token::Word(&self.text[start..self.at]), start));
            }
            (b'!', b'=') | (b'<', b'>') => (Token::Comparison(Comparison::NotEqual), 2),
            (b'<', b'=') => (Token::Comparison(Comparison::LessOrEqual), 2),
            (b'>', b'=') => (Token::Comparison(Comparison::GreaterOrEqual), 2),
            (b'=', b'=') => return mistake(start, "equality is written `=`"),
            (b'=', _) => (Token::Comparison(Comparison::Equal), 1),
            (b'<', _) => (Token::Comparison(Comparison::Less), 1),
            (b'>', _) => (Token::Comparison(Comparison::Greater), 1),
            (b'(', _) => (Token::Open, 1),
            (b')', _) => (Token::Close, 1),
            (b',', _) => (Token::Comma, 1),
            (b'?', b'0'..=b'9') => return mistake(start, "a parameter is written `?`, without a number"),
            (b'?', _) => (Token::Parameter, 1),
            _ => return mistake(start, self.stranger(first, second)),
        };
        self.at += width;
        Ok((token, start))
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| wanted(**byte)).count();
    }

    fn column(&mut self) -> Result<Token<'a>, Mistake> {
        let start = self.at;
        let inside = &self.text[start + 1..];
        let Some(end) = inside.find([']', '[', '\'', '\n']).filter(|end| inside.as_bytes()[*end] == b']') else {
            return mistake(start, "this bracket is not closed; a column is written [name]");
        };
        self.at += end + 2;
        Ok(Token::Column(&inside[..end]))
    }

    fn quoted(&mut self) -> Result<Token<'a>, Mistake> {
        let start = self.at;
        let inside = &self.text[start + 1..];
        let mut end = 0;
        loop {
            let Some(quote) = inside[end..].find('\'') else {
                return mistake(start, "this quote is not closed; a quote inside a text is written ''");
            };
            end += quote;
            if !inside[end + 1..].starts_with('\'') {
                break;
            }
            end += 2;
        }
        let text = &inside[..end];
        if text.contains('\0') {
            return mistake(start, "a text can't hold the character NUL");
        }
        self.at += end + 2;
        Ok(Token::Text(if text.contains('\'') { text.replace("''", "'").into() } else { text.into() }))
    }

    /// `12`, `-12.5`, `1e-3`
    fn number(&mut self) -> Result<Token<'a>, Mistake> {
        let start = self.at;
        self.skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        // A minus is part of the number at its beginning and behind an `e` only.
        let taken = &self.text[start..self.at];
        let minus = taken.bytes().enumerate().skip(1).find(|(i, b)| *b == b'-' && !matches!(taken.as_bytes()[i - 1], b'e' | b'E'));
        self.at = start + minus.map_or(taken.len(), |(i, _)| i);
        let text = &self.text[start..self.at];
        if is_number(text) { Ok(Token::Number(text)) } else { mistake(start, format!("`{}` is no number", shortened(text))) }
    }

    fn stranger(&self, first: u8, second: u8) -> String {
        let found = self.text[self.at..].chars().next().unwrap_or_default();
        match (first, second) {
            (b'-', b'-') | (b'/', b'*') | (b'#', _) => "comments are not allowed".to_owned(),
            (b';', _) => "`;` is not allowed: a clause is one condition".to_owned(),
            (b'"' | b'`', _) => "a text is written 'so', a column [so]".to_owned(),
            (b'$' | b':' | b'@', _) => "a parameter is written `?`".to_owned(),
            (b']', _) => "this bracket was not opened; a column is written [name]".to_owned(),
            _ if found.is_control() => format!("the character {} is not allowed here", found.escape_unicode()),
            _ => format!("`{found}` is not allowed here"),
        }
    }
}

/// Digits, perhaps a fraction, perhaps an exponent.
fn is_number(text: &str) -> bool {
    let unsigned = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    unsigned(whole) && unsigned(fraction) && unsigned(exponent.strip_prefix('-').unwrap_or(exponent))
}
