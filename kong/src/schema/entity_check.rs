//! Checks over several fields of one entity, and Kong's words when they fail.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Check, Fault, Field, Kind, Record, check};

/// What a condition asks of a field, on top of what the field asks itself.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Must be there.
    pub required: bool,
    /// Replaces the field's checks of the same kind.
    pub checks: Vec<Check>,
    /// Replaces what is asked of each element.
    pub elements: Option<Box<Field>>,
}

impl Condition {
    /// Must be there.
    #[must_use]
    pub fn required() -> Self {
        Self { required: true, ..Self::default() }
    }

    /// Equals this value (`null`: must be absent).
    #[must_use]
    pub fn eq(value: impl Into<Value>) -> Self {
        Self::of(Check::Eq(value.into(), None))
    }

    /// One of these values.
    #[must_use]
    pub fn one_of(values: &[&str]) -> Self {
        Self::of(Check::OneOf(values.iter().map(|value| json!(value)).collect()))
    }

    /// None of these values.
    #[must_use]
    pub fn not_one_of(values: &[&str]) -> Self {
        Self::of(Check::NotOneOf(values.iter().map(|value| json!(value)).collect()))
    }

    /// Matches the Lua pattern.
    #[must_use]
    pub fn matches(pattern: &'static str) -> Self {
        Self::of(Check::Match(pattern))
    }

    /// Each element is like this.
    #[must_use]
    pub fn elements(field: Field) -> Self {
        Self { elements: Some(Box::new(field)), ..Self::default() }
    }

    /// Satisfies this check.
    #[must_use]
    pub fn of(check: Check) -> Self {
        Self { checks: vec![check], ..Self::default() }
    }

