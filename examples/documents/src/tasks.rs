//! Work that outlives the request. A task runs at least once, so it may run twice without harm.

use app_kernel::prelude::*;
use serde_json::json;

use crate::models::{Document, DocumentStatus};

/// Where these jobs wait.
pub const QUEUE: &str = "documents";

/// What [`process_document`] is told: which document, not what it says. A row is no place for a text, and the text may change meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessDocument {
    /// The document.
    pub document_id: String,
}

/// What [`process_document`] finds out; `/jobs/{id}` shows it to whoever asked for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// How many paragraphs there are.
    pub paragraphs: usize,
    /// How many words.
    pub words: usize,
    /// The longest word, the first of them where several are.
    pub longest_word: String,
}

/// Reads a document.
#[task(queue = "documents", max_attempts = 5, timeout = "5m")]
pub async fn process_document(payload: ProcessDocument, ctx: JobContext) -> Result<Reading, JobError> {
    let Some(mut document) = ctx.db.get::<Document>(&payload.document_id).await? else {
        return Err(JobError::discard("the document was deleted"));
    };
    let paragraphs: Vec<&str> = document.text.split("\n\n").collect();
    let mut reading = Reading { paragraphs: paragraphs.len(), words: 0, longest_word: String::new() };
    for (done, paragraph) in (1..).zip(&paragraphs) {
        reading.take_in(paragraph);
        ctx.progress(json!({ "paragraphs": done, "of": paragraphs.len() })).await?;
    }
    document.status = DocumentStatus::Processed;
    // Somebody who has changed it meanwhile has it read anew.
    let version = document.version;
    ctx.db.save(document).if_version(version).await?;
    Ok(reading)
}

impl Reading {
    fn take_in(&mut self, paragraph: &str) {
        for word in paragraph.split_whitespace() {
            self.words += 1;
            if word.chars().count() > self.longest_word.chars().count() {
                word.clone_into(&mut self.longest_word);
            }
        }
    }
}
