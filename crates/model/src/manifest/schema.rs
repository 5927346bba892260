//! The shape of the Kubernetes API's types: what fields.rs, the generated table, is made of.

/// A type of the API with all its fields, sorted by name.
#[derive(Debug)]
pub(crate) struct Type {
    /// The type's name, such as `VolumeMount`.
    pub(crate) name: &'static str,
    /// Its fields.
    pub(crate) fields: &'static [Field],
}

/// A field of a type.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name in a manifest.
    pub(crate) name: &'static str,
    /// What its value must look like.
    pub(crate) shape: Shape,
    /// Whether the API's schema requires it.
    pub(crate) is_required: bool,
}

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// A string.
    Text,
    /// A string of base64.
    Bytes,
    /// A string with a time.
    Time,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// `true` or `false`.
    Bool,
    /// A number, or a string with a suffix.
    Quantity,
    /// A whole number, or a string.
    IntOrString,
    /// A list.
    List(&'static Shape),
    /// A mapping with keys of the user's choice.
    Map(&'static Shape),
    /// A mapping with the fields of a type.
    Object(&'static Type),
    /// Anything.
    Any,
}

impl Type {
    /// The field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        let index = self.fields.binary_search_by(|field| field.name.cmp(name)).ok()?;
        Some(&self.fields[index])
    }
}

impl Shape {
    /// The type that stands here or, in a list or mapping, below here.
    pub(crate) fn inner_type(&self) -> Option<&'static Type> {
        match self {
            Shape::Object(inner) => Some(inner),
            Shape::List(items) => items.inner_type(),
            Shape::Map(values) => values.inner_type(),
            _ => None,
        }
    }
}