    /// Satisfies this check too.
    #[must_use]
    pub fn and(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    fn apply(&self, field: Option<&Field>, value: &Value) -> Result<(), Fault> {
        if value.is_null() {
            for check in &self.checks {
                match check {
                    Check::Ne(Value::Null) => return Err("value must not be null".into()),
                    Check::Eq(want, _) if !want.is_null() => {
                        return Err(format!("value must be {}", check::bare(want)).into());
                    }
                    _ => {}
                }
            }
            let required = self.required || field.is_some_and(|field| field.required == Some(true));
            return if required { Err("required field missing".into()) } else { Ok(()) };
        }
        if let Some(elements) = &self.elements {
            for item in value.as_array().into_iter().flatten() {
                elements.check_value(item)?;
            }
        }
        let inherited = field.map(|field| field.checks.as_slice()).unwrap_or_default();
        let mut all: Vec<&Check> = self.checks.iter().collect();
        all.extend(
            inherited.iter().filter(|one| !self.checks.iter().any(|own| own.rank() == one.rank())),
        );
        all.sort_by_key(|check| check.rank());
        if matches!(value, Value::String(text) if text.is_empty())
            && !all.iter().any(|check| matches!(check, Check::LenMin(_)))
        {
            return Err("length must be at least 1".into());
        }
        all.into_iter().try_for_each(|check| check.apply(value)).map_err(Fault::Message)
    }

    fn to_json(&self) -> Value {
        let mut out = Map::new();
        if self.required {
            out.insert("required".into(), true.into());
        }
        if let Some(elements) = &self.elements {
            out.insert("elements".into(), elements.to_json());
        }
        out.extend(self.checks.iter().filter_map(Check::print).map(|(k, v)| (k.to_owned(), v)));
        Value::Object(out)
    }
}

/// A check over several fields; names are dotted paths.
#[derive(Clone, Debug)]
pub enum EntityCheck {
    /// At least one is not empty.
    AtLeastOneOf(Vec<&'static str>),
    /// Exactly one is not empty.
    OnlyOneOf(Vec<&'static str>),
    /// At most one is set.
    MutuallyExclusive(Vec<&'static str>),
    /// All or none are set.
    MutuallyRequired(Vec<&'static str>),
    /// Those that are set differ.
    Distinct(Vec<&'static str>),
    /// When the first field is so, the second must be so.
    Conditional {
        /// The field that decides.
        if_field: &'static str,
        /// When it is so.
        if_match: Condition,
        /// The field that must follow.
        then_field: &'static str,
        /// What it must be.
        then_match: Condition,
        /// An own message.
        then_err: Option<&'static str>,
    },
    /// When the first field is so, one of the others is set.
    ConditionalAtLeastOneOf {
        /// The field that decides.
        if_field: &'static str,
        /// When it is so.
        if_match: Condition,
        /// The fields of which one must be set.
        then_at_least_one_of: Vec<&'static str>,
        /// An own message; `%s` stands for the fields.
        then_err: Option<&'static str>,
        /// When the first match fails: another match and its fields.
        otherwise: Option<(Condition, Vec<&'static str>, Option<&'static str>)>,
    },
    /// In code; not run when one of the fields is refused already.
    Custom {
        /// The fields it looks at.
        field_sources: Vec<&'static str>,
        /// Whether it runs when fields are absent.
        run_with_missing_fields: bool,
        /// The check; none where Kong only prints that there is one.
        check: Option<fn(&Map<String, Value>) -> Result<(), Fault>>,
    },
}

type Faults = BTreeMap<String, Fault>;

impl EntityCheck {
    /// When `if_field` is so, `then_field` must be so.
    #[must_use]
    pub fn conditional(
        if_field: &'static str,
        if_match: Condition,
        then_field: &'static str,
        then_match: Condition,
    ) -> Self {
        Self::Conditional { if_field, if_match, then_field, then_match, then_err: None }
    }

    /// Runs the check; what it finds is added to `faults`.
    pub(super) fn run(&self, record: &Record, entity: &Map<String, Value>, faults: &mut Faults) {
        let get = |name: &str| look(record, entity, name);
        let set = |names: &[&str]| names.iter().filter(|name| is_set(get(name))).count();
        let failed = match self {
            Self::AtLeastOneOf(names) => (set(names) == 0).then(|| {
                format!("at least one of these fields must be non-empty: {}", quoted(names))
            }),
            Self::OnlyOneOf(names) if names.iter().all(|name| get(name).is_none()) => None,
            Self::OnlyOneOf(names) => (set(names) != 1).then(|| {
                format!("exactly one of these fields must be non-empty: {}", quoted(names))
            }),
            Self::MutuallyExclusive(names) => (set(names) > 1).then(|| {
                format!("only one or none of these fields must be set: {}", quoted(names))
            }),
            Self::MutuallyRequired(names) => (set(names) % names.len() != 0)
                .then(|| format!("all or none of these fields must be set: {}", quoted(names))),
            Self::Distinct(names) => repeated(record, entity, names)
                .then(|| format!("values of these fields must be distinct: {}", quoted(names))),
            Self::Conditional { if_field, if_match, then_field, then_match, then_err } => {
                let Some(value) = get(if_field) else { return };
                let then = get(then_field).unwrap_or(&Value::Null);
                // Mostly there is nothing that could be wrong, and that is seen at once.
                let Err(fault) = then_match.apply(find(record, then_field), then) else { return };
                if if_match.apply(find(record, if_field), value).is_err() {
                    return;
                }
                put(faults, then_field, fault);
                Some(then_err.map_or_else(
                    || format!("failed conditional validation given value of field '{if_field}'"),
                    Into::into,
                ))
            }
            Self::ConditionalAtLeastOneOf { .. } => self.conditional_one_of(record, entity),
            Self::Custom { field_sources, run_with_missing_fields, check } => {
                let Some(check) = check else { return };
                if (!faults.is_empty() && field_sources.iter().any(|name| faulty(faults, name)))
                    || (!run_with_missing_fields
                        && field_sources.iter().all(|name| get(name).is_none()))
                {
                    return;
                }
                match check(entity) {
                    Ok(()) => None,
                    Err(Fault::Message(text)) => Some(text),
                    Err(Fault::Fields(more)) => return faults.extend(more),
                    Err(Fault::Items(more)) => {
                        more.into_values().for_each(|fault| add_entity(faults, fault));
                        return;
                    }
                }
            }
        };
        if let Some(text) = failed {
            add_entity(faults, Fault::Message(text));
        }
    }

    fn conditional_one_of(&self, record: &Record, entity: &Map<String, Value>) -> Option<String> {
        let Self::ConditionalAtLeastOneOf {
            if_field,
            if_match,
            then_at_least_one_of,
            then_err,
            otherwise,
        } = self
        else {
            return None;
        };
        let value = look(record, entity, if_field)?;
        let field = find(record, if_field);
        let (names, message) = if if_match.apply(field, value).is_ok() {
            (then_at_least_one_of, then_err)
        } else {
            let (other, names, message) = otherwise.as_ref()?;
            other.apply(field, value).ok()?;
            (names, message)
        };
        if names.iter().any(|name| is_set(look(record, entity, name))) {
            return None;
        }
        Some(message.map_or_else(
            || format!("at least one of these fields must be non-empty: {}", quoted(names)),
            |text| text.replace("%s", &quoted(names)),
        ))
    }

    /// As `/schemas` prints it.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::AtLeastOneOf(names) => json!({ "at_least_one_of": names }),
            Self::OnlyOneOf(names) => json!({ "only_one_of": names }),
            Self::MutuallyExclusive(names) => json!({ "mutually_exclusive": names }),
            Self::MutuallyRequired(names) => json!({ "mutually_required": names }),
            Self::Distinct(names) => json!({ "distinct": names }),
            Self::Conditional { if_field, if_match, then_field, then_match, then_err } => {
                let mut out = json!({
                    "if_field": if_field, "if_match": if_match.to_json(),
                    "then_field": then_field, "then_match": then_match.to_json(),
                });
                if let Some(message) = then_err {
                    out["then_err"] = json!(message);
                }
                json!({ "conditional": out })
            }
            Self::ConditionalAtLeastOneOf {
                if_field,
                if_match,
                then_at_least_one_of,
                then_err,
                otherwise,
            } => {
                let mut out = json!({
                    "if_field": if_field, "if_match": if_match.to_json(),
                    "then_at_least_one_of": then_at_least_one_of,
                });
                if let Some(message) = then_err {
                    out["then_err"] = json!(message);
                }
                if let Some((condition, names, message)) = otherwise {
                    out["else_match"] = condition.to_json();
                    out["else_then_at_least_one_of"] = json!(names);
                    if let Some(message) = message {
                        out["else_then_err"] = json!(message);
                    }
                }
                json!({ "conditional_at_least_one_of": out })
            }
            Self::Custom { field_sources, run_with_missing_fields, .. } => {
                let mut out = json!({ "field_sources": field_sources });
                if *run_with_missing_fields {
                    out["run_with_missing_fields"] = json!(true);
                }
                json!({ "custom_entity_check": out })
            }
        }
    }
}

/// The value at a dotted path.
pub(super) fn get<'a>(entity: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => entity.get(path),
        Some((head, rest)) => get(entity.get(head)?.as_object()?, rest),
    }
}

/// The value at a dotted path of an entity whose absent fields may have been left absent.
fn look<'a>(record: &'a Record, entity: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => record.value_of(entity, path),
        Some((head, rest)) => get(record.value_of(entity, head)?.as_object()?, rest),
    }
}

