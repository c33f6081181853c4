use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use serde_json::json;

use super::*;

const NOW: i64 = 1_790_000_000;

fn expected() -> Expected<'static> {
    Expected { issuer: "https://a.example", client_id: "us", nonce: "n-1", now: NOW }
}

fn good_claims() -> Value {
    json!({
        "iss": "https://a.example", "aud": "us", "sub": "42", "nonce": "n-1", "exp": NOW + 300, "iat": NOW,
        "email": "ann@example.com", "email_verified": true, "name": "Ann",
    })
}

/// Makes a signature.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Somebody who signs, and the key by which that is checked.
struct Signer {
    sign: Sign,
    alg: &'static str,
    key: Value,
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(alg: &'static str, padding: &'static dyn RsaEncoding) -> Signer {
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("test_key.pk8")).expect("a key");
    let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
    let key =
        json!({ "kty": "RSA", "kid": "one", "use": "sig", "alg": alg, "n": base64(&public.n), "e": base64(&public.e) });
    let sign = move |signed: &[u8]| {
        let mut tag = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), signed, &mut tag).expect("a signature");
        tag
    };
    Signer { sign: Box::new(sign), alg, key }
}

fn ec(alg: &'static str, crv: &str, how: &'static EcdsaSigningAlgorithm) -> Signer {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(how, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(how, document.as_ref(), &random).expect("a key");
    let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
    let key = json!({ "kty": "EC", "kid": "one", "crv": crv, "x": base64(x), "y": base64(y) });
    let sign = move |signed: &[u8]| pair.sign(&SystemRandom::new(), signed).expect("a signature").as_ref().to_vec();
    Signer { sign: Box::new(sign), alg, key }
}

fn es256() -> Signer {
    ec("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
}

fn ed25519() -> Signer {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
    let key = json!({ "kty": "OKP", "kid": "one", "crv": "Ed25519", "x": base64(pair.public_key().as_ref()) });
    Signer { sign: Box::new(move |signed| pair.sign(signed).as_ref().to_vec()), alg: "EdDSA", key }
}

impl Signer {
    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let tag = base64(&(self.sign)(signed.as_bytes()));
        format!("{signed}.{tag}")
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.alg, "kid": "one" }), claims)
    }

    fn keys(&self) -> Vec<Key> {
        keys(&[&self.key])
    }
}

fn keys(keys: &[&Value]) -> Vec<Key> {
    read_keys(json!({ "keys": keys }).to_string().as_bytes()).expect("keys")
}

fn refusal(token: &str, keys: &[Key]) -> Refused {
    verify(token, keys, &expected()).expect_err("refused")
}

/// Promise: R-25
#[test]
fn each_algorithm_of_the_list_is_checked_with_a_key_of_its_kind() {
    let signers = [
        rsa("RS256", &RSA_PKCS1_SHA256),
        rsa("RS384", &RSA_PKCS1_SHA384),
        rsa("RS512", &RSA_PKCS1_SHA512),
        rsa("PS256", &RSA_PSS_SHA256),
        es256(),
        ec("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ed25519(),
    ];
    for signer in &signers {
        let token = signer.token(&good_claims());
        let claims =
            verify(&token, &signer.keys(), &expected()).unwrap_or_else(|why| panic!("{}: {why:?}", signer.alg));
        let person = &claims.person;
        assert_eq!(
            (claims.sub.as_str(), person.email.as_deref(), person.name.as_deref()),
            ("42", Some("ann@example.com"), Some("Ann"))
        );
        assert!(person.is_email_verified());
        // Whatever is changed, it is good no more.
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert!(verify(&changed, &signer.keys(), &expected()).is_err(), "{} changed at {at}", signer.alg);
        }
        for other in signers.iter().filter(|other| other.alg != signer.alg) {
            let mixed = signer.token_with(&json!({ "alg": other.alg, "kid": "one" }), &good_claims());
            assert!(verify(&mixed, &signer.keys(), &expected()).is_err(), "{} called {}", signer.alg, other.alg);
        }
    }
}

/// Promise: R-25
#[test]
fn nobody_chooses_how_a_token_is_checked() {
    let signer = rsa("RS256", &RSA_PKCS1_SHA256);
    let unlisted = Refused::Because("its algorithm is not on the list");
    for alg in ["none", "None", "HS256", "RS1", "ES256K", "rs256", ""] {
        assert_eq!(
            refusal(&signer.token_with(&json!({ "alg": alg, "kid": "one" }), &good_claims()), &signer.keys()),
            unlisted
        );
    }
    // The public key as a secret that everybody knows.
    let public = signer.key["n"].as_str().expect("a number");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(public).expect("base64"));
    let confused = Signer {
        sign: Box::new(move |signed| ring::hmac::sign(&key, signed).as_ref().to_vec()),
        alg: "HS256",
        key: Value::Null,
    };
    assert_eq!(refusal(&confused.token(&good_claims()), &signer.keys()), unlisted);
    let token = signer.token(&good_claims());
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    for bad in [
        format!("{signed}."),
        format!("{signed}.AAAA"),
        signed.to_owned(),
        format!("{token}.x"),
        String::new(),
        "a.b.c".into(),
        "..".into(),
    ] {
        assert!(verify(&bad, &signer.keys(), &expected()).is_err(), "{bad}");
    }
    assert_eq!(refusal(&"a".repeat(LONGEST + 1), &signer.keys()), Refused::Because("it is too long"));
    let critical = signer.token_with(&json!({ "alg": "RS256", "kid": "one", "crit": ["x"] }), &good_claims());
    assert_eq!(refusal(&critical, &signer.keys()), Refused::Because("it asks for an extension that is not known"));
    // A key that comes with the token is nobody's.
    let brought = es256();
    let header = json!({ "alg": "ES256", "kid": "one", "jwk": brought.key });
    assert_eq!(refusal(&brought.token_with(&header, &good_claims()), &signer.keys()), Refused::UnknownKey);
}

