//! What must hold of any input whatever: the body of the router's fuzz target in `fuzz/`, which a property test runs too, so
//! that it cannot rot. It panics when its rule is broken; nothing here is for use by a program.

use http::Method;

use crate::route::{self, Query, Route};

/// No path panics, and no part of it that comes out could leave its place: what a name is put into is a key of the store.
pub fn router(path: &str, query: &str) {
    Query::parse(query);
    let Ok(Route::Resource(route)) = route::parse(path) else { return };
    let named = [&route.namespace, &route.name, &route.subresource].into_iter().flatten();
    for part in [&route.group, &route.version, &route.resource].into_iter().chain(named) {
        let stays = !part.is_empty() && part != "." && part != "..";
        assert!(stays && !part.contains(['/', '%', '\0']), "{route:?}");
    }
    if let Some(rest) = &route.rest {
        assert!(rest.starts_with('/') && route.subresource.as_deref() == Some("proxy"), "{route:?}");
    }
    for method in [Method::GET, Method::POST, Method::DELETE, Method::TRACE] {
        let _ = route::verb(&method, &route, false);
    }
}
