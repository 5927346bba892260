//! Objects as a `meta.k8s.io/v1` Table: what `kubectl get` prints.
//!
//! ```text
//! objects ─ columns of their kind ─► cells      one file per subject: pods, workloads, network, storage, cluster, policy
//!         └ additionalPrinterColumns ─► cells   custom.rs, by jsonpath.rs
//! ```
//!
//! Columns, order, priorities and the words in the cells are those of kube-apiserver's
//! `pkg/printers/internalversion/printers.go`: scripts read them. Nothing here knows what time it is: `now` is given.

mod age;
mod cluster;
mod custom;
mod jsonpath;
mod network;
mod pods;
mod policy;
mod storage;
#[cfg(test)]
mod tests;
mod view;
mod workloads;

pub use age::human_duration;
pub use custom::{CustomColumn, CustomColumns, NotAColumn};
pub use jsonpath::{JsonPath, NotAPath};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use view::View;

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its title.
    pub name: &'static str,
    /// OpenAPI's type of its cells.
    pub kind: &'static str,
    /// 0 for what is always shown, 1 for `-o wide`.
    pub priority: i32,
    /// What it means.
    pub description: &'static str,
}

/// Makes the cells of an object.
type Cells = fn(&View<'_>) -> Vec<Value>;

/// How the objects of a kind are printed.
#[derive(Clone, Copy)]
struct Printer {
    columns: &'static [Column],
    cells: Cells,
}

/// What of an object stands beside its cells, `includeObject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata, a PartialObjectMetadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; empty is the default.
    pub fn parse(text: &str) -> Option<IncludeObject> {
        match text {
            "" | "Metadata" => Some(IncludeObject::Metadata),
            "None" => Some(IncludeObject::None),
            "Object" => Some(IncludeObject::Object),
            _ => None,
        }
    }
}

/// A table to come: whose objects, and how they are asked for.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// The columns.
    columns: Columns<'a>,
    /// `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`, as the client asked.
    pub api_version: &'a str,
    /// What stands beside the cells.
    pub include: IncludeObject,
    /// What time it is.
    pub now: Timestamp,
}

#[derive(Clone, Copy)]
enum Columns<'a> {
    BuiltIn(Printer),
    Custom(&'a CustomColumns),
}

impl<'a> Table<'a> {
    /// A table of built-in objects; of a kind without columns of its own, their names and when they were created.
    pub fn of_kind(group: &str, kind: &str, include: IncludeObject, now: Timestamp) -> Table<'a> {
        let printer = printer(group, kind).unwrap_or(OTHERS);
        Table { columns: Columns::BuiltIn(printer), api_version: "meta.k8s.io/v1", include, now }
    }

    /// A table of custom objects.
    pub fn of_custom(columns: &'a CustomColumns, include: IncludeObject, now: Timestamp) -> Table<'a> {
        Table { columns: Columns::Custom(columns), api_version: "meta.k8s.io/v1", include, now }
    }

    /// The table of these objects. `list_metadata` is the list's (`resourceVersion`, `continue`, `remainingItemCount`), or
    /// of a single object `{"resourceVersion": ...}`. A watch leaves the columns out after its first event.
    pub fn render<'o>(
        &self,
        objects: impl IntoIterator<Item = &'o Value>,
        list_metadata: Value,
        has_columns: bool,
    ) -> Value {
        let rows: Vec<Value> = objects.into_iter().map(|object| self.row(object)).collect();
        let columns = if has_columns { self.column_definitions() } else { Vec::new() };
        json!({
            "kind": "Table",
            "apiVersion": self.api_version,
            "metadata": list_metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    fn column_definitions(&self) -> Vec<Value> {
        match &self.columns {
            Columns::BuiltIn(printer) => printer.columns.iter().map(Column::definition).collect(),
            Columns::Custom(columns) => columns.definitions(),
        }
    }

    fn row(&self, object: &Value) -> Value {
        let cells = match &self.columns {
            Columns::BuiltIn(printer) => (printer.cells)(&View::new(object, self.now)),
            Columns::Custom(columns) => columns.cells(object, self.now),
        };
        let mut row = Map::new();
        row.insert("cells".to_owned(), Value::Array(cells));
        if let Some(conditions) = pods::row_conditions(object) {
            row.insert("conditions".to_owned(), conditions);
        }
        match self.include {
            IncludeObject::None => {}
            IncludeObject::Metadata => {
                row.insert("object".to_owned(), partial_object(object, self.api_version));
            }
            IncludeObject::Object => {
                row.insert("object".to_owned(), object.clone());
            }
        }
        Value::Object(row)
    }
}

impl Column {
    const fn new(name: &'static str, kind: &'static str, priority: i32, description: &'static str) -> Column {
        Column { name, kind, priority, description }
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": if self.name == "Name" && self.priority == 0 { "name" } else { "" },
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// A PartialObjectMetadata of an object.
pub fn partial_object(object: &Value, api_version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version,
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// A PartialObjectMetadataList of objects.
pub fn partial_object_list<'o>(
    objects: impl IntoIterator<Item = &'o Value>,
    list_metadata: Value,
    api_version: &str,
) -> Value {
    let items: Vec<Value> = objects.into_iter().map(|object| partial_object(object, api_version)).collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": api_version,
        "metadata": list_metadata,
        "items": items,
    })
}

const NAME: Column = Column::new("Name", "string", 0, "Name must be unique within a namespace.");
const AGE: Column = Column::new(
    "Age",
    "string",
    0,
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
);
const CREATED_AT: Column = Column::new(
    "Created At",
    "date",
    0,
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
);

/// Kinds without a printer (`NewDefaultTableConvertor`).
const OTHERS: Printer = Printer {
    columns: &[NAME, CREATED_AT],
    cells: |object| vec![object.name(), object.cell("/metadata/creationTimestamp")],
};

fn printer(group: &str, kind: &str) -> Option<Printer> {
    pods::printer(group, kind)
        .or_else(|| workloads::printer(group, kind))
        .or_else(|| network::printer(group, kind))
        .or_else(|| storage::printer(group, kind))
        .or_else(|| cluster::printer(group, kind))
        .or_else(|| policy::printer(group, kind))
}
