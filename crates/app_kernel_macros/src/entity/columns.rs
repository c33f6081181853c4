//! A field, read as a column: its name, its type, and what its attributes say.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, Field, Ident, LitStr};

use super::attributes::{Entry, Place};
use super::types::{FieldType, Storage};
use super::{Errors, checks, defaults, names};

/// One column of an entity.
pub(super) struct Column<'a> {
    /// The field.
    pub(super) field: &'a Ident,
    /// The column's name.
    pub(super) name: String,
    /// Where the name is said.
    pub(super) name_tokens: TokenStream,
    pub(super) ty: FieldType,
    pub(super) place: Place,
    pub(super) renamed_from: Option<LitStr>,
    index: Option<Ident>,
    unique: Option<Ident>,
    foreign_key: Option<LitStr>,
    check: Option<LitStr>,
    default: Option<TokenStream>,
    secret: bool,
}

impl<'a> Column<'a> {
    /// Reads a named field of the struct `entity`.
    pub(super) fn of(field: &'a Field, entity: &Ident, errors: &mut Errors) -> Option<Self> {
        let ident = field.ident.as_ref()?;
        let place = Place::of_field(ident);
        let entries = place.read(&field.attrs, errors);
        let json = entries.iter().any(|entry| entry.name() == "json");
        let ty = FieldType::of(&field.ty, json).unwrap_or_else(|problem| {
            errors.add(&field.ty, place.says(problem));
            FieldType::unknown(&field.ty)
        });
        let mut column = Column {
            field: ident,
            name: ident.unraw().to_string(),
            name_tokens: ident.to_token_stream(),
            ty,
            place,
            renamed_from: None,
            index: None,
            unique: None,
            foreign_key: None,
            check: None,
            default: None,
            secret: false,
        };
        for entry in &entries {
            column.take(entry, errors);
        }
        if let Some(problem) = names::column_problem(&column.name, &entity.unraw().to_string()) {
            errors.add(&column.name_tokens, column.place.says(problem));
        }
        column.refuse_unfit_indexes(errors);
        Some(column)
    }

    fn take(&mut self, entry: &Entry, errors: &mut Errors) {
        let place = &self.place;
        match entry.name().as_str() {
            "index" => self.index = entry.flag(place, errors).then(|| entry.key.clone()),
            "unique" => self.unique = entry.flag(place, errors).then(|| entry.key.clone()),
            "secret" => self.secret = entry.flag(place, errors),
            "json" => drop(entry.flag(place, errors)),
            "rename" => {
                if let Some(name) = entry.text("rename = \"column\"", place, errors) {
                    self.name = name.value();
                    self.name_tokens = name.to_token_stream();
                }
            }
            "default" => {
                let default = entry.value("default = \"blue\"", place, errors);
                self.default = default.and_then(|default| self.default(default, errors));
            }
            "check" => self.check = entry.text("check = \"[size] > 0\"", place, errors).cloned(),
            "foreign_key" => self.foreign_key = entry.text("foreign_key = \"projects\"", place, errors).cloned(),
            "renamed_from" => self.renamed_from = entry.text("renamed_from = \"old_name\"", place, errors).cloned(),
            _ => {}
        }
    }

    fn default(&self, default: &Expr, errors: &mut Errors) -> Option<TokenStream> {
        defaults::expand(default, &self.ty, |problem| self.place.says(problem))
            .map_err(|problem| errors.add(default, self.place.says(problem)))
            .ok()
    }

    fn refuse_unfit_indexes(&self, errors: &mut Errors) {
        if self.ty.storage == Storage::Value {
            return;
        }
        for key in [&self.index, &self.unique].into_iter().flatten() {
            errors.add(key, self.place.says(NO_INDEX));
        }
        if let Some(foreign_key) = &self.foreign_key {
            errors.add(foreign_key, self.place.says(NO_FOREIGN_KEY));
        }
    }

