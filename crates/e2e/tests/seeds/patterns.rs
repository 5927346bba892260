//! Sidecar, ambassador, adapter: containers that talk over localhost or follow each other's files.

use e2e::Podling;

use crate::text::{Complete, local, script, seed};
use crate::{address, ask, get, stop};

/// "Containers can communicate via `localhost`", and "process signals are isolated between containers".
#[test]
fn seed_000_01_redis_answers_its_neighbour_over_localhost() {
    let podling = Podling::with_images(&["busybox", "redis"]);
    let manifest =
        seed("000-01-yellow.yaml").image("busybox", &local("busybox")).image("redis", &local("redis"));
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_until_ready();
    run.wait_for_log("gold", "Ready to accept connections");
    let answer = run.look("lemon", &["nc", "localhost", "6379"], "PING\r\nQUIT\r\n");
    assert_eq!(answer.text, "+PONG\r\n+OK\r\n");
    let processes = run.look("lemon", &["ps"], "").text;
    assert!(processes.contains("sleep 1000") && !processes.contains("redis-server"), "{processes}");
    stop(run);
}

/// "Sidecar": the logger prints what nginx writes into the volume that both mount.
#[test]
fn seed_000_02_the_logger_prints_what_nginx_serves() {
    let podling = Podling::with_images(&["busybox", "nginx"]);
    let manifest = seed("000-02-web-with-logger.yaml")
        .image("busybox", &local("busybox"))
        .image("nginx", &local("nginx"));
    let mut run = podling.spawn(&manifest, &[]);
    let address = address(&mut run);
    run.wait_for_log("web", "start worker process ");
    let page = get(address, 80, "/?from-the-seed");
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("Welcome to nginx"), "{page}");
    run.wait_for_log("logger", "\"GET /?from-the-seed HTTP/1.0\" 200");
    stop(run);
}

/// "The app can connect to Redis using `localhost:6379`. External traffic can only reach the web app on port 8080.
/// Redis is not accessible from outside the pod."
#[test]
fn seed_001_10_only_the_app_reaches_the_cache() {
    let podling = Podling::with_images(&["redis"]);
    let app = "\
echo '<p>from the app</p>' > /tmp/index.html
until redis-cli -u \"$REDIS_URL\" set greeting hello; do sleep 0.1; done
redis-cli -u \"$REDIS_URL\" get greeting
httpd -p \"$PORT\" -h /tmp
echo serving
exec sleep infinity";
    let manifest = seed("001-10-app-with-cache.yaml")
        .image("redis:6.2-alpine", &local("redis"))
        .image("my-company/web-app:latest", &script("redis", app));
    let mut run = podling.spawn(&manifest, &[]);
    let address = address(&mut run);
    run.wait_for_log("web-app", "hello");
    run.wait_for_log("web-app", "serving");
    assert!(get(address, 8080, "/").contains("from the app"));
    let refused = ask(address, 6379, "PING\r\n").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
    stop(run);
}

const DATABASE: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: database
spec:
  containers:
  - name: postgres
    image: postgres
    imagePullPolicy: IfNotPresent
    env:
    - {name: POSTGRES_PASSWORD, value: secret}
    # A database of one test need not survive a power cut.
    - {name: POSTGRES_INITDB_ARGS, value: --no-sync}
";

/// "Application connects to simple localhost interface. Ambassador handles complex routing."
#[test]
fn seed_001_16_the_ambassador_leads_to_the_database() {
    let podling = Podling::with_images(&["postgres", "haproxy"]);
    let mut database = podling.spawn(DATABASE, &[]);
    let database_address = address(&mut database);
    let app = "\
export PGPASSWORD=secret PGHOST=$DB_HOST PGPORT=$DB_PORT
until psql -U postgres -At -c \"select 'the answer is ' || 6*7\"; do sleep 0.1; done
exec sleep infinity";
    let config_map = format!(
        "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: db-proxy-config}}
data:
  haproxy.cfg: |
    defaults
      mode tcp
      timeout connect 5s
      timeout client 1m
      timeout server 1m
    listen database
      bind 127.0.0.1:3306
      server one {database_address}:5432
"
    );
    let manifest = seed("001-16-app-with-ambassador.yaml")
        .image("my-app:latest", &script("postgres", app))
        .image("haproxy:2.4", &local("haproxy"));
    let mut run = podling.spawn(&(manifest + &config_map), &[]);
    run.wait_for_log("web-app", "the answer is 42");
    stop(run);
    stop(database);
}

/// "Adapter container (converts logs to standard format)"; the shipper sees the standard format only.
#[test]
fn seed_001_17_the_adapter_turns_the_old_format_into_json() {
    let podling = Podling::with_images(&["busybox"]);
    let adapter = "\
tail -n +1 -F /input/app.log 2>/dev/null | while IFS='|' read -r level text; do
  echo \"{\\\"format\\\":\\\"$OUTPUT_FORMAT\\\",\\\"level\\\":\\\"$level\\\",\\\"text\\\":\\\"$text\\\"}\" >> /output/app.json
done";
    let manifest = seed("001-17-legacy-app-with-adapter.yaml")
        .image(
            "company/legacy-system:v2.1",
            &script("busybox", "echo 'WARN|disk is old' > /var/log/app/app.log; exec sleep infinity"),
        )
        .image("my-company/log-adapter:latest", &script("busybox", adapter))
        .image(
            "elastic/filebeat:7.15.0",
            &script("busybox", "ls -A /logs; exec tail -n +1 -F /logs/app.json"),
        );
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_for_log("log-shipper", r#"{"format":"json","level":"WARN","text":"disk is old"}"#);
    let written = run.look("log-shipper", &["touch", "/logs/mine"], "");
    assert!(written.text.contains("Read-only file system"), "{written:?}");
    stop(run);
}

/// The page's practical example: nginx, and beside it a loop that says what it does.
#[test]
fn seed_003_22_the_sidecar_syncs_while_nginx_serves() {
    let podling = Podling::with_images(&["busybox", "nginx"]);
    let manifest = seed("003-22-backend.yaml")
        .image("nginx:1.20", &local("nginx"))
        .image("busybox:1.28", &local("busybox"));
    let mut run = podling.spawn(&manifest, &[]);
    let address = address(&mut run);
    run.wait_for_log("sidecar-container", "sync app logs");
    run.wait_for_log("main-container", "start worker process ");
    assert!(get(address, 80, "/").contains("Welcome to nginx"));
    // "All containers have the same IP, no two can bind to the same port", and localhost is one for all.
    let seen = run.look("sidecar-container", &["wget", "-q", "-O", "-", "http://localhost/"], "");
    assert!(seen.text.contains("Welcome to nginx"), "{seen:?}");
    stop(run);
}
