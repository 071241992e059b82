//! Tokens that are shown again.

use super::*;

fn digest(text: &str) -> Digest {
    Digest::of(text).expect("as short as tokens are")
}

/// A token with these claims that was found good at [`NOW`], as what remembers it, and its text.
fn remembered(signer: &Signer, claims: &Value) -> (Remembered, String) {
    let token = signer.sign(&header(), claims);
    let verified = verify(&token, &signer.keys(), &issuer(), NOW).expect("good");
    let mut remembered = Remembered::new(2);
    remembered.put(digest(&token), verified, NOW);
    (remembered, token)
}

/// What is found good by nobody, and only stands for tokens that were.
fn verified(subject: &str, expires_s: f64) -> Verified {
    let claims = Claims {
        subject: subject.to_owned(),
        roles: Vec::new(),
        expires_unix_ms: 0,
    };
    let times = Times {
        expires_s,
        not_before_s: None,
    };
    Verified { claims, times }
}

#[test]
fn token_that_is_remembered_is_judged_as_it_is_anew_at_each_time() {
    let signer = Signer::new();
    let keys = signer.keys();
    let mut claims = with("nbf", json!(1_000_000.25));
    claims["exp"] = json!(1_000_000.750_5);
    let (remembered, token) = remembered(&signer, &claims);
    let digest = digest(&token);
    let (start, end) = (NOW + 250 - 30_000, NOW + 750 + 30_000);
    let edges = [start, end]
        .into_iter()
        .flat_map(|edge| edge - 3..=edge + 3);
    for now in edges.chain([0, NOW, u64::MAX]) {
        let anew = verify(&token, &keys, &issuer(), now).map(|verified| verified.claims);
        let again = remembered.judge(&digest, now).expect("remembered");
        assert_eq!(again.cloned(), anew, "{now}");
    }
}

#[test]
fn token_that_is_remembered_ends_with_its_leeway() {
    let signer = Signer::new();
    let (remembered, token) = remembered(&signer, &claims());
    let judged = |now| {
        remembered
            .judge(&digest(&token), now)
            .map(|of| of.map(|_| ()))
    };
    let end = NOW + 100_000 + 30_000;
    assert_eq!(judged(end - 1), Some(Ok(())));
    assert_eq!(judged(end), Some(Err(JwtError::Expired)));
}

#[test]
fn token_that_is_remembered_does_not_count_before_its_time() {
    let signer = Signer::new();
    let (remembered, token) = remembered(&signer, &with("nbf", json!(1_000_000)));
    let judged = |now| {
        remembered
            .judge(&digest(&token), now)
            .map(|of| of.map(|_| ()))
    };
    assert_eq!(judged(NOW - 30_000), Some(Ok(())));
    assert_eq!(judged(NOW - 30_001), Some(Err(JwtError::TooEarly)));
}

#[test]
fn text_that_differs_in_its_signature_alone_is_another_token() {
    let signer = Signer::new();
    let (remembered, token) = remembered(&signer, &claims());
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{first}{}", &signature[1..]);
    assert_eq!(remembered.judge(&digest(&forged), NOW), None);
}

#[test]
fn token_that_was_found_good_first_makes_room() {
    let mut remembered = Remembered::new(2);
    for name in ["one", "two", "three"] {
        remembered.put(digest(name), verified(name, 2e6), NOW);
    }
    let is_there = |name| remembered.judge(&digest(name), NOW).is_some();
    assert_eq!(["one", "two", "three"].map(is_there), [false, true, true]);
}

#[test]
fn token_that_is_put_twice_takes_one_place() {
    let mut remembered = Remembered::new(2);
    for name in ["one", "two", "two"] {
        remembered.put(digest(name), verified(name, 2e6), NOW);
    }
    assert!(remembered.judge(&digest("one"), NOW).is_some());
}

#[test]
fn token_that_has_ended_is_forgotten_before_there_is_no_room() {
    let mut remembered = Remembered::new(8);
    remembered.put(digest("short"), verified("short", 1e6), NOW);
    let later = NOW + 60_000;
    remembered.put(digest("long"), verified("long", 2e6), later);
    assert_eq!(remembered.judge(&digest("short"), later), None);
}

#[test]
fn what_remembers_tokens_shows_none() {
    let mut remembered = Remembered::new(8);
    remembered.put(digest("token"), verified("robot", 2e6), NOW);
    let shown = format!("{remembered:?} {:?}", digest("token"));
    assert_eq!(
        shown,
        "Remembered { tokens: 1, tokens_max: 8 } Digest(redacted)"
    );
}

#[test]
fn text_that_is_longer_than_tokens_has_no_digest() {
    assert!(Digest::of(&"a".repeat(JWT_BYTES_MAX)).is_some());
    assert!(Digest::of(&"a".repeat(JWT_BYTES_MAX + 1)).is_none());
}
