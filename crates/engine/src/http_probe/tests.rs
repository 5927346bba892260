//! httpGet against servers in the test: what the kubelet's own tests ask of it, and hostile ones.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Far beyond what a test may take.
const LONG: Option<Duration> = Some(Duration::from_secs(30));

/// A server that answers each path by one function, and remembers the heads of all requests.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let response = answer(head.split(' ').nth(1).unwrap());
                seen.lock().unwrap().push(head);
                // One that does not read to the end is what some tests are about.
                let _ = stream.write_all(response.as_bytes()).await;
            }
        });
        Server { port, heads }
    }

    async fn get(&self, path: &str) -> Result<Answer, String> {
        get(&self.request(path), LONG).await
    }

    fn request<'a>(&self, path: &'a str) -> Request<'a> {
        Request {
            purpose: Purpose::Probe,
            tls: false,
            host: "127.0.0.1",
            port: self.port,
            path,
            headers: &[],
        }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn response(code: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {code} Word\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn failure(message: &str) -> Result<Answer, String> {
    Ok(Answer::Failure(message.to_owned()))
}

#[tokio::test]
async fn codes_from_200_to_399_are_success() {
    let server = Server::start(|path| response(path[1..].parse().unwrap(), "", "secret of the Pod")).await;
    for code in [200, 202, 299] {
        assert_eq!(server.get(&format!("/{code}")).await, Ok(Answer::Success), "{code}");
    }
    // A redirect to nowhere.
    for code in [300, 301, 399] {
        let warning = "Probe terminated redirects, Response body: secret of the Pod".to_owned();
        assert_eq!(server.get(&format!("/{code}")).await, Ok(Answer::Warning(warning)), "{code}");
    }
    for code in [400, 404, 500, 503] {
        let message = format!("HTTP probe failed with statuscode: {code}");
        assert_eq!(server.get(&format!("/{code}")).await, failure(&message), "{code}");
    }
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host() {
    let end = Server::start(|_| response(500, "", "")).await;
    let to_end = format!("Location: http://127.0.0.1:{}/end\r\n", end.port);
    let start = Server::start(move |path| match path {
        "/start" => response(302, "Location: /middle\r\n", ""),
        _ => response(307, &to_end, ""),
    })
    .await;
    assert_eq!(start.get("/start").await, failure("HTTP probe failed with statuscode: 500"));
    assert_eq!((start.heads().len(), end.heads().len()), (2, 1));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_a_success_with_a_warning() {
    let stranger = Server::start(|_| response(200, "", "")).await;
    let location = format!("Location: http://localhost:{}/\r\n", stranger.port);
    let server = Server::start(move |_| response(302, &location, "moved")).await;
    let warning = "Probe terminated redirects, Response body: moved".to_owned();
    assert_eq!(server.get("/").await, Ok(Answer::Warning(warning)));
    assert!(stranger.heads().is_empty(), "no container sends the node to strangers");

    let hook = Request { purpose: Purpose::Hook, ..server.request("/") };
    assert_eq!(get(&hook, None).await, Ok(Answer::Success));
    assert_eq!(stranger.heads().len(), 1, "hooks follow as Go's client does");
}

#[tokio::test]
async fn ten_requests_are_enough() {
    let server = Server::start(|_| response(302, "Location: /again\r\n", "")).await;
    let Ok(Answer::Failure(message)) = server.get("/").await else { panic!("an endless redirect passed") };
    assert!(message.ends_with("stopped after 10 redirects"), "{message}");
    assert_eq!(server.heads().len(), 10);
}

#[tokio::test]
async fn a_hook_is_content_with_any_answer() {
    let server = Server::start(|_| response(500, "", "")).await;
    let hook = Request { purpose: Purpose::Hook, ..server.request("/") };
    assert_eq!(get(&hook, None).await, Ok(Answer::Success));
    assert!(server.heads()[0].contains("user-agent: kube-lifecycle/1.37\r\n"));
}

#[tokio::test]
async fn headers_are_the_manifests_and_then_the_kubelets() {
    let server = Server::start(|_| response(200, "", "")).await;
    let sorted = |head: &str| {
        let mut lines: Vec<String> = head.trim_end().split("\r\n").skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    server.get("/").await.unwrap();
    let host = format!("host: 127.0.0.1:{}", server.port);
    assert_eq!(
        sorted(&server.heads()[0]),
        ["accept: */*", "connection: close", &host, "user-agent: kube-probe/1.37"]
    );
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [
        header("Host", "shop.example"),
        header("X-Twice", "1"),
        header("X-Twice", "2"),
        header("User-Agent", ""),
        header("Accept", "text/plain"),
    ];
    get(&Request { headers: &headers, ..server.request("/") }, LONG).await.unwrap();
    assert_eq!(
        sorted(&server.heads()[1]),
        ["accept: text/plain", "connection: close", "host: shop.example", "x-twice: 1", "x-twice: 2"]
    );
    let bad = [header("no name", "x")];
    let refused = get(&Request { headers: &bad, ..server.request("/") }, LONG).await;
    assert_eq!(refused, Err("\"no name\" is not a header that HTTP allows".to_owned()));
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let server = Server::start(|_| {
        format!("HTTP/1.1 302 Found\r\nContent-Length: {}\r\n\r\n{}", u64::MAX / 2, "x".repeat(1 << 20))
    })
    .await;
    let Ok(Answer::Warning(message)) = server.get("/").await else { panic!("no redirect") };
    assert_eq!(message.len(), "Probe terminated redirects, Response body: ".len() + LIMIT_BYTES);
}

#[tokio::test]
async fn a_body_that_breaks_off_counts_neither_way() {
    let server = Server::start(|_| "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned()).await;
    server.get("/").await.unwrap_err();
}

#[tokio::test]
async fn silence_and_a_closed_port_are_failures() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = Request {
        purpose: Purpose::Probe,
        tls: false,
        host: "127.0.0.1",
        port,
        path: "/ready?deep=1",
        headers: &[],
    };
    let url = format!("\"http://127.0.0.1:{port}/ready?deep=1\"");
    // The kernel accepts, nobody answers.
    let silent = get(&request, Some(Duration::from_millis(20))).await;
    assert_eq!(silent, failure(&format!("Get {url}: no answer within 20ms")));
    drop(listener);
    let refused = format!("Get {url}: Connection refused (os error 111)");
    assert_eq!(get(&request, LONG).await, failure(&refused));
}

#[tokio::test]
async fn the_certificate_of_a_stranger_is_good_enough() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(response(204, "", "").as_bytes()).unwrap();
        stream.flush().unwrap();
    });
    let (purpose, host, path) = (Purpose::Probe, "127.0.0.1", "/");
    let answer = get(&Request { purpose, tls: true, host, port, path, headers: &[] }, LONG).await;
    assert_eq!(answer, Ok(Answer::Success));
    server.join().unwrap();
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let (purpose, headers) = (Purpose::Probe, &[][..]);
    let request = Request { purpose, tls: true, host: "fd00::7", port: 8443, path: "live?x=1", headers };
    assert_eq!(request.url(), "https://[fd00::7]:8443/live?x=1");
}

/// A certificate that nobody signed, for nobody's host, and its key: of this test alone.
const CERTIFICATE: &[u8] = b"\
-----BEGIN CERTIFICATE-----\n\
MIIBfTCCASOgAwIBAgIUDXa5bDrAb0l19EghrcwcmJddlKEwCgYIKoZIzj0EAwIw\n\
EzERMA8GA1UEAwwIc3RyYW5nZXIwIBcNMjYxMTIxMDEwMjU4WhgPMjEyNjEwMjgw\n\
MTAyNThaMBMxETAPBgNVBAMMCHN0cmFuZ2VyMFkwEwYHKoZIzj0CAQYIKoZIzj0D\n\
AQcDQgAEigvBGW1ZUsu3VuvPPw3c3OFR8q5+t2bhTcVNwC2+tuz0hadUpuMSKC7y\n\
fHfErmQnyX/m79VRXivaYRSOtHnVGKNTMFEwHQYDVR0OBBYEFLi8Veq/pZ6NyVNI\n\
d7rh54tVnU6GMB8GA1UdIwQYMBaAFLi8Veq/pZ6NyVNId7rh54tVnU6GMA8GA1Ud\n\
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAKNX+XLoJtPxOy/wsI4sEMU+\n\
PzHdM24ZOgDSfk0ImMgrAiAIN3sVJClq5jA+gCdFWCCzIyl++4ZAd8lMzh46l0kO\n\
Cg==\n\
-----END CERTIFICATE-----\n\
";
/// See there.
const KEY: &[u8] = b"\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglY5Efj6hn7xiQrwv\n\
b8Oze/HbMvTF+wwQAsYihLG5r0ahRANCAASKC8EZbVlSy7dW688/Ddzc4VHyrn63\n\
ZuFNxU3ALb627PSFp1Sm4xIoLvJ8d8SuZCfJf+bv1VFeK9phFI60edUY\n\
-----END PRIVATE KEY-----\n\
";
