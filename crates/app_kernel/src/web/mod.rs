//! The web floor: the accept loop, what happens to every request, extractors, and the only place where errors become responses.
