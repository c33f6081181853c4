//! People.

mod token;
