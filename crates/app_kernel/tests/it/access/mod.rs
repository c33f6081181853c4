//! Who may do what, on every route there is: of auth, sessions, second factors, mail, workspaces, API keys, and of an app.
//!
//! The routes come from the service's own document, so one that is new fails until `rules.rs` has a line for it.

mod matrix;
mod rules;
mod stage;
