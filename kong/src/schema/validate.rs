//! Filling defaults and judging values, in Kong's order.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Check, Fault, Field, Kind, Record, Shorthand, complete::Absent};

/// How foreign keys may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// Only as `{"id": …}`.
    ById,
    /// Judged elsewhere.
    Deferred,
}

impl Record {
    /// Fills defaults into `entity` and says what is wrong with it.
    pub fn accept(
        &self,
        entity: &mut Map<String, Value>,
        references: References,
    ) -> BTreeMap<String, Fault> {
        let mut faults = BTreeMap::new();
        if !self.shorthands.is_empty() {
            self.expand(entity, &mut faults);
        }
        let mut known = 0;
        for (at, (name, field)) in self.fields.iter().enumerate() {
            if let Some(value) = entity.get_mut(*name) {
                known += 1;
                if let Err(fault) = field.accept(value, references) {
                    faults.insert((*name).to_owned(), fault);
                }
                continue;
            }
            match self.absent(at) {
                Absent::Value(value, _) => {
                    known += 1;
                    entity.insert((*name).to_owned(), value.clone());
                }
                Absent::Nothing => {}
                Absent::Fault(fault) => {
                    faults.insert((*name).to_owned(), fault.clone());
                }
            }
        }
        if known < entity.len() {
            for name in entity.keys().filter(|name| self.field(name).is_none()) {
                faults.entry(name.clone()).or_insert_with(|| "unknown field".into());
            }
        }
        for check in &self.checks {
            check.run(self, entity, &mut faults);
        }
        faults
    }

    /// Replaces older spellings by what they stand for.
    fn expand(&self, entity: &mut Map<String, Value>, faults: &mut BTreeMap<String, Fault>) {
        for shorthand in &self.shorthands {
            let Some(mut value) = entity.remove(shorthand.name) else { continue };
            if value.is_null() && shorthand.shown {
                continue;
            }
            if let Err(fault) = shorthand.field.accept(&mut value, References::ById) {
                faults.insert(shorthand.name.to_owned(), fault);
                continue;
            }
            for (path, value) in (shorthand.forward)(shorthand, &value) {
                put(entity, &path, value);
            }
        }
    }

    /// Adds older spellings to an accepted entity, as answers show them.
    pub fn show_shorthands(&self, entity: &mut Map<String, Value>) {
        for (name, field) in &self.fields {
            if let (Kind::Record(inner), Some(Value::Object(map))) =
                (&field.kind, entity.get_mut(*name))
            {
                inner.show_shorthands(map);
            }
        }
        for Shorthand { name, path, shown, .. } in &self.shorthands {
            if *shown {
                let value = path
                    .split_first()
                    .and_then(|(head, rest)| {
                        rest.iter().try_fold(entity.get(*head)?, |value, step| value.get(*step))
                    })
                    .cloned()
                    .unwrap_or(Value::Null);
                entity.insert((*name).to_owned(), value);
            }
        }
    }
}

impl Field {
    /// Checks a value without changing it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_value(&self, value: &Value) -> Result<(), Fault> {
        self.accept(&mut value.clone(), References::ById)
    }

    /// Fills defaults into the value and says what is wrong with it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn accept(&self, value: &mut Value, references: References) -> Result<(), Fault> {
        if value.is_null() {
            return self.accept_null();
        }
        self.accept_kind(value, references)?;
        if self.referenceable && is_reference(value) {
            return Ok(());
        }
        if let Value::String(text) = value
            && text.is_empty()
            && matches!(self.kind, Kind::String)
            && !self.checks.iter().any(|check| matches!(check, Check::LenMin(_)))
        {
            // The implicit least length stands at its place in the order of checks.
            let rank = Check::LenMin(1).rank();
            for check in self.checks.iter().filter(|check| check.rank() < rank) {
                check.apply(value)?;
            }
            return Err("length must be at least 1".into());
        }
        for check in &self.checks {
            check.apply(value)?;
        }
        Ok(())
    }

    fn accept_null(&self) -> Result<(), Fault> {
        for check in &self.checks {
            match check {
                Check::Ne(Value::Null) => return Err("value must not be null".into()),
                Check::Eq(want, message) if !want.is_null() => {
                    let text = || format!("value must be {}", super::check::bare(want));
                    return Err(Fault::Message(message.map_or_else(text, Into::into)));
                }
                _ => {}
            }
        }
        if self.required == Some(true) { Err("required field missing".into()) } else { Ok(()) }
    }

    fn accept_kind(&self, value: &mut Value, references: References) -> Result<(), Fault> {
        match &self.kind {
            Kind::Any => Ok(()),
            Kind::String | Kind::Json => expect(value.is_string(), "expected a string"),
            Kind::Boolean => expect(value.is_boolean(), "expected a boolean"),
            Kind::Number => {
                expect(value.is_number(), "expected a number")?;
                drop_fraction(value);
                Ok(())
            }
            Kind::Integer => {
                let whole = value.as_f64().is_some_and(|n| n.fract() == 0.0 && n.is_finite());
                expect(whole, "expected an integer")?;
                drop_fraction(value);
                Ok(())
            }
            Kind::Array(elements) => accept_list(value, elements, references, "expected an array"),
            Kind::Set(elements) => {
                if let Value::Array(items) = value {
                    drop_repeated(items);
                }
                accept_list(value, elements, references, "expected a set")
            }
            Kind::Map(keys, values) => {
                if value.as_array().is_some_and(|items| !items.is_empty()) {
                    // A list is a table whose keys are numbers.
                    return keys.accept(&mut Value::from(1), references);
                }
                let map = table(value).ok_or("expected a map")?;
                for (name, item) in map {
                    keys.accept(&mut Value::String(name.clone()), references)?;
                    accept_element(values, item, references)?;
                }
                Ok(())
            }
            Kind::Record(record) => {
                if let Value::Array(items) = value
                    && !items.is_empty()
                {
                    let unknown = (1..=items.len()).map(|at| (at, "unknown field".into()));
                    return Err(Fault::Items(unknown.collect()));
                }
                let map = table(value).ok_or("expected a record")?;
                let faults = record.accept(map, references);
                if faults.is_empty() { Ok(()) } else { Err(Fault::Fields(faults)) }
            }
            Kind::Foreign(kind) => accept_reference(value, kind, references),
        }
    }
}

