//! Defaults: whether a literal can be of its field's type, and the code that makes a `Value` of it.
//! Where the macro knows the type by its name it says itself what is wrong; where not, a constant assertion does.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{BinOp, Expr, ExprLit, Lit, UnOp};

use super::types::{FieldType, Shape, Storage};

/// What a default is.
enum Given<'a> {
    Text(String),
    Truth(&'a Expr),
    Whole(&'a Expr),
    Real(&'a Expr),
}

/// What a field's type is, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Text,
    Truth,
    /// A whole number; `true` where it may be more than a column holds.
    Whole(bool),
    Real,
    Decimal,
    Uuid,
    Timestamp,
    Date,
    Time,
    /// An enum, an alias, a type with its own `EntityValue`.
    Other,
}

/// The code of a `Value`, or what is wrong as a sentence part. `says` makes a message of a problem that rustc finds.
pub(super) fn expand(default: &Expr, ty: &FieldType, says: impl Fn(&str) -> String) -> Result<TokenStream, String> {
    let given = given(default).ok_or_else(|| {
        "the default is a literal: a text, a number, true or false; anything else is for the code that saves".to_owned()
    })?;
    if matches!(&given, Given::Text(text) if text.contains('\0')) {
        return Err("the default can't hold a NUL, which PostgreSQL doesn't store".to_owned());
    }
    let inner = &ty.inner;
    let entity = super::path();
    // a constant item, so that `cargo check` evaluates it too
    let of_type = |value: TokenStream| quote!({ const DEFAULT: #inner = #value; #entity::default_value(DEFAULT) });
    let at = super::at(default.span());
    let known = match ty.storage {
        Storage::Json(shape) => return json(&given, shape),
        Storage::Bytes => return Err("bytes have no default; make the field an Option".to_owned()),
        Storage::Value => known(ty),
    };
    match (known, &given) {
        (Known::Text, Given::Text(text)) => Ok(text_value(text)),
        (Known::Truth, Given::Truth(truth)) => Ok(of_type(quote!(#truth))),
        (Known::Real, Given::Real(number)) => {
            let not_finite = says("the default is not a finite number");
            Ok(of_type(quote_spanned!(at=> {
                let value: #inner = #number;
                ::core::assert!(value.is_finite(), #not_finite);
                value
            })))
        }
        (Known::Real, Given::Whole(number)) => Ok(of_type(quote!((#number) as #inner))),
        (Known::Whole(false), Given::Whole(number)) => Ok(of_type(quote!(#number))),
        (Known::Whole(true), Given::Whole(number)) => {
            let too_large = says("the default is larger than 2^63 - 1, the largest number that a column holds");
            Ok(of_type(quote_spanned!(at=> {
                let value: #inner = #number;
                ::core::assert!(value as i128 <= i64::MAX as i128, #too_large);
                value
            })))
        }
        (known, Given::Text(text)) if known.is_text(text) => Ok(quote!(#entity::default_from_text::<#inner>(#text))),
        (Known::Other, given) => Ok(other(given, ty, at, says)),
        (known, _) => Err(format!("the default of this type is {}", known.example())),
    }
}

fn given(default: &Expr) -> Option<Given<'_>> {
    match default {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Str(text) => Some(Given::Text(text.value())),
            Lit::Bool(_) => Some(Given::Truth(default)),
            Lit::Int(_) => Some(Given::Whole(default)),
            Lit::Float(_) => Some(Given::Real(default)),
            _ => None,
        },
        Expr::Group(group) => given(&group.expr),
        Expr::Paren(paren) => given(&paren.expr),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => numbers(default, &unary.expr, &unary.expr),
        Expr::Binary(binary) if is_arithmetic(&binary.op) => numbers(default, &binary.left, &binary.right),
        _ => None,
    }
}

/// The whole expression, as the kind of number that its parts are.
fn numbers<'a>(whole: &'a Expr, left: &Expr, right: &Expr) -> Option<Given<'a>> {
    match (given(left)?, given(right)?) {
        (Given::Whole(_), Given::Whole(_)) => Some(Given::Whole(whole)),
        (Given::Real(_), Given::Real(_)) => Some(Given::Real(whole)),
        _ => None,
    }
}

fn is_arithmetic(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_) | BinOp::Shl(_) | BinOp::Shr(_)
    )
}

fn known(ty: &FieldType) -> Known {
    let name = ty.name().map(ToString::to_string).unwrap_or_default();
    match name.as_str() {
        "String" | "Secret" => Known::Text,
        "bool" => Known::Truth,
        "i8" | "i16" | "i32" | "i64" | "isize" | "u8" | "u16" | "u32" => Known::Whole(false),
        "u64" | "usize" => Known::Whole(true),
        "f32" | "f64" => Known::Real,
        "Decimal" => Known::Decimal,
        "Uuid" => Known::Uuid,
        "Timestamp" => Known::Timestamp,
        "Date" => Known::Date,
        "Time" => Known::Time,
        _ => Known::Other,
    }
}

impl Known {
    /// Whether the text is one that the type reads.
    fn is_text(self, text: &str) -> bool {
        match self {
            Known::Decimal => is_decimal(text),
            Known::Uuid => has_form(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
            Known::Date => is_date(text),
            Known::Time => is_time(text),
            Known::Timestamp => is_timestamp(text),
            _ => false,
        }
    }

    fn example(self) -> &'static str {
        match self {
            Known::Text | Known::Other => "a text, such as \"blue\"",
            Known::Truth => "true or false",
            Known::Whole(_) => "a whole number, such as 0",
            Known::Real => "a number, such as 0.5",
            Known::Decimal => "a decimal number of at most 28 digits as a text, such as \"0.50\"",
            Known::Uuid => "a UUID as a text, such as \"019b6c3e-5f3a-7cc2-9d1e-2f6a4b8c0d1e\"",
            Known::Timestamp => "a time in UTC as a text, such as \"2026-01-30T12:00:00Z\"",
            Known::Date => "a day as a text, such as \"2026-01-30\"",
            Known::Time => "a time of day as a text, such as \"12:30:00\"",
        }
    }
}

fn text_value(text: &str) -> TokenStream {
    quote!(::app_kernel::store::db::value::Value::Text(::std::string::String::from(#text)))
}

fn json(given: &Given<'_>, shape: Shape) -> Result<TokenStream, String> {
    let (list, object) = match given {
        Given::Text(text) => (text == "[]", text == "{}"),
        _ => (false, false),
    };
    let fits = match shape {
        Shape::List => list,
        Shape::Object => object,
        Shape::Any => list || object,
    };
    let example = match shape {
        Shape::List => "\"[]\"",
        Shape::Object => "\"{}\"",
        Shape::Any => "\"[]\" or \"{}\"",
    };
    let entity = super::path();
    fits.then(|| quote!(#entity::json::empty(#list)))
        .ok_or_else(|| format!("the default of a field stored as JSON is {example}"))
}

/// A default whose type only rustc knows.
fn other(given: &Given<'_>, ty: &FieldType, at: Span, says: impl Fn(&str) -> String) -> TokenStream {
    let inner = &ty.inner;
    let entity = super::path();
    let value = quote!(::app_kernel::store::db::value);
    let (column, default, word) = match given {
        Given::Text(text) => (quote!(Text), text_value(text), "a text"),
        Given::Truth(truth) => (quote!(Bool), quote!(#value::Value::Bool(#truth)), "true or false"),
        Given::Whole(number) => (quote!(Int), quote!(#value::Value::Int(#number)), "a whole number"),
        Given::Real(number) => (quote!(Float), quote!(#value::Value::Float(#number)), "a number with a point"),
    };
    let wrong_type = says(&format!("the default is {word}, which this type is not stored as"));
    let is_name = match given {
        Given::Text(text) => {
            let no_variant = says(&format!("the default `{text}` is none of the names that this enum is stored as"));
            quote_spanned!(at=> const _: () = ::core::assert!(#entity::is_one_of(<#inner as #entity::EntityValue>::NAMES, #text), #no_variant);)
        }
        _ => TokenStream::new(),
    };
    let is_stored_so = quote!(::core::matches!(<#inner as #entity::EntityValue>::TYPE, #value::ColumnType::#column));
    quote_spanned!(at=> {
        const _: () = ::core::assert!(#is_stored_so, #wrong_type);
        #is_name
        #default
    })
}

/// Whether a text looks as a form does: `x` stands for a hexadecimal digit, `9` for a decimal one, the rest for itself.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'x' => byte.is_ascii_hexdigit(),
            b'9' => byte.is_ascii_digit(),
            form => byte == form,
        })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    is_digits(whole) && is_digits(part) && whole.len() + part.len() <= 28
}

fn is_date(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or(0);
    has_form(text, "9999-99-99") && {
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        year > 0 && (1..=days).contains(&day)
    }
}

fn is_time(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    has_form(whole, "99:99:99")
        && is_digits(part)
        && part.len() <= 6
        && whole[..2] < *"24"
        && whole[3..5] < *"60"
        && whole[6..] < *"60"
}

fn is_timestamp(text: &str) -> bool {
    text.strip_suffix('Z')
        .and_then(|text| text.split_once('T'))
        .is_some_and(|(date, time)| is_date(date) && is_time(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_the_type_reads_are_defaults() {
        let cases: [(Known, &[&str], &[&str]); 5] = [
            (
                Known::Decimal,
                &["0", "-1.50", "0.000000000000000000000000001"],
                &["", "1.", ".5", "1e3", "+1", "12345678901234567890123456789"],
            ),
            (
                Known::Uuid,
                &["019b6c3e-5f3a-7cc2-9d1e-2f6a4b8c0d1e"],
                &["019b6c3e5f3a7cc29d1e2f6a4b8c0d1e", "g19b6c3e-5f3a-7cc2-9d1e-2f6a4b8c0d1e"],
            ),
            (
                Known::Date,
                &["2024-02-29", "0001-01-01", "9999-12-31"],
                &["2023-02-29", "1900-02-29", "2026-13-01", "2026-1-1", "0000-01-01", "2026-04-31"],
            ),
            (
                Known::Time,
                &["00:00:00", "23:59:59.999999"],
                &["24:00:00", "12:60:00", "12:00:60", "12:00", "12:00:00.1234567", "12:00:00."],
            ),
            (
                Known::Timestamp,
                &["2026-01-30T12:00:00Z", "2026-01-30T12:00:00.5Z"],
                &["2026-01-30", "2026-01-30T12:00:00", "2026-01-30T12:00:00+01:00", "2026-02-30T12:00:00Z"],
            ),
        ];
        for (known, good, bad) in cases {
            for text in good {
                assert!(known.is_text(text), "{text}");
            }
            for text in bad {
                assert!(!known.is_text(text), "{text}");
            }
        }
    }
}
