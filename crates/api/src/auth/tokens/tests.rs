//! Tokens that are good, and every way in which one can be bad.

use super::*;

fn named(name: &str, uid: &str) -> Named {
    Named { name: name.to_owned(), uid: uid.to_owned() }
}

fn request(binding: Binding) -> TokenRequest {
    TokenRequest {
        namespace: "ns".to_owned(),
        account: named("builder", "sa-uid"),
        audiences: Vec::new(),
        expiration_seconds: Some(600),
        binding,
    }
}

fn fresh() -> (tempfile::TempDir, Tokens) {
    let directory = tempfile::tempdir().unwrap();
    let tokens = Tokens::new(Keys::ensure(directory.path()).unwrap(), ISSUER, MAX_LIFE);
    (directory, tokens)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Everything exists.
fn find(bound: &Bound<'_>) -> Option<String> {
    let uid = match bound {
        Bound::ServiceAccount { namespace: "ns", name: "builder" } => "sa-uid",
        Bound::Pod { namespace: "ns", name: "web" } => "pod-uid",
        Bound::Secret { namespace: "ns", name: "s" } => "secret-uid",
        Bound::Node { name: "n" } => "node-uid",
        _ => return None,
    };
    Some(uid.to_owned())
}

/// The token with one of its three parts replaced.
fn with_part(token: &str, index: usize, json: &Value) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[index] = BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    parts.join(".")
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_token_tells_who_it_stands_for() {
    let (_directory, tokens) = fresh();
    let binding = Binding::Pod { pod: named("web", "pod-uid"), node: Some(named("n", "node-uid")) };
    let issued = tokens.issue(&request(binding), at(1000)).unwrap();
    assert_eq!(issued.expires_at, at(1600));
    assert_eq!(issued.audiences, [ISSUER]);
    let claims = part(&issued.token, 1);
    assert_eq!(claims["sub"], "system:serviceaccount:ns:builder");
    assert_eq!(claims["kubernetes.io"]["pod"], json!({"name": "web", "uid": "pod-uid"}));
    assert_eq!(claims["kubernetes.io"]["serviceaccount"], json!({"name": "builder", "uid": "sa-uid"}));
    let user = tokens.verify(&issued.token, &[], at(1599), &find).unwrap().user();
    assert_eq!(user.name, "system:serviceaccount:ns:builder");
    assert_eq!(user.uid, "sa-uid");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["node-uid"]);
    let jti = format!("JTI={}", claims["jti"].as_str().unwrap());
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], [jti]);
    // The Debug form goes into logs.
    assert!(!format!("{issued:?}").contains(&issued.token));
}

#[test]
fn a_token_lives_as_long_as_was_asked_for_within_bounds() {
    let (_directory, tokens) = fresh();
    assert_eq!(life(None), Ok(DEFAULT_LIFE));
    assert_eq!(life(Some(599)), Err(LifeError::Short));
    assert_eq!(life(Some(-1)), Err(LifeError::Short));
    assert_eq!(life(Some(600)), Ok(MIN_LIFE));
    assert_eq!(life(Some((1 << 32) + 1)), Err(LifeError::Long));
    let long = TokenRequest { expiration_seconds: Some(1 << 32), ..request(Binding::None) };
    let issued = tokens.issue(&long, at(0)).unwrap();
    assert_eq!(issued.expires_at, at(365 * 24 * 3600));
}

#[test]
fn a_token_ends_and_begins() {
    let (_directory, tokens) = fresh();
    let token = tokens.issue(&request(Binding::None), at(1000)).unwrap().token;
    let verify = |second| tokens.verify(&token, &[], at(second), &find).map(|_| ());
    assert_eq!(verify(1000), Ok(()));
    assert_eq!(verify(1600), Err(TokenError::Expired(at(1600))));
    assert_eq!(verify(940), Ok(()));
    assert_eq!(verify(939), Err(TokenError::Early(at(1000))));
}

