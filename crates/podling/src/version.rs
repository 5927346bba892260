//! `podling version`.

use crate::exit::Code;
use crate::failure::Failure;
use crate::typed::{ListOutput, Version};

/// The Kubernetes API that manifests are understood as.
const KUBERNETES_API: &str = "1.37";

pub(crate) fn perform(asked: Version) -> Result<Code, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match asked.output {
        ListOutput::Table => println!("podling {version} (Kubernetes API {KUBERNETES_API})"),
        ListOutput::Json => {
            println!("{}", serde_json::json!({ "podling": version, "kubernetes_api": KUBERNETES_API }));
        }
    }
    Ok(Code::SUCCESS)
}
