//! One type per entity of the declarative format, and the document that holds them.
//!
//! Every field is optional: a document says what it wants to say, and the gateway fills the rest
//! (`declarative` does it here). The same types hold the filled entities. Absent fields are not
//! written, so that a document prints as it was meant.

mod consumer;
mod document;
mod reference;
mod tags;
mod tls;
mod traffic;
mod upstream;

pub use consumer::{
    Acl, BasicAuth, Consumer, ConsumerGroup, ConsumerGroupConsumer, HmacAuth, JwtSecret, KeyAuth,
    MtlsAuth, OAuth2Credential,
};
pub use document::Document;
pub use reference::Reference;
pub use tags::Tags;
pub use tls::{CaCertificate, Certificate, Key, KeyPair, KeySet, Sni, Vault};
pub use traffic::{Endpoint, Plugin, Route, Service};
pub use upstream::{
    ActiveHealth, Healthchecks, Healthy, PassiveHealth, Target, Unhealthy, Upstream,
};

/// Declares an entity: every field optional and unwritten when absent, children as lists.
macro_rules! entity {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $type:ty, )*
        }
        $( children { $( $(#[$child_meta:meta])* $child:ident: $child_type:ty, )* } )?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
            $( $(
                $(#[$child_meta])*
                #[serde(skip_serializing_if = "Vec::is_empty")]
                pub $child: Vec<$child_type>,
            )* )?
        }
    };
}
use entity;
