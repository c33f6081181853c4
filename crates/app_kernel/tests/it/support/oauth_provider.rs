//! A provider to sign in at, in this process: an OpenID one with real signatures, and GitHub's way. It is as strict as a real one where that
//! protects us (redirect address, client's secret, PKCE, one use of a code), and lies where a test tells it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use app_kernel::base::config::{OAuthKind, OAuthProvider};
use app_kernel::base::secret::{Secret, random_token};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use url::Url;

const CLIENT_ID: &str = "our id: at 100%";
const CLIENT_SECRET: &str = "our secret: at 100%";
const RSA_KEY: &[u8] = include_bytes!("../../../src/feature/oauth/provider/id_token/test_key.pk8");

/// Somebody who has an account there.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) is_verified: bool,
}

impl Person {
    /// With an address that the provider has checked.
    pub(crate) fn new(subject: &str, email: &str) -> Self {
        Person { subject: subject.to_owned(), email: Some(email.to_owned()), is_verified: true }
    }

    pub(crate) fn unverified(self) -> Self {
        Person { is_verified: false, ..self }
    }
}

/// How it behaves.
pub(crate) struct Manners {
    /// Answers nothing but 500.
    pub(crate) is_away: bool,
    /// Says in its answers who they are from (RFC 9207).
    pub(crate) says_who_it_is: bool,
    /// Puts the address into its page about people, not into the token.
    pub(crate) tells_by_userinfo: bool,
    /// Changes what it says in tokens.
    pub(crate) lie: fn(&mut Value),
    /// Calls its configuration that of somebody else.
    pub(crate) issuer: Option<String>,
    /// Takes any verifier, as a provider that does not know PKCE.
    pub(crate) forgets_pkce: bool,
}

struct Granted {
    person: Person,
    asked: BTreeMap<String, String>,
}

struct Signer {
    kid: String,
    pair: EcdsaKeyPair,
}

struct Inner {
    address: String,
    manners: Mutex<Manners>,
    codes: Mutex<BTreeMap<String, Granted>>,
    tokens: Mutex<BTreeMap<String, Person>>,
    /// Newer keys, the last of which signs; where there is none, the RSA key does.
    signers: Mutex<Vec<Signer>>,
    asked: Mutex<BTreeMap<String, usize>>,
    now: Mutex<i64>,
}

