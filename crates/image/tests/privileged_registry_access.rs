//! Who may pull, from where, and over what: passwords, tokens, helpers, certificates and mirrors, before real registries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::{Credentials, Images, Presence, PullError, PullOptions, PullReason, Reference, Silent};
use serde_json::json;
use support::faults::{Fault, Faults, Request, answer};
use support::registry::{Door, PASSWORD, Registry, USER};
use support::{Layer, TestImage, chain, contents, store};

fn test_image() -> TestImage {
    TestImage::new("unused:1", vec![Layer::new().file("a", b"a").finish()])
}

async fn pull(
    store: &Images,
    reference: &Reference,
    options: &PullOptions,
) -> Result<image::Image, PullError> {
    store.pull(reference, options, Arc::new(Silent)).await
}

async fn pulls(store: &Images, reference: &Reference, options: &PullOptions) {
    let pulled = pull(store, reference, options).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(pulled.id, test_image().id());
    store.remove(&reference.to_string()).unwrap();
    assert_eq!(contents(store), Vec::<String>::new());
}

async fn refused(store: &Images, reference: &Reference, options: &PullOptions, reason: PullReason) -> String {
    let error = pull(store, reference, options).await.unwrap_err();
    let text = chain(&error);
    assert_eq!(error.reason(), reason, "{text}");
    assert!(!text.contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD), "{text}");
    assert_eq!(contents(store), Vec::<String>::new());
    text
}

fn config_for(host: &str, password: &str) -> String {
    json!({"auths": {host: {"username": USER, "password": password}}}).to_string()
}

