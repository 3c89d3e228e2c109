//! Certificates with the names that they serve, and the authorities that are trusted.
//!
//! Secrets that hold one pair of certificate and key make one entity: its id is the uid of the oldest
//! of them. Of two claims on one name the first wins: Ingresses by age, then listeners.

mod authority;
mod pair;

use std::collections::{BTreeMap, BTreeSet};

use crate::secret::Secret;
use kong::model::{Certificate, Reference, Sni};

pub(super) use authority::{authorities, is_authority};

use super::Context;
use super::rules::{ListenerCertificate, Origin, TlsClaim};
use crate::names;
use crate::object::{Object as _, ObjectRef};
use crate::outcome::Reason;
use pair::Pair;

/// What a Secret is wanted for. The last in this order gives a certificate its tags, as with Kong Ingress Controller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Listener,
    Host,
    Client,
}

/// Who wants a Secret served, and under which names.
struct Wish<'a> {
    secret: &'a Secret,
    what_for: Use,
    names: Vec<&'a str>,
    parent: Option<ObjectRef>,
}

/// One pair with every Secret that holds it.
struct Merged<'a> {
    pair: Pair,
    secrets: Vec<(Use, &'a Secret)>,
    names: BTreeSet<String>,
}

/// The certificates, and the id that each Secret's pair got.
pub(super) struct Certificates {
    pub(super) certificates: Vec<Certificate>,
    pub(super) ids: BTreeMap<(String, String), String>,
}

impl Certificates {
    /// The id of the certificate that `secret` holds, if it holds one.
    pub(super) fn id_of(&self, secret: &Secret) -> Option<&str> {
        let key = (secret.namespace().to_owned(), secret.name().to_owned());
        self.ids.get(&key).map(String::as_str)
    }
}

/// Makes certificates of all claims: Ingress-like objects, listeners, and client certificates.
pub(super) fn certificates<'a>(
    ctx: &mut Context<'a>,
    claims: Vec<TlsClaim<'a>>,
    listeners: Vec<ListenerCertificate<'a>>,
    clients: impl Iterator<Item = &'a Secret>,
) -> Certificates {
    let mut wishes: Vec<Wish<'a>> = Vec::new();
    let mut missing: BTreeSet<(ObjectRef, String)> = BTreeSet::new();
    for claim in claims {
        let (namespace, name) = (claim.parent.namespace(), claim.secret);
        match ctx.find(|all| &all.secrets, namespace, name) {
            Some(secret) => wishes.push(Wish {
                secret,
                what_for: Use::Host,
                names: claim.hosts,
                parent: Some(claim.parent.reference()),
            }),
            None => {
                missing.insert((claim.parent.reference(), format!("{namespace}/{name}")));
            }
        }
    }
    for (parent, secret) in missing {
        let message = format!("Failed to fetch the secret ({secret})");
        ctx.outcomes.fail(parent, Reason::RefNotFound, message);
    }
    wishes.extend(listeners.into_iter().map(|listener| Wish {
        secret: listener.secret,
        what_for: Use::Listener,
        names: vec![listener.hostname],
        parent: Some(listener.gateway.reference()),
    }));
    wishes.extend(clients.map(|secret| Wish {
        secret,
        what_for: Use::Client,
        names: Vec::new(),
        parent: None,
    }));
    let merged = merge(ctx, wishes);
    finish(merged)
}

fn merge<'a>(
    ctx: &mut Context<'a>,
    wishes: Vec<Wish<'a>>,
) -> BTreeMap<(String, String), Merged<'a>> {
    let mut merged: BTreeMap<(String, String), Merged<'a>> = BTreeMap::new();
    let mut taken: BTreeMap<&'a str, (String, String)> = BTreeMap::new();
    let mut owners: BTreeMap<&'a str, ObjectRef> = BTreeMap::new();
    for Wish { secret, what_for, names, parent } in wishes {
        let pair = match Pair::of(secret) {
            Ok(pair) => pair,
            Err(error) => {
                let message = format!("failed to construct certificate from secret: {error}");
                let objects = [secret.reference()].into_iter().chain(parent);
                ctx.outcomes.fail_all(objects, Reason::Invalid, &message);
                continue;
            }
        };
        ctx.outcomes.configured(Origin::of(secret));
        let key = (pair.cert.clone(), pair.key.clone());
        let entry = merged.entry(key.clone()).or_insert_with(|| Merged {
            pair,
            secrets: Vec::new(),
            names: BTreeSet::new(),
        });
        entry.secrets.push((what_for, secret));
        for name in names {
            let owner = taken.entry(name).or_insert_with(|| key.clone());
            if *owner == key {
                entry.names.insert(name.to_owned());
                if let Some(parent) = &parent {
                    owners.entry(name).or_insert_with(|| parent.clone());
                }
            } else if let (Some(parent), Some(winner)) = (&parent, owners.get(name)) {
                let message = format!(
                    "{name:?} is served with another certificate: {winner} claimed it first"
                );
                ctx.outcomes.warn(parent.clone(), Reason::Conflicted, message);
            }
        }
    }
    merged
}

fn finish(merged: BTreeMap<(String, String), Merged<'_>>) -> Certificates {
    let mut certificates = Vec::new();
    let mut ids = BTreeMap::new();
    for Merged { pair, mut secrets, names } in merged.into_values() {
        let age = |secret: &Secret| secret.metadata.creation_timestamp.as_ref().map(|time| time.0);
        secrets.sort_by_key(|(what_for, secret)| (age(secret), secret.uid(), *what_for));
        let Some((_, first)) = secrets.first() else { continue };
        let id = first.uid().to_owned();
        let last = secrets.iter().map(|(what_for, _)| *what_for).max();
        let tagged = secrets.iter().find(|(what_for, _)| Some(*what_for) == last);
        for (_, secret) in &secrets {
            ids.insert((secret.namespace().to_owned(), secret.name().to_owned()), id.clone());
        }
        let sni = |name: String| Sni {
            name: Some(name),
            certificate: Some(Reference::id(id.clone())),
            ..Sni::default()
        };
        certificates.push(Certificate {
            id: Some(id.clone()).filter(|id| !id.is_empty()),
            cert: Some(pair.cert),
            key: Some(pair.key),
            tags: tagged.map(|(_, secret)| names::tags_of(*secret)),
            snis: names.into_iter().map(sni).collect(),
            ..Certificate::default()
        });
    }
    certificates.sort_by(|a, b| a.id.cmp(&b.id));
    Certificates { certificates, ids }
}
