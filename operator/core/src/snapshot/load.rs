//! Reads objects from YAML or JSON documents: for the command line and for life without a cluster.
//!
//! Nothing here fails as a whole. A document of an unknown kind is ignored with a note; one that
//! cannot be decoded becomes an [`Unreadable`], so that its fate can be told.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Snapshot, Sources, Stored, Unreadable};
use crate::object::{Kind, ObjectRef};
use crate::secret::Secret;

/// Gives an object a uid, unless it has one.
fn identify(kind: Kind, document: &mut Value) {
    let Some(meta) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let text = |key: &str| meta.get(key).and_then(Value::as_str).unwrap_or_default();
    let key = format!("{}/{}/{}/{}", kind.group(), kind.name(), text("namespace"), text("name"));
    let uid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, key.as_bytes());
    meta.entry("uid").or_insert_with(|| uid.to_string().into());
}

/// A document of a kind that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Where it stands.
    pub source: String,
    /// Its `apiVersion` and `kind`, or what is missing.
    pub what: String,
}

/// Gathers objects from texts.
#[derive(Debug, Default)]
#[must_use]
pub struct Loader {
    sources: Sources,
    ignored: Vec<Ignored>,
    identify: bool,
}

impl Loader {
    /// A loader that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives objects without a uid one that is made from their kind, namespace and name, as an API
    /// server would: some entities take their id from it.
    pub fn identifying(mut self) -> Self {
        self.identify = true;
        self
    }

    /// Reads every document of `text`, which comes from `source`.
    pub fn add(&mut self, source: &str, text: &str) {
        for (number, part) in documents(text).into_iter().enumerate() {
            let place =
                if number == 0 { source.to_owned() } else { format!("{source}#{}", number + 1) };
            match serde_saphyr::from_str::<Value>(part) {
                Ok(document) => self.document(&place, document),
                Err(error) => self.sources.unreadable.push(Unreadable {
                    object: named(part),
                    source: place,
                    message: format!("not valid YAML: {error}"),
                }),
            }
        }
    }

    /// Ends the reading.
    #[must_use]
    pub fn finish(self) -> (Snapshot, Vec<Ignored>) {
        (Snapshot::new(self.sources), self.ignored)
    }

    /// Reads one document, which comes from `source`.
    pub fn document(&mut self, source: &str, document: Value) {
        if document.is_null() {
            return;
        }
        let header = Header::of(&document);
        if header.kind.ends_with("List")
            && let Some(items) = document.get("items").and_then(Value::as_array)
        {
            for item in items {
                self.document(source, item.clone());
            }
            return;
        }
        let group = header.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        match Kind::find(group, &header.kind) {
            Some(kind) => self.object(kind, source, document),
            None => self.ignored.push(Ignored { source: source.to_owned(), what: header.what() }),
        }
    }

    fn object(&mut self, kind: Kind, source: &str, mut document: Value) {
        if self.identify {
            identify(kind, &mut document);
        }
        macro_rules! decode {
            ($($variant:ident => $type:ty,)*) => {
                match kind { $(Kind::$variant => self.decode::<$type>(kind, source, document),)* }
            };
        }
        use crate::gateway_api as gateway;
        use k8s_openapi::api::{
            core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
        };
        use operator_api::kong as kinds;
        decode! {
            Namespace => core::Namespace,
            Service => core::Service,
            Secret => Secret,
            ConfigMap => core::ConfigMap,
            EndpointSlice => discovery::EndpointSlice,
            IngressClass => networking::IngressClass,
            Ingress => networking::Ingress,
            GatewayClass => gateway::GatewayClass,
            Gateway => gateway::Gateway,
            ListenerSet => gateway::ListenerSet,
            HttpRoute => gateway::HttpRoute,
            GrpcRoute => gateway::GrpcRoute,
            TlsRoute => gateway::TlsRoute,
            TcpRoute => gateway::TcpRoute,
            UdpRoute => gateway::UdpRoute,
            ReferenceGrant => gateway::ReferenceGrant,
            BackendTlsPolicy => gateway::BackendTlsPolicy,
            KongPlugin => kinds::KongPlugin,
            KongClusterPlugin => kinds::KongClusterPlugin,
            KongConsumer => kinds::KongConsumer,
            KongConsumerGroup => kinds::KongConsumerGroup,
            KongUpstreamPolicy => kinds::KongUpstreamPolicy,
            KongIngress => kinds::KongIngress,
            KongVault => kinds::KongVault,
            KongCustomEntity => kinds::KongCustomEntity,
            KongLicense => kinds::KongLicense,
            TcpIngress => kinds::TcpIngress,
            UdpIngress => kinds::UdpIngress,
            IngressClassParameters => kinds::IngressClassParameters,
            KongServiceFacade => kinds::KongServiceFacade,
        }
    }