fn secret_for(host: &str, password: &str) -> PullOptions {
    let secret = Credentials::parse("Secret default/pull", config_for(host, password).as_bytes()).unwrap();
    PullOptions { pull_secrets: vec![secret], ..PullOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let (store, door) = (store(folder.path()), Door { password: true, ..Door::default() });
    let registry = Registry::start_behind(folder.path(), door);
    registry.push("team/app:v1", &test_image()).await;
    let (reference, host) = (registry.reference("team/app:v1"), &registry.address);

    let text = refused(&store, &reference, &PullOptions::default(), PullReason::Unauthorized).await;
    assert!(text.contains("imagePullSecrets") && text.contains(host), "{text}");
    let text = refused(&store, &reference, &secret_for(host, "wrong"), PullReason::Unauthorized).await;
    assert!(text.contains("401"), "{text}");
    pulls(&store, &reference, &secret_for(host, PASSWORD)).await;
    pulls(&store, &reference, &secret_for(&format!("{host}/team"), PASSWORD)).await;
    refused(&store, &reference, &secret_for(&format!("{host}/other"), PASSWORD), PullReason::Unauthorized)
        .await;

    // The wrong one fits better and is tried first.
    let mut both = secret_for(&format!("{host}/team"), "wrong");
    both.pull_secrets.extend(secret_for(host, PASSWORD).pull_secrets);
    pulls(&store, &reference, &both).await;

    let file = folder.path().join("config.json");
    let files = PullOptions {
        credential_files: vec![folder.path().join("absent"), file.clone()],
        ..PullOptions::default()
    };
    fs::write(&file, config_for(host, PASSWORD)).unwrap();
    pulls(&store, &reference, &files).await;
    fs::write(&file, format!("{{\"auths\": \"{PASSWORD}\"}}")).unwrap();
    let text = refused(&store, &reference, &files, PullReason::Configuration).await;
    assert!(text.contains("config.json"), "{text}");
}

/// KEP-2535: a private image that one Pod pulled is not for another that knows its name.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_with_a_secret_is_for_those_who_show_it_or_ask_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let (store, door) = (store(folder.path()), Door { password: true, ..Door::default() });
    let registry = Registry::start_behind(folder.path(), door);
    registry.push("team/app:v1", &test_image()).await;
    let (reference, host) = (registry.reference("team/app:v1"), &registry.address);
    let presence =
        |options: &PullOptions| store.find_for(&reference, || options.pull_secrets.clone()).unwrap();
    let (nothing, right, wrong) =
        (PullOptions::default(), secret_for(host, PASSWORD), secret_for(host, "wrong"));
    assert!(matches!(presence(&right), Presence::Absent));

    pull(&store, &reference, &right).await.unwrap();
    assert!(matches!(presence(&right), Presence::Present(_)));
    assert!(matches!(presence(&secret_for(&format!("{host}/team"), PASSWORD)), Presence::Present(_)));
    assert!(matches!(presence(&wrong), Presence::Guarded));
    assert!(matches!(presence(&nothing), Presence::Guarded));
    let digest = pull(&store, &reference, &right).await.unwrap().repo_digest.unwrap();
    let by_digest = Reference::parse(&digest).unwrap();
    assert!(matches!(store.find_for(&by_digest, Vec::new).unwrap(), Presence::Guarded));

    // Who asks and is refused has changed nothing; nor has anybody's image gone.
    for refused in [&nothing, &wrong] {
        let error = pull(&store, &reference, refused).await.unwrap_err();
        assert_eq!(error.reason(), PullReason::Unauthorized);
        assert!(matches!(presence(refused), Presence::Guarded));
    }
    assert!(matches!(presence(&right), Presence::Present(_)));

    // No file of the store has the password.
    let files =
        std::process::Command::new("grep").arg("-r").arg(PASSWORD).arg(store.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&files.stdout), "");

    // This machine's own credentials are every Pod's, and so is what they pull.
    let file = folder.path().join("config.json");
    fs::write(&file, config_for(host, PASSWORD)).unwrap();
    let machine = PullOptions { credential_files: vec![file], ..PullOptions::default() };
    pull(&store, &reference, &machine).await.unwrap();
    assert!(matches!(presence(&nothing), Presence::Present(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_public_is_for_everybody_whatever_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let registry = Registry::start(folder.path());
    registry.push("app:v1", &test_image()).await;
    let reference = registry.reference("app:v1");
    pull(&store, &reference, &secret_for(&registry.address, PASSWORD)).await.unwrap();
    assert!(matches!(store.find_for(&reference, Vec::new).unwrap(), Presence::Present(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_is_asked_for_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (store, door) = (store(folder.path()), Door { password: true, ..Door::default() });
    let registry = Registry::start_behind(folder.path(), door);
    registry.push("app:v1", &test_image()).await;
    let helper = |name: &str, script: &str| {
        let path = folder.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nread server\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    helper(
        "good",
        &format!(
            "[ \"$1 $server\" = 'get {}' ] && echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'",
            registry.address
        ),
    );
    helper("none", "echo credentials not found in native keychain; exit 1");
    helper("bad", "echo the keyring is locked; exit 1");
    helper("odd", &format!("echo {PASSWORD}"));
    let path = std::env::var_os("PATH").unwrap();
    let mut paths = vec![folder.path().to_owned()];
    paths.extend(std::env::split_paths(&path));
    let joined = std::env::join_paths(paths).unwrap();
    let options = |name: &str| {
        let file = folder.path().join("config.json");
        fs::write(&file, json!({"credsStore": "none", "credHelpers": {&registry.address: name}}).to_string())
            .unwrap();
        PullOptions {
            credential_files: vec![file],
            helper_path: Some(joined.clone()),
            ..PullOptions::default()
        }
    };
    let reference = registry.reference("app:v1");
    pulls(&store, &reference, &options("good")).await;
    let text = refused(&store, &reference, &options("none"), PullReason::Unauthorized).await;
    assert!(text.contains("wants credentials"), "{text}");
    let text = refused(&store, &reference, &options("bad"), PullReason::Configuration).await;
    assert!(text.contains("docker-credential-bad") && text.contains("the keyring is locked"), "{text}");
    refused(&store, &reference, &options("odd"), PullReason::Configuration).await;
    refused(&store, &reference, &options("absent"), PullReason::Configuration).await;
}

/// A registry behind a token server, both played by the proxy: tokens are for whoever has the password.
fn token_server(registry: &Registry) -> Faults {
    let address = Arc::new(std::sync::OnceLock::new());
    let known = Arc::clone(&address);
    let faults = Faults::before(&registry.address, move |request: &Request| {
        let shown = request.header("authorization");
        if request.path.starts_with("/token?") {
            assert!(request.path.contains("service=tests"), "{}", request.path);
            assert!(request.path.contains("scope=repository%3Aapp%3Apull"), "{}", request.path);
            // reader:opensesame
            return match shown {
                Some("Basic cmVhZGVyOm9wZW5zZXNhbWU=") => answer("200 OK", "", r#"{"token": "t0"}"#),
                _ => answer("401 Unauthorized", "", r#"{"details":"incorrect username or password"}"#),
            };
        }
        if shown == Some("Bearer t0") {
            return Fault::Pass;
        }
        let address: &String = known.get().unwrap();
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"tests\",scope=\"repository:app:pull\"\r\n"
        );
        answer(
            "401 Unauthorized",
            &challenge,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        )
    });
    address.set(faults.address.clone()).unwrap();
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_for_all_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image()).await;
    let faults = token_server(&registry);
    let reference = faults.reference("app:v1");
    pulls(&store, &reference, &secret_for(&faults.address, PASSWORD)).await;
    let asked = faults.seen().iter().filter(|request| request.path.starts_with("/token")).count();
    assert_eq!(asked, 1);
    let text =
        refused(&store, &reference, &secret_for(&faults.address, "wrong"), PullReason::Unauthorized).await;
    assert!(text.contains("incorrect username or password") && !text.contains("imagePullSecrets"), "{text}");
    let text = refused(&store, &reference, &PullOptions::default(), PullReason::Unauthorized).await;
    assert!(text.contains("incorrect username or password") && text.contains("imagePullSecrets"), "{text}");
}

/// As Docker Hub does it: strangers get a token, and only what it opens shows that it opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_token_that_opens_nothing_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let known = Arc::clone(&address);
    let faults = Faults::before(&registry.address, move |request: &Request| {
        if request.path.starts_with("/token?") {
            return answer("200 OK", "", r#"{"token": "a-stranger"}"#);
        }
        let challenge =
            format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n", known.get().unwrap());
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"access to the requested resource is not authorized"}]}"#;
        answer("401 Unauthorized", &challenge, body)
    });
    address.set(faults.address.clone()).unwrap();
    let reference = faults.reference("app:v1");
    let text = refused(&store, &reference, &PullOptions::default(), PullReason::Unauthorized).await;
    assert!(text.contains("is not authorized") && text.contains("imagePullSecrets"), "{text}");
    let known = secret_for(&faults.address, PASSWORD);
    let text = refused(&store, &reference, &known, PullReason::Unauthorized).await;
    assert!(text.contains("is not authorized") && !text.contains("imagePullSecrets"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image()).await;
    let elsewhere = Faults::before(&registry.address, |request: &Request| {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        Fault::Pass
    });
    let target = elsewhere.address.clone();
    let near = Faults::before(&registry.address, move |request: &Request| {
        if request.header("authorization").is_none() {
            return answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
        }
        if request.is_blob() {
            let location = format!("Location: http://{target}{}?signature={PASSWORD}\r\n", request.path);
            return answer("307 Temporary Redirect", &location, "");
        }
        Fault::Pass
    });
    let options = secret_for(&near.address, PASSWORD);
    pulls(&store, &near.reference("app:v1"), &options).await;
    assert_eq!(elsewhere.seen().len(), 2, "a configuration and a layer: {:?}", elsewhere.seen());
    assert!(elsewhere.seen().iter().all(|request| request.header("authorization").is_none()));

    // A signed address is a secret too, and a redirect in a circle ends.
    drop(elsewhere);
    refused(&store, &near.reference("app:v1"), &options, PullReason::Unreachable).await;
    let circle = Faults::before(&registry.address, |request: &Request| {
        answer("302 Found", &format!("Location: {}\r\n", request.path), "")
    });
    let text =
        refused(&store, &circle.reference("app:v1"), &PullOptions::default(), PullReason::Registry).await;
    assert!(text.contains("redirects"), "{text}");
}

fn hosts(folder: &Path, host: &str, text: &str) -> PullOptions {
    let directory = folder.join("certs.d");
    fs::create_dir_all(directory.join(host)).unwrap();
    fs::write(directory.join(host).join("hosts.toml"), text).unwrap();
    PullOptions { hosts: directory, ..PullOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_registry_is_trusted_when_its_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (store, door) = (store(folder.path()), Door { tls: true, password: true, client: false });
    let registry = Registry::start_behind(folder.path(), door);
    registry.push("app:v1", &test_image()).await;
    let (reference, host) = (registry.reference("app:v1"), &registry.address);
    let with = |text: &str| PullOptions {
        pull_secrets: secret_for(host, PASSWORD).pull_secrets,
        ..hosts(folder.path(), host, &format!("server = \"https://{host}\"\n{text}"))
    };
    let text = refused(&store, &reference, &with(""), PullReason::Unreachable).await;
    assert!(text.contains("certificate") && text.contains("`ca` in HOST/hosts.toml"), "{text}");
    pulls(&store, &reference, &with("skip_verify = true")).await;
    let authority = folder.path().join("registry.crt");
    pulls(&store, &reference, &with(&format!("ca = {authority:?}"))).await;
    let text = refused(&store, &reference, &with("ca = 'absent.crt'"), PullReason::Configuration).await;
    assert!(text.contains("absent.crt"), "{text}");
}

/// The two fields of hosts.toml were taken for alternatives.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_any_certificate_still_shows_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (store, door) = (store(folder.path()), Door { tls: true, client: true, password: false });
    let registry = Registry::start_behind(folder.path(), door);
    registry.push("app:v1", &test_image()).await;
    let (reference, host) = (registry.reference("app:v1"), &registry.address);
    let with = |text: &str| {
        let text = format!("server = \"https://{host}\"\nskip_verify = true\n{text}");
        PullOptions { retry_delay: Duration::from_millis(1), ..hosts(folder.path(), host, &text) }
    };
    refused(&store, &reference, &with(""), PullReason::Unreachable).await;
    let (certificate, key) = (folder.path().join("registry.crt"), folder.path().join("registry.key"));
    pulls(&store, &reference, &with(&format!("client = [[{certificate:?}, {key:?}]]"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_without_tls_to_a_registry_with_it_is_told_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let (store, door) = (store(folder.path()), Door { tls: true, ..Door::default() });
    let registry = Registry::start_behind(folder.path(), door);
    let (reference, options) = (registry.reference("app:v1"), PullOptions::default());
    let text = refused(&store, &reference, &options, PullReason::Registry).await;
    assert!(text.contains("https://") && text.contains("hosts.toml"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_tls_to_a_registry_without_is_told_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    let options =
        hosts(folder.path(), &registry.address, &format!("server = 'https://{}'", registry.address));
    let text = refused(&store, &registry.reference("app:v1"), &options, PullReason::Unreachable).await;
    assert!(text.contains("http://") && text.contains("hosts.toml"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("library/app:v1", &test_image()).await;
    let dead =
        Faults::before(&registry.address, |_| answer("503 Service Unavailable", "Retry-After: 999\r\n", ""));
    let mirror = Faults::before(&registry.address, |_| Fault::Pass);
    let liar = Faults::before(&registry.address, |request: &Request| {
        if request.is_blob() { Fault::Body(Box::new(|_| b"{}".to_vec())) } else { Fault::Pass }
    });
    let hub = Reference::parse("app:v1").unwrap();
    let text = |mirrors: &[&Faults], server: &str| {
        let tables = mirrors.iter().map(|mirror| format!("[host.\"http://{}\"]\n", mirror.address));
        format!("server = \"http://{server}\"\n{}", tables.collect::<String>())
    };
    // Docker Hub's credentials are Docker Hub's: no mirror sees them.
    let secret = secret_for("docker.io", PASSWORD).pull_secrets;
    let options = PullOptions {
        pull_secrets: secret,
        ..hosts(folder.path(), "docker.io", &text(&[&dead, &liar, &mirror], "127.0.0.1:9"))
    };
    pulls(&store, &hub, &options).await;
    assert_eq!((dead.seen().len(), liar.seen().len()), (1, 2), "{:?} {:?}", dead.seen(), liar.seen());
    assert!(
        mirror.seen().iter().all(|request| request.path.ends_with("?ns=docker.io")),
        "{:?}",
        mirror.seen()
    );
    for request in [dead.seen(), liar.seen(), mirror.seen()].concat() {
        assert_eq!(request.header("authorization"), None);
    }

    // One that damages a layer is not asked for the next.
    let image = test_image();
    let flips = Faults::before(&registry.address, move |request: &Request| {
        let is_layer = request.is_blob() && !request.path.contains(image.id().as_str());
        if is_layer {
            Fault::Body(Box::new(|body| body.iter().map(|byte| byte ^ 1).collect()))
        } else {
            Fault::Pass
        }
    });
    pulls(&store, &hub, &hosts(folder.path(), "docker.io", &text(&[&flips], &registry.address))).await;
    assert_eq!(flips.seen().len(), 3, "{:?}", flips.seen());

    let options = hosts(folder.path(), "docker.io", &text(&[&dead], "127.0.0.1:9"));
    let text_of = refused(&store, &hub, &options, PullReason::Unreachable).await;
    assert!(text_of.contains("127.0.0.1:9") && text_of.contains(&dead.address), "{text_of}");
    let options = hosts(folder.path(), "_default", &text(&[], &registry.address));
    let _ = fs::remove_dir_all(folder.path().join("certs.d/docker.io"));
    pulls(&store, &hub, &options).await;
    let options = hosts(folder.path(), "docker.io", "sever = 1");
    let text_of = refused(&store, &hub, &options, PullReason::Configuration).await;
    assert!(text_of.contains("hosts.toml") && text_of.contains("sever"), "{text_of}");
}