/// Promise: R-25
#[test]
fn a_token_is_from_the_issuer_for_us_for_this_attempt_and_for_now() {
    let signer = es256();
    let with = |name: &str, value: Value| {
        let mut claims = good_claims();
        claims[name] = value;
        if claims[name].is_null() {
            claims.as_object_mut().expect("an object").remove(name);
        }
        verify(&signer.token(&claims), &signer.keys(), &expected()).map(|claims| claims.sub)
    };
    let is_fine = |outcome: Result<String, Refused>| outcome == Ok("42".to_owned());
    let refused = |outcome: Result<String, Refused>, why: &'static str| assert_eq!(outcome, Err(Refused::Because(why)));
    refused(with("iss", json!("https://b.example")), "it is from another issuer");
    refused(with("iss", json!("https://a.example/")), "it is from another issuer");
    refused(with("aud", json!("them")), "it is for another service");
    refused(with("aud", json!(["them", "others"])), "it is for another service");
    refused(with("aud", json!([])), "it is for another service");
    refused(with("aud", json!(["us", "them"])), "it was made for another service");
    refused(with("azp", json!("them")), "it was made for another service");
    refused(with("nonce", json!("n-2")), "it is of another attempt");
    refused(with("nonce", Value::Null), "it is of another attempt");
    refused(with("exp", json!(NOW - 60)), "it has expired");
    refused(with("exp", json!(0)), "it has expired");
    refused(with("iat", json!(NOW + 61)), "it is of the future");
    refused(with("nbf", json!(NOW + 61)), "it is of the future");
    for missing in ["iss", "aud", "exp", "sub"] {
        refused(with(missing, Value::Null), "it is malformed");
    }
    refused(with("exp", json!("tomorrow")), "it is malformed");
    assert!(is_fine(with("aud", json!(["us"]))) && is_fine(with("azp", json!("us"))));
    assert!(is_fine(with("exp", json!(NOW - 59))) && is_fine(with("exp", json!(NOW as f64 + 0.5))));
    assert!(is_fine(with("iat", Value::Null)) && is_fine(with("nbf", json!(NOW + 60))));
}

/// Promise: R-25
#[test]
fn the_key_is_the_one_that_is_named() {
    let (one, two) = (es256(), es256());
    let named = |key: &Value, kid: Value| {
        let mut key = key.clone();
        key["kid"] = kid;
        key
    };
    let (key_one, key_two) = (named(&one.key, json!("one")), named(&two.key, json!("two")));
    let token = one.token(&good_claims());
    let outcome = |token: &str, set: &[&Value]| verify(token, &keys(set), &expected()).map(|claims| claims.sub);
    assert_eq!(outcome(&token, &[&key_two, &key_one]), Ok("42".to_owned()));
    assert_eq!(outcome(&token, &[&key_two]), Err(Refused::UnknownKey));
    assert_eq!(outcome(&token, &[]), Err(Refused::UnknownKey));
    assert_eq!(outcome(&token, &[&named(&two.key, json!("one"))]), Err(Refused::Because("its signature is wrong")));
    let unnamed = one.token_with(&json!({ "alg": "ES256" }), &good_claims());
    assert_eq!(
        outcome(&unnamed, &[&key_one, &rsa("RS256", &RSA_PKCS1_SHA256).key]),
        Ok("42".to_owned()),
        "the only one of its kind"
    );
    assert_eq!(outcome(&unnamed, &[&key_one, &key_two]), Err(Refused::Because("it does not say which key signed it")));
    for (name, value) in [("use", "enc"), ("alg", "ES384"), ("crv", "P-384"), ("kty", "RSA")] {
        let mut other = key_one.clone();
        other[name] = json!(value);
        assert_eq!(outcome(&token, &[&other]), Err(Refused::UnknownKey), "{name}");
    }
    // A set with things in it that we don't know.
    let strange = json!({ "keys": [1, { "kty": 5 }, { "kty": "AKP", "kid": "one" }, key_one] });
    assert!(verify(&token, &read_keys(strange.to_string().as_bytes()).expect("keys"), &expected()).is_ok());
    assert!(read_keys(b"{}").is_none() && read_keys(b"").is_none());
    let many = json!({ "keys": vec![key_two; MOST_KEYS + 1] });
    assert_eq!(read_keys(many.to_string().as_bytes()).expect("keys").len(), MOST_KEYS);
}

/// Promise: R-25
#[test]
fn an_address_is_verified_only_where_the_provider_says_so() {
    for (said, verified) in [
        (json!({ "email_verified": true }), true),
        (json!({ "email_verified": "true" }), true),
        (json!({ "email_verified": false }), false),
        (json!({ "email_verified": "false" }), false),
        (json!({ "email_verified": 1 }), false),
        (json!({ "email_verified": null }), false),
        (json!({}), false),
    ] {
        let person: Person = serde_json::from_value(said.clone()).expect("a person");
        assert_eq!(person.is_email_verified(), verified, "{said}");
    }
}
