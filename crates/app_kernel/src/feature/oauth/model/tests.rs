use super::*;

/// Promise: R-25
#[test]
fn people_return_only_to_plain_paths_and_to_origins_of_the_list() {
    let origins = ["https://app.example.com", "http://localhost:3000"].map(str::to_owned);
    let good = [
        "/",
        "/dashboard",
        "/a/b/c/",
        "/a-b_c~d.e",
        "/.well-known/x",
        "/...",
        "/a..b",
        "/a@b",
        "/a:b",
        "/a;b,c=d",
        "/a!$&'()*+",
        "/gr%C3%BC%C3%9Fe",
        "/a%20b",
        "/dashboard?tab=1",
        "/dashboard?next=/settings",
        "/dashboard?next=https%3A%2F%2Fevil.com",
        "/dashboard?next=//evil.com",
        "/dashboard?a=%25",
        "/dashboard?",
        "/dashboard?a&b",
        "/dashboard?coded=1",
        "/#/route",
        "/dashboard?a=b#c",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/dashboard?tab=1#top",
        "http://localhost:3000/callback",
    ];
    let bad = [
        "",
        " ",
        "dashboard",
        "./dashboard",
        "../dashboard",
        "?a=b",
        "#a",
        "//evil.com",
        "///evil.com",
        "////evil.com",
        "/\\evil.com",
        "\\/evil.com",
        "\\\\evil.com",
        "/\\/evil.com",
        "/a\\b",
        " /dashboard",
        "/dashboard ",
        "/dash board",
        "\t//evil.com",
        "/\t/evil.com",
        "/\n/evil.com",
        "/\r/evil.com",
        "/\0/evil.com",
        "/a\r\nSet-Cookie: a=b",
        "/a%0d%0aSet-Cookie:%20a=b",
        "/a?b=%0d%0aSet-Cookie:%20a=b",
        "/%00",
        "/a%7f",
        "/%2f/evil.com",
        "/%2F%2Fevil.com",
        "/%2fevil.com",
        "/%5cevil.com",
        "/%5C%5Cevil.com",
        "/%09/evil.com",
        "/%252f%252fevil.com",
        "/%25%32%66evil.com",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/./a",
        "/.//evil.com",
        "/..//evil.com",
        "/a/../b",
        "/a/..",
        "/%2e",
        "/%2e%2e/a",
        "/.%2e/a",
        "/%2E%2E//evil.com",
        "/%3Fa",
        "/%23a",
        "/%",
        "/%2",
        "/%zz",
        "/%ff",
        "/%c0%af",
        "/%c2%85",
        "/?%",
        "/gr\u{fc}\u{df}e",
        "/\u{2f}\u{2f}evil.com",
        "/\u{ff0f}evil.com",
        "/\u{202e}moc.live",
        "/\u{feff}",
        "/<script>",
        "/\"onload=",
        "/{a}",
        "/a|b",
        "/a^b",
        "/a`b",
        "/dashboard?code=mine",
        "/dashboard?a=b&code=mine#x",
        "/dashboard?code",
        "https:evil.com",
        "https:/evil.com",
        "https://evil.com",
        "http://app.example.com",
        "HTTPS://app.example.com",
        "https://APP.example.com",
        "https://app.example.com.evil.com",
        "https://app.example.com@evil.com",
        "https://app.example.com:443",
        "https://app.example.com:8443/",
        "https://app.example.com?a=b",
        "https://app.example.com#a",
        "https://app.example.com\\@evil.com",
        "https://app.example.com//evil.com",
        "https://app.example.com/../a",
        "https://app.example.com/\u{0}",
        "https://user@app.example.com/",
        "https://sub.app.example.com/",
        "https://app.example.co",
        "http://localhost:30000/callback",
        "http://localhost:3000.evil.com/",
        "http://localhost/",
        "javascript:alert(1)",
        "javascript://app.example.com/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "blob:https://app.example.com/x",
        "ftp://app.example.com/",
        "*",
        "null",
    ];
    assert!(good.len() + bad.len() >= 80, "{}", good.len() + bad.len());
    for text in good {
        assert_eq!(check_target(text, &origins), Ok(()), "{text:?}");
    }
    for text in bad {
        assert!(check_target(text, &origins).is_err(), "{text:?}");
    }
    assert!(check_target("https://app.example.com/", &[]).is_err(), "no list, no other origin");
    assert_eq!(check_target(&format!("/{}", "a".repeat(1999)), &origins), Ok(()));
    assert!(check_target(&format!("/{}", "a".repeat(2000)), &origins).is_err());
}

