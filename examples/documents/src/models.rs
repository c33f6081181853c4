//! What is stored.

use app_kernel::prelude::*;

/// A text that somebody uploaded.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// What it is called.
    #[garde(length(chars, min = 1, max = 200))]
    pub title: String,
    /// What it says: paragraphs with empty lines between.
    #[garde(length(chars, min = 1))]
    pub text: String,
    /// How far it is; the server says so.
    #[serde(skip_deserializing)]
    #[garde(skip)]
    pub status: DocumentStatus,
    /// Whose it is; the server fills it in.
    #[entity(index)]
    #[serde(skip_deserializing)]
    #[garde(skip)]
    pub owner_id: String,
}

/// How far a document is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentStatus {
    /// Nobody has read it.
    #[default]
    Uploaded,
    /// A job has read it.
    Processed,
}