#[test]
fn a_token_for_another_audience_is_not_for_us() {
    let (_directory, tokens) = fresh();
    let vault =
        TokenRequest { audiences: vec!["vault".to_owned(), "x".to_owned()], ..request(Binding::None) };
    let token = tokens.issue(&vault, at(0)).unwrap().token;
    let verify = |audiences: &[&str]| {
        let audiences: Vec<String> = audiences.iter().map(|one| (*one).to_owned()).collect();
        tokens.verify(&token, &audiences, at(1), &find).map(|token| token.audiences)
    };
    assert!(matches!(verify(&[]), Err(TokenError::Audience(_))));
    assert!(matches!(verify(&["other"]), Err(TokenError::Audience(_))));
    assert_eq!(verify(&["other", "vault"]), Ok(vec!["vault".to_owned()]));
}

#[test]
fn the_algorithm_is_not_the_tokens_to_choose() {
    let (_directory, tokens) = fresh();
    let token = tokens.issue(&request(Binding::None), at(0)).unwrap().token;
    let header = part(&token, 0);
    let verify = |token: &str| tokens.verify(token, &[], at(1), &find).map(|_| ());
    for algorithm in ["none", "None", "HS256", "RS256", "ES384", ""] {
        let mut header = header.clone();
        header["alg"] = json!(algorithm);
        let forged = with_part(&token, 0, &header);
        assert_eq!(verify(&forged), Err(TokenError::Algorithm(algorithm.to_owned())));
        let unsigned = format!("{}.", forged.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&unsigned), Err(TokenError::Algorithm(algorithm.to_owned())));
    }
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    assert_eq!(verify(&unsigned), Err(TokenError::Signature));
    let critical = with_part(&token, 0, &json!({"alg": "ES256", "kid": header["kid"], "crit": ["b64"]}));
    assert_eq!(verify(&critical), Err(TokenError::Malformed));
}

#[test]
fn claims_that_were_changed_are_not_signed() {
    let (_directory, tokens) = fresh();
    let token = tokens.issue(&request(Binding::None), at(0)).unwrap().token;
    let mut claims = part(&token, 1);
    claims["exp"] = json!(i64::MAX);
    let forged = with_part(&token, 1, &claims);
    assert_eq!(tokens.verify(&forged, &[], at(1), &find).unwrap_err(), TokenError::Signature);
}

#[test]
fn a_key_that_is_not_ours_signs_nothing() {
    let ((_one, tokens), (_two, others)) = (fresh(), fresh());
    let token = others.issue(&request(Binding::None), at(0)).unwrap().token;
    assert_eq!(tokens.verify(&token, &[], at(1), &find).unwrap_err(), TokenError::Key);
    // Also not under the name of one of ours.
    let mut header = part(&token, 0);
    header["kid"] = json!(tokens.keys.signing().id());
    let forged = with_part(&token, 0, &header);
    assert_eq!(tokens.verify(&forged, &[], at(1), &find).unwrap_err(), TokenError::Signature);
}

#[test]
fn a_token_of_another_issuer_is_not_ours() {
    let (directory, tokens) = fresh();
    let other = Tokens::new(Keys::ensure(directory.path()).unwrap(), "https://other", MAX_LIFE);
    let token = other.issue(&request(Binding::None), at(0)).unwrap().token;
    let issuer = TokenError::Issuer("https://other".to_owned());
    assert_eq!(tokens.verify(&token, &[], at(1), &find).unwrap_err(), issuer);
}