/// The provider, on a port of its own. Stops when dropped.
pub(crate) struct Provider {
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let manners = Manners {
            is_away: false,
            says_who_it_is: false,
            tells_by_userinfo: false,
            lie: |_| {},
            issuer: None,
            forgets_pkce: false,
        };
        let inner = Arc::new(Inner {
            address: format!("http://{}", listener.local_addr().expect("it has one")),
            manners: Mutex::new(manners),
            codes: Mutex::default(),
            tokens: Mutex::default(),
            signers: Mutex::default(),
            asked: Mutex::default(),
            now: Mutex::new(std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs() as i64)),
        });
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/user", get(github_user))
            .route("/api/v3/user/emails", get(github_emails))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&inner), count))
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Provider { inner, task }
    }

    pub(crate) fn oidc(&self) -> OAuthProvider {
        OAuthProvider::oidc(&*self.inner.address, CLIENT_ID, CLIENT_SECRET)
    }

    pub(crate) fn github(&self) -> OAuthProvider {
        let kind = OAuthKind::GitHub { url: self.inner.address.clone() };
        OAuthProvider { client_id: CLIENT_ID.to_owned(), client_secret: Secret::new(CLIENT_SECRET), kind }
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.inner.manners.lock().expect("nobody panics"));
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.inner.asked.lock().expect("nobody panics").get(path).copied().unwrap_or(0)
    }

    /// Moves its clock.
    pub(crate) fn advance(&self, secs: i64) {
        *self.inner.now.lock().expect("nobody panics") += secs;
    }

    /// Signs with a new key from now on.
    pub(crate) fn take_a_new_key(&self) {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        let mut signers = self.inner.signers.lock().expect("nobody panics");
        let kid = format!("ec-{}", signers.len());
        signers.push(Signer { kid, pair: pair.expect("a key") });
    }

    /// Somebody who was sent here by the service agrees. Answers where their browser is sent back to.
    #[track_caller]
    pub(crate) fn agree(&self, sent_to: &str, person: &Person) -> String {
        let asked = self.asked_by(sent_to);
        let code = random_token();
        let (callback, state) = (asked["redirect_uri"].clone(), asked["state"].clone());
        self.inner.codes.lock().expect("nobody panics").insert(code.clone(), Granted { person: person.clone(), asked });
        self.back(&callback, &[("code", &code), ("state", &state)])
    }

    /// They don't agree.
    #[track_caller]
    pub(crate) fn refuse(&self, sent_to: &str, error: &str) -> String {
        let asked = self.asked_by(sent_to);
        self.back(&asked["redirect_uri"], &[("error", error), ("state", &asked["state"])])
    }

    fn back(&self, callback: &str, parameters: &[(&str, &str)]) -> String {
        let mut url = Url::parse(callback).expect("an address");
        url.query_pairs_mut().extend_pairs(parameters);
        if self.inner.manners.lock().expect("nobody panics").says_who_it_is {
            url.query_pairs_mut().append_pair("iss", &self.inner.address);
        }
        url.to_string()
    }

    /// What a browser is sent here with.
    #[track_caller]
    fn asked_by(&self, sent_to: &str) -> BTreeMap<String, String> {
        let url = Url::parse(sent_to).expect("an address");
        assert!(sent_to.starts_with(&self.inner.address), "{sent_to}");
        let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((&*asked["response_type"], &*asked["client_id"]), ("code", CLIENT_ID));
        assert_eq!((&*asked["code_challenge_method"], asked["code_challenge"].len()), ("S256", 43));
        asked
    }
}

type Provided = State<Arc<Inner>>;

