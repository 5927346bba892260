//! What a label selector says: requirements that must all hold of an object's labels (`apimachinery/pkg/labels`).

use std::fmt;

use serde_json::Value;

use super::syntax;
use crate::field_error::FieldError;
use crate::names;

/// How a requirement looks at a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label has one of the values; `=`, `==` and `in`.
    In(Spelling),
    /// The label has none of the values, or there is no such label; `!=` and `notin`.
    NotIn(Spelling),
    /// There is such a label.
    Exists,
    /// There is no such label.
    DoesNotExist,
    /// The label is a whole number above the value.
    GreaterThan,
    /// The label is a whole number below the value.
    LessThan,
}

/// How an operator is written: a selector prints what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// `=` and `!=`.
    Equals,
    /// `==`.
    DoubleEquals,
    /// `in (…)` and `notin (…)`.
    Set,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, each once.
    values: Vec<String>,
}

/// Conditions that must all hold; without any, everything is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    selects_nothing: bool,
}

/// Why a text or an object is no label selector. The words are those of `apimachinery/pkg/labels`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabelSelectorError {
    /// Something else was expected here.
    #[error("found '{found}', expected: {expected}")]
    Unexpected {
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A list of values must begin here.
    #[error("found '{found}' expected: '('")]
    NoList {
        /// What stands there.
        found: String,
    },
    /// A requirement is not well formed.
    #[error("unable to parse requirement: {0}")]
    Requirement(Box<LabelSelectorError>),
    /// A key, a value or their number breaks a rule.
    #[error("{0}")]
    Broken(Box<FieldError>),
    /// The operator of an expression is none.
    #[error("{} is not a valid label selector operator", crate::field_error::quoted(.0))]
    NoOperator(String),
    /// A selector of an object has the wrong shape.
    #[error("{0}")]
    Shape(&'static str),
}

impl Requirement {
    /// A requirement that keeps the rules of keys, values and their number.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, LabelSelectorError> {
        let key = key.into();
        names::label_key(&key).map_err(|rule| broken("key", &key, rule))?;
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        let rule = match operator {
            Operator::In(Spelling::Set) | Operator::NotIn(Spelling::Set) => {
                (values.is_empty()).then_some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::In(_) | Operator::NotIn(_) => {
                (values.len() != 1).then_some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist => {
                (!values.is_empty()).then_some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan => {
                (values.len() != 1).then_some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
        };
        if let Some(rule) = rule {
            return Err(LabelSelectorError::Broken(Box::new(FieldError::invalid("values", values, rule))));
        }
        let needs_number = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        for (index, value) in values.iter().enumerate() {
            if needs_number && value.parse::<i64>().is_err() {
                let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(broken(&format!("values[{index}]"), value, rule));
            }
            names::label_value(value)
                .map_err(|rule| broken(&format!("values[{index}][{key}]"), value, rule))?;
        }
        Ok(Self { key, operator, values })
    }

    /// The label that is looked at.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it is looked at.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values it is compared with, sorted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the condition holds of a label with that value, or of its absence.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let is_listed =
            |value: &str| self.values.binary_search_by(|listed| listed.as_str().cmp(value)).is_ok();
        let number = || value?.parse::<i64>().ok();
        let limit = || self.values.first()?.parse::<i64>().ok();
        match self.operator {
            Operator::In(_) => value.is_some_and(is_listed),
            Operator::NotIn(_) => !value.is_some_and(is_listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => number().zip(limit()).is_some_and(|(number, limit)| number > limit),
            Operator::LessThan => number().zip(limit()).is_some_and(|(number, limit)| number < limit),
        }
    }
}

fn broken(field: &str, value: &str, rule: &str) -> LabelSelectorError {
    LabelSelectorError::Broken(Box::new(FieldError::invalid(field, value, rule)))
}

impl LabelSelector {
    /// Reads the text of a query, such as `app=web,tier in (a, b),!old`. An empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, LabelSelectorError> {
        Ok(Self::new(syntax::parse(text)?))
    }

    /// Selects what keeps all of these requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|one, other| one.key.cmp(&other.key));
        Self { requirements, selects_nothing: false }
    }

    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), selects_nothing: true }
    }

    /// Reads `metav1.LabelSelector` of an object: `matchLabels` and `matchExpressions`. Absent (or null) selects nothing,
    /// empty selects everything.
    pub fn from_json(selector: Option<&Value>) -> Result<Self, LabelSelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let selector = selector.as_object().ok_or(LabelSelectorError::Shape("a selector is an object"))?;
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").filter(|labels| !labels.is_null()) {
            requirements.extend(Self::equalities(labels)?);
        }
        if let Some(expressions) = selector.get("matchExpressions").filter(|list| !list.is_null()) {
            let list = expressions
                .as_array()
                .ok_or(LabelSelectorError::Shape("the matchExpressions of a selector are a list"))?;
            for expression in list {
                requirements.push(from_expression(expression)?);
            }
        }
        Ok(Self::new(requirements))
    }

    /// Reads the plain selector of Services and ReplicationControllers: labels that must all be there.
    pub fn from_labels(labels: &Value) -> Result<Self, LabelSelectorError> {
        Ok(Self::new(Self::equalities(labels)?))
    }

    fn equalities(labels: &Value) -> Result<Vec<Requirement>, LabelSelectorError> {
        const SHAPE: LabelSelectorError =
            LabelSelectorError::Shape("the labels of a selector are texts by name");
        let labels = labels.as_object().ok_or(SHAPE)?;
        let equality = |(key, value): (&String, &Value)| {
            let value = value.as_str().ok_or(SHAPE)?;
            Requirement::new(key, Operator::In(Spelling::Equals), [value])
        };
        labels.iter().map(equality).collect()
    }

    /// What must hold, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether everything is selected.
    pub fn selects_everything(&self) -> bool {
        self.requirements.is_empty() && !self.selects_nothing
    }

    /// Whether all requirements hold; `label` gives the value of a label.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.selects_nothing
            && self.requirements.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }

    /// Whether the object's `metadata.labels` are selected.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.matches(|key| labels?.get(key)?.as_str())
    }
}

