//! A struct with named fields, read as a table.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{DataStruct, DeriveInput, Fields, Ident, LitStr};

use super::attributes::{Entry, Place};
use super::columns::{Column, NO_INDEX};
use super::{Errors, checks, names};

struct Table<'a> {
    ident: &'a Ident,
    place: Place,
    name: String,
    name_tokens: TokenStream,
    renamed_from: Option<LitStr>,
    history: bool,
    of_kernel: bool,
    indexes: Vec<Index>,
    columns: Vec<Column<'a>>,
}

struct Index {
    columns: Vec<Ident>,
    unique: bool,
}

/// Writes `Entity` for a struct.
pub(super) fn expand(input: &DeriveInput, data: &DataStruct) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let table = Table::of(input, data, &mut errors)?;
    table.check(&mut errors);
    errors.into_result()?;
    Ok(table.implementation())
}

impl<'a> Table<'a> {
    fn of(input: &'a DeriveInput, data: &'a DataStruct, errors: &mut Errors) -> syn::Result<Self> {
        let ident = &input.ident;
        let place = Place::of_struct(ident);
        let Fields::Named(fields) = &data.fields else {
            let message = place
                .says("an entity's fields have names, which become its columns; write struct Name { field: Type }");
            return Err(syn::Error::new_spanned(ident, message));
        };
        let entries = place.read(&input.attrs, errors);
        let columns = fields.named.iter().filter_map(|field| Column::of(field, ident, errors)).collect();
        let mut table = Table {
            ident,
            place,
            name: names::plural(&names::snake_case(&ident.unraw().to_string())),
            name_tokens: ident.to_token_stream(),
            renamed_from: None,
            history: true,
            of_kernel: false,
            indexes: Vec::new(),
            columns,
        };
        for entry in &entries {
            table.take(entry, errors);
        }
        Ok(table)
    }

    fn take(&mut self, entry: &Entry, errors: &mut Errors) {
        let place = &self.place;
        match entry.name().as_str() {
            "table" => {
                if let Some(name) = entry.text("table = \"projects\"", place, errors) {
                    self.name = name.value();
                    self.name_tokens = name.to_token_stream();
                }
            }
            "renamed_from" => self.renamed_from = entry.text("renamed_from = \"old_name\"", place, errors).cloned(),
            "history" => self.history = entry.truth("history = false", place, errors).unwrap_or(true),
            "kernel" => self.of_kernel = entry.flag(place, errors),
            key @ ("index" | "unique") => {
                if let Some(columns) = entry.names(place, errors) {
                    self.indexes.push(Index { columns: columns.to_vec(), unique: key == "unique" });
                    self.check_length_of_index(entry, columns.len(), errors);
                }
            }
            _ => {}
        }
    }

    fn check_length_of_index(&self, entry: &Entry, columns: usize, errors: &mut Errors) {
        if columns < 2 {
            let key = entry.name();
            let message = self
                .place
                .says(format!("`{key}(..)` is for two columns and more; over one, `{key}` stands at the field"));
            errors.add(&entry.key, message);
        }
    }

    fn check(&self, errors: &mut Errors) {
        if let Some(problem) = names::table_problem(&self.name, self.of_kernel) {
            let cure =
                if *self.ident == self.name_tokens.to_string() { ", with #[entity(table = \"..\")]" } else { "" };
            errors.add(&self.name_tokens, self.place.says(format!("{problem}{cure}")));
        }
        if let Some(old) = &self.renamed_from
            && let Some(problem) = self.renamed_from_problem(&old.value())
        {
            errors.add(old, self.place.says(problem));
        }
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        for (i, column) in self.columns.iter().enumerate() {
            column.check_beside(&names, errors);
            refuse_same_name(column, &self.columns[..i], errors);
        }
        for index in &self.indexes {
            self.check_index(index, &names, errors);
        }
    }

    fn renamed_from_problem(&self, old: &str) -> Option<String> {
        if old == self.name {
            return Some(format!("`renamed_from` names the table's present name `{old}`; it names the former one"));
        }
        names::form_problem(old, "table")
    }

