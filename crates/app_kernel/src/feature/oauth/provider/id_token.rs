//! ID tokens: what an OpenID provider says of somebody, signed (OpenID Connect Core 1.0, 3.1.3.7). Signatures are checked by ring, with the
//! algorithms of a short list and a key of the fitting kind, so nobody can choose how they are checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use serde_json::Value;

/// The longest token.
const LONGEST: usize = 16 << 10;
/// The most keys that a provider may have.
const MOST_KEYS: usize = 100;
/// How far apart clocks may be, in seconds.
const LEEWAY: f64 = 60.0;

/// A public key of a provider (RFC 7517), as far as signatures need it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys in a set. One that we can't read is left out: it may be of a kind that comes later.
pub(super) fn read_keys(set: &[u8]) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(set).ok()?;
    Some(set.keys.into_iter().take(MOST_KEYS).filter_map(|key| serde_json::from_value(key).ok()).collect())
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// The time now, in seconds since 1970.
    pub(super) now: i64,
}

/// What it says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    iss: String,
    pub(super) sub: String,
    aud: OneOrMany,
    azp: Option<String>,
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
    nonce: Option<String>,
    #[serde(flatten)]
    pub(super) person: Person,
}

/// What a token or the provider's page about somebody says of them.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Person {
    #[serde(default)]
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) email_verified: Option<Value>,
    #[serde(default)]
    pub(super) name: Option<String>,
}

impl Person {
    /// Some providers write `"true"`.
    pub(super) fn is_email_verified(&self) -> bool {
        self.email_verified.as_ref().is_some_and(|value| *value == Value::Bool(true) || value == "true")
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// None of the keys is the one that it names: the provider may have a new one.
    UnknownKey,
    /// Anything else, in words.
    Because(&'static str),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Checks a token and answers what it says.
pub(super) fn verify(token: &str, keys: &[Key], expected: &Expected<'_>) -> Result<Claims, Refused> {
    let malformed = Refused::Because("it is malformed");
    if token.len() > LONGEST {
        return Err(Refused::Because("it is too long"));
    }
    let (signed, tag) = token.rsplit_once('.').ok_or(malformed)?;
    let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(malformed)?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed);
    let (header, claims, tag) = (bytes(header)?, bytes(claims)?, bytes(tag)?);
    let header: Header = serde_json::from_slice(&header).map_err(|_| malformed)?;
    if header.crit.is_some() {
        return Err(Refused::Because("it asks for an extension that is not known"));
    }
    let algorithm = Algorithm::called(&header.alg).ok_or(Refused::Because("its algorithm is not on the list"))?;
    let key = find_key(keys, &header, &algorithm)?;
    if !algorithm.verifies(key, signed.as_bytes(), &tag) {
        return Err(Refused::Because("its signature is wrong"));
    }
    // Only now is it worth a look.
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| malformed)?;
    check_claims(&claims, expected).map_err(Refused::Because)?;
    Ok(claims)
}

fn check_claims(claims: &Claims, expected: &Expected<'_>) -> Result<(), &'static str> {
    let audience = match &claims.aud {
        OneOrMany::One(one) => std::slice::from_ref(one),
        OneOrMany::Many(many) => many,
    };
    let now = expected.now as f64;
    if claims.iss != expected.issuer {
        return Err("it is from another issuer");
    }
    if !audience.iter().any(|who| who == expected.client_id) {
        return Err("it is for another service");
    }
    let is_ours = claims.azp.as_ref().map_or(audience.len() == 1, |azp| azp == expected.client_id);
    if !is_ours {
        return Err("it was made for another service");
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err("it is of another attempt");
    }
    // `exp` must be a number: NaN can't be written in JSON, but infinity can be read from one.
    if !claims.exp.is_finite() || claims.exp + LEEWAY <= now {
        return Err("it has expired");
    }
    if claims.iat.into_iter().chain(claims.nbf).any(|from| from > now + LEEWAY) {
        return Err("it is of the future");
    }
    Ok(())
}

/// The one key that can have signed: by its name, else the only one of its kind.
fn find_key<'a>(keys: &'a [Key], header: &Header, algorithm: &Algorithm) -> Result<&'a Key, Refused> {
    let fits = |key: &&Key| {
        key.kty == algorithm.kty
            && key.crv.as_deref() == algorithm.crv
            && key.alg.as_ref().is_none_or(|alg| *alg == algorithm.name)
            && key.purpose.as_ref().is_none_or(|purpose| purpose == "sig")
            && (header.kid.is_none() || header.kid == key.kid)
    };
    let mut fitting = keys.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => Err(Refused::Because("it does not say which key signed it")),
        (None, _) => Err(Refused::UnknownKey),
    }
}

/// How a signature is checked (RFC 7518, 3.1), and the kind of key that it takes.
struct Algorithm {
    name: &'static str,
    kty: &'static str,
    crv: Option<&'static str>,
    check: Check,
}

enum Check {
    Rsa(&'static RsaParameters),
    /// With so many bytes for each coordinate.
    Ecdsa(&'static dyn VerificationAlgorithm, usize),
    Ed25519,
}

impl Algorithm {
    fn called(name: &str) -> Option<Self> {
        let rsa = |name, parameters| Algorithm { name, kty: "RSA", crv: None, check: Check::Rsa(parameters) };
        let ec = |name, crv, how, bytes| Algorithm { name, kty: "EC", crv: Some(crv), check: Check::Ecdsa(how, bytes) };
        Some(match name {
            "RS256" => rsa("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => rsa("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => rsa("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => rsa("PS256", &signature::RSA_PSS_2048_8192_SHA256),
            "ES256" => ec("ES256", "P-256", &signature::ECDSA_P256_SHA256_FIXED, 32),
            "ES384" => ec("ES384", "P-384", &signature::ECDSA_P384_SHA384_FIXED, 48),
            "EdDSA" => Algorithm { name: "EdDSA", kty: "OKP", crv: Some("Ed25519"), check: Check::Ed25519 },
            _ => return None,
        })
    }

    fn verifies(&self, key: &Key, signed: &[u8], tag: &[u8]) -> bool {
        let part =
            |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref().unwrap_or_default()).unwrap_or_default();
        match &self.check {
            Check::Rsa(parameters) => {
                let (n, e) = (part(&key.n), part(&key.e));
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, tag).is_ok()
            }
            Check::Ecdsa(how, bytes) => {
                let (x, y) = (part(&key.x), part(&key.y));
                let is_whole = x.len() == *bytes && y.len() == *bytes;
                let point = [&[4][..], &x, &y].concat();
                is_whole && UnparsedPublicKey::new(*how, point).verify(signed, tag).is_ok()
            }
            Check::Ed25519 => UnparsedPublicKey::new(&signature::ED25519, part(&key.x)).verify(signed, tag).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests;
