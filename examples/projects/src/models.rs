//! What is stored. Each of them belongs to a workspace, so a handler sees those of its caller's workspace alone.

use app_kernel::prelude::*;

/// A project groups related services.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[entity(unique(workspace_id, name))]
pub struct Project {
    /// The workspace; filled in from the request's.
    #[serde(skip_deserializing)]
    pub workspace_id: String,
    /// What people call it; one of its name in a workspace.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it is worked on.
    #[serde(default)]
    #[entity(default = "active")]
    pub status: ProjectStatus,
}

/// Whether a project is worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectStatus {
    /// It is.
    #[default]
    Active,
    /// Not at present: nothing of it is deployed.
    Archived,
}

/// A deployable service within a project.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
#[entity(unique(project_id, name))]
pub struct Service {
    /// The workspace; filled in from the request's.
    #[serde(skip_deserializing)]
    #[entity(index)]
    #[garde(skip)]
    pub workspace_id: String,
    /// The project; the path says which.
    #[serde(skip_deserializing)]
    #[entity(foreign_key = "projects")]
    #[garde(skip)]
    pub project_id: String,
    /// What people call it; one of its name in a project.
    #[garde(length(chars, min = 1, max = 100))]
    pub name: String,
    /// What is run: `registry.example.com/api:v42`.
    #[garde(length(chars, min = 1, max = 500))]
    pub image: String,
    /// Where it listens.
    #[serde(default = "default_port")]
    #[entity(default = 8000, check = "[port] > 0")]
    #[garde(range(min = 1))]
    pub port: u16,
    /// How many of it run.
    #[serde(default = "default_replicas")]
    #[entity(default = 1)]
    #[garde(range(max = 100))]
    pub replicas: u32,
}

fn default_port() -> u16 {
    8000
}

fn default_replicas() -> u32 {
    1
}

/// One time that a service was brought out.
#[derive(Debug, Clone, Entity, Serialize, JsonSchema)]
#[entity(index(service_id, created_at))]
pub struct Deployment {
    /// The workspace.
    #[entity(index)]
    pub workspace_id: String,
    /// The service.
    #[entity(foreign_key = "services")]
    pub service_id: String,
    /// What is run.
    pub image: String,
    /// How far it is.
    pub status: DeploymentStatus,
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Entity, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentStatus {
    /// A job will roll it out.
    Pending,
    /// It runs.
    Running,
}