    fn check_index(&self, index: &Index, names: &[&str], errors: &mut Errors) {
        for (i, ident) in index.columns.iter().enumerate() {
            let name = ident.unraw().to_string();
            let column = self.columns.iter().find(|column| column.name == name);
            let problem = if index.columns[..i].iter().any(|other| other.unraw() == name.as_str()) {
                Some(format!("the index names `{name}` twice"))
            } else if column.is_some_and(Column::is_unfit_for_indexes) {
                Some(format!("`{name}`: {NO_INDEX}"))
            } else if column.is_none() && !names::AUTOMATIC.contains(&name.as_str()) {
                Some(self.no_such_column(ident, names))
            } else {
                None
            };
            if let Some(problem) = problem {
                errors.add(ident, self.place.says(problem));
            }
        }
    }

    fn no_such_column(&self, ident: &Ident, names: &[&str]) -> String {
        let renamed = self.columns.iter().find(|column| column.field.unraw() == ident.unraw());
        match renamed {
            Some(column) => {
                format!("the column of field `{}` is `{}`; an index names columns", column.field.unraw(), column.name)
            }
            None => {
                let known: Vec<&str> = names.iter().copied().chain(names::AUTOMATIC).collect();
                checks::no_such_column(&ident.unraw().to_string(), &known)
            }
        }
    }

    fn implementation(&self) -> TokenStream {
        let entity = super::path();
        let ident = self.ident;
        let definition = self.definition();
        let to_values = self.columns.iter().map(Column::to_value);
        let reads = self.columns.iter().enumerate().map(|(i, column)| {
            let field = column.field;
            let index = if i == 0 { quote!(first) } else { quote!(first + #i) };
            let read = column.read_column(&index);
            quote!(#field: #read)
        });
        let enter_workspace = self.columns.iter().find_map(Column::enter_workspace);
        let (row, first) = if self.columns.is_empty() { (quote!(_), quote!(_)) } else { (quote!(row), quote!(first)) };
        quote! {
            #[automatically_derived]
            #[allow(deprecated)]
            impl #entity::Entity for #ident {
                fn definition() -> &'static #entity::EntityDef {
                    static DEFINITION: ::std::sync::OnceLock<#entity::EntityDef> = ::std::sync::OnceLock::new();
                    DEFINITION.get_or_init(|| #definition)
                }

                fn to_values(&self) -> ::app_kernel::base::error::Result<::std::vec::Vec<::app_kernel::store::db::value::Value>> {
                    ::core::result::Result::Ok(::std::vec![#(#to_values),*])
                }

                fn from_row(
                    #row: &::app_kernel::store::db::row::RowRef<'_>,
                    #first: usize,
                ) -> ::core::result::Result<Self, ::app_kernel::store::db::row::DecodeError> {
                    ::core::result::Result::Ok(Self { #(#reads),* })
                }

                #enter_workspace
            }
        }
    }

    fn definition(&self) -> TokenStream {
        let entity = super::path();
        let name = &self.name;
        let history = self.history;
        let columns = self.columns.iter().map(|column| column.definition(self.is_in_index(column)));
        let indexes = self.indexes.iter().map(|index| {
            let unique = index.unique;
            let columns = index.columns.iter().map(|column| column.unraw().to_string());
            quote!(#entity::IndexDef {
                columns: ::std::vec![#(::std::borrow::Cow::Borrowed(#columns)),*],
                unique: #unique,
            })
        });
        let renamed_from = self
            .renamed_from
            .as_ref()
            .map(|old| quote!(renamed_from: ::core::option::Option::Some(::std::borrow::Cow::Borrowed(#old)),));
        quote!(#entity::EntityDef {
            columns: ::std::vec![#(#columns),*],
            indexes: ::std::vec![#(#indexes),*],
            #renamed_from
            history: #history,
            ..#entity::EntityDef::new(#name)
        })
    }

    fn is_in_index(&self, column: &Column<'_>) -> bool {
        let mut named = self.indexes.iter().flat_map(|index| &index.columns);
        named.any(|ident| ident.unraw() == column.name.as_str())
    }
}

fn refuse_same_name(column: &Column<'_>, before: &[Column<'_>], errors: &mut Errors) {
    if let Some(other) = before.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)) {
        let message = column.place.says(format!(
            "the column `{}` is there already, of field `{}`; columns must differ in more than case",
            other.name,
            other.field.unraw()
        ));
        errors.add(&column.name_tokens, message);
    }
    let old = column.renamed_from.as_ref();
    let same = before.iter().find(|other| old.is_some() && other.renamed_from.as_ref() == old);
    if let (Some(old), Some(other)) = (old, same) {
        let message = column.place.says(format!(
            "field `{}` was renamed from `{}` too; the values can move to one of them only",
            other.field.unraw(),
            old.value()
        ));
        errors.add(old, message);
    }
}
