//! Vaults: what `{vault://…}` stands for. The environment is read at once; HashiCorp's vault is asked before a
//! configuration is compiled and from time to time after, and what it said last stands while it is away.
//!
//! Secrets live here and in the compiled configuration. They are never part of a log, an error or a dump.

mod hcv;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kong::declarative::Declared;
use kong::vault::{Reference, references};
use proxy_core::plugin::{Secrets, Services};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::settings::Raw;
use hcv::Hashicorp;

/// How often vaults are asked again where they do not say.
pub const REFRESH: Duration = Duration::from_secs(60);

/// A vault of the configuration or of the settings.
enum Vault {
    /// The environment; what stands before each name.
    Environment(String),
    /// HashiCorp's.
    Hashicorp(Arc<Hashicorp>),
}

/// The vaults of a gateway.
pub struct Vaults {
    services: Arc<dyn Services>,
    settings: Map<String, Value>,
    prefix: String,
    /// By the name that references use.
    vaults: RwLock<BTreeMap<String, Vault>>,
    /// What HashiCorp's vaults said last.
    said: RwLock<BTreeMap<Reference, String>>,
    asking: Mutex<()>,
    /// Whether anything that only HashiCorp's vaults know is referred to.
    wants: AtomicBool,
}

impl Vaults {
    /// Vaults by the gateway's settings (`vault_env_prefix`, `vault_hcv_host`, …).
    #[must_use]
    pub fn new(raw: &Raw, services: Arc<dyn Services>) -> Self {
        let field = |name: &&str| {
            let value = raw.get(&format!("vault_hcv_{name}"))?;
            let number = value.parse::<u64>().ok().filter(|_| matches!(*name, "port" | "ttl"));
            Some(((*name).to_owned(), number.map_or_else(|| value.into(), Value::from)))
        };
        Self {
            services,
            settings: hcv::FIELDS.iter().filter_map(field).collect(),
            prefix: raw.get("vault_env_prefix").unwrap_or_default().to_owned(),
            vaults: RwLock::default(),
            said: RwLock::default(),
            asking: Mutex::default(),
            wants: AtomicBool::new(false),
        }
    }

    /// Learns the vaults of a configuration and asks them for all that it refers to. Whether any secret changed.
    pub async fn prepare(&self, entities: &Declared) -> bool {
        let wanted = wanted(entities);
        if wanted.is_empty() {
            return false;
        }
        let _one_at_a_time = self.asking.lock().await;
        self.learn(entities);
        let mut changed = false;
        for reference in wanted {
            let Some(vault) = self.hashicorp(&reference.vault) else { continue };
            self.wants.store(true, Ordering::Relaxed);
            match vault.read(self.services.as_ref(), &reference).await {
                Ok(secret) => {
                    let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
                    changed |= said.insert(reference, secret.clone()) != Some(secret);
                }
                Err(error) => {
                    tracing::warn!(vault = reference.vault, %error, "secret cannot be read");
                }
            }
        }
        changed
    }

    /// How long until vaults should be asked again; `None` where there is nothing to ask.
    pub fn refresh(&self) -> Option<Duration> {
        let vaults = self.vaults.read().unwrap_or_else(PoisonError::into_inner);
        if !self.wants.load(Ordering::Relaxed) {
            return None;
        }
        let asked = vaults.values().filter_map(|vault| match vault {
            Vault::Hashicorp(vault) => Some(vault.refresh().unwrap_or(REFRESH)),
            Vault::Environment(_) => None,
        });
        asked.min()
    }

    fn learn(&self, entities: &Declared) {
        let mut known =
            BTreeMap::from([("env".to_owned(), Vault::Environment(self.prefix.clone()))]);
        let mut vaults = self.vaults.write().unwrap_or_else(PoisonError::into_inner);
        let mut add = |name: &str, config: &Map<String, Value>| {
            let old = match vaults.get(name) {
                Some(Vault::Hashicorp(old)) if old.is_of(config) => Some(Arc::clone(old)),
                _ => None,
            };
            let vault = old.unwrap_or_else(|| Arc::new(Hashicorp::new(config.clone())));
            known.insert(name.to_owned(), Vault::Hashicorp(vault));
        };
        if !self.settings.is_empty() {
            add("hcv", &self.settings);
        }
        let mut environments = Vec::new();
        let all = entities.kind("vaults").into_iter().flat_map(kong::declarative::Entities::values);
        for entity in all.map(kong::declarative::Entity::value) {
            let Some(prefix) = entity.get("prefix").and_then(Value::as_str) else { continue };
            let empty = Map::new();
            let config = entity.get("config").and_then(Value::as_object).unwrap_or(&empty);
            if entity.get("name").and_then(Value::as_str) == Some("hcv") {
                let mut all = self.settings.clone();
                let set = config.iter().filter(|(_, value)| !value.is_null());
                all.extend(set.map(|(name, value)| (name.clone(), self.plain(value))));
                add(prefix, &all);
            } else {
                let before = config.get("prefix").and_then(Value::as_str).unwrap_or_default();
                environments.push((prefix.to_owned(), Vault::Environment(before.to_owned())));
            }
        }
        known.extend(environments);
        *vaults = known;
    }

    /// A vault's own secrets may come from the environment.
    fn plain(&self, value: &Value) -> Value {
        let reference = value.as_str().and_then(Reference::parse);
        match reference.filter(|reference| reference.vault == "env") {
            Some(reference) => environment(&self.prefix, &reference).unwrap_or_default().into(),
            None => value.clone(),
        }
    }

    fn hashicorp(&self, name: &str) -> Option<Arc<Hashicorp>> {
        match self.vaults.read().unwrap_or_else(PoisonError::into_inner).get(name)? {
            Vault::Hashicorp(vault) => Some(Arc::clone(vault)),
            Vault::Environment(_) => None,
        }
    }
}

impl Secrets for Vaults {
    fn get(&self, reference: &Reference) -> Option<String> {
        let before = match self
            .vaults
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&reference.vault)
        {
            Some(Vault::Environment(prefix)) => Some(prefix.clone()),
            None if reference.vault == "env" => Some(self.prefix.clone()),
            Some(Vault::Hashicorp(_)) | None => None,
        };
        match before {
            Some(prefix) => environment(&prefix, reference),
            None => {
                self.said.read().unwrap_or_else(PoisonError::into_inner).get(reference).cloned()
            }
        }
    }
}

/// A variable: capitals, and `_` for `-`.
fn environment(prefix: &str, reference: &Reference) -> Option<String> {
    let name = format!("{prefix}{}", reference.resource).to_uppercase().replace('-', "_");
    reference.pick(&std::env::var(name).ok()?)
}

/// All that a configuration refers to.
fn wanted(entities: &Declared) -> BTreeSet<Reference> {
    let mut wanted = BTreeSet::new();
    for kind in ["plugins", "certificates"] {
        let all = entities.kind(kind).into_iter().flat_map(kong::declarative::Entities::values);
        // Most entities refer to nothing, and reading them takes its time.
        for entity in all.filter(|entity| entity.json().contains("{vault://")) {
            wanted.extend(references(&entity.value()));
        }
    }
    wanted
}

#[cfg(test)]
mod tests;