fn from_expression(expression: &Value) -> Result<Requirement, LabelSelectorError> {
    const SHAPE: LabelSelectorError =
        LabelSelectorError::Shape("an expression of a selector has a key, an operator and values");
    let key = expression.get("key").and_then(Value::as_str).ok_or(SHAPE)?;
    let operator = match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
        "In" => Operator::In(Spelling::Set),
        "NotIn" => Operator::NotIn(Spelling::Set),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(LabelSelectorError::NoOperator(other.to_owned())),
    };
    let values = match expression.get("values") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => {
            values.iter().map(|value| value.as_str().ok_or(SHAPE)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(SHAPE),
    };
    Requirement::new(key, operator, values)
}

/// All rules that a `metav1.LabelSelector` at that field breaks, as an object that holds it is refused.
pub fn validate(selector: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(labels) = selector.get("matchLabels") {
        names::check_labels(labels, &format!("{field}.matchLabels"), &mut errors);
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for (index, expression) in expressions.into_iter().flatten().enumerate() {
        let at = format!("{field}.matchExpressions[{index}]");
        let values = expression.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
            "In" | "NotIn" if values.is_empty() => {
                let rule = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(format!("{at}.values"), rule));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let rule = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(format!("{at}.values"), rule));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let rule = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{at}.operator"), other, rule));
            }
        }
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        if let Err(rule) = names::label_key(key) {
            errors.push(FieldError::invalid(format!("{at}.key"), key, rule));
        }
        for (index, value) in values.iter().enumerate() {
            if let Err(rule) = names::label_value(value.as_str().unwrap_or_default()) {
                errors.push(FieldError::invalid(format!("{at}.values[{index}]"), value.clone(), rule));
            }
        }
    }
    errors
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operator == Operator::DoesNotExist {
            f.write_str("!")?;
        }
        f.write_str(&self.key)?;
        let values = self.values.join(",");
        match self.operator {
            Operator::Exists | Operator::DoesNotExist => Ok(()),
            Operator::In(Spelling::Set) => write!(f, " in ({values})"),
            Operator::NotIn(Spelling::Set) => write!(f, " notin ({values})"),
            Operator::In(Spelling::DoubleEquals) => write!(f, "=={values}"),
            Operator::In(_) => write!(f, "={values}"),
            Operator::NotIn(_) => write!(f, "!={values}"),
            Operator::GreaterThan => write!(f, ">{values}"),
            Operator::LessThan => write!(f, "<{values}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}
