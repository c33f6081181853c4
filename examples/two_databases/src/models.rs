//! What is stored: columns of the types that databases write differently, which mean the same on each.

use app_kernel::prelude::*;

/// A book.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[entity(index(owner_id, title))]
pub struct Book {
    /// What it is called.
    pub title: String,
    /// Who wrote it.
    #[serde(default)]
    pub authors: Vec<String>,
    /// What it cost.
    pub price: Option<f64>,
    /// Whether it was read to its end.
    #[serde(default)]
    pub is_read: bool,
    /// When it was bought.
    pub bought_at: Option<Timestamp>,
    /// Whose it is; the server fills it in.
    #[serde(skip_deserializing)]
    pub owner_id: String,
}
