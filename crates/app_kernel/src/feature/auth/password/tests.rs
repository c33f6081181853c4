//! Rules of passwords, and hashing under load.

use super::*;

fn passwords() -> Passwords {
    Passwords::new(true)
}

/// Promise: F1
#[tokio::test]
async fn a_hash_is_argon2id_with_owasps_parameters_and_its_own_salt() {
    let passwords = passwords();
    let hash = passwords.hash("correct horse".to_owned()).await.expect("a hash");
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(hash, passwords.hash("correct horse".to_owned()).await.expect("a hash"));
}

#[tokio::test]
async fn every_character_of_a_password_counts() {
    let passwords = passwords();
    let long = "🔑é".repeat(127) + "xy";
    let hash = passwords.hash(long.clone()).await.expect("a hash");
    assert_eq!(passwords.check(long.clone(), Some(hash.clone())).await.expect("a verdict"), Verdict::Right);
    for wrong in [
        long.replacen('y', "z", 1),
        long[..long.len() - 1].to_owned(),
        format!("{long} "),
        long.to_uppercase(),
        String::new(),
    ] {
        assert_eq!(passwords.check(wrong, Some(hash.clone())).await.expect("a verdict"), Verdict::Wrong);
    }
}

#[tokio::test]
async fn a_hash_with_other_parameters_is_right_but_old() {
    let weak = argon2::Params::new(8, 1, 1, None).expect("parameters");
    let weak = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weak);
    let hash: PasswordHash = weak.hash_password_with_salt(b"correct horse", &[7; 16]).expect("a hash");
    let (passwords, hash) = (passwords(), hash.to_string());
    assert_eq!(
        passwords.check("correct horse".into(), Some(hash.clone())).await.expect("a verdict"),
        Verdict::RightButOld
    );
    assert_eq!(passwords.check("wrong horse".into(), Some(hash)).await.expect("a verdict"), Verdict::Wrong);
}

#[tokio::test]
async fn a_stored_hash_that_is_none_is_our_fault() {
    let error = passwords().check("correct horse".into(), Some("plain text".into())).await.expect_err("an error");
    assert_eq!(error.kind(), crate::base::error::ErrorKind::Internal);
}

/// Promise: R-24
#[tokio::test]
async fn nobodys_password_is_wrong_and_costs_what_anybodys_costs() {
    let passwords = passwords();
    let real = passwords.hash("correct horse".to_owned()).await.expect("a hash");
    let cost = |phc: &str| {
        let hash = PasswordHash::new(phc).expect("a PHC string");
        let params = argon2::Params::try_from(&hash).expect("parameters");
        (
            hash.algorithm,
            hash.version,
            params,
            hash.salt.map(|salt| salt.as_ref().len()),
            hash.hash.map(|result| result.len()),
        )
    };
    assert_eq!(cost(&passwords.nobody), cost(&real));
    assert_eq!(passwords.check("correct horse".into(), None).await.expect("a verdict"), Verdict::Wrong);
}

/// Promise: R-24
#[tokio::test]
async fn whoever_finds_the_line_full_is_asked_to_come_back() {
    let passwords = Passwords::with_line(false, 1, 2);
    let hold = passwords.threads.clone().acquire_owned().await.expect("the only thread");
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(passwords.hash("correct horse".into()))).collect();
    for request in &mut waiting {
        assert!(futures_util::poll!(request.as_mut()).is_pending());
    }
    let refused = passwords.hash("correct horse".into()).await.expect_err("the line is full");
    assert_eq!((refused.http_status(), refused.retry_after(), refused.error_code()), (503, Some(1), "busy"));

    // Two of the three go away: their places are free again.
    waiting.truncate(1);
    drop(hold);
    let (first, second) = futures_util::join!(waiting.remove(0), passwords.hash("correct horse".into()));
    assert!(first.is_ok() && second.is_ok());
}

#[test]
fn length_is_counted_in_characters() {
    let passwords = passwords();
    let too_short = Some("must have at least 8 characters");
    let too_long = Some("must have at most 256 characters");
    for (password, problem) in [
        (String::new(), too_short),
        ("sevench".into(), too_short),
        ("ééééééé".into(), too_short),
        ("zwölf Ü8".into(), None),
        ("пароль-раз-два".into(), None),
        ("🔑🗝️🚪🪟🏠🧱🪵🛖".into(), None),
        ("  spaces count  ".into(), None),
        ("x y".repeat(85) + "z", None),
        ("x y".repeat(85) + "zz", too_long),
        ("x".repeat(2_000_000), too_long),
        ("nul\0inside".into(), Some("must not contain a NUL character")),
    ] {
        assert_eq!(passwords.problem_with(&password), problem, "{:.40}", password);
    }
}

#[test]
fn production_refuses_what_everybody_tries_first() {
    for password in [
        "password",
        "Password1",
        "P@ssw0rd!",
        "PASSWORD123",
        "passwordpassword",
        "qwertyuiop",
        "Qwerty123!",
        "iloveyou",
        "iloveyou2",
        "12345678",
        "1234567890",
        "87654321",
        "11111111",
        "abcdefgh",
        "zyxwvuts",
        "abcabcabc",
        "12121212",
        "1q2w3e4r",
        "1qaz2wsx",
        "trustno1",
        "Welcome2024",
        "letmein!!",
        "Sunshine1",
        "football",
        "admin123",
        "superman",
        "dragon2020",
        "Summer2025!",
    ] {
        assert!(is_common(password), "{password}");
        assert!(passwords().problem_with(password).is_some(), "{password}");
        assert_eq!(Passwords::new(false).problem_with(password), None, "only in production: {password}");
    }
    for password in [
        "correct horse",
        "dragon8472619305",
        "hunter2-but-longer",
        "tr0ub4dor&3",
        "zwölf Ü8",
        "passport to nowhere",
        "kX9#mQ2v",
    ] {
        assert!(!is_common(password), "{password}");
    }
}

#[test]
fn the_list_is_long_and_in_lower_case() {
    assert!(COMMON.len() >= 700, "{}", COMMON.len());
    let odd: Vec<&&str> =
        COMMON.iter().filter(|word| word.to_lowercase() != **word || word.chars().count() < 4).collect();
    assert!(odd.is_empty(), "{odd:?}");
}
