//! Fields and records: the data a schema is made of, with builders that read like Kong's tables.

use serde_json::{Map, Value};

use super::{Check, EntityCheck};

/// A check in code: the message when the value is refused.
pub type Custom = fn(&Value) -> Result<(), String>;

/// What a field's value is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// Anything.
    Any,
    /// A list.
    Array(Box<Field>),
    /// A list without duplicates (they are dropped).
    Set(Box<Field>),
    /// An object with free keys.
    Map(Box<Field>, Box<Field>),
    /// An object with known keys.
    Record(Record),
    /// A reference to an entity of another kind.
    Foreign(&'static str),
    /// A JSON document kept as it is.
    Json,
}

/// One field of a record, or what the elements of a list are.
#[derive(Clone, Debug)]
pub struct Field {
    /// The type.
    pub kind: Kind,
    /// Whether a value must be there; absent in print when `None`.
    pub required: Option<bool>,
    /// The value of an absent field.
    pub default: Option<Value>,
    /// What the value must satisfy, in Kong's order.
    pub checks: Vec<Check>,
    /// Filled by the gateway (ids, keys, times).
    pub auto: bool,
    /// No two entities share the value.
    pub unique: bool,
    /// Described only by what stands for it (plugin and vault configuration).
    pub is_abstract: bool,
    /// May be a `{vault://…}` reference.
    pub referenceable: bool,
    /// Given on input, not part of the entity.
    pub transient: bool,
    /// Shown without behaviour here: `description`, `encrypted`, `on_delete`, `deprecation`, …
    pub notes: Vec<(&'static str, Value)>,
}

/// An object with known keys, the checks over several of them, and its older spellings.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The fields in order.
    pub fields: Vec<(&'static str, Field)>,
    /// Checks over several fields.
    pub checks: Vec<EntityCheck>,
    /// Older spellings of fields.
    pub shorthands: Vec<Shorthand>,
    /// What stands in for absent fields.
    pub(super) absences: super::complete::Lazy,
}

/// An older or shorter spelling of one or more fields (`redis_host` for `redis.host`).
#[derive(Clone, Debug)]
pub struct Shorthand {
    /// The old name.
    pub name: &'static str,
    /// Its type and notes.
    pub field: Field,
    /// What it stands for: paths and values.
    pub forward: fn(&Shorthand, &Value) -> Vec<(Vec<&'static str>, Value)>,
    /// The path it replaces; answers show that path's value under the old name too.
    pub path: &'static [&'static str],
    /// Whether answers show the old name (with null when there is no path).
    pub shown: bool,
}

impl Shorthand {
    /// `name` is an older spelling of the field at `path`.
    #[must_use]
    pub fn renamed(name: &'static str, field: Field, path: &'static [&'static str]) -> Self {
        let forward = |this: &Self, value: &Value| vec![(this.path.to_vec(), value.clone())];
        Self { name, field, forward, path, shown: true }
    }

    /// `name` stands for what `forward` makes of it.
    #[must_use]
    pub fn translated(
        name: &'static str,
        field: Field,
        forward: fn(&Self, &Value) -> Vec<(Vec<&'static str>, Value)>,
    ) -> Self {
        Self { name, field, forward, path: &[], shown: false }
    }

    /// Shows the old name in answers, as null when it replaces no single path.
    #[must_use]
    pub fn shown(mut self) -> Self {
        self.shown = true;
        self
    }

    /// Adds the deprecation note that `/schemas` prints; `replaced_with` is the path, if any.
    #[must_use]
    pub fn deprecated(mut self, message: &str, removal_in_version: &str) -> Self {
        let mut note = Map::new();
        note.insert("message".into(), message.into());
        note.insert("removal_in_version".into(), removal_in_version.into());
        if !self.path.is_empty() {
            note.insert("replaced_with".into(), serde_json::json!([{ "path": self.path }]));
        }
        self.field = self.field.note("deprecation", Value::Object(note));
        self
    }
}

impl Record {
    /// A record of these fields.
    #[must_use]
    pub fn new(fields: impl IntoIterator<Item = (&'static str, Field)>) -> Self {
        Self { fields: fields.into_iter().collect(), ..Self::default() }
    }

    /// Adds a check over several fields.
    #[must_use]
    pub fn check(mut self, check: EntityCheck) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds older spellings.
    #[must_use]
    pub fn shorthands(mut self, shorthands: impl IntoIterator<Item = Shorthand>) -> Self {
        self.shorthands.extend(shorthands);
        self
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }
}

impl Field {
    /// A field of this type without constraints.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            required: None,
            default: None,
            checks: Vec::new(),
            auto: false,
            unique: false,
            is_abstract: false,
            referenceable: false,
            transient: false,
            notes: Vec::new(),
        }
    }

    /// Text; the empty text is refused unless `len_min(0)` stands.
    #[must_use]
    pub fn string() -> Self {
        Self::new(Kind::String)
    }

    /// A whole number.
    #[must_use]
    pub fn integer() -> Self {
        Self::new(Kind::Integer)
    }

    /// Any number.
    #[must_use]
    pub fn number() -> Self {
        Self::new(Kind::Number)
    }

    /// True or false.
    #[must_use]
    pub fn boolean() -> Self {
        Self::new(Kind::Boolean)
    }

    /// A list of such elements.
    #[must_use]
    pub fn array(elements: Self) -> Self {
        Self::new(Kind::Array(Box::new(elements)))
    }

    /// A list of such elements without duplicates.
    #[must_use]
    pub fn set(elements: Self) -> Self {
        Self::new(Kind::Set(Box::new(elements)))
    }

    /// An object from such keys to such values.
    #[must_use]
    pub fn map(keys: Self, values: Self) -> Self {
        Self::new(Kind::Map(Box::new(keys), Box::new(values)))
    }

    /// An object with these fields.
    #[must_use]
    pub fn record(fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::new(Kind::Record(Record::new(fields)))
    }

    /// An object as this record says.
    #[must_use]
    pub fn of(record: Record) -> Self {
        Self::new(Kind::Record(record))
    }

    /// A reference to an entity of the kind `entity`.
    #[must_use]
    pub fn foreign(entity: &'static str) -> Self {
        Self::new(Kind::Foreign(entity))
    }

    /// Anything.
    #[must_use]
    pub fn any() -> Self {
        Self::new(Kind::Any)
    }

    /// Must be there.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = Some(true);
        self
    }