async fn count(State(inner): Provided, request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    *inner.asked.lock().expect("nobody panics").entry(request.uri().path().to_owned()).or_default() += 1;
    if inner.manners.lock().expect("nobody panics").is_away {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    next.run(request).await
}

async fn configuration(State(inner): Provided) -> Json<Value> {
    let manners = inner.manners.lock().expect("nobody panics");
    let at = |path: &str| format!("{}{path}", inner.address);
    Json(json!({
        "issuer": manners.issuer.as_ref().unwrap_or(&inner.address),
        "authorization_endpoint": at("/authorize?tenant=1"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"),
        "userinfo_endpoint": at("/userinfo"),
        "authorization_response_iss_parameter_supported": manners.says_who_it_is,
    }))
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn keys(State(inner): Provided) -> Json<Value> {
    let pair = RsaKeyPair::from_pkcs8(RSA_KEY).expect("a key");
    let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
    let mut keys = vec![json!({ "kty": "RSA", "kid": "rsa", "n": base64(&public.n), "e": base64(&public.e) })];
    for signer in inner.signers.lock().expect("nobody panics").iter() {
        let (x, y) = signer.pair.public_key().as_ref()[1..].split_at(32);
        keys.push(json!({ "kty": "EC", "crv": "P-256", "kid": signer.kid, "x": base64(x), "y": base64(y) }));
    }
    Json(json!({ "keys": keys }))
}

fn form(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// By the header (RFC 6749, 2.3.1) or in the body.
fn is_ours(headers: &HeaderMap, form: &BTreeMap<String, String>) -> bool {
    let decode = |text: &str| url::form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned());
    let basic =
        headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic ").map(str::to_owned));
    let (id, secret) = match basic {
        Some(basic) => {
            let text = String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text");
            let (id, secret) = text.split_once(':').expect("two parts");
            (decode(id), decode(secret))
        }
        None => (form.get("client_id").cloned(), form.get("client_secret").cloned()),
    };
    id.as_deref() == Some(CLIENT_ID) && secret.as_deref() == Some(CLIENT_SECRET)
}

async fn token(State(inner): Provided, headers: HeaderMap, body: Bytes) -> Response {
    let form = form(&body);
    let refuse = |status: StatusCode, error: &str| (status, Json(json!({ "error": error }))).into_response();
    if !is_ours(&headers, &form) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let granted = form.get("code").and_then(|code| inner.codes.lock().expect("nobody panics").remove(code));
    let Some(Granted { person, asked }) = granted else { return refuse(StatusCode::BAD_REQUEST, "invalid_grant") };
    let verifier = form.get("code_verifier").map_or("", String::as_str);
    let challenge = base64(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref());
    let forgets_pkce = inner.manners.lock().expect("nobody panics").forgets_pkce;
    let is_whole = form["grant_type"] == "authorization_code"
        && form.get("redirect_uri") == asked.get("redirect_uri")
        && (forgets_pkce || asked["code_challenge"] == challenge);
    if !is_whole {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
    }
    let access = random_token();
    let mut answer = json!({ "access_token": access, "token_type": "Bearer", "expires_in": 60 });
    if let Some(nonce) = asked.get("nonce") {
        answer["id_token"] = id_token(&inner, &person, nonce).into();
    }
    inner.tokens.lock().expect("nobody panics").insert(access, person);
    Json(answer).into_response()
}

fn id_token(inner: &Inner, person: &Person, nonce: &str) -> String {
    let manners = inner.manners.lock().expect("nobody panics");
    let now = *inner.now.lock().expect("nobody panics");
    let mut claims = json!({
        "iss": inner.address, "aud": CLIENT_ID, "sub": person.subject, "nonce": nonce, "iat": now, "exp": now + 300,
    });
    if !manners.tells_by_userinfo {
        claims["email"] = json!(person.email);
        claims["email_verified"] = json!(person.is_verified);
    }
    (manners.lie)(&mut claims);
    let signers = inner.signers.lock().expect("nobody panics");
    let header = match signers.last() {
        Some(signer) => json!({ "alg": "ES256", "kid": signer.kid }),
        None => json!({ "alg": "RS256", "kid": "rsa" }),
    };
    let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let random = SystemRandom::new();
    let tag = match signers.last() {
        Some(signer) => signer.pair.sign(&random, signed.as_bytes()).expect("a signature").as_ref().to_vec(),
        None => {
            let pair = RsaKeyPair::from_pkcs8(RSA_KEY).expect("a key");
            let mut tag = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut tag).expect("a signature");
            tag
        }
    };
    format!("{signed}.{}", base64(&tag))
}

fn bearer(inner: &Inner, headers: &HeaderMap) -> Option<Person> {
    let token = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned();
    inner.tokens.lock().expect("nobody panics").get(&token).cloned()
}

async fn userinfo(State(inner): Provided, headers: HeaderMap) -> Response {
    let Some(person) = bearer(&inner, &headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let mut claims = json!({ "sub": person.subject, "email": person.email, "email_verified": person.is_verified });
    (inner.manners.lock().expect("nobody panics").lie)(&mut claims);
    Json(claims).into_response()
}

async fn github_user(State(inner): Provided, headers: HeaderMap) -> Response {
    let Some(person) = bearer(&inner, &headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let id: u64 = person.subject.parse().expect("GitHub counts its accounts");
    // What stands in the profile is no proof of anything.
    Json(json!({ "id": id, "login": "octo", "name": null, "email": "anybody@example.com" })).into_response()
}

async fn github_emails(State(inner): Provided, headers: HeaderMap) -> Response {
    let Some(person) = bearer(&inner, &headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    Json(json!([
        { "email": "second@example.com", "primary": false, "verified": true },
        { "email": person.email, "primary": true, "verified": person.is_verified },
    ]))
    .into_response()
}
