//! KongConsumer and KongConsumerGroup, and the credentials in Secrets.

mod credential;

use std::collections::BTreeMap;

use kong::model::{Consumer, ConsumerGroup, ConsumerGroupConsumer, Reference};
use operator_api::kong::KongConsumer;

use super::Context;
use super::rules::Origin;
use crate::names::{self, Named};
use crate::object::{Object as _, ObjectRef};
use crate::options::Gate;
use crate::outcome::Reason;
use credential::{Claim, Found};

/// Consumers and groups, each with the object behind it.
#[derive(Debug, Default)]
pub(super) struct Consumers<'a> {
    consumers: Vec<(Consumer, Origin<'a>)>,
    groups: Vec<(ConsumerGroup, Origin<'a>)>,
    memberships: Vec<ConsumerGroupConsumer>,
}

/// The entities of [`Consumers`].
pub(super) type Entities = (Vec<Consumer>, Vec<ConsumerGroup>, Vec<ConsumerGroupConsumer>);

impl<'a> Consumers<'a> {
    /// How plugins name each consumer.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, Origin<'a>)> + '_ {
        self.consumers.iter().map(|(consumer, origin)| (key(consumer), *origin))
    }

    /// How plugins name each group.
    pub(super) fn groups(&self) -> impl Iterator<Item = (String, Origin<'a>)> + '_ {
        self.groups.iter().map(|(group, origin)| (group.name.clone().unwrap_or_default(), *origin))
    }

    /// The entities.
    pub(super) fn entities(self) -> Entities {
        let Self { consumers, groups, memberships } = self;
        let consumers = consumers.into_iter().map(|(consumer, _)| consumer).collect();
        (consumers, groups.into_iter().map(|(group, _)| group).collect(), memberships)
    }
}

fn username(object: &KongConsumer) -> Option<&str> {
    object.username.as_deref().filter(|name| !name.is_empty())
}

fn custom_id(object: &KongConsumer) -> Option<&str> {
    object.custom_id.as_deref().filter(|id| !id.is_empty())
}

fn key(consumer: &Consumer) -> String {
    consumer.username.clone().or_else(|| consumer.custom_id.clone()).unwrap_or_default()
}

/// Translates all consumers and groups of the class.
pub(super) fn consumers<'a>(ctx: &mut Context<'a>) -> Consumers<'a> {
    let mut all = Consumers { groups: groups(ctx), ..Consumers::default() };
    let mut names: BTreeMap<String, ObjectRef> = BTreeMap::new();
    let mut claims: BTreeMap<Claim, (ObjectRef, ObjectRef)> = BTreeMap::new();
    for object in ctx.snapshot.kong_consumers.oldest_first() {
        let object: &'a KongConsumer = object;
        if !ctx.class.serves(object) {
            let why = ctx.class.unserved("its class");
            ctx.outcomes.ignore(object.reference(), why);
            continue;
        }
        if username(object).is_none() && custom_id(object).is_none() {
            let message = "no username or custom_id specified";
            ctx.outcomes.fail(object.reference(), Reason::Invalid, message);
            continue;
        }
        if let Some(username) = username(object) {
            if let Some(winner) = names.get(username) {
                let message = format!("username {username:?} is taken: {winner} is older");
                ctx.outcomes.fail(object.reference(), Reason::Conflicted, message);
                continue;
            }
            names.insert(username.to_owned(), object.reference());
        }
        let consumer = consumer(ctx, object, &mut claims);
        memberships(ctx, object, &consumer, &mut all);
        all.consumers.push((consumer, Origin::of(object)));
        ctx.outcomes.configured(Origin::of(object));
    }
    all
}

