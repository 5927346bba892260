//! A Pod's hostname and domain, by the kubelet's rules. Pure.
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pods>

/// The most a label of a hostname may have (RFC 1123).
const LABEL_MAX_LEN: usize = 63;
/// The most the kernel takes (`__NEW_UTS_LEN`, sethostname(2)).
const KERNEL_MAX_LEN: usize = 64;

/// The fields of a Pod that its name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostnameRequest<'a> {
    /// `metadata.name`.
    pub pod_name: &'a str,
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `spec.hostname`.
    pub hostname: Option<&'a str>,
    /// `spec.subdomain`.
    pub subdomain: Option<&'a str>,
    /// `spec.setHostnameAsFQDN`.
    pub set_hostname_as_fqdn: bool,
    /// `spec.hostnameOverride` (KEP-4762): taken as it is, without a domain.
    pub hostname_override: Option<&'a str>,
    /// The domain of the cluster, usually cluster.local.
    pub cluster_domain: &'a str,
}

/// What a Pod is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname {
    /// The first label, as in /etc/hosts.
    pub hostname: String,
    /// What follows it; empty without a subdomain.
    pub domain: String,
    /// What the kernel is told: the hostname, or the full name with `setHostnameAsFQDN`.
    pub kernel: String,
}

/// A name that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is left when the name is cut to 63 characters.
    #[error("no hostname can be made from the Pod's name {name:?}: set spec.hostname")]
    Empty {
        /// The Pod's name.
        name: String,
    },
    /// The kernel takes 64 characters.
    #[error("the full name {fqdn:?} has {} characters, setHostnameAsFQDN allows {KERNEL_MAX_LEN}: shorten hostname, \
             subdomain or namespace", fqdn.len())]
    FqdnTooLong {
        /// The full name.
        fqdn: String,
    },
}

/// Works out the names.
pub fn hostname(request: &HostnameRequest<'_>) -> Result<Hostname, Error> {
    if let Some(name) = request.hostname_override {
        return Ok(Hostname { hostname: name.to_owned(), domain: String::new(), kernel: name.to_owned() });
    }
    let chosen = request.hostname.filter(|name| !name.is_empty());
    let hostname = cut(chosen.unwrap_or(request.pod_name))
        .ok_or_else(|| Error::Empty { name: request.pod_name.to_owned() })?
        .to_owned();
    let domain = match request.subdomain {
        None | Some("") => String::new(),
        Some(subdomain) => format!("{subdomain}.{}.svc.{}", request.namespace, request.cluster_domain),
    };
    let kernel = match request.set_hostname_as_fqdn && !domain.is_empty() {
        true => format!("{hostname}.{domain}"),
        false => hostname.clone(),
    };
    if kernel.len() > KERNEL_MAX_LEN {
        return Err(Error::FqdnTooLong { fqdn: kernel });
    }
    Ok(Hostname { hostname, domain, kernel })
}

/// A Pod's name may be longer than a label: it is cut, and must not end in a dot or dash then.
fn cut(name: &str) -> Option<&str> {
    if name.len() <= LABEL_MAX_LEN {
        return Some(name).filter(|name| !name.is_empty());
    }
    let end = (0..=LABEL_MAX_LEN).rev().find(|end| name.is_char_boundary(*end))?;
    Some(name[..end].trim_end_matches(['-', '.'])).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(pod_name: &'a str) -> HostnameRequest<'a> {
        HostnameRequest {
            pod_name,
            namespace: "default",
            hostname: None,
            subdomain: None,
            set_hostname_as_fqdn: false,
            hostname_override: None,
            cluster_domain: "cluster.local",
        }
    }

    #[test]
    fn the_pods_name_is_the_hostname() {
        let name = hostname(&request("web-0")).unwrap();
        assert_eq!(
            (name.hostname.as_str(), name.domain.as_str(), name.kernel.as_str()),
            ("web-0", "", "web-0")
        );
    }

    #[test]
    fn long_names_are_cut_without_a_dangling_dash() {
        let long = format!("{}-.-{}", "a".repeat(61), "b".repeat(40));
        assert_eq!(hostname(&request(&long)).unwrap().hostname, "a".repeat(61));
        let dashes = "-".repeat(70);
        assert!(matches!(hostname(&request(&dashes)), Err(Error::Empty { .. })));
    }

    #[test]
    fn a_subdomain_gives_a_domain() {
        let with = HostnameRequest { hostname: Some("db"), subdomain: Some("sub"), ..request("x") };
        let name = hostname(&with).unwrap();
        assert_eq!((name.domain.as_str(), name.kernel.as_str()), ("sub.default.svc.cluster.local", "db"));
        let name = hostname(&HostnameRequest { set_hostname_as_fqdn: true, ..with }).unwrap();
        assert_eq!(name.kernel, "db.sub.default.svc.cluster.local");
        let alone = HostnameRequest { set_hostname_as_fqdn: true, ..request("x") };
        assert_eq!(hostname(&alone).unwrap().kernel, "x");
    }

    #[test]
    fn a_full_name_must_fit_the_kernel() {
        let subdomain = "s".repeat(40);
        let too_long =
            HostnameRequest { subdomain: Some(&subdomain), set_hostname_as_fqdn: true, ..request("web") };
        assert!(matches!(hostname(&too_long), Err(Error::FqdnTooLong { .. })));
    }

    #[test]
    fn an_override_is_taken_as_it_is() {
        let overridden =
            HostnameRequest { hostname_override: Some("a.b.c"), subdomain: Some("sub"), ..request("web") };
        let name = hostname(&overridden).unwrap();
        assert_eq!((name.kernel.as_str(), name.domain.as_str()), ("a.b.c", ""));
    }
}
