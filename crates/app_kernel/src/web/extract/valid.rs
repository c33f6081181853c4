//! Input that keeps its own rules, said with [`garde`]'s attributes beside its fields.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use garde::Validate;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::check::push_key;
use super::schema::{Schema, SchemaAt};
use super::{Form, Json, Path, Query, wrong_fields};
use crate::base::error::{Error, FieldError, Result};

/// What another extractor read, once the rules of its type hold: `Valid(Json(new)): Valid<Json<NewWidget>>`.
/// Every rule that is broken is named in one answer, 422.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Valid<E>(pub E);

impl<E> std::ops::Deref for Valid<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.0
    }
}

macro_rules! valid {
    ($what:literal: $extractor:ident by $trait:ident::$method:ident($source:ty)) => {
        impl<T, S> $trait<S> for Valid<$extractor<T>>
        where
            T: DeserializeOwned + JsonSchema + Validate<Context = ()> + Send,
            S: Send + Sync,
        {
            type Rejection = Error;

            async fn $method(source: $source, state: &S) -> Result<Self> {
                let read = $extractor::<T>::$method(source, state).await?;
                keep_rules($what, &*read)?;
                Ok(Valid(read))
            }
        }
    };
}

valid!("the body": Json by FromRequest::from_request(Request));
valid!("the form": Form by FromRequest::from_request(Request));
valid!("the query": Query by FromRequestParts::from_request_parts(&mut Parts));
valid!("the path": Path by FromRequestParts::from_request_parts(&mut Parts));

fn keep_rules<T: Validate<Context = ()> + JsonSchema>(what: &str, value: &T) -> Result<()> {
    let Err(report) = value.validate() else {
        return Ok(());
    };
    let schema = Schema::of::<T>();
    let fault = |(path, error): &(garde::Path, garde::Error)| FieldError {
        pointer: pointer(schema.root(), path),
        message: error.message().to_owned(),
    };
    Err(wrong_fields(what, report.iter().map(fault).collect()))
}

/// garde's `items[3].unit_price` as the client knows it, `/items/3/unitPrice`: garde speaks of the struct's fields, and
/// serde may have given them other names.
fn pointer(schema: SchemaAt<'_>, path: &garde::Path) -> String {
    let (mut pointer, mut place) = (String::new(), Some(schema));
    for step in path.to_string().split(['.', '[']).filter(|step| !step.is_empty()) {
        if let Some(index) = step.strip_suffix(']') {
            push_key(&mut pointer, index);
            place = place.and_then(|place| place.element().or_else(|| place.map_value()));
            continue;
        }
        match place.and_then(|place| place.property(step)) {
            Some((name, below)) => {
                push_key(&mut pointer, name);
                place = Some(below);
            }
            None => {
                push_key(&mut pointer, step);
                place = place.and_then(SchemaAt::map_value);
            }
        }
    }
    pointer
}

impl<E: OperationInput> OperationInput for Valid<E> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        E::operation_input(ctx, operation);
    }
}