    /// Need not be there, and says so in print.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = Some(false);
        self
    }

    /// The value when absent.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Filled by the gateway when absent.
    #[must_use]
    pub fn auto(mut self) -> Self {
        self.auto = true;
        self
    }

    /// No two entities share the value.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// May be a `{vault://…}` reference.
    #[must_use]
    pub fn referenceable(mut self) -> Self {
        self.referenceable = true;
        self
    }

    /// Encrypted at rest where there is a keyring; shown only.
    #[must_use]
    pub fn encrypted(self) -> Self {
        self.note("encrypted", true)
    }

    /// Given on input, kept elsewhere.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// The description that `/schemas` prints.
    #[must_use]
    pub fn describe(self, text: &str) -> Self {
        self.note("description", text)
    }

    /// A property that is shown and has no effect here.
    #[must_use]
    pub fn note(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.notes.retain(|(known, _)| *known != name);
        self.notes.push((name, value.into()));
        self
    }

    /// Adds a check and keeps Kong's order of checks.
    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self.checks.sort_by_key(Check::rank);
        self
    }

    /// One of these values.
    #[must_use]
    pub fn one_of<V: Into<Value> + Clone>(self, values: &[V]) -> Self {
        self.check(Check::OneOf(values.iter().cloned().map(Into::into).collect()))
    }

    /// None of these values.
    #[must_use]
    pub fn not_one_of<V: Into<Value> + Clone>(self, values: &[V]) -> Self {
        self.check(Check::NotOneOf(values.iter().cloned().map(Into::into).collect()))
    }

    /// Between the two, both allowed.
    #[must_use]
    pub fn between(self, low: i64, high: i64) -> Self {
        self.check(Check::Between(low as f64, high as f64))
    }

    /// Between two fractional bounds, both allowed.
    #[must_use]
    pub fn between_numbers(self, low: f64, high: f64) -> Self {
        self.check(Check::Between(low, high))
    }

    /// Greater than.
    #[must_use]
    pub fn gt(self, bound: i64) -> Self {
        self.check(Check::Gt(bound as f64))
    }

    /// At least this long.
    #[must_use]
    pub fn len_min(self, length: usize) -> Self {
        self.check(Check::LenMin(length))
    }

    /// At most this long.
    #[must_use]
    pub fn len_max(self, length: usize) -> Self {
        self.check(Check::LenMax(length))
    }

    /// Exactly this long.
    #[must_use]
    pub fn len_eq(self, length: usize) -> Self {
        self.check(Check::LenEq(length))
    }

    /// Matches the Lua pattern; refused as `invalid value: …`.
    #[must_use]
    pub fn matches(self, pattern: &'static str) -> Self {
        self.check(Check::Match(pattern))
    }

    /// Does not match the Lua pattern.
    #[must_use]
    pub fn not_match(self, pattern: &'static str) -> Self {
        self.check(Check::NotMatch(pattern))
    }

    /// Matches none of the Lua patterns, each with its message.
    #[must_use]
    pub fn match_none(self, rules: &[(&'static str, &'static str)]) -> Self {
        self.check(Check::MatchNone(rules.to_vec()))
    }

    /// Matches all of the Lua patterns, each with its message.
    #[must_use]
    pub fn match_all(self, rules: &[(&'static str, &'static str)]) -> Self {
        self.check(Check::MatchAll(rules.to_vec()))
    }

    /// Matches at least one of the Lua patterns.
    #[must_use]
    pub fn match_any(self, patterns: &[&'static str], message: Option<&'static str>) -> Self {
        self.check(Check::MatchAny(patterns.to_vec(), message))
    }

    /// Starts with this text.
    #[must_use]
    pub fn starts_with(self, prefix: &'static str) -> Self {
        self.check(Check::StartsWith(prefix))
    }

    /// The list contains this value.
    #[must_use]
    pub fn contains(self, value: impl Into<Value>) -> Self {
        self.check(Check::Contains(value.into()))
    }

    /// Is a regular expression.
    #[must_use]
    pub fn is_regex(self) -> Self {
        self.check(Check::IsRegex)
    }

    /// Is a UUID.
    #[must_use]
    pub fn uuid(self) -> Self {
        self.check(Check::Uuid)
    }

    /// Equals this value (`null`: must be absent).
    #[must_use]
    pub fn eq(self, value: impl Into<Value>) -> Self {
        self.check(Check::Eq(value.into(), None))
    }

    /// Equals this value, or this message.
    #[must_use]
    pub fn eq_or(self, value: impl Into<Value>, message: &'static str) -> Self {
        self.check(Check::Eq(value.into(), Some(message)))
    }

    /// Differs from this value.
    #[must_use]
    pub fn ne(self, value: impl Into<Value>) -> Self {
        self.check(Check::Ne(value.into()))
    }

    /// Elements of different subsets exclude each other.
    #[must_use]
    pub fn mutually_exclusive_subsets(self, subsets: &[&[&'static str]]) -> Self {
        self.check(Check::ExclusiveSubsets(subsets.iter().map(|set| set.to_vec()).collect()))
    }

    /// Checks in code; not printed.
    #[must_use]
    pub fn custom(self, check: Custom) -> Self {
        self.check(Check::Custom(check))
    }
}
