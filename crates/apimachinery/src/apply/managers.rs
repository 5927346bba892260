//! Who owns what: `metadata.managedFields`, read and written, and kept from growing for ever.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// How many managers that update an object are told apart; the oldest of more are merged.
const MOST_UPDATERS: usize = 10;
/// The manager that stands for those who were merged.
const ANCIENT: &str = "ancient-changes";

/// What a manager does: the two are owners of their own, also under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells one manager from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagerId {
    /// The name that it gave itself.
    pub manager: String,
    /// What it does.
    pub operation: Operation,
    /// The version it writes; empty of appliers, which are the same one at any version.
    pub api_version: String,
    /// The subresource it writes to; empty for the object itself.
    pub subresource: String,
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    /// RFC 3339; nothing where none was written.
    pub(super) time: Option<String>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Managers {
    pub(super) owned: BTreeMap<ManagerId, Owned>,
}

impl Managers {
    /// Reads `metadata.managedFields`. `None` when an entry is none: then nobody's fields are known.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let mut managers = Self::default();
        let Some(entries) = object.pointer("/metadata/managedFields").filter(|entries| !entries.is_null())
        else {
            return Some(managers);
        };
        for entry in entries.as_array()? {
            let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let operation = match entry.get("operation")?.as_str()? {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            if entry.get("fieldsType")? != "FieldsV1" {
                return None;
            }
            let api_version = text("apiVersion");
            let id = ManagerId::new(&text("manager"), operation, &api_version, &text("subresource"));
            let set = entry.get("fieldsV1").map_or(Some(FieldSet::default()), FieldSet::from_json)?;
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            match managers.owned.get_mut(&id) {
                Some(known) => known.set = std::mem::take(&mut known.set).union(&set),
                None => {
                    managers.owned.insert(id, Owned { set, api_version, time });
                }
            }
        }
        Some(managers)
    }

    /// The entries in Kubernetes' order: appliers first, then by time.
    pub(super) fn to_json(&self) -> Value {
        let mut entries: Vec<_> = self.owned.iter().collect();
        entries.sort_by(|(one, its), (other, theirs)| {
            (one.operation, &its.time, &one.manager, &its.api_version, &one.subresource).cmp(&(
                other.operation,
                &theirs.time,
                &other.manager,
                &theirs.api_version,
                &other.subresource,
            ))
        });
        entries.into_iter().map(|(id, owned)| entry(id, owned)).collect()
    }

    /// Who owns what, whenever it was written.
    pub(super) fn is_same_but_for_times(&self, other: &Self) -> bool {
        self.owned.len() == other.owned.len()
            && self.owned.iter().zip(&other.owned).all(|((id, owned), (other_id, theirs))| {
                id == other_id && owned.set == theirs.set && owned.api_version == theirs.api_version
            })
    }

    /// All fields that anybody owns.
    pub(super) fn all(&self) -> FieldSet {
        self.owned.values().fold(FieldSet::default(), |all, owned| all.union(&owned.set))
    }

    /// Takes fields from everybody but `keeper`; who has none left is no manager.
    pub(super) fn take_from_others(&mut self, taken: &FieldSet, keeper: Option<&ManagerId>) {
        self.owned.retain(|id, owned| {
            let is_keeper = keeper == Some(id);
            if !is_keeper {
                owned.set = std::mem::take(&mut owned.set).difference(taken);
            }
            is_keeper || !owned.set.is_empty()
        });
    }

    /// Takes fields from one manager.
    pub(super) fn take_from(&mut self, id: &ManagerId, taken: &FieldSet) {
        if let Some(owned) = self.owned.get_mut(id) {
            owned.set = std::mem::take(&mut owned.set).difference(taken);
            if owned.set.is_empty() {
                self.owned.remove(id);
            }
        }
    }

    /// Merges the oldest who update the object, version by version, until there are few enough.
    pub(super) fn cap_updaters(&mut self) {
        let mut updaters: Vec<ManagerId> =
            self.owned.keys().filter(|id| id.operation == Operation::Update).cloned().collect();
        let mut count = updaters.len();
        updaters
            .sort_by_cached_key(|id| (self.owned.get(id).and_then(|owned| owned.time.clone()), id.clone()));
        let mut first_of_version: BTreeMap<String, ManagerId> = BTreeMap::new();
        for id in updaters {
            if count <= MOST_UPDATERS {
                return;
            }
            let Some(first) = first_of_version.get(&id.api_version) else {
                first_of_version.insert(id.api_version.clone(), id);
                continue;
            };
            let bucket = ManagerId::new(ANCIENT, Operation::Update, &id.api_version, "");
            if !self.owned.contains_key(&bucket)
                && let Some(owned) = self.owned.remove(first)
            {
                self.owned.insert(bucket.clone(), owned);
            }
            if id == bucket {
                continue;
            }
            if let Some(merged) = self.owned.remove(&id)
                && let Some(ancient) = self.owned.get_mut(&bucket)
            {
                ancient.set = std::mem::take(&mut ancient.set).union(&merged.set);
                ancient.time = merged.time;
                count -= 1;
            }
        }
    }
}

impl ManagerId {
    pub(super) fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = match operation {
            Operation::Apply => "",
            Operation::Update => api_version,
        };
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

fn entry(id: &ManagerId, owned: &Owned) -> Value {
    let mut entry = Map::new();
    if !id.manager.is_empty() {
        entry.insert("manager".to_owned(), json!(id.manager));
    }
    entry.insert("operation".to_owned(), json!(id.operation.as_str()));
    entry.insert("apiVersion".to_owned(), json!(owned.api_version));
    if let Some(time) = &owned.time {
        entry.insert("time".to_owned(), json!(time));
    }
    entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
    entry.insert("fieldsV1".to_owned(), owned.set.to_json());
    if !id.subresource.is_empty() {
        entry.insert("subresource".to_owned(), json!(id.subresource));
    }
    Value::Object(entry)
}

/// The manager of a request that does not name one: the first part of its User-Agent.
pub fn manager_of_user_agent(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if manager.len() + c.len_utf8() > MOST_NAME_BYTES {
            break;
        }
        manager.push(c);
    }
    manager
}

/// How long the name of a manager may be.
pub(super) const MOST_NAME_BYTES: usize = 128;
