//! The configuration of a plugin: written down, from a Secret, or patched from Secrets.

use operator_api::kong::{KongClusterPlugin, KongPlugin};
use serde_json::{Map, Value};

use super::super::Context;
use crate::object::{Object as _, ObjectRef};
use crate::outcome::Reason;

/// A key of a Secret.
#[derive(Clone, Copy)]
struct SecretKey<'a> {
    namespace: &'a str,
    name: &'a str,
    key: &'a str,
}

/// Where the configuration comes from.
pub(super) struct Source<'a> {
    config: Option<&'a Value>,
    from: Option<SecretKey<'a>>,
    patches: Vec<(&'a str, SecretKey<'a>)>,
}

type Refused = (Reason, String);

impl<'a> Source<'a> {
    pub(super) fn of_namespace(plugin: &'a KongPlugin) -> Self {
        let key = |reference: &'a operator_api::kong::plugin::SecretKey| SecretKey {
            namespace: plugin.namespace(),
            name: &reference.name,
            key: &reference.key,
        };
        Self {
            config: plugin.config.as_ref(),
            from: plugin.config_from.as_ref().map(|from| key(&from.secret_key_ref)),
            patches: plugin
                .config_patches
                .iter()
                .map(|patch| (patch.path.as_str(), key(&patch.value_from.secret_key_ref)))
                .collect(),
        }
    }

    pub(super) fn of_cluster(plugin: &'a KongClusterPlugin) -> Self {
        let key = |reference: &'a operator_api::kong::plugin::NamespacedSecretKey| SecretKey {
            namespace: &reference.namespace,
            name: &reference.name,
            key: &reference.key,
        };
        Self {
            config: plugin.config.as_ref(),
            from: plugin.config_from.as_ref().map(|from| key(&from.secret_key_ref)),
            patches: plugin
                .config_patches
                .iter()
                .map(|patch| (patch.path.as_str(), key(&patch.value_from.secret_key_ref)))
                .collect(),
        }
    }

    /// Reads the configuration of `plugin`.
    pub(super) fn read(
        &self,
        ctx: &Context<'_>,
        plugin: &ObjectRef,
    ) -> Result<Map<String, Value>, Refused> {
        let ObjectRef { kind, namespace, name, uid: _ } = plugin;
        let given = self.config.filter(|config| !config.is_null());
        let nonempty =
            given.is_some_and(|config| config.as_object().is_none_or(|map| !map.is_empty()));
        if self.from.is_some() && (nonempty || !self.patches.is_empty()) {
            let message = format!("{kind} '{namespace}/{name}' has both Config and ConfigFrom set");
            return Err((Reason::Invalid, message));
        }
        if let Some(from) = self.from {
            let wrap = |(reason, error): Refused| {
                (reason, format!("error parsing config for {kind} '{name}/{namespace}': {error}"))
            };
            return whole(ctx, from).map_err(wrap);
        }
        let wrap = |(reason, error): Refused| {
            (reason, format!("could not parse {kind} {namespace}/{name} config: {error}"))
        };
        let mut config = given.cloned().unwrap_or_else(|| Value::Object(Map::new()));
        for (path, from) in &self.patches {
            let value = value(ctx, *from).map_err(wrap)?;
            add(&mut config, path, value).map_err(|error| wrap((Reason::Invalid, error)))?;
        }
        match config {
            Value::Object(config) => Ok(config),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(wrap((Reason::Invalid, "it is not an object".into()))),
        }
    }
}

fn bytes<'s>(ctx: &Context<'s>, from: SecretKey<'_>) -> Result<&'s [u8], Refused> {
    let SecretKey { namespace, name, key } = from;
    let Some(secret) = ctx.find(|all| &all.secrets, namespace, name) else {
        let message = format!(
            "error fetching plugin configuration secret '{namespace}/{name}': Secret {namespace}/{name} not found"
        );
        return Err((Reason::RefNotFound, message));
    };
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    found.map(|found| found.0.as_slice()).ok_or_else(|| {
        (Reason::RefNotFound, format!("no key '{key}' in secret '{namespace}/{name}'"))
    })
}

/// The whole configuration from a Secret, as JSON or YAML. The text never enters a message.
fn whole(ctx: &Context<'_>, from: SecretKey<'_>) -> Result<Map<String, Value>, Refused> {
    let bytes = bytes(ctx, from)?;
    let invalid = || {
        let SecretKey { namespace, name, key } = from;
        let message = format!(
            "key '{key}' contains neither valid JSON nor valid YAML in secret '{namespace}/{name}'"
        );
        (Reason::Invalid, message)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| invalid())?;
    let value: Value = serde_json::from_str(text)
        .or_else(|_| serde_saphyr::from_str(text).map_err(|_| invalid()))?;
    match value {
        Value::Object(config) => Ok(config),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(invalid()),
    }
}

/// One value from a Secret, as JSON.
fn value(ctx: &Context<'_>, from: SecretKey<'_>) -> Result<Value, Refused> {
    let bytes = bytes(ctx, from)?;
    serde_json::from_slice(bytes).map_err(|_| {
        let SecretKey { namespace, name, key } = from;
        let message = format!("invalid state detected: key '{key}' of secret '{namespace}/{name}' is not valid JSON (write text in quotation marks)");
        (Reason::Invalid, message)
    })
}

/// Adds `value` at a JSON pointer, making objects and lists on the way: a list where the next part is an index.
fn add(config: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *config = value;
        return Ok(());
    }
    let pointer = path
        .strip_prefix('/')
        .ok_or_else(|| format!("path {path:?} does not begin with a slash"))?;
    let parts: Vec<String> =
        pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let mut at = config;
    for pair in parts.windows(2) {
        let [part, next] = pair else { break };
        let child = match at {
            Value::Object(map) => map.entry(part).or_insert(Value::Null),
            Value::Array(list) => {
                let index = index(path, part, list.len())?;
                list.get_mut(index).ok_or_else(|| format!("path {path:?}: no element {index}"))?
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(format!("path {path:?} leads through a value"));
            }
        };
        if child.is_null() {
            *child = container(next);
        }
        at = child;
    }
    let Some(last) = parts.last() else { return Ok(()) };
    match at {
        Value::Object(map) => {
            map.insert(last.clone(), value);
        }
        Value::Array(list) => {
            let index = index(path, last, list.len())?;
            if index > list.len() {
                return Err(format!("path {path:?}: no element {index}"));
            }
            list.insert(index, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(format!("path {path:?} leads into a value"));
        }
    }
    Ok(())
}

/// The place that a part of a path means in a list; a dash is the one behind the last.
fn index(path: &str, part: &str, end: usize) -> Result<usize, String> {
    if part == "-" {
        return Ok(end);
    }
    part.parse().map_err(|_| format!("path {path:?}: {part:?} is no index"))
}

/// What must stand where the next part of a path is to be added: a list long enough, or an object.
fn container(next: &str) -> Value {
    /// Lists longer than that come from no one who means well.
    const LONGEST: usize = 1_000;
    match next {
        "-" => Value::Array(Vec::new()),
        _ => match next.parse::<usize>() {
            Ok(index) if index <= LONGEST => Value::Array(vec![Value::Null; index]),
            Ok(_) | Err(_) => Value::Object(Map::new()),
        },
    }
}
