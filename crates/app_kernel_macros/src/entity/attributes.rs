//! What stands in `#[entity(..)]`: `key`, `key = value` and `key(a, b)`, and which keys may stand where.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitStr, Token};

use super::Errors;
use super::names::nearest;

/// A thing that attributes stand at.
pub(super) struct Place {
    /// For messages: ``field `color` ``.
    pub(super) subject: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Struct,
    Field,
    Enum,
    Variant,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Struct, Kind::Field, Kind::Enum, Kind::Variant];

    fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::Struct => &["table", "renamed_from", "index", "unique", "history"],
            Kind::Field => {
                &["index", "unique", "default", "check", "foreign_key", "renamed_from", "rename", "secret", "json"]
            }
            Kind::Enum => &[],
            Kind::Variant => &["rename"],
        }
    }

    fn described(self) -> &'static str {
        match self {
            Kind::Struct => "a struct",
            Kind::Field => "a field",
            Kind::Enum => "an enum",
            Kind::Variant => "a variant",
        }
    }

    fn takes(self, key: &str) -> bool {
        // `kernel` lets the kernel's own tables have its prefix; not for services, so it is not in the list they read.
        self.keys().contains(&key) || (self == Kind::Struct && key == "kernel")
    }
}

impl Place {
    pub(super) fn of_struct(name: &Ident) -> Self {
        Place::new(Kind::Struct, "struct", name)
    }

    pub(super) fn of_field(name: &Ident) -> Self {
        Place::new(Kind::Field, "field", name)
    }

    pub(super) fn of_enum(name: &Ident) -> Self {
        Place::new(Kind::Enum, "enum", name)
    }

    pub(super) fn of_variant(name: &Ident) -> Self {
        Place::new(Kind::Variant, "variant", name)
    }

    fn new(kind: Kind, word: &str, name: &Ident) -> Self {
        Place { subject: format!("{word} `{}`", name.unraw()), kind }
    }

    /// Reads all `#[entity(..)]` of this place; what can't stand here is reported and left out.
    pub(super) fn read(&self, attributes: &[Attribute], errors: &mut Errors) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("entity")) {
            let parsed = attribute.parse_args_with(Punctuated::<Entry, Token![,]>::parse_terminated);
            match parsed {
                Ok(found) if found.is_empty() => {
                    errors.add(attribute, self.says("`#[entity()]` says nothing; take it away"))
                }
                Ok(found) => {
                    for entry in found {
                        match self.problem(&entry, &entries) {
                            Some(problem) => errors.add(&entry.key, self.says(problem)),
                            None => entries.push(entry),
                        }
                    }
                }
                Err(error) => errors.push(syn::Error::new(error.span(), self.says(error))),
            }
        }
        entries
    }

    /// A message that names the place.
    pub(super) fn says(&self, message: impl std::fmt::Display) -> String {
        format!("{}: {message}", self.subject)
    }

    fn problem(&self, entry: &Entry, before: &[Entry]) -> Option<String> {
        let key = entry.name();
        if !self.kind.takes(&key) {
            return Some(self.unknown(&key));
        }
        let several = self.kind == Kind::Struct && matches!(key.as_str(), "index" | "unique");
        let twice = !several && before.iter().any(|other| other.name() == key);
        twice.then(|| format!("`{key}` stands here twice; keep one"))
    }

    fn unknown(&self, key: &str) -> String {
        if key == "nullable" {
            return "`nullable` is said by the type: use Option<T>".to_owned();
        }
        let elsewhere = Kind::ALL.into_iter().find(|kind| kind.takes(key));
        if let Some(kind) = elsewhere {
            let known = self.known();
            return format!("`{key}` belongs to {}; {known}", kind.described());
        }
        let meant =
            nearest(key, self.kind.keys()).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        let stop = if meant.is_empty() { "; " } else { " " };
        format!("there is no key `{key}`{meant}{stop}{}", self.known())
    }

    fn known(&self) -> String {
        let described = self.kind.described();
        match self.kind.keys() {
            [] => format!("{described} takes no keys, its variants take `rename`"),
            [key] => format!("{described} takes `{key}` only"),
            keys => format!("{described} takes {}", keys.join(", ")),
        }
    }
}

/// One key with what follows it.
pub(super) struct Entry {
    pub(super) key: Ident,
    argument: Argument,
}

enum Argument {
    None,
    Value(Expr),
    Names(Vec<Ident>),
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let argument = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            if input.is_empty() || input.peek(Token![,]) {
                return Err(syn::Error::new(key.span(), format!("`{key} =` lacks its value")));
            }
            Argument::Value(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            if content.peek(LitStr) {
                let message = format!("`{key}(..)` names columns without quotes, such as {key}(a, b)");
                return Err(syn::Error::new(content.span(), message));
            }
            let names = content.parse_terminated(Ident::parse_any, Token![,])?;
            Argument::Names(names.into_iter().collect())
        } else {
            Argument::None
        };
        Ok(Entry { key, argument })
    }
}

impl Entry {
    /// The key, without `r#`.
    pub(super) fn name(&self) -> String {
        self.key.unraw().to_string()
    }

    /// For a key that stands alone.
    pub(super) fn flag(&self, place: &Place, errors: &mut Errors) -> bool {
        let alone = matches!(self.argument, Argument::None);
        if !alone {
            let key = self.name();
            let hint = match key.as_str() {
                "index" | "unique" => {
                    format!("; an index over several columns is said at the struct, as {key}(a, b)")
                }
                _ => String::new(),
            };
            errors.add(&self.key, place.says(format!("`{key}` stands alone here, without a value{hint}")));
        }
        alone
    }

    /// For a key with any value.
    pub(super) fn value(&self, example: &str, place: &Place, errors: &mut Errors) -> Option<&Expr> {
        match &self.argument {
            Argument::Value(value) => Some(value),
            _ => {
                errors.add(&self.key, place.says(format!("`{}` needs a value, such as {example}", self.name())));
                None
            }
        }
    }

    /// For a key with a text.
    pub(super) fn text(&self, example: &str, place: &Place, errors: &mut Errors) -> Option<&LitStr> {
        match self.value(example, place, errors)? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
            other => {
                errors.add(other, place.says(format!("`{}` is a text in quotes, such as {example}", self.name())));
                None
            }
        }
    }

    /// For a key with true or false.
    pub(super) fn truth(&self, example: &str, place: &Place, errors: &mut Errors) -> Option<bool> {
        match self.value(example, place, errors)? {
            Expr::Lit(ExprLit { lit: Lit::Bool(truth), .. }) => Some(truth.value),
            other => {
                errors.add(other, place.says(format!("`{}` is true or false, such as {example}", self.name())));
                None
            }
        }
    }

    /// For a key with names in parentheses.
    pub(super) fn names(&self, place: &Place, errors: &mut Errors) -> Option<&[Ident]> {
        match &self.argument {
            Argument::Names(names) => Some(names),
            _ => {
                let key = self.name();
                errors.add(
                    &self.key,
                    place.says(format!(
                        "`{key}` names its columns here, such as {key}(a, b); over one column it stands at the field"
                    )),
                );
                None
            }
        }
    }
}