fn groups<'a>(ctx: &mut Context<'a>) -> Vec<(ConsumerGroup, Origin<'a>)> {
    let mut groups: Vec<(ConsumerGroup, Origin<'a>)> = Vec::new();
    let mut names: BTreeMap<&'a str, ObjectRef> = BTreeMap::new();
    for object in ctx.snapshot.kong_consumer_groups.oldest_first() {
        if !ctx.class.serves(&**object) {
            let why = ctx.class.unserved("its class");
            ctx.outcomes.ignore(object.reference(), why);
            continue;
        }
        if !ctx.options.consumer_groups() {
            let message = "consumer groups need Kong's Enterprise edition; the plugin acl tells groups of consumers apart";
            ctx.outcomes.fail(object.reference(), Reason::UnsupportedValue, message);
            continue;
        }
        if let Some(winner) = names.get(object.name()) {
            let message = format!("the name {:?} is taken: {winner} is older", object.name());
            ctx.outcomes.fail(object.reference(), Reason::Conflicted, message);
            continue;
        }
        names.insert(object.name(), object.reference());
        let group = ConsumerGroup {
            id: ctx
                .options
                .on(Gate::FillIds)
                .then(|| names::id(Named::ConsumerGroup, object.name())),
            name: Some(object.name().to_owned()),
            tags: Some(names::tags_of(&**object)),
            ..ConsumerGroup::default()
        };
        groups.push((group, Origin::of(&**object)));
        ctx.outcomes.configured(Origin::of(object));
    }
    groups
}

fn memberships<'a>(
    ctx: &mut Context<'a>,
    object: &KongConsumer,
    consumer: &Consumer,
    all: &mut Consumers<'a>,
) {
    for name in object.consumer_groups.iter().flatten() {
        let namespace = object.namespace();
        let known = ctx.find(|all| &all.kong_consumer_groups, namespace, name);
        if known.is_none_or(|group| !ctx.class.serves(&**group)) {
            let message = format!(
                "nonexistent consumer group: \"KongConsumerGroup {namespace}/{name} not found\""
            );
            ctx.outcomes.fail(object.reference(), Reason::RefNotFound, message);
            continue;
        }
        if !ctx.options.consumer_groups() {
            let message =
                format!("is in no group {name:?}: consumer groups need Kong's Enterprise edition");
            ctx.outcomes.warn(object.reference(), Reason::UnsupportedValue, message);
            continue;
        }
        all.memberships.push(ConsumerGroupConsumer {
            consumer: Some(Reference::from(key(consumer))),
            consumer_group: Some(Reference::from(name.as_str())),
            ..ConsumerGroupConsumer::default()
        });
    }
}

fn consumer<'a>(
    ctx: &mut Context<'a>,
    object: &'a KongConsumer,
    claims: &mut BTreeMap<Claim, (ObjectRef, ObjectRef)>,
) -> Consumer {
    let id = username(object).filter(|_| ctx.options.on(Gate::FillIds));
    let mut consumer = Consumer {
        id: id.map(|username| names::id(Named::Consumer, username)),
        username: username(object).map(str::to_owned),
        custom_id: custom_id(object).map(str::to_owned),
        tags: Some(names::tags_of(object)),
        ..Consumer::default()
    };
    let namespace = object.namespace();
    for name in object.credentials.iter().flatten() {
        let refuse = |ctx: &mut Context<'a>, reason, message: String| {
            let message = format!("credential {name:?} failure: {message}");
            ctx.outcomes.fail(object.reference(), reason, message);
        };
        let Some(secret) = ctx.find(|all| &all.secrets, namespace, name) else {
            let message = format!("Failed to fetch secret: Secret {namespace}/{name} not found");
            refuse(ctx, Reason::RefNotFound, message);
            continue;
        };
        match credential::read(secret) {
            Ok(Found { credential, claim, notes }) => {
                for note in notes {
                    let message = format!("credential {name:?} failure: {note}");
                    ctx.outcomes.warn(object.reference(), Reason::Invalid, message);
                }
                if let Some(claim) = claim {
                    if let Some(winner) = claims.get(&claim).cloned() {
                        conflict(ctx, &claim, (object.reference(), secret.reference()), winner);
                        continue;
                    }
                    claims.insert(claim, (object.reference(), secret.reference()));
                }
                credential.add(&mut consumer);
                ctx.outcomes.configured(Origin::of(secret));
            }
            Err(message) => refuse(ctx, Reason::Invalid, message),
        }
    }
    consumer
}

fn conflict(
    ctx: &mut Context<'_>,
    claim: &Claim,
    (consumer, secret): (ObjectRef, ObjectRef),
    (winner, kept): (ObjectRef, ObjectRef),
) {
    let index = claim.index();
    let message = format!(
        "Consumer has conflicting credentials: conflict detected in {index:?} index; {winner} is older and keeps the credential"
    );
    ctx.outcomes.fail(consumer.clone(), Reason::Conflicted, message);
    let message = format!(
        "Secret has conflicting credential: conflict detected in {index:?} index; {winner} is older and keeps the credential"
    );
    ctx.outcomes.fail(secret.clone(), Reason::Conflicted, message);
    if kept != secret {
        let message =
            format!("{secret} claims the same credential: conflict detected in {index:?} index");
        ctx.outcomes.warn(kept, Reason::Conflicted, message);
    }
    if winner != consumer {
        let message = format!(
            "{consumer} claims a credential of this consumer: conflict detected in {index:?} index"
        );
        ctx.outcomes.warn(winner, Reason::Conflicted, message);
    }
}
