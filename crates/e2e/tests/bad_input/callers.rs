//! Callers who are not who they say, or may not do what they ask.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use e2e::wire::{Identity, Reply};
use e2e::{Node, Podling, Wire};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A certificate that claims to be an admin's.
fn forged(issuer: &Issuer<'_, KeyPair>, years: (i32, i32), usage: ExtendedKeyUsagePurpose) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![usage];
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    Identity::of_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
}

/// An authority of that name, which is not the node's.
fn other_authority(name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().expect("a key"))
}

/// Whether this identity is an admin to the node. TLS refuses it, or the API does; the client sees the former late.
fn is_let_in(wire: &Wire, identity: &Identity) -> bool {
    let connected = wire.connect_as(Some(identity)).ok();
    let reply = connected.and_then(|mut connection| connection.try_request("GET", PODS, &[], b""));
    match reply {
        Some(reply) if reply.code == 200 => true,
        Some(reply) => {
            reply.assert_refused("a certificate", 401, "Unauthorized");
            false
        }
        None => false,
    }
}

#[test]
fn certificates_of_others_and_of_other_times_are_refused() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let pem = std::fs::read_to_string(podling.data_dir().join("pki/ca.pem")).expect("the authority");
    let key = &pem[pem.find("-----BEGIN PRIVATE KEY").expect("a key behind the certificate")..];
    let ours =
        Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(key).expect("its key")).expect("the authority");
    assert!(is_let_in(&wire, &forged(&ours, (2020, 2120), ClientAuth)), "what this test makes would be good");
    assert!(
        !is_let_in(&wire, &forged(&other_authority("other"), (2020, 2120), ClientAuth)),
        "another authority"
    );
    assert!(
        !is_let_in(&wire, &forged(&other_authority("podling"), (2020, 2120), ClientAuth)),
        "of the same name"
    );
    assert!(!is_let_in(&wire, &forged(&ours, (2019, 2020), ClientAuth)), "expired");
    assert!(!is_let_in(&wire, &forged(&ours, (2119, 2120), ClientAuth)), "not yet valid");
    assert!(!is_let_in(&wire, &forged(&ours, (2020, 2120), ServerAuth)), "a server's");
    // Without one there is nobody, and the paths that everybody may see are no more than that.
    let mut nobody = wire.connect_as(None).expect("TLS without a certificate");
    nobody.request("GET", PODS, &[], b"").assert_refused("nobody", 401, "Unauthorized");
    assert_eq!(nobody.request("GET", "/readyz", &[], b"").code, 200);
    node.running().assert_quiet();
}

/// A token as the node would sign it, with other claims.
fn signed(podling: &Podling, header: &Value, claims: &Value) -> String {
    let path = podling.data_dir().join("pki/tokens/service-account-1.key");
    let key = PrivateKeyDer::from_pem_file(path).expect("the key of tokens");
    let random = SystemRandom::new();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der(), &random).expect("a key");
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(header), encode(claims));
    let signature = pair.sign(&random, text.as_bytes()).expect("a signature");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn with_token(wire: &Wire, token: &str) -> Reply {
    let mut connection = wire.connect_as(None).expect("TLS without a certificate");
    connection.request("GET", PODS, &[("Authorization", &format!("Bearer {token}"))], b"")
}

#[test]
fn tokens_that_have_expired_or_were_forged_are_refused() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let created = node.kubectl(["create", "token", "default"]);
    let token = String::from_utf8(created.stdout).expect("a token");
    let token = token.trim();
    with_token(&wire, token).assert_refused("a token that may nothing", 403, "Forbidden");

    let parts: Vec<Value> = token.split('.').take(2).map(decoded).collect();
    let (header, claims) = (&parts[0], &parts[1]);
    let now = claims["iat"].as_i64().expect("iat");
    with_token(&wire, &signed(&podling, header, claims)).assert_refused(
        "what this test signs",
        403,
        "Forbidden",
    );
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let mut expired = changed("exp", json!(now - 1));
    expired["iat"] = json!(now - 3600);
    expired["nbf"] = json!(now - 3600);
    let mut other_account = claims.clone();
    other_account["kubernetes.io"]["serviceaccount"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    let cases = [
        ("expired", signed(&podling, header, &expired)),
        ("not yet valid", signed(&podling, header, &changed("nbf", json!(now + 3600)))),
        ("for another audience", signed(&podling, header, &changed("aud", json!(["vault"])))),
        ("of another issuer", signed(&podling, header, &changed("iss", json!("https://example.com")))),
        ("without an end", signed(&podling, header, &changed("exp", Value::Null))),
        ("of an account that was made anew", signed(&podling, header, &other_account)),
        (
            "of another subject",
            signed(&podling, header, &changed("sub", json!("system:serviceaccount:kube-system:x"))),
        ),
        ("of no algorithm", unsigned(&json!({"alg": "none"}), claims)),
        ("of another algorithm", signed(&podling, &json!({"alg": "HS256", "kid": header["kid"]}), claims)),
        ("of another key", signed(&podling, &json!({"alg": "ES256", "kid": "../../ca"}), claims)),
        ("cut", token[..token.len() - 4].to_owned()),
        ("other claims under the signature", swapped(token, &changed("sub", json!("admin")))),
        ("nothing", ".".to_owned()),
        ("too long", "a".repeat(100_000)),
    ];
    for (what, token) in &cases {
        with_token(&wire, token).assert_refused(what, 401, "Unauthorized");
    }
    // A bound token ends with its account.
    assert!(node.kubectl(["delete", "serviceaccount", "default"]).status.success());
    with_token(&wire, token).assert_refused("of an account that is gone", 401, "Unauthorized");
    node.running().assert_quiet();
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", encode(header), encode(claims))
}

fn swapped(token: &str, claims: &Value) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    format!("{}.{}.{}", parts[0], BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}

#[test]
fn whoever_may_nothing_gets_nothing_of_a_pod() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let created = node.kubectl(["create", "token", "default"]);
    let authorization = format!("Bearer {}", String::from_utf8(created.stdout).expect("a token").trim());
    let upgrade = [
        ("Authorization", authorization.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    ];
    let subresources = [
        ("GET", "exec?command=id&stdout=true"),
        ("POST", "exec?command=id&stdout=true"),
        ("GET", "attach?stdout=true"),
        ("GET", "portforward?ports=80"),
        ("GET", "log"),
        ("GET", "proxy/"),
        ("POST", "eviction"),
        ("PATCH", "ephemeralcontainers"),
    ];
    for (method, subresource) in subresources {
        let mut connection = wire.connect_as(None).expect("TLS without a certificate");
        // Whether there is such a Pod is nothing that he may know either.
        let reply = connection.request(method, &format!("{PODS}/web/{subresource}"), &upgrade, b"");
        reply.assert_refused(subresource, 403, "Forbidden");
    }
    let of_masters = [("Impersonate-User", "x"), ("Impersonate-Group", "system:masters")];
    for others in [&[("Impersonate-User", "kubernetes-admin")][..], &of_masters] {
        let mut connection = wire.connect_as(None).expect("TLS without a certificate");
        let headers = [&[("Authorization", authorization.as_str())], others].concat();
        connection.request("GET", PODS, &headers, b"").assert_refused("somebody else", 403, "Forbidden");
    }
    node.running().assert_quiet();
}
