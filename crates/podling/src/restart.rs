//! `podling restart POD [-c NAME]`: containers start again now. Whoever mended what a container failed for need not wait out
//! its delay, and need not delete the Pod.
//!
//! The Pod's node is asked, by the API server and with its authorization (`nodes/proxy`), as for logs and exec.

use std::sync::Arc;

use api::auth::kubeconfig;
use client::{Client, kinds};
use http::Method;

use crate::console::print;
use crate::exit::Code;
use crate::failure::Failure;
use crate::typed::Restart;
use crate::{remote, run};

/// Has containers of a Pod started again.
pub(crate) fn perform(asked: &Restart) -> Result<Code, Failure> {
    run::runtime()?.block_on(restart(asked))
}

async fn restart(asked: &Restart) -> Result<Code, Failure> {
    let own = || asked.directories.data_dir.join("kubeconfig");
    let context = kubeconfig::read(&asked.kubeconfig.clone().unwrap_or_else(own))?;
    let client = Client::new(Arc::new(remote::server_of(&context)?), "podling");
    let (namespace, name) = asked.pod.split_once('/').unwrap_or(("default", &asked.pod));
    let refused = |source| Failure::Restart { pod: format!("{namespace}/{name}"), source };
    // Names of a path are checked before they become one.
    for (field, text) in
        [("NAMESPACE", Some(namespace)), ("POD", Some(name)), ("container", asked.container.as_deref())]
    {
        let Some(text) = text else { continue };
        model::names::dns_subdomain(text).map_err(|why| Failure::Setting {
            name: field,
            text: text.to_owned(),
            why: why.to_string(),
        })?;
    }
    let pod = client.get(&kinds::PODS, Some(namespace), name).await.map_err(refused)?;
    let Some(node) = pod["spec"]["nodeName"].as_str() else {
        return Err(Failure::NoNodeYet { pod: format!("{namespace}/{name}") });
    };
    let container = asked.container.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
    let path = format!("/api/v1/nodes/{node}/proxy/restart/{namespace}/{name}{container}");
    client.raw(Method::POST, &path, None).await.map_err(refused)?;
    let what = asked.container.as_ref().map(|name| format!("container {name} of ")).unwrap_or_default();
    print(format_args!("{what}pod {namespace}/{name} restarts\n"))?;
    Ok(Code::SUCCESS)
}
