//! The pages of the guide: every snippet in them is compiled and run as a test, `cargo test -p guide`. They become one program, so
//! that there is one link; a snippet that is `compile_fail` or `standalone_crate` would have one of its own.

/// Modules that hold nothing but a page, for the tests of its snippets.
macro_rules! pages {
    ($($name:ident: $file:literal,)+) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../", $file))]
            pub mod $name {}
        )+
    };
}

pages! {
    first_service: "first-service.md",
    entities: "entities.md",
    changing_a_schema: "changing-a-schema.md",
    backups: "backups.md",
    postgresql: "postgresql.md",
    users_and_workspaces: "users-and-workspaces.md",
    oauth: "oauth.md",
    api_keys: "api-keys.md",
    jobs: "jobs.md",
    webhooks: "webhooks.md",
    audit_and_metering: "audit-and-metering.md",
    limits_and_cache: "limits-and-cache.md",
    calling_other_services: "calling-other-services.md",
    flags: "flags.md",
    testing: "testing.md",
    deploying: "deploying.md",
    security: "security.md",
    upgrading: "upgrading.md",
}