/// A whole number is written without a fraction.
fn drop_fraction(value: &mut Value) {
    if let Value::Number(number) = value
        && let Some(float) = number.as_f64().filter(|_| number.is_f64())
        && float.fract() == 0.0
        && float.abs() < 9e15
    {
        *value = Value::from(float as i64);
    }
}

fn expect(holds: bool, message: &str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(message.into()) }
}

/// The object; an empty list is an empty object, as in Lua.
fn table(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.as_array().is_some_and(Vec::is_empty) {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn accept_list(
    value: &mut Value,
    elements: &Field,
    references: References,
    message: &str,
) -> Result<(), Fault> {
    if value.as_object().is_some_and(Map::is_empty) {
        *value = Value::Array(Vec::new());
    }
    let Value::Array(items) = value else { return Err(message.into()) };
    let mut faults = BTreeMap::new();
    for (at, item) in items.iter_mut().enumerate() {
        if let Err(fault) = accept_element(elements, item, references) {
            faults.insert(at + 1, fault);
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Fault::Items(faults)) }
}

/// Elements of lists and values of maps are always required.
fn accept_element(field: &Field, value: &mut Value, references: References) -> Result<(), Fault> {
    if value.is_null() {
        return field.accept_null().and(Err("required field missing".into()));
    }
    field.accept(value, references)
}

fn accept_reference(value: &Value, kind: &str, references: References) -> Result<(), Fault> {
    let missing = || {
        Fault::Fields(BTreeMap::from([("id".to_owned(), Fault::message("missing primary key"))]))
    };
    if references == References::Deferred {
        return Ok(());
    }
    match value {
        Value::Object(map) => match map.get("id") {
            // What a route may hold depends on its protocols, and that is looked at first.
            None | Some(Value::Null) if kind == "routes" => {
                let fault = Fault::message("required field missing");
                Err(Fault::Fields(BTreeMap::from([("protocols".to_owned(), fault)])))
            }
            None | Some(Value::Null) => Err(missing()),
            Some(Value::String(id)) if super::check::is_uuid(id) => Ok(()),
            Some(Value::String(_)) => {
                let fault = Fault::message("expected a valid UUID");
                Err(Fault::Fields(BTreeMap::from([("id".to_owned(), fault)])))
            }
            Some(_) => {
                let fault = Fault::message("expected a string");
                Err(Fault::Fields(BTreeMap::from([("id".to_owned(), fault)])))
            }
        },
        _ => Err(missing()),
    }
}

fn is_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("{vault://") && text.ends_with('}'))
}

fn drop_repeated(items: &mut Vec<Value>) {
    let mut at = 1;
    while at < items.len() {
        if items[..at].contains(&items[at]) {
            items.remove(at);
        } else {
            at += 1;
        }
    }
}

fn put(map: &mut Map<String, Value>, path: &[&'static str], value: Value) {
    match path {
        [] => {}
        [name] => {
            map.insert((*name).to_owned(), value);
        }
        [head, rest @ ..] => {
            let inner = map.entry(*head).or_insert(Value::Null);
            if inner.is_null() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
