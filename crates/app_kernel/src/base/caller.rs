//! Who asks. Recorded with every change, in the history and in the change record.

use std::sync::Arc;

/// Who a piece of work is done for. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    facts: Arc<Facts>,
    /// Apart from the rest, which stays the same from request to request.
    request_id: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Facts {
    kind: CallerKind,
    user_id: Option<String>,
    workspace_id: Option<String>,
    session_id: Option<String>,
    api_key_id: Option<String>,
}

/// How the caller proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CallerKind {
    /// The service itself: start-up, a task, a command on the terminal.
    #[default]
    System,
    /// A request without a proof.
    Anonymous,
    /// A signed-in user.
    User,
    /// An API key.
    ApiKey,
}

impl CallerKind {
    /// The word for logs and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CallerKind::System => "system",
            CallerKind::Anonymous => "anonymous",
            CallerKind::User => "user",
            CallerKind::ApiKey => "api_key",
        }
    }
}

impl Caller {
    /// The service itself.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A request without a proof.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(Facts { kind: CallerKind::Anonymous, ..Facts::default() })
    }

    /// A signed-in user.
    #[must_use]
    pub fn user(id: impl Into<String>) -> Self {
        Self::new(Facts { kind: CallerKind::User, user_id: Some(id.into()), ..Facts::default() })
    }

    /// An API key, with the rights of this user or fewer.
    #[must_use]
    pub fn api_key(id: impl Into<String>, user_id: impl Into<String>) -> Self {
        let (api_key_id, user_id) = (Some(id.into()), Some(user_id.into()));
        Self::new(Facts { kind: CallerKind::ApiKey, user_id, api_key_id, ..Facts::default() })
    }

    fn new(facts: Facts) -> Self {
        Caller { facts: Arc::new(facts), request_id: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(Arc::make_mut(&mut self.facts));
        self
    }

    /// The same caller within a workspace.
    #[must_use]
    pub fn in_workspace(self, id: impl Into<String>) -> Self {
        self.with(|facts| facts.workspace_id = Some(id.into()))
    }

    /// The same caller, known by a session.
    #[must_use]
    pub fn in_session(self, id: impl Into<String>) -> Self {
        self.with(|facts| facts.session_id = Some(id.into()))
    }

    /// The same caller, asking in this request.
    #[must_use]
    pub fn in_request(self, id: impl AsRef<str>) -> Self {
        Caller { request_id: Some(id.as_ref().into()), ..self }
    }

    /// How the caller proved who they are.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.facts.kind
    }

    /// The user, where there is one. For an API key, whose it is.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.facts.user_id.as_deref()
    }

    /// The workspace the request is about, where that is known.
    #[must_use]
    pub fn workspace_id(&self) -> Option<&str> {
        self.facts.workspace_id.as_deref()
    }

    /// The session, where the caller is a user.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.facts.session_id.as_deref()
    }

    /// The API key, where the caller is one.
    #[must_use]
    pub fn api_key_id(&self) -> Option<&str> {
        self.facts.api_key_id.as_deref()
    }

    /// The request, where there is one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}
