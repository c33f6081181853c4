//! Which workspace a request is about, and whether the one who asks belongs to it.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use super::model::{check_second_factor, workspace_parameter};
use super::store::{self, Membership};
use crate::base::caller::Caller;
use crate::base::error::{OrNotFound, Result};
use crate::feature::auth::{FindWorkspace, UserIdentity, WorkspaceFinder};
use crate::store::db::Db;
use crate::web::edge::note_workspace;
use crate::web::extract::{Query, caller_of};
use crate::web::identity::Authenticate;

/// The header that names a workspace.
pub(super) const HEADER: &str = "x-workspace-id";

/// The parameter that names a workspace.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Named {
    /// The workspace that the request is about; the personal one where nothing names another.
    #[serde(default)]
    pub(super) workspace_id: Option<String>,
}

/// Finds out who asks as `people` does, and has `CurrentUser` find the workspace that the request names.
pub(crate) fn finding_workspaces(people: Arc<dyn Authenticate>, db: Db) -> Arc<dyn Authenticate> {
    Arc::new(PeopleInWorkspaces { people, finder: WorkspaceFinder(Arc::new(Finder { db })) })
}

struct PeopleInWorkspaces {
    people: Arc<dyn Authenticate>,
    finder: WorkspaceFinder,
}

impl Authenticate for PeopleInWorkspaces {
    fn has_credentials(&self, headers: &HeaderMap) -> bool {
        self.people.has_credentials(headers)
    }

    fn authenticate<'a>(&'a self, parts: &'a mut Parts) -> BoxFuture<'a, Caller> {
        parts.extensions.insert(self.finder.clone());
        self.people.authenticate(parts)
    }
}

struct Finder {
    db: Db,
}

impl FindWorkspace for Finder {
    fn named<'a>(
        &'a self,
        parts: &'a mut Parts,
        user: &'a UserIdentity,
    ) -> Option<BoxFuture<'a, Result<Option<String>>>> {
        if !may_name_one(parts) {
            return None;
        }
        Some(Box::pin(async move {
            let Some(id) = named_at_all(parts).await? else { return Ok(None) };
            Ok(Some(belonging(parts, &self.db, &id, user).await?.workspace.id.clone()))
        }))
    }
}

/// Whether it is worth a closer look. Most requests name nothing.
fn may_name_one(parts: &Parts) -> bool {
    let names_one = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        name == "workspace_id" || name.contains('%')
    };
    parts.uri.query().is_some_and(|query| query.split('&').any(names_one))
        || parts.headers.contains_key(HEADER)
        || parts.extensions.get::<MatchedPath>().is_some_and(|path| path.as_str().contains("workspace"))
}

/// The workspace that the request names: by its path, its query, its header. Whose it is, nobody has asked.
pub(crate) async fn named(parts: &mut Parts) -> Result<Option<String>> {
    if may_name_one(parts) { named_at_all(parts).await } else { Ok(None) }
}

async fn named_at_all(parts: &mut Parts) -> Result<Option<String>> {
    let template = parts.extensions.get::<MatchedPath>().cloned();
    if let Some(name) = template.as_ref().and_then(|path| workspace_parameter(path.as_str())) {
        let params = RawPathParams::from_request_parts(parts, &()).await.ok();
        // A path that can't be read names nothing that is there.
        let value = params.as_ref().and_then(|params| params.iter().find(|(key, _)| *key == name));
        return Ok(Some(value.map(|(_, value)| value.to_owned()).unwrap_or_default()));
    }
    let Query(Named { workspace_id }) = Query::from_request_parts(parts, &()).await?;
    let by_header = || parts.headers.get(HEADER).map(|value| value.to_str().unwrap_or_default().to_owned());
    Ok(workspace_id.or_else(by_header))
}

/// The place in a workspace of the one who asks; 404 where they have none, 403 where it asks for a second factor that they lack. Read once
/// for each request. From now on the request is known to be about this workspace.
pub(crate) async fn belonging(parts: &mut Parts, db: &Db, id: &str, user: &UserIdentity) -> Result<Arc<Membership>> {
    if let Some(known) = parts.extensions.get::<Arc<Membership>>()
        && known.workspace.id == id
    {
        return Ok(Arc::clone(known));
    }
    let found = Arc::new(store::membership(db, id, &user.id).await?.or_not_found("workspace")?);
    check_second_factor(found.workspace.requires_second_factor, user.has_second_factor)?;
    let caller = caller_of(&parts.extensions);
    parts.extensions.insert(caller.in_workspace(id));
    note_workspace(&parts.extensions, id);
    parts.extensions.insert(Arc::clone(&found));
    Ok(found)
}
