//! The controller: a widget by its id, those of an owner, and new ones with their first version. All for who is signed in.

use axum::http::StatusCode;
use chrono::Utc;
use loco_rs::prelude::*;
use serde::Deserialize;
use uuid::Uuid;

use crate::models::{widget_versions, widgets};

#[derive(Debug, Deserialize)]
struct Owner {
    owner_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWidget {
    owner_id: String,
    name: String,
    color: String,
    size: i64,
    weight: f64,
}

async fn read(_: auth::JWT, State(ctx): State<AppContext>, Path(id): Path<Uuid>) -> Result<Response> {
    let living = widgets::Entity::find_by_id(id).filter(widgets::Column::DeletedAt.is_null());
    format::json(living.one(&ctx.db).await?.ok_or_else(|| Error::NotFound)?)
}

async fn list(_: auth::JWT, State(ctx): State<AppContext>, Query(owner): Query<Owner>) -> Result<Response> {
    let theirs = widgets::Entity::find()
        .filter(widgets::Column::OwnerId.eq(owner.owner_id))
        .filter(widgets::Column::DeletedAt.is_null())
        .order_by_asc(widgets::Column::Id)
        .limit(100);
    format::json(theirs.all(&ctx.db).await?)
}

async fn create(_: auth::JWT, State(ctx): State<AppContext>, Json(new): Json<NewWidget>) -> Result<Response> {
    let now = Utc::now().fixed_offset();
    let transaction = ctx.db.begin().await?;
    let widget = widgets::ActiveModel {
        id: Set(Uuid::now_v7()),
        owner_id: Set(new.owner_id),
        name: Set(new.name),
        color: Set(new.color),
        size: Set(new.size),
        weight: Set(new.weight),
        created_at: Set(now),
        updated_at: Set(now),
        deleted_at: Set(None),
    };
    let widget = widget.insert(&transaction).await?;
    let version = widget_versions::ActiveModel {
        widget_id: Set(widget.id),
        version: Set(1),
        operation: Set("created".to_owned()),
        data: Set(serde_json::to_value(&widget)?),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    version.insert(&transaction).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(widget)).into_response())
}

pub fn routes() -> Routes {
    Routes::new().add("/w", get(list).post(create)).add("/w/{id}", get(read))
}
