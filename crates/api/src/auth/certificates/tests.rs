//! Certificates made, kept, renewed and refused; and real TLS over them.

use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;
use crate::auth::{identity, kubeconfig};

fn names() -> Names {
    Names { node: "n1".to_owned(), server: vec!["box.example".to_owned(), "10.96.0.1".to_owned()] }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn fresh() -> (tempfile::TempDir, Certificates) {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::ensure(&directory.path().join("pki"), names(), now()).unwrap();
    (directory, certificates)
}

/// A handshake in memory: the protocol and the client's certificate as the server saw it.
fn handshake(
    server: &Certificates,
    trusts: &Certificates,
    client: Option<&Client>,
    name: &str,
) -> Result<(Vec<u8>, Option<Vec<u8>>), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(trusts.authority_der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some(client) => {
            let chain = vec![CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).unwrap()];
            config.with_client_auth_cert(
                chain,
                PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).unwrap(),
            )?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut server = ServerConnection::new(Arc::new(server.server_config().unwrap()))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    let certificate = server.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec());
    Ok((server.alpn_protocol().unwrap_or_default().to_vec(), certificate))
}

#[test]
fn they_are_made_once_and_for_their_owner_alone() {
    let (directory, first) = fresh();
    let pki = directory.path().join("pki");
    assert_eq!(pki.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for file in ["ca.pem", "apiserver.pem", "admin.pem", "node.pem", "node-client.pem"] {
        assert_eq!(pki.join(file).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let second = Certificates::ensure(&pki, names(), now()).unwrap();
    assert_eq!(first.authority_pem(), second.authority_pem());
    assert_eq!(first.admin(), second.admin());
    assert_eq!(first.server.certificate, second.server.certificate);
    assert!(!format!("{:?}", first.admin()).contains("PRIVATE"));
}

#[test]
fn the_server_is_known_by_all_its_names_and_clients_by_theirs() {
    let (_directory, certificates) = fresh();
    for name in ["localhost", "127.0.0.1", "::1", "box.example", "10.96.0.1", "n1", "kubernetes.default.svc"]
    {
        let (protocol, certificate) = handshake(&certificates, &certificates, None, name).unwrap();
        assert_eq!((protocol.as_slice(), certificate), (b"h2".as_slice(), None), "{name}");
    }
    assert!(handshake(&certificates, &certificates, None, "other.example").is_err());
    let user = |client: &Client| {
        let (_, der) = handshake(&certificates, &certificates, Some(client), "localhost").unwrap();
        identity::of_certificate(&der.unwrap()).unwrap()
    };
    assert_eq!(user(&certificates.admin()), User::new("kubernetes-admin", &["system:masters"]));
    assert_eq!(user(&certificates.node()), User::new("system:node:n1", &["system:nodes"]));
}

#[test]
fn a_client_of_another_authority_is_refused() {
    let ((_one, ours), (_two, theirs)) = (fresh(), fresh());
    assert!(handshake(&ours, &ours, Some(&theirs.admin()), "localhost").is_err());
    // And our server is not theirs.
    assert!(handshake(&ours, &theirs, None, "localhost").is_err());
}

#[test]
fn a_server_certificate_is_no_clients() {
    let (_directory, certificates) = fresh();
    assert!(
        handshake(&certificates, &certificates, Some(&certificates.server.client()), "localhost").is_err()
    );
}

#[test]
fn an_expired_client_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let then = now().checked_sub(days(366)).unwrap();
    let old = Certificates::ensure(directory.path(), names(), then).unwrap().admin();
    let certificates = Certificates::ensure(directory.path(), names(), now()).unwrap();
    assert!(handshake(&certificates, &certificates, Some(&old), "localhost").is_err());
    assert!(handshake(&certificates, &certificates, Some(&certificates.admin()), "localhost").is_ok());
}

#[test]
fn what_is_due_is_renewed_without_a_restart() {
    let (_directory, mut certificates) = fresh();
    let config_shows = Arc::clone(&certificates.shown);
    let (server, admin) = (certificates.server.certificate.clone(), certificates.admin());
    certificates.renew(now()).unwrap();
    assert_eq!(certificates.server.certificate, server);
    let due = certificates.due_at();
    assert!(due > now().checked_add(days(240)).unwrap() && due < now().checked_add(days(245)).unwrap());
    certificates.renew(due).unwrap();
    assert_ne!(certificates.server.certificate, server);
    assert_ne!(certificates.admin(), admin);
    assert!(certificates.due_at() > due);
    // A server that was set up before shows the new one.
    assert!(Arc::ptr_eq(&config_shows, &certificates.shown));
}

#[test]
fn a_new_name_makes_a_new_certificate() {
    let (directory, first) = fresh();
    let more = Names { server: vec!["new.example".to_owned()], ..names() };
    let second = Certificates::ensure(&directory.path().join("pki"), more, now()).unwrap();
    assert_ne!(first.server.certificate, second.server.certificate);
    assert_eq!(first.admin(), second.admin());
    assert!(handshake(&second, &first, None, "new.example").is_ok());
}

#[test]
fn what_cannot_be_used_is_told_by_name() {
    let damaged = |file: &str, text: &str| {
        let (directory, _) = fresh();
        let pki = directory.path().join("pki");
        std::fs::write(pki.join(file), text).unwrap();
        match Certificates::ensure(&pki, names(), now()) {
            Err(CertificateError::Damaged { path, damage }) => {
                assert!(path.ends_with(file));
                damage
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(damaged("admin.pem", ""), "it has no certificate");
    assert_eq!(damaged("ca.pem", "garbage"), "it has no certificate");
    let (_directory, other) = fresh();
    let without_key = other.admin().certificate_pem;
    assert_eq!(damaged("node.pem", &without_key), "it has no certificate and key, one after the other");
    let wrong_key = format!("{}{}", other.admin().certificate_pem, other.node().key_pem);
    assert_eq!(damaged("admin.pem", &wrong_key), "its key is not the certificate's");
}

#[test]
fn a_certificate_of_another_authority_is_told() {
    let ((one, _), (two, _)) = (fresh(), fresh());
    let (ours, theirs) = (one.path().join("pki"), two.path().join("pki"));
    std::fs::copy(theirs.join("admin.pem"), ours.join("admin.pem")).unwrap();
    assert!(matches!(Certificates::ensure(&ours, names(), now()), Err(CertificateError::Stranger { .. })));
    std::fs::remove_file(ours.join("ca.pem")).unwrap();
    assert!(matches!(Certificates::ensure(&ours, names(), now()), Err(CertificateError::NoAuthority { .. })));
}

#[test]
fn an_expired_authority_is_told() {
    let (directory, _) = fresh();
    let later = now().checked_add(days(3651)).unwrap();
    let error = Certificates::ensure(&directory.path().join("pki"), names(), later).unwrap_err();
    assert!(matches!(error, CertificateError::Expired { .. }), "{error}");
}

#[test]
fn a_kubeconfig_has_everything_in_it_and_is_its_owners() {
    let (directory, certificates) = fresh();
    let path = directory.path().join("kubeconfig");
    kubeconfig::ensure_admin(&path, "https://127.0.0.1:6443", &certificates).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = "apiVersion: v1\nkind: Config\nclusters:\n- name: podling\n  cluster:\n    server: https://127.0.0.1:6443\n";
    assert!(text.starts_with(expected), "{text}");
    let modified = path.metadata().unwrap().modified().unwrap();
    kubeconfig::ensure_admin(&path, "https://127.0.0.1:6443", &certificates).unwrap();
    assert_eq!(path.metadata().unwrap().modified().unwrap(), modified);
}
