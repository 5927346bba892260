//! What people type, with the kubectl of the machine (WebSocket) and with Debian's (SPDY): each scenario in
//! `kubectl/` is played with both.

use e2e::{Kubectl, scenario};

macro_rules! scenarios {
    ($($name:ident $images:expr;)*) => {$(
        mod $name {
            use super::*;

            const TEXT: &str = include_str!(concat!("kubectl/", stringify!($name), ".txt"));

            #[test]
            fn with_the_machines_kubectl() {
                scenario::play(stringify!($name), TEXT, Kubectl::Machine, &$images);
            }

            #[test]
            fn with_debians_kubectl() {
                scenario::play(stringify!($name), TEXT, Kubectl::Debian, &$images);
            }
        }
    )*};
}

scenarios! {
    basics [];
    changes [];
    configuration ["busybox"];
    streams ["busybox"];
    namespaces [];
    access [];
    waiting [];
    nodes [];
    services [];
    creating [];
    logs ["busybox"];
    editing [];
    draining [];
    sessions ["busybox"];
    looking [];
}