    /// What can only be checked once all columns are known.
    pub(super) fn check_beside(&self, columns: &[&str], errors: &mut Errors) {
        if let Some(check) = &self.check
            && let Some(problem) = checks::problem(&check.value(), columns)
        {
            errors.add(check, self.place.says(problem));
        }
        if let Some(foreign_key) = &self.foreign_key
            && let Some(problem) = foreign_key_problem(&foreign_key.value())
        {
            errors.add(foreign_key, self.place.says(problem));
        }
        if let Some(old) = &self.renamed_from
            && let Some(problem) = self.renamed_from_problem(&old.value(), columns)
        {
            errors.add(old, self.place.says(problem));
        }
    }

    fn renamed_from_problem(&self, old: &str, columns: &[&str]) -> Option<String> {
        if old == self.name {
            return Some(format!("`renamed_from` names the column's present name `{old}`; it names the former one"));
        }
        if columns.contains(&old) || names::automatic(old).is_some() {
            return Some(format!(
                "`renamed_from` names `{old}`, which is still a column; only a column that is gone can move here"
            ));
        }
        names::form_problem(old, "column")
    }

    /// The column's `ColumnDef`.
    pub(super) fn definition(&self, indexed: bool) -> TokenStream {
        let entity = super::path();
        let name = &self.name;
        let ty = self.column_type();
        let text = |text: &str| quote!(::core::option::Option::Some(::std::borrow::Cow::Borrowed(#text)));
        let mut fields = vec![self.nullable(), self.secret()];
        fields.extend(self.index.is_some().then(|| quote!(index: true)));
        fields.extend(self.unique.is_some().then(|| quote!(unique: true)));
        fields.extend(self.default.as_ref().map(|default| quote!(default: ::core::option::Option::Some(#default))));
        fields.extend(self.check.as_ref().map(|check| {
            let check = text(&check.value());
            quote!(check: #check)
        }));
        fields.extend(self.renamed_from.as_ref().map(|old| {
            let old = text(&old.value());
            quote!(renamed_from: #old)
        }));
        fields.extend(self.foreign_key.as_ref().map(|target| {
            let value = target.value();
            let table = value.strip_suffix(".id").unwrap_or(&value);
            quote!(foreign_key: ::core::option::Option::Some(#entity::ForeignKey {
                table: ::std::borrow::Cow::Borrowed(#table),
                column: ::std::borrow::Cow::Borrowed(#entity::ID),
            }))
        }));
        let assertions = self.assertions(indexed);
        quote!({
            #assertions
            #entity::ColumnDef { #(#fields,)* ..#entity::ColumnDef::new(#name, #ty) }
        })
    }

    fn column_type(&self) -> TokenStream {
        let column_type = quote!(::app_kernel::store::db::value::ColumnType);
        match self.ty.storage {
            Storage::Value => {
                let value = self.as_value();
                quote!(#value::TYPE)
            }
            Storage::Bytes => quote!(#column_type::Bytes),
            Storage::Json(_) => quote!(#column_type::Json),
        }
    }

    fn nullable(&self) -> TokenStream {
        let optional = self.ty.optional;
        match self.ty.storage {
            Storage::Value if !optional => {
                let value = self.as_value();
                quote!(nullable: #value::NULLABLE)
            }
            _ => quote!(nullable: #optional),
        }
    }

    fn secret(&self) -> TokenStream {
        match self.ty.storage {
            Storage::Value if !self.secret => {
                let value = self.as_value();
                quote!(secret: #value::SECRET)
            }
            _ => {
                let secret = self.secret;
                quote!(secret: #secret)
            }
        }
    }

    /// `<T as EntityValue>`, where rustc will say that `T` is not one.
    fn as_value(&self) -> TokenStream {
        let inner = &self.ty.inner;
        let entity = super::path();
        quote!(<#inner as #entity::EntityValue>)
    }

    /// What is wrong with the type where the macro can't see it, through an alias for example.
    fn assertions(&self, indexed: bool) -> TokenStream {
        let is_value = self.ty.storage == Storage::Value;
        let foreign = self.foreign_key.is_some();
        let indexed = indexed || self.index.is_some() || self.unique.is_some();
        if !is_value || !(indexed || foreign) {
            return TokenStream::new();
        }
        let column_type = quote!(::app_kernel::store::db::value::ColumnType);
        let (types, wanted, problem) = if foreign {
            (quote!(#column_type::Text | #column_type::Uuid), true, NO_FOREIGN_KEY)
        } else {
            (quote!(#column_type::Json | #column_type::Bytes), false, NO_INDEX)
        };
        let message = self.place.says(problem);
        let value = self.as_value();
        let at = super::at(self.ty.inner.span());
        quote_spanned!(at=> const _: () = ::core::assert!(::core::matches!(#value::TYPE, #types) == #wanted, #message);)
    }

    /// The code of the field's `Value`.
    pub(super) fn to_value(&self) -> TokenStream {
        let entity = super::path();
        let (field, name, whole) = (self.field, &self.name, &self.ty.whole);
        let at = super::at(self.ty.inner.span());
        let value = match (self.module(), self.ty.optional) {
            (None, _) => {
                quote_spanned!(at=> <#whole as #entity::EntityValue>::to_value(&self.#field))
            }
            (Some(module), false) => quote_spanned!(at=> #entity::#module::to_value(&self.#field)),
            (Some(module), true) => quote_spanned!(at=> match &self.#field {
                ::core::option::Option::Some(value) => #entity::#module::to_value(value),
                ::core::option::Option::None => ::core::result::Result::Ok(::app_kernel::store::db::value::Value::Null),
            }),
        };
        quote!(#value.map_err(|problem| #entity::field_error(#name, &problem))?)
    }

    /// The code that reads the field from column `index` of `row`.
    pub(super) fn read_column(&self, index: &TokenStream) -> TokenStream {
        let entity = super::path();
        let (inner, whole) = (&self.ty.inner, &self.ty.whole);
        let at = super::at(inner.span());
        let Some(module) = self.module() else {
            return quote_spanned!(at=> <#whole as #entity::EntityValue>::from_column(row, #index)?);
        };
        let ty = matches!(self.ty.storage, Storage::Json(_)).then(|| quote!(::<#inner>));
        let read = quote_spanned!(at=> #entity::#module::from_column #ty (row, #index)?);
        if !self.ty.optional {
            return read;
        }
        quote!(if row.is_null(#index)? {
            ::core::option::Option::None
        } else {
            ::core::option::Option::Some(#read)
        })
    }

    /// The function that sets the field, where it says which workspace the row belongs to.
    pub(super) fn enter_workspace(&self) -> Option<TokenStream> {
        if self.name != WORKSPACE_ID || self.ty.storage != Storage::Value {
            return None;
        }
        let entity = super::path();
        let (field, whole) = (self.field, &self.ty.whole);
        Some(quote! {
            fn enter_workspace(&mut self, id: &str) {
                if let ::core::option::Option::Some(id) = <#whole as #entity::EntityValue>::from_text(id) {
                    self.#field = id;
                }
            }
        })
    }

    /// The functions that stand in for `EntityValue`.
    fn module(&self) -> Option<TokenStream> {
        match self.ty.storage {
            Storage::Value => None,
            Storage::Bytes => Some(quote!(bytes)),
            Storage::Json(_) => Some(quote!(json)),
        }
    }

    /// Whether an index can't be over this column.
    pub(super) fn is_unfit_for_indexes(&self) -> bool {
        self.ty.storage != Storage::Value
    }
}

/// The column in which a row says which workspace it belongs to.
const WORKSPACE_ID: &str = "workspace_id";

pub(super) const NO_INDEX: &str =
    "JSON and bytes can't have an index; store what is searched for in a column of its own";
const NO_FOREIGN_KEY: &str =
    "a foreign key holds the id of a row, so its field is a String, a Uuid or an Option of one";

fn foreign_key_problem(target: &str) -> Option<String> {
    let (table, column) = target.split_once('.').unwrap_or((target, "id"));
    if column != "id" {
        return Some(format!("a foreign key points to the `id` of a row; write foreign_key = \"{table}\""));
    }
    names::form_problem(table, "table")
}
