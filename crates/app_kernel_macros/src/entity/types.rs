//! What the macro can see of a field's type. It sees names, not types: only what `EntityValue` can't say is decided here.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, Ident, PathArguments, PathSegment, Type};

/// A field's type, as its column sees it.
pub(super) struct FieldType {
    /// The whole type.
    pub(super) whole: Type,
    /// The type within `Option`, or the whole one.
    pub(super) inner: Type,
    /// Whether it was within `Option`.
    pub(super) optional: bool,
    /// How it is stored.
    pub(super) storage: Storage,
}

/// How a field is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// As its `EntityValue` says.
    Value,
    /// As bytes: `Vec<u8>`.
    Bytes,
    /// As JSON.
    Json(Shape),
}

/// The JSON that is known to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A list, a set.
    List,
    /// A map.
    Object,
    /// Any: serde knows.
    Any,
}

/// Why a type can't be a field's, as the rest of a sentence.
pub(super) type Problem = &'static str;

impl FieldType {
    /// Reads a type; `json` where the field is marked so.
    pub(super) fn of(ty: &Type, json: bool) -> Result<Self, Problem> {
        let within = option_argument(ty);
        let inner = bare(within.unwrap_or(ty));
        if within.is_some() && option_argument(inner).is_some() {
            return Err("`None` and `Some(None)` would both be stored as null; one Option is enough");
        }
        let storage = if json { Storage::Json(Shape::Any) } else { storage(inner)? };
        if matches!(storage, Storage::Json(_)) && mentions_secret(inner.to_token_stream()) {
            return Err("a Secret within JSON would be stored as the text `[secret]`; give it a field of its own");
        }
        Ok(FieldType { whole: ty.clone(), inner: inner.clone(), optional: within.is_some(), storage })
    }

    /// A type that was reported, so that what names its field is not reported too.
    pub(super) fn unknown(ty: &Type) -> Self {
        FieldType { whole: ty.clone(), inner: ty.clone(), optional: false, storage: Storage::Value }
    }

    /// The type's name without its path: `Decimal` for `rust_decimal::Decimal`.
    pub(super) fn name(&self) -> Option<&Ident> {
        last_segment(&self.inner).map(|segment| &segment.ident)
    }
}

fn storage(ty: &Type) -> Result<Storage, Problem> {
    match ty {
        Type::Array(array) if is_u8(&array.elem) => {
            Err("an array of u8 could be bytes or a list of numbers; use Vec<u8> for bytes, or mark the field `json`")
        }
        Type::Array(_) | Type::Tuple(_) => Ok(Storage::Json(Shape::Any)),
        Type::Reference(_) => Err("a row can't be read back into a reference; own the value, as in String or Vec<u8>"),
        _ => Ok(last_segment(ty).map_or(Storage::Value, container)),
    }
}

fn container(segment: &PathSegment) -> Storage {
    match segment.ident.to_string().as_str() {
        "Vec" if only_argument(segment).is_some_and(is_u8) => Storage::Bytes,
        "Vec" | "HashSet" | "BTreeSet" => Storage::Json(Shape::List),
        "HashMap" | "BTreeMap" => Storage::Json(Shape::Object),
        _ => Storage::Value,
    }
}

fn option_argument(ty: &Type) -> Option<&Type> {
    let segment = last_segment(bare(ty))?;
    (segment.ident == "Option").then(|| only_argument(segment)).flatten()
}

fn only_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) if arguments.args.len() == 1 => Some(ty),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
}

fn is_u8(ty: &Type) -> bool {
    matches!(bare(ty), Type::Path(path) if path.path.is_ident("u8"))
}

/// Without parentheses, and without the invisible ones that `macro_rules` leaves.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        ty => ty,
    }
}

fn mentions_secret(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "Secret",
        TokenTree::Group(group) => mentions_secret(group.stream()),
        _ => false,
    })
}
