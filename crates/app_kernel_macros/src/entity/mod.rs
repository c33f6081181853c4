//! `#[derive(Entity)]`: from tokens to tokens. All that is wrong with an input is reported together.

mod attributes;
mod checks;
mod columns;
mod defaults;
mod enums;
mod names;
mod structs;
#[cfg(test)]
mod tests;
mod types;

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{Data, DeriveInput};

/// Writes the implementations for a struct or an enum.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    refuse_generics(&input)?;
    match &input.data {
        Data::Struct(data) => structs::expand(&input, data),
        Data::Enum(data) => enums::expand(&input, data),
        Data::Union(data) => Err(syn::Error::new_spanned(
            data.union_token,
            format!("`{}` is a union; an entity is a struct with named fields", input.ident),
        )),
    }
}

fn refuse_generics(input: &DeriveInput) -> syn::Result<()> {
    let generics = &input.generics;
    if generics.params.is_empty() && generics.where_clause.is_none() {
        return Ok(());
    }
    let message = format!(
        "`{}` is generic; one entity is one table, so name the types in its fields and write a struct for each table",
        input.ident
    );
    Err(if generics.params.is_empty() {
        syn::Error::new_spanned(&generics.where_clause, message)
    } else {
        syn::Error::new_spanned(generics, message)
    })
}

/// Where the kernel's own names live for the code that is written.
fn path() -> TokenStream {
    quote::quote!(::app_kernel::store::db::entity)
}

/// A place in messages. Still marked as written by a macro, so that lints leave what stands there alone.
fn at(place: Span) -> Span {
    Span::call_site().located_at(place)
}

/// All that is wrong with one input.
#[derive(Default)]
struct Errors(Option<syn::Error>);

impl Errors {
    /// One thing that is wrong, at its tokens.
    fn add(&mut self, at: &impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(at, message));
    }

    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    fn into_result(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
