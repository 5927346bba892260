//! `podling version`.

use crate::console::print;
use crate::exit::Code;
use crate::failure::Failure;
use crate::typed::{ListOutput, Version};

/// The Kubernetes API that manifests are understood as.
const KUBERNETES_API: &str = "1.37";

pub(crate) fn perform(asked: Version) -> Result<Code, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match asked.output {
        ListOutput::Table => print(format_args!("podling {version} (Kubernetes API {KUBERNETES_API})\n"))?,
        ListOutput::Json => {
            let document = serde_json::json!({ "podling": version, "kubernetes_api": KUBERNETES_API });
            print(format_args!("{document}\n"))?;
        }
    }
    Ok(Code::SUCCESS)
}
