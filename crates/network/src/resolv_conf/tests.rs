//! Tables of policies, host files and what becomes of them.

use super::*;

const HOST: &str =
    "# made by hand\nsearch old\nsearch example.com. lan\nnameserver 192.0.2.53\noptions timeout:1 rotate\n";

fn request(policy: DnsPolicy) -> ResolvConfRequest<'static> {
    let (config, cluster, systemd_resolved) = (None, None, None);
    ResolvConfRequest {
        policy,
        config,
        host_network: false,
        namespace: "shop",
        cluster,
        host: HOST,
        systemd_resolved,
    }
}

fn cluster() -> ClusterDns {
    ClusterDns { servers: vec!["10.96.0.10".parse().unwrap()], domain: "cluster.local".to_owned() }
}

const OF_HOST: &str = "search example.com lan\nnameserver 192.0.2.53\noptions timeout:1 rotate\n";
const OF_CLUSTER: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local example.com lan\n\
    nameserver 10.96.0.10\noptions ndots:5\n";

#[test]
fn policies() {
    let cluster = cluster();
    use DnsPolicy::*;
    for (policy, host_network, with_cluster, expected, warned) in [
        (Default, false, true, OF_HOST, false),
        (ClusterFirst, false, true, OF_CLUSTER, false),
        (ClusterFirst, false, false, OF_HOST, true),
        (ClusterFirst, true, true, OF_HOST, false),
        (ClusterFirstWithHostNet, true, true, OF_CLUSTER, false),
        (ClusterFirstWithHostNet, true, false, OF_HOST, true),
        (None, false, true, "", false),
    ] {
        let cluster = with_cluster.then_some(&cluster);
        let made = resolv_conf(&ResolvConfRequest { host_network, cluster, ..request(policy) });
        assert_eq!(made.text, expected, "{policy:?} {host_network} {with_cluster}");
        assert_eq!(made.warnings.contains(&Warning::NoClusterDns), warned, "{policy:?}");
    }
}

#[test]
fn a_stub_on_loopback_is_looked_behind() {
    let stub = "nameserver 127.0.0.53\noptions edns0\n";
    let base = ResolvConfRequest { host: stub, ..request(DnsPolicy::Default) };
    let behind = ResolvConfRequest { systemd_resolved: Some("nameserver 192.0.2.1\n"), ..base };
    assert_eq!(resolv_conf(&behind).text, "nameserver 192.0.2.1\n");
    // On the host's network the stub is reachable.
    let on_host = ResolvConfRequest { host_network: true, ..behind };
    assert_eq!(resolv_conf(&on_host).text, stub);
    // Nothing behind: said, unless the manifest helps itself.
    let made = resolv_conf(&base);
    assert_eq!(made.text, "options edns0\n");
    assert_eq!(made.warnings, [Warning::LoopbackOnly { servers: vec!["127.0.0.53".to_owned()] }]);
    let config = DnsConfig { nameservers: vec!["9.9.9.9".to_owned()], ..DnsConfig::default() };
    assert_eq!(resolv_conf(&ResolvConfRequest { config: Some(&config), ..base }).warnings, []);
    // A server that Pods can reach beside the stub is enough.
    let mixed = ResolvConfRequest { host: "nameserver ::1\nnameserver 192.0.2.9\n", ..base };
    assert_eq!(
        resolv_conf(&mixed),
        ResolvConf { text: "nameserver 192.0.2.9\n".to_owned(), warnings: vec![] }
    );
}

#[test]
fn the_manifests_config_is_added_and_wins() {
    let config = DnsConfig {
        nameservers: vec!["192.0.2.53".to_owned(), "192.0.2.54".to_owned()],
        searches: vec!["lan".to_owned(), "my.dns".to_owned()],
        options: vec![
            ("timeout".to_owned(), Some("7".to_owned())),
            ("edns0".to_owned(), None),
            ("edns0".to_owned(), Some(String::new())),
        ],
    };
    let made = resolv_conf(&ResolvConfRequest { config: Some(&config), ..request(DnsPolicy::Default) });
    let expected = "search example.com lan my.dns\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n\
        options timeout:7 rotate edns0\n";
    assert_eq!(made.text, expected);
    let alone = resolv_conf(&ResolvConfRequest { config: Some(&config), ..request(DnsPolicy::None) });
    assert!(alone.text.starts_with("search lan my.dns\nnameserver 192.0.2.53\n"), "{}", alone.text);
}

#[test]
fn limits_are_kept_and_said() {
    let config = DnsConfig {
        nameservers: (1..=4).map(|last| format!("192.0.2.{last}")).collect(),
        searches: (0..40).map(|number| format!("d{number}.example")).collect(),
        options: vec![],
    };
    let made = resolv_conf(&ResolvConfRequest { config: Some(&config), ..request(DnsPolicy::None) });
    assert_eq!(made.warnings, [Warning::NameserversOmitted, Warning::SearchesOmitted]);
    assert_eq!(made.text.matches("nameserver").count(), 3);
    assert!(made.text.contains("d31.example") && !made.text.contains("d32.example"));
    let long = DnsConfig { searches: vec!["a".repeat(1500), "b".repeat(600)], ..DnsConfig::default() };
    let made = resolv_conf(&ResolvConfRequest { config: Some(&long), ..request(DnsPolicy::None) });
    assert_eq!(made.text, format!("search {}\n", "a".repeat(1500)));
}

#[test]
fn odd_host_files_do_no_harm() {
    for host in ["", "nameserver", "search", "options", ";x\n#y\n", "\u{0}\u{1}", "search .\n"] {
        let made = resolv_conf(&ResolvConfRequest { host, ..request(DnsPolicy::Default) });
        assert!(made.warnings.is_empty(), "{host:?}");
    }
}
