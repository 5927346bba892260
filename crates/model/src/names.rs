//! The rules that names, keys and paths must keep, in Kubernetes' own words (apimachinery's `validation`).
//!
//! Each function answers with the rule that is broken. Patterns are matched by hand: a regular expression
//! engine would cost more to start than a whole manifest to read.

/// A rule that a text breaks.
pub type Broken = &'static str;

const LABEL: Broken = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: Broken = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: Broken = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const PREFIX: Broken = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: Broken = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: Broken = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: Broken =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const HEADER_NAME: Broken = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const SYSCTL: Broken = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// A name of up to 63 characters: containers, volumes, namespaces, hostnames.
pub fn dns_label(text: &str) -> Result<(), Broken> {
    match text.len() {
        64.. => Err("must be no more than 63 bytes"),
        _ if is_label(text) => Ok(()),
        _ => Err(LABEL),
    }
}

/// A name of up to 253 characters with dots: Pods, ConfigMaps, Secrets, host aliases.
pub fn dns_subdomain(text: &str) -> Result<(), Broken> {
    match text.len() {
        254.. => Err("must be no more than 253 bytes"),
        _ if text.split('.').all(is_label) => Ok(()),
        _ => Err(SUBDOMAIN),
    }
}

/// A key of a label or annotation, a condition type: `example.com/name`.
pub fn qualified_name(text: &str) -> Result<(), Broken> {
    let name = match text.split_once('/') {
        Some(("", _)) => return Err("prefix part must be non-empty"),
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|_| PREFIX)?;
            name
        }
        None => text,
    };
    match name.len() {
        0 => Err("name part must be non-empty"),
        64.. => Err("name part must be no more than 63 bytes"),
        _ if is_name(name) => Ok(()),
        _ => Err(QUALIFIED),
    }
}

/// The value of a label.
pub fn label_value(text: &str) -> Result<(), Broken> {
    match text.len() {
        64.. => Err("must be no more than 63 bytes"),
        _ if text.is_empty() || is_name(text) => Ok(()),
        _ => Err(LABEL_VALUE),
    }
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Result<(), Broken> {
    match text {
        "." => Err("must not be '.'"),
        ".." => Err("must not be '..'"),
        _ if text.starts_with("..") => Err("must not start with '..'"),
        _ if text.len() > 253 => Err("must be no more than 253 bytes"),
        _ if !text.is_empty() && text.bytes().all(is_name_byte) => Ok(()),
        _ => Err(CONFIG_KEY),
    }
}

/// The name of an environment variable (KEP-4369: anything printable but `=`).
pub fn env_name(text: &str) -> Result<(), Broken> {
    let is_valid = !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=');
    if is_valid { Ok(()) } else { Err(ENV_NAME) }
}

/// The name of a port (RFC 6335 service name).
pub fn port_name(text: &str) -> Result<(), Broken> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match text {
        _ if text.len() > 15 => Err("must be no more than 15 characters"),
        _ if !text.bytes().all(is_allowed) => {
            Err("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
        }
        _ if !text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err("must contain at least one letter (a-z)")
        }
        _ if text.contains("--") => Err("must not contain consecutive hyphens"),
        _ if text.starts_with('-') || text.ends_with('-') => Err("must not begin or end with a hyphen"),
        _ => Ok(()),
    }
}

/// The name of an HTTP header.
pub fn header_name(text: &str) -> Result<(), Broken> {
    let is_valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_valid { Ok(()) } else { Err(HEADER_NAME) }
}

/// The name of a kernel parameter.
pub fn sysctl(text: &str) -> Result<(), Broken> {
    let is_part = |part: &str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = part.as_bytes();
        edge(bytes.first().copied())
            && edge(bytes.last().copied())
            && bytes.iter().all(|byte| edge(Some(*byte)) || matches!(byte, b'-' | b'_'))
    };
    let is_valid = text.len() <= 253 && text.split(['.', '/']).all(is_part);
    if is_valid { Ok(()) } else { Err(SYSCTL) }
}

/// A path inside a volume: relative, and never upwards.
pub fn path_below(text: &str) -> Result<(), Broken> {
    if text.starts_with('/') {
        return Err("must be a relative path");
    }
    no_backsteps(text)
}

/// A path without `..`.
pub fn no_backsteps(text: &str) -> Result<(), Broken> {
    if text.split('/').any(|part| part == "..") { Err("must not contain '..'") } else { Ok(()) }
}

/// An IPv4 or IPv6 address.
pub fn ip(text: &str) -> Result<(), Broken> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

/// A valid DNS label like the given text, for a hint.
pub fn like_a_label(text: &str) -> Option<String> {
    let dashed: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(63)
        .collect();
    let label = dashed.trim_matches('-').to_owned();
    (!label.is_empty() && label != text).then_some(label)
}

fn is_label(text: &str) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| edge(Some(byte)) || *byte == b'-')
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| is_name_byte(*byte))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        type Rule = fn(&str) -> Result<(), Broken>;
        let table: &[(Rule, &[&str], &[&str])] = &[
            (
                dns_label,
                &["a", "web-1", "0"],
                &["", "A", "-a", "a-", "a.b", "a/b", "a_b", "ä", &"a".repeat(64)],
            ),
            (dns_subdomain, &["a", "a.b-c.d", "0.1"], &["", ".", "a.", "a..b", "A", "a/b", "a_b"]),
            (
                qualified_name,
                &["a", "A.b_c-d", "example.com/Name"],
                &["", "/a", "a/", "a/b/c", "-a", "Ex/a", "ex_/a"],
            ),
            (label_value, &["", "a", "A.b_c-1"], &["-a", "a-", "a b", "a/b"]),
            (config_key, &["a", ".a", "a..b", "A_B-c.txt"], &["", ".", "..", "..a", "a/b", "a b"]),
            (env_name, &["A", "a.b-c", "0", "a b"], &["", "a=b", "ä", "a\n"]),
            (
                port_name,
                &["http", "a1", "web-8080"],
                &["", "80", "HTTP", "a--b", "-a", "a-", "abcdefghijklmnop"],
            ),
            (header_name, &["X-A", "a"], &["", "a b", "a:"]),
            (sysctl, &["net.core.somaxconn", "kernel/shm_rmid_forced"], &["", "a..b", "A", ".a", "-a.b"]),
            (path_below, &["a", "a/b", "a..b", ".a"], &["/a", "..", "a/../b", "a/.."]),
            (ip, &["10.0.0.1", "::1"], &["", "10.0.0", "localhost", "10.0.0.256"]),
        ];
        for (index, (rule, valid, broken)) in table.iter().enumerate() {
            for text in *valid {
                assert_eq!(rule(text), Ok(()), "rule {index}: {text:?}");
            }
            for text in *broken {
                assert!(rule(text).is_err(), "rule {index}: {text:?}");
            }
        }
    }

    #[test]
    fn a_broken_name_gets_a_proposal() {
        assert_eq!(like_a_label("My_App/1").as_deref(), Some("my-app-1"));
        assert_eq!(like_a_label("///"), None);
    }
}