/// What passes, other programs read as we do: a browser that resolves it stays at the same origin.
///
/// Promise: R-25
#[test]
fn what_is_taken_for_a_path_is_one_for_browsers_too() {
    let base = url::Url::parse("https://service.example.com/api/v1/auth/oauth/google/callback").expect("an address");
    let pieces =
        ["/", "\\", ".", "..", "%2f", "%5c", "%2e", "a", "@", ":", "?", "#", "//", "evil.com", "%09", "\t", "%25"];
    let mut tried = 0;
    for one in pieces {
        for two in pieces {
            for three in pieces {
                for four in pieces {
                    let text = format!("/{one}{two}{three}{four}");
                    if check_target(&text, &[]).is_err() {
                        continue;
                    }
                    tried += 1;
                    let there = base.join(&text).expect("an address");
                    assert_eq!(there.origin(), base.origin(), "{text}");
                    let path = text.split(['?', '#']).next().unwrap_or_default();
                    assert_eq!(there.path(), path, "{text}: nothing is left to be tidied up");
                    assert!(!there.path().starts_with("//"), "{text}");
                }
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn a_code_goes_into_the_query_whatever_is_there() {
    for (target, wanted) in [
        ("/", "/?code=c"),
        ("/a?b=d", "/a?b=d&code=c"),
        ("/a?", "/a?code=c"),
        ("/a?b&", "/a?b&code=c"),
        ("/#/route?x=y", "/?code=c#/route?x=y"),
        ("/a?b=d#e", "/a?b=d&code=c#e"),
        ("https://app.example.com", "https://app.example.com?code=c"),
    ] {
        assert_eq!(with_code(target, "c"), wanted);
    }
}

/// RFC 7636, appendix B.
///
/// Promise: R-25
#[test]
fn a_verifier_fits_its_challenge_and_no_other() {
    let (verifier, challenge) =
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    assert!(is_challenge(challenge) && fits_challenge(verifier, challenge));
    assert!(!fits_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl", challenge));
    assert!(!fits_challenge("", challenge) && !fits_challenge(challenge, challenge));
    for bad in ["", "short", &challenge[1..], &format!("{challenge}A"), &challenge.replace('-', "+")] {
        assert!(!is_challenge(bad), "{bad}");
    }
}

#[test]
fn one_secret_makes_a_verifier_and_a_nonce_that_say_nothing_of_each_other() {
    let secret = BrowserSecret::new("a secret");
    let all = [secret.hash(), secret.verifier(), secret.nonce()];
    assert!(all.iter().all(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())), "{all:?}");
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    assert_eq!(BrowserSecret::new("a secret").verifier(), all[1]);
    assert_ne!(BrowserSecret::new("another").verifier(), all[1]);
}

/// Promise: R-25
#[test]
fn an_identity_is_a_subject_at_an_issuer_by_a_provider() {
    let key = identity_key("google", "https://accounts.google.com", "42");
    for (provider, issuer, subject) in [
        ("github", "https://accounts.google.com", "42"),
        ("google", "https://evil.example", "42"),
        ("google", "https://accounts.google.com", "43"),
        ("google", "https://accounts.google.com\n4", "2"),
    ] {
        assert_ne!(identity_key(provider, issuer, subject), key);
    }
    let with = |subject: &str| {
        let issuer = "https://accounts.google.com".to_owned();
        Identity { issuer, subject: subject.to_owned(), email: None, is_email_verified: true, name: None }.is_whole()
    };
    assert_eq!(
        [with("42"), with(""), with("4\n2"), with(&"4".repeat(255)), with(&"4".repeat(256))],
        [true, false, false, true, false]
    );
}

/// Promise: R-25
#[test]
fn the_last_way_in_stays() {
    for (has_password, others, may_go) in [(true, 0, true), (false, 1, true), (true, 2, true), (false, 0, false)] {
        assert_eq!(check_a_way_in_stays(has_password, others).is_ok(), may_go, "{has_password} {others}");
    }
    let error = check_a_way_in_stays(false, 0).expect_err("refused");
    assert_eq!((error.http_status(), error.error_code()), (409, "last_way_in"));
}
