//! What a registry that answers 401 wants to see (RFC 9110 section 11.6.1; distribution's spec/auth/token.md). Pure.

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from somewhere else, which may want user and password.
    Bearer {
        /// The token server's URL.
        realm: String,
        service: Option<String>,
        /// What the token has to allow; the registry knows better than we do.
        scope: Option<String>,
    },
}

/// The ways in that a `WWW-Authenticate` header offers, those that podling knows.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let scheme = &rest[..end];
        let (parameters, after) = parameters(&rest[end..]);
        let of = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = of("realm")
        {
            found.push(Challenge::Bearer { realm, service: of("service"), scope: of("scope") });
        }
        rest = after.trim_start_matches([' ', ',']);
    }
    found
}

/// `key="value", key=value`, up to where the next scheme begins.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', ',']);
        let Some(equals) = start.find('=') else { return (found, start) };
        let key = &start[..equals];
        // A space or comma before the equals sign: what comes is a scheme.
        if key.is_empty() || key.contains([' ', ',', '"']) {
            return (found, start);
        }
        let (value, after) = value(&start[equals + 1..]);
        found.push((key.to_owned(), value));
        rest = after;
    }
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn what_registries_answer_is_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let one = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull,push"),
        );
        assert_eq!(parse(hub), [one]);
        assert_eq!(parse(r#"Basic realm="Registry \"x\"""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        let both = r#"Negotiate, Basic realm="x", Bearer realm=https://t, error="invalid_token""#;
        assert_eq!(parse(both), [Challenge::Basic, bearer("https://t", None, None)]);
    }

    #[test]
    fn nonsense_offers_no_way_in_and_ends() {
        for text in [
            "",
            ",,,",
            "Bearer",
            "Bearer realm=",
            "Bearer realm=\"",
            "=",
            "a=b,=,",
            "Digest x=\"\\",
            "\"\"\" =",
        ] {
            assert!(!parse(text).iter().any(|c| matches!(c, Challenge::Bearer { .. })), "{text}");
        }
    }
}
