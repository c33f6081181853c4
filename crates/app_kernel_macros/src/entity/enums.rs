//! An enum of plain names, stored as text.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{DataEnum, DeriveInput, Fields, Ident, Variant};

use super::attributes::Place;
use super::{Errors, names};

/// The longest name, in characters: what a column with an index holds.
const LONGEST: usize = 255;

/// One variant and the text that it is stored as.
struct Name<'a> {
    variant: &'a Ident,
    text: String,
}

/// Writes `EntityValue` for an enum, and how it becomes a `Value`.
pub(super) fn expand(input: &DeriveInput, data: &DataEnum) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let place = Place::of_enum(&input.ident);
    place.read(&input.attrs, &mut errors);
    if data.variants.is_empty() {
        errors.add(&input.ident, place.says("there are no variants, so there is nothing to store; write the first"));
    }
    let mut all: Vec<Name<'_>> = Vec::new();
    for variant in &data.variants {
        let name = name(variant, &all, &mut errors);
        all.push(name);
    }
    errors.into_result()?;
    Ok(implementation(&input.ident, &all))
}

fn name<'a>(variant: &'a Variant, before: &[Name<'_>], errors: &mut Errors) -> Name<'a> {
    let ident = &variant.ident;
    let place = Place::of_variant(ident);
    if !matches!(variant.fields, Fields::Unit) {
        let message = "an enum stored as text has variants without data; keep the data in a field of its own, or mark fields of this type `json`";
        errors.add(&variant.fields, place.says(message));
    }
    let mut text = names::snake_case(&ident.unraw().to_string());
    let mut tokens = ident.to_token_stream();
    for entry in place.read(&variant.attrs, errors) {
        if let Some(rename) = entry.text("rename = \"name\"", &place, errors) {
            text = rename.value();
            tokens = rename.to_token_stream();
        }
    }
    if let Some(problem) = text_problem(&text, before) {
        errors.add(&tokens, place.says(problem));
    }
    Name { variant: ident, text }
}

fn text_problem(text: &str, before: &[Name<'_>]) -> Option<String> {
    if let Some(other) = before.iter().find(|other| other.text == text) {
        return Some(format!(
            "variant `{}` is stored as `{text}` already; give one of them another name",
            other.variant.unraw()
        ));
    }
    match text.chars().count() {
        0 => Some("the text it is stored as can't be empty".to_owned()),
        1..=LONGEST if text.contains('\0') => Some("the text it is stored as can't hold a NUL".to_owned()),
        1..=LONGEST => None,
        long => Some(format!("the text it is stored as has {long} characters; {LONGEST} is the most")),
    }
}

fn implementation(ident: &Ident, all: &[Name<'_>]) -> TokenStream {
    let entity = super::path();
    let value = quote!(::app_kernel::store::db::value);
    let row = quote!(::app_kernel::store::db::row);
    let variants: Vec<&Ident> = all.iter().map(|name| name.variant).collect();
    let texts: Vec<&str> = all.iter().map(|name| name.text.as_str()).collect();
    let problem = format!("is none of {}", texts.join(", "));
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #entity::EntityValue for #ident {
            const TYPE: #value::ColumnType = #value::ColumnType::Text;
            const NAMES: &'static [&'static str] = &[#(#texts),*];

            fn to_value(&self) -> ::core::result::Result<#value::Value, ::std::borrow::Cow<'static, str>> {
                ::core::result::Result::Ok(::core::convert::From::from(self))
            }

            fn from_column(row: &#row::RowRef<'_>, index: usize) -> ::core::result::Result<Self, #row::DecodeError> {
                match row.text(index)? {
                    #(#texts => ::core::result::Result::Ok(Self::#variants),)*
                    _ => ::core::result::Result::Err(row.unfit(index, #problem)),
                }
            }
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl ::core::convert::From<&#ident> for #value::Value {
            fn from(name: &#ident) -> Self {
                let text = match name {
                    #(#ident::#variants => #texts,)*
                };
                #value::Value::Text(::std::string::String::from(text))
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#ident> for #value::Value {
            fn from(name: #ident) -> Self {
                ::core::convert::From::from(&name)
            }
        }
    }
}