fn find<'a>(record: &'a Record, path: &str) -> Option<&'a Field> {
    match path.split_once('.') {
        None => record.field(path),
        Some((head, rest)) => match &record.field(head)?.kind {
            Kind::Record(inner) => find(inner, rest),
            _ => None,
        },
    }
}

fn faulty(faults: &Faults, path: &str) -> bool {
    match path.split_once('.') {
        None => faults.contains_key(path),
        Some((head, rest)) => match faults.get(head) {
            Some(Fault::Fields(inner)) => faulty(inner, rest),
            Some(Fault::Message(_) | Fault::Items(_)) => true,
            None => false,
        },
    }
}

fn put(faults: &mut Faults, path: &str, fault: Fault) {
    match path.split_once('.') {
        None => {
            faults.insert(path.to_owned(), fault);
        }
        Some((head, rest)) => {
            let inner = faults
                .entry(head.to_owned())
                .and_modify(|fault| {
                    if !matches!(fault, Fault::Fields(_)) {
                        *fault = Fault::Fields(BTreeMap::new());
                    }
                })
                .or_insert_with(|| Fault::Fields(BTreeMap::new()));
            if let Fault::Fields(inner) = inner {
                put(inner, rest, fault);
            }
        }
    }
}

fn add_entity(faults: &mut Faults, fault: Fault) {
    let all = faults.entry("@entity".to_owned()).or_insert_with(|| Fault::Items(BTreeMap::new()));
    if let Fault::Items(items) = all {
        items.insert(items.len() + 1, fault);
    }
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => true,
    }
}

fn repeated(record: &Record, entity: &Map<String, Value>, names: &[&str]) -> bool {
    let values: Vec<_> =
        names.iter().map(|name| look(record, entity, name)).filter(|v| is_set(*v)).collect();
    (1..values.len()).any(|at| values[..at].contains(&values[at]))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
