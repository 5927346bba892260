//! In which form a client wants its answer. Pure.
//!
//! `Accept` lists forms in the order of preference; the first that is served counts. Clients of Go offer protobuf first
//! and JSON behind it: they get JSON.

/// How the bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Encoding {
    /// The value of `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
        }
    }
}

/// Into what objects are turned before they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Shape {
    /// They are given whole.
    #[default]
    Whole,
    /// `as=Table`.
    Table,
    /// `as=PartialObjectMetadata` or `as=PartialObjectMetadataList`.
    Metadata,
    /// `as=APIGroupDiscoveryList`, of /api and /apis.
    Discovery,
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    /// Bytes.
    pub(crate) encoding: Encoding,
    /// Objects.
    pub(crate) shape: Shape,
}

/// What the server answers with, as a 406 names it.
pub(crate) const SERVED: [&str; 2] = ["application/json", "application/yaml"];

/// One clause of an `Accept` header.
#[derive(Debug)]
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: u16,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Clause<'a>> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().filter(|media_type| !media_type.is_empty())?;
        let mut parameters: Vec<(&str, &str)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let weight = parameters.iter().find(|(name, _)| *name == "q").map_or(1000, |(_, value)| {
            value.parse::<f32>().map_or(0, |weight| (weight.clamp(0.0, 1.0) * 1000.0) as u16)
        });
        parameters.retain(|(name, _)| *name != "q");
        Some(Clause { media_type, parameters, weight })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.media_type {
            "application/json" | "*/*" | "application/*" => Some(Encoding::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Encoding::Yaml),
            _ => None,
        }
    }

    fn shape(&self) -> Option<Shape> {
        let Some(target) = self.get("as") else { return Some(Shape::Whole) };
        match (target, self.get("g"), self.get("v")) {
            ("Table", Some("meta.k8s.io"), Some("v1" | "v1beta1")) => Some(Shape::Table),
            (
                "PartialObjectMetadata" | "PartialObjectMetadataList",
                Some("meta.k8s.io"),
                Some("v1" | "v1beta1"),
            ) => Some(Shape::Metadata),
            ("APIGroupDiscoveryList", Some("apidiscovery.k8s.io"), Some("v2")) => Some(Shape::Discovery),
            _ => None,
        }
    }
}

/// Chooses among what is asked for; `None` when nothing of it is served.
pub(crate) fn negotiate(accept: Option<&str>) -> Option<Accepted> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Some(Accepted::default());
    };
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.weight));
    clauses
        .iter()
        .filter(|clause| clause.weight > 0)
        .find_map(|clause| Some(Accepted { encoding: clause.encoding()?, shape: clause.shape()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_served_form_counts() {
        let json = |shape| Some(Accepted { encoding: Encoding::Json, shape });
        for (accept, expected) in [
            (None, json(Shape::Whole)),
            (Some("*/*"), json(Shape::Whole)),
            (Some("application/vnd.kubernetes.protobuf,application/json"), json(Shape::Whole)),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("text/html"), None),
            (
                Some(
                    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                ),
                json(Shape::Table),
            ),
            (Some("application/json;as=Chair;v=v1;g=meta.k8s.io,application/json"), json(Shape::Whole)),
            (
                Some(
                    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
                ),
                json(Shape::Metadata),
            ),
            (
                Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"),
                json(Shape::Discovery),
            ),
            (
                Some("application/json;q=0.2, application/yaml"),
                Some(Accepted { encoding: Encoding::Yaml, shape: Shape::Whole }),
            ),
            (Some("application/json;q=0"), None),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept:?}");
        }
    }
}