#[test]
fn what_is_cut_or_no_token_at_all_is_refused() {
    let (_directory, tokens) = fresh();
    let token = tokens.issue(&request(Binding::None), at(0)).unwrap().token;
    for end in 0..token.len() {
        assert!(tokens.verify(&token[..end], &[], at(1), &find).is_err(), "{end}");
    }
    for garbage in
        ["", ".", "..", "a.b.c", "....", "\u{e9}.\u{e9}.\u{e9}", &"x".repeat(100_000), &format!("{token}.x")]
    {
        assert!(tokens.verify(garbage, &[], at(1), &find).is_err());
    }
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    let (_directory, tokens) = fresh();
    let node = || Some(named("n", "old-node-uid"));
    for (binding, expected) in [
        (Binding::None, Ok(())),
        (Binding::Secret(named("s", "secret-uid")), Ok(())),
        (Binding::Secret(named("s", "other")), Err("Secret")),
        (Binding::Pod { pod: named("web", "pod-uid"), node: None }, Ok(())),
        // Another Pod of the same name, as of a StatefulSet.
        (Binding::Pod { pod: named("web", "other"), node: None }, Err("Pod")),
        (Binding::Pod { pod: named("gone", "pod-uid"), node: None }, Err("Pod")),
        // Beside a Pod the Node is only told.
        (Binding::Pod { pod: named("web", "pod-uid"), node: node() }, Ok(())),
        (Binding::Node(named("n", "node-uid")), Ok(())),
        (Binding::Node(named("n", "old-node-uid")), Err("Node")),
    ] {
        let token = tokens.issue(&request(binding.clone()), at(0)).unwrap().token;
        let result = tokens.verify(&token, &[], at(1), &find).map(|_| ()).map_err(|error| match error {
            TokenError::Gone { kind, .. } => kind,
            other => panic!("{other}"),
        });
        assert_eq!(result, expected, "{binding:?}");
        let gone = |bound: &Bound<'_>| match bound {
            Bound::ServiceAccount { .. } => Some("another-uid".to_owned()),
            bound => find(bound),
        };
        let result = tokens.verify(&token, &[], at(1), &gone);
        assert!(matches!(result, Err(TokenError::Gone { kind: "ServiceAccount", .. })));
    }
}

#[test]
fn keys_are_kept_and_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let mut keys = Keys::ensure(directory.path()).unwrap();
    let first = keys.signing().id().to_owned();
    assert_eq!(Keys::ensure(directory.path()).unwrap().signing().id(), first);
    let old = Tokens::new(Keys::ensure(directory.path()).unwrap(), ISSUER, MAX_LIFE);
    let token = old.issue(&request(Binding::None), at(0)).unwrap().token;
    keys.rotate().unwrap();
    assert_ne!(keys.signing().id(), first);
    let tokens = Tokens::new(keys, ISSUER, MAX_LIFE);
    let again = Tokens::new(Keys::ensure(directory.path()).unwrap(), ISSUER, MAX_LIFE);
    for tokens in [&tokens, &again] {
        assert!(tokens.verify(&token, &[], at(1), &find).is_ok());
        let fresh = tokens.issue(&request(Binding::None), at(0)).unwrap().token;
        assert_ne!(part(&fresh, 0)["kid"], first.as_str());
        assert_eq!(old.verify(&fresh, &[], at(1), &find).unwrap_err(), TokenError::Key);
        let jwks = tokens.jwks();
        assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    }
    // Removing the file of a key revokes its tokens.
    std::fs::remove_file(directory.path().join("service-account-1.key")).unwrap();
    let tokens = Tokens::new(Keys::ensure(directory.path()).unwrap(), ISSUER, MAX_LIFE);
    assert_eq!(tokens.verify(&token, &[], at(1), &find).unwrap_err(), TokenError::Key);
}

#[test]
fn key_files_are_their_owners_and_damage_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    Keys::ensure(directory.path()).unwrap();
    let path = directory.path().join("service-account-1.key");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "x").unwrap();
    assert!(
        matches!(Keys::ensure(directory.path()), Err(KeyError::Damaged { path: damaged }) if damaged == path)
    );
}

#[test]
fn others_can_verify_with_the_published_keys() {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let (_directory, tokens) = fresh();
    let token = tokens.issue(&request(Binding::None), at(0)).unwrap().token;
    let jwk = &tokens.jwks()["keys"][0];
    let half = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], half("x"), half("y")].concat();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature).unwrap();
    assert_eq!(jwk["kid"], part(&token, 0)["kid"]);
    assert_eq!(tokens.discovery()["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
}