    fn decode<K: Stored + DeserializeOwned>(
        &mut self,
        kind: Kind,
        source: &str,
        mut document: Value,
    ) {
        let object = reference(kind, &document);
        fill(kind, &mut document);
        if object.name.is_empty() {
            self.refuse(object, source, "metadata.name is missing".into());
            return;
        }
        match K::deserialize(document) {
            Ok(decoded) => K::stored(&mut self.sources).push(Arc::new(decoded)),
            Err(error) => self.refuse(object, source, error.to_string()),
        }
    }

    fn refuse(&mut self, object: ObjectRef, source: &str, message: String) {
        self.sources.unreadable.push(Unreadable { object, source: source.to_owned(), message });
    }
}

/// Does what the API server does on admission: a namespaced object without a namespace is in `default`,
/// and a Secret's plain `stringData` becomes `data`.
fn fill(kind: Kind, document: &mut Value) {
    if let Some(meta) = document.get_mut("metadata").and_then(Value::as_object_mut)
        && kind.namespaced()
        && !meta.contains_key("namespace")
    {
        meta.insert("namespace".into(), "default".into());
    }
    if kind == Kind::Secret {
        let plain = document.as_object_mut().and_then(|secret| secret.remove("stringData"));
        if let (Some(Value::Object(plain)), Some(secret)) = (plain, document.as_object_mut()) {
            let data =
                secret.entry("data").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(data) = data.as_object_mut() {
                use base64::Engine as _;
                for (key, value) in plain {
                    let text = value.as_str().unwrap_or_default();
                    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
                    data.insert(key, encoded.into());
                }
            }
        }
    }
}

/// The part of a document that says what it is.
#[derive(Default, Deserialize)]
struct Header {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

impl Header {
    fn of(document: &Value) -> Self {
        Self::deserialize(document).unwrap_or_default()
    }

    fn what(&self) -> String {
        match (self.api_version.is_empty(), self.kind.is_empty()) {
            (false, false) => format!("{} {}", self.api_version, self.kind),
            (true, false) => format!("{} without apiVersion", self.kind),
            (_, true) => "a document without kind".into(),
        }
    }
}

fn reference(kind: Kind, document: &Value) -> ObjectRef {
    let field = |name: &str| document.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
    let namespace = if kind.namespaced() { field("namespace").unwrap_or("default") } else { "" };
    ObjectRef::new(kind, namespace, field("name").unwrap_or_default())
}

/// Splits a stream into its documents, so that one broken document spoils no other.
fn documents(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- ") {
            parts.push(&text[start..at]);
            start = at + if bare == "---" { line.len() } else { 4 };
        }
        at += line.len();
    }
    parts.push(&text[start..]);
    parts.retain(|part| {
        part.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    parts
}

/// Names the object of a document that is no YAML, from the lines that look like its head.
fn named(part: &str) -> ObjectRef {
    let find = |prefix: &str| {
        part.lines().find_map(|line| line.strip_prefix(prefix)).map(|rest| rest.trim().to_owned())
    };
    let kind = find("kind:").and_then(|kind| Kind::named(&kind)).unwrap_or(Kind::ConfigMap);
    let namespace = if kind.namespaced() { find("  namespace:") } else { Some(String::new()) };
    let name = find("  name:").unwrap_or_default();
    ObjectRef::new(kind, &namespace.unwrap_or_else(|| "default".into()), &name)
}
