//! What an event of the audit is, what changed in it, and how it is chained to the one before.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::base::clock::{Timestamp, format_timestamp, iso};
use crate::base::secret::token_hash;
use crate::store::db::changes::Change;

/// The hash before the first entry.
pub(super) const BEGINNING: &str = "";

/// Columns that the kernel keeps: what they say is told elsewhere.
const KEPT_BY_US: [&str; 4] = ["id", "created_at", "updated_at", "version"];

/// One committed change, as the audit tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// The same however often it is delivered.
    pub(super) id: String,
    pub(super) app: String,
    pub(super) entity: String,
    pub(super) entity_id: String,
    pub(super) entity_version: i64,
    pub(super) action: String,
    /// `{"field": {"old": .., "new": ..}}` as text, so that no database writes it another way. None where the history was purged.
    pub(super) changes: Option<String>,
    pub(super) caller: String,
    pub(super) user_id: Option<String>,
    pub(super) workspace_id: Option<String>,
    pub(super) request_id: Option<String>,
    #[serde(with = "iso")]
    pub(super) changed_at: Timestamp,
}

impl Event {
    /// From the record of a change. Its number there is left out of the id: it is another one after a move to another database.
    pub(super) fn of(app: &str, change: Change) -> Self {
        let changes = differences(&change);
        let Change { entity, entity_id, entity_version, operation: action, changed_at, .. } = change;
        let identity = json!([app, entity, entity_id, entity_version, format_timestamp(changed_at)]);
        let mut id = token_hash(&identity.to_string());
        id.truncate(40);
        Event {
            id,
            app: app.to_owned(),
            entity,
            entity_id,
            entity_version,
            action,
            changes: changes.map(|changes| Json::Object(changes).to_string()),
            caller: change.caller,
            user_id: change.user_id,
            workspace_id: change.workspace_id,
            request_id: change.request_id,
            changed_at,
        }
    }

    /// The hash of this event as the entry of this number behind `before`.
    pub(super) fn link(&self, before: &str, position: i64) -> String {
        let Event { id, app, entity, entity_id, entity_version, action, changes, .. } = self;
        let Event { caller, user_id, workspace_id, request_id, changed_at, .. } = self;
        let at = format_timestamp(*changed_at);
        let what = json!([id, app, entity, entity_id, entity_version, action, changes]);
        let who = json!([caller, user_id, workspace_id, request_id, at]);
        token_hash(&json!([before, position, what, who]).to_string())
    }
}

/// The fields that differ, with both values. None where a version that should be there is not.
fn differences(change: &Change) -> Option<Map<String, Json>> {
    let is_gone_for_good = change.operation == "deleted";
    let (nothing_before, nothing_after) = (Map::new(), Map::new());
    let before = match &change.before {
        Some(before) => before,
        None if change.entity_version == 1 => &nothing_before,
        None => return None,
    };
    let after = match &change.after {
        Some(_) if is_gone_for_good => &nothing_after,
        Some(after) => after,
        None => return None,
    };
    let added = after.keys().filter(|name| !before.contains_key(*name));
    let names = before.keys().chain(added).filter(|name| !KEPT_BY_US.contains(&name.as_str()));
    let value = |row: &Map<String, Json>, name: &str| row.get(name).cloned().unwrap_or(Json::Null);
    let pairs = names.map(|name| (name, value(before, name), value(after, name)));
    Some(
        pairs
            .filter(|(_, old, new)| old != new)
            .map(|(name, old, new)| (name.clone(), json!({ "old": old, "new": new })))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row: Json) -> Option<Map<String, Json>> {
        row.as_object().cloned()
    }

    fn change(version: i64, operation: &str, before: Json, after: Json) -> Change {
        Change {
            seq: 7,
            entity: "widgets".to_owned(),
            entity_id: "w1".to_owned(),
            entity_version: version,
            operation: operation.to_owned(),
            changed_at: "2026-01-30T12:00:00.000001Z".parse().expect("a time"),
            caller: "user".to_owned(),
            user_id: Some("ann".to_owned()),
            workspace_id: None,
            request_id: None,
            before: row(before),
            after: row(after),
        }
    }

    fn told(change: Change) -> Option<Json> {
        Event::of("shop", change).changes.map(|text| serde_json::from_str(&text).expect("JSON"))
    }

    /// Promise: P3
    #[test]
    fn only_what_differs_is_told_with_both_values() {
        let before = json!({ "id": "w1", "name": "gear", "size": 3, "version": 1, "updated_at": "a" });
        let after = json!({ "id": "w1", "name": "gear", "size": 4, "version": 2, "updated_at": "b" });
        assert_eq!(told(change(2, "updated", before, after)), Some(json!({ "size": { "old": 3, "new": 4 } })));
    }

    /// Promise: P3
    #[test]
    fn the_first_version_has_no_old_values_and_a_permanent_deletion_no_new_ones() {
        let gear = json!({ "id": "w1", "name": "gear", "note": null });
        let made = told(change(1, "created", Json::Null, gear.clone()));
        assert_eq!(made, Some(json!({ "name": { "old": null, "new": "gear" } })));
        let gone = told(change(2, "deleted", gear.clone(), gear));
        assert_eq!(gone, Some(json!({ "name": { "old": "gear", "new": null } })));
    }

    #[test]
    fn a_column_that_came_later_or_went_is_told_too() {
        let told = told(change(2, "updated", json!({ "a": 1 }), json!({ "b": 2 })));
        assert_eq!(told, Some(json!({ "a": { "old": 1, "new": null }, "b": { "old": null, "new": 2 } })));
    }

    #[test]
    fn where_the_history_was_purged_nothing_is_told_of_the_fields() {
        assert_eq!(told(change(2, "updated", Json::Null, json!({ "a": 1 }))), None);
        assert_eq!(told(change(1, "created", Json::Null, Json::Null)), None);
    }

    /// Promise: R-05
    #[test]
    fn an_event_has_the_same_id_however_often_it_is_delivered_and_another_in_another_app() {
        let event = |app, seq| Event::of(app, Change { seq, ..change(1, "created", Json::Null, json!({})) });
        assert_eq!(event("shop", 1).id, event("shop", 2).id);
        assert_ne!(event("shop", 1).id, event("blog", 1).id);
        let later = Change {
            changed_at: "2026-01-30T12:00:00.000002Z".parse().expect("a time"),
            ..change(1, "created", Json::Null, json!({}))
        };
        assert_ne!(
            Event::of("shop", later).id,
            event("shop", 1).id,
            "after a restore, the same version was made at another time"
        );
    }

    #[test]
    fn a_link_depends_on_everything_that_an_entry_tells() {
        let event = Event::of("shop", change(1, "created", Json::Null, json!({ "name": "gear" })));
        let link = event.link(BEGINNING, 1);
        assert_eq!(link, event.clone().link(BEGINNING, 1));
        let others = [
            Event { action: "updated".to_owned(), ..event.clone() },
            Event { changes: None, ..event.clone() },
            Event { user_id: None, ..event.clone() },
            Event { request_id: Some("r".to_owned()), ..event.clone() },
            Event { workspace_id: Some("ann".to_owned()), user_id: None, ..event.clone() },
            Event { entity_version: 2, ..event.clone() },
        ];
        assert!(others.iter().all(|other| other.link(BEGINNING, 1) != link));
        assert!(event.link(BEGINNING, 2) != link && event.link("x", 1) != link);
    }
}
