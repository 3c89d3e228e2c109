//! Attachment of routes to Gateways: which parents of a route are ours, which of their listeners admit it, and why not.
//!
//! Listeners of attached ListenerSets count as the Gateway's own. Whether a Gateway and a listener are programmed is
//! either read from the status in the snapshot (offline, and as Kong Ingress Controller does it) or taken for granted
//! (in the operator, which derives that status itself).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};

use crate::gateway_api::{GROUP, Gateway, Listener, ListenerSet, NamespacePolicy, ParentRef};

use super::service::Doors;
use super::{hostname, listener, service};
use crate::object::Object as _;
use crate::options::{GatewayStatusSource, Options};
use crate::snapshot::Snapshot;

/// Why a parent does not take a route; the words of the `Accepted` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No listener has the wanted name or port.
    NoMatchingParent,
    /// Listeners exist, but none admits the route's kind and namespace.
    NotAllowedByListeners,
    /// Listeners admit the route, but have no hostname in common with it.
    NoMatchingListenerHostname,
    /// The Gateway is not programmed.
    Pending,
}

impl Refusal {
    /// The reason of the condition.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::NoMatchingParent => "NoMatchingParent",
            Self::NotAllowedByListeners => "NotAllowedByListeners",
            Self::NoMatchingListenerHostname => "NoMatchingListenerHostname",
            Self::Pending => "Pending",
        }
    }

    /// A sentence for people.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::NoMatchingParent => "the Gateway has no listener of this name or port",
            Self::NotAllowedByListeners => {
                "no listener of the Gateway admits routes of this kind and namespace"
            }
            Self::NoMatchingListenerHostname => {
                "no hostname of the route is also one of the Gateway's listeners"
            }
            Self::Pending => "the Gateway is not programmed yet",
        }
    }
}

/// A listener, and the ListenerSet it comes from, if any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    /// The listener.
    pub(crate) listener: &'a Listener,
    /// Its ListenerSet; nothing for the Gateway's own listeners.
    pub(crate) set: Option<&'a ListenerSet>,
    /// Whether it can serve at all.
    pub(crate) programmed: bool,
    /// Whether routes attach: to one of our own judgement they do, whatever else is wrong with it.
    pub(crate) attaches: bool,
    /// The port of the proxies that its connections come in at, where it has one to itself.
    pub(crate) entrance: Option<u16>,
}

impl Slot<'_> {
    /// Namespace that `Same` and local references mean.
    fn namespace<'a>(&'a self, gateway: &'a Gateway) -> &'a str {
        let own = gateway.metadata.namespace.as_deref();
        let namespace = self.set.map_or(own, |set| set.metadata.namespace.as_deref());
        namespace.unwrap_or_default()
    }
}

/// A Gateway that is ours, with all its listeners.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// The Gateway.
    pub(crate) gateway: &'a Gateway,
    /// Its listeners, and those of its ListenerSets behind them.
    pub(crate) slots: Vec<Slot<'a>>,
    /// Whether it can serve at all.
    pub(crate) programmed: bool,
    /// The entrances of its ports; nothing when it shares the fleet's Service.
    pub(crate) doors: Option<Doors>,
}

/// The Gateways that are ours, and the labels of namespaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways<'a> {
    /// By namespace and name.
    pub(crate) entries: BTreeMap<(&'a str, &'a str), Entry<'a>>,
    /// Labels by name of the namespace.
    pub(crate) namespaces: BTreeMap<&'a str, &'a BTreeMap<String, String>>,
}

/// What attachment needs to know of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteView<'a> {
    /// Its kind.
    pub(crate) kind: &'static str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its parents.
    pub(crate) parents: &'a [ParentRef],
    /// Its hostnames; `None` for kinds that have none.
    pub(crate) hostnames: Option<&'a [String]>,
}

/// One parent of a route that is ours.
#[derive(Clone, Debug)]
pub(crate) struct Attachment<'a> {
    /// The parent as the route names it.
    pub(crate) parent: &'a ParentRef,
    /// Namespace and name of the Gateway.
    pub(crate) gateway: (&'a str, &'a str),
    /// Listeners of the wanted section, whatever their port: what protocols are taken from.
    pub(crate) section: Vec<Slot<'a>>,
    /// The listeners that admit the route, or why none does.
    pub(crate) verdict: Result<Vec<Slot<'a>>, Refusal>,
}

impl<'a> Gateways<'a> {
    /// The parents of a route that are ours, in the order of the spec.
    pub(crate) fn attach(&self, route: RouteView<'a>) -> Vec<Attachment<'a>> {
        let attachment = |parent: &'a ParentRef| {
            let namespace = parent.namespace_or(route.namespace);
            let (entry, slots) = self.slots(parent, namespace)?;
            let gateway = (
                entry.gateway.metadata.namespace.as_deref().unwrap_or_default(),
                entry.gateway.metadata.name.as_deref().unwrap_or_default(),
            );
            let section: Vec<Slot<'a>> = slots
                .into_iter()
                .filter(|slot| parent.section().is_none_or(|name| name == slot.listener.name))
                .collect();
            let verdict = self.admit(entry, parent, &section, route);
            Some(Attachment { parent, gateway, section, verdict })
        };
        route.parents.iter().filter_map(attachment).collect()
    }

    /// The Gateway behind a parent and the listeners that are meant by it.
    fn slots(
        &self,
        parent: &'a ParentRef,
        namespace: &'a str,
    ) -> Option<(&Entry<'a>, Vec<Slot<'a>>)> {
        if parent.is("Gateway") {
            let entry = self.entries.get(&(namespace, parent.name.as_str()))?;
            let own = entry.slots.iter().filter(|slot| slot.set.is_none());
            return Some((entry, own.copied().collect()));
        }
        if !parent.is("ListenerSet") {
            return None;
        }
        let of_set = |slot: &&Slot<'_>| {
            slot.set.is_some_and(|set| {
                set.metadata.namespace.as_deref() == Some(namespace)
                    && set.metadata.name.as_deref() == Some(parent.name.as_str())
            })
        };
        let found =
            self.entries.values().find(|entry| entry.slots.iter().any(|slot| of_set(&slot)))?;
        Some((found, found.slots.iter().filter(of_set).copied().collect()))
    }

    fn admit(
        &self,
        entry: &Entry<'a>,
        parent: &ParentRef,
        section: &[Slot<'a>],
        route: RouteView<'_>,
    ) -> Result<Vec<Slot<'a>>, Refusal> {
        if !entry.programmed {
            return Err(Refusal::Pending);
        }
        let on_port = |slot: &&Slot<'_>| parent.port.is_none_or(|port| port == slot.listener.port);
        let named: Vec<Slot<'a>> = section.iter().filter(on_port).copied().collect();
        let allowed: Vec<Slot<'a>> = named
            .iter()
            .filter(|slot| slot.attaches && self.allows(entry.gateway, slot, route))
            .copied()
            .collect();
        let common = |slot: &&Slot<'_>| match route.hostnames {
            Some(hosts) => hostname::any_common(slot.listener.hostname(), hosts),
            None => true,
        };
        let matching: Vec<Slot<'a>> = allowed.iter().filter(common).copied().collect();
        match (named.is_empty(), allowed.is_empty(), matching.is_empty()) {
            (true, _, _) => Err(Refusal::NoMatchingParent),
            (false, true, _) => Err(Refusal::NotAllowedByListeners),
            (false, false, true) => Err(Refusal::NoMatchingListenerHostname),
            (false, false, false) => Ok(matching),
        }
    }

    fn allows(&self, gateway: &Gateway, slot: &Slot<'_>, route: RouteView<'_>) -> bool {
        supported_kinds(slot.listener).contains(&route.kind)
            && self.contains(
                slot.listener
                    .allowed_routes
                    .as_ref()
                    .and_then(|allowed| allowed.namespaces.as_ref()),
                slot.namespace(gateway),
                route.namespace,
            )
    }

    /// Whether a set of namespaces, as seen from `own`, contains another one. Absent means `Same`.
    pub(crate) fn contains(
        &self,
        policy: Option<&NamespacePolicy>,
        own: &str,
        other: &str,
    ) -> bool {
        match policy.and_then(|policy| policy.from.as_deref()).unwrap_or("Same") {
            "All" => true,
            "Same" => own == other,
            "Selector" => {
                let none = BTreeMap::new();
                let labels = self.namespaces.get(other).copied().unwrap_or(&none);
                let selector = policy.and_then(|policy| policy.selector.as_ref());
                selector.is_some_and(|selector| selects(selector, labels))
            }
            _ => false,
        }
    }
}

/// The kinds of routes that a listener takes: those of its protocol, narrowed by what it allows.
pub(crate) fn supported_kinds(listener: &Listener) -> Vec<&'static str> {
    let mut kinds = protocol_kinds(listener);
    let allowed = listener.allowed_routes.as_ref().map_or(&[][..], |allowed| &allowed.kinds);
    if !allowed.is_empty() {
        kinds.retain(|kind| {
            allowed.iter().any(|entry| {
                entry.kind == *kind && entry.group.as_deref().unwrap_or(GROUP) == GROUP
            })
        });
    }
    kinds
}

/// The kinds of routes that a listener's protocol can carry; none for an unknown protocol.
pub(crate) fn protocol_kinds(listener: &Listener) -> Vec<&'static str> {
    match listener.protocol.as_str() {
        "HTTP" | "HTTPS" => vec!["HTTPRoute", "GRPCRoute"],
        "TLS" => vec!["TLSRoute"],
        "TCP" => vec!["TCPRoute"],
        "UDP" => vec!["UDPRoute"],
        _ => Vec::new(),
    }
}

/// Whether a label selector selects; an operator that is not known selects nothing.
pub(crate) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .as_ref()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let values = expression.values.as_deref().unwrap_or_default();
            match expression.operator.as_str() {
                "In" => value.is_some_and(|value| values.contains(value)),
                "NotIn" => value.is_none_or(|value| !values.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether a status says that its object is programmed in its present form. No status at all is a manifest that no
/// controller has seen: it is taken as it stands.
pub(crate) fn is_programmed(conditions: Option<&[Condition]>, generation: Option<i64>) -> bool {
    let Some(conditions) = conditions.filter(|conditions| !conditions.is_empty()) else {
        return true;
    };
    conditions.iter().any(|condition| {
        let current = match (condition.observed_generation, generation) {
            (Some(seen), Some(generation)) => seen >= generation,
            (Some(_) | None, _) => true,
        };
        condition.type_ == "Programmed" && condition.status == "True" && current
    })
}

impl<'a> Gateways<'a> {
    /// The Gateways of a snapshot whose class is ours.
    pub(crate) fn of(snapshot: &'a Snapshot, options: &Options) -> Self {
        let labels = |namespace: &'a Namespace| {
            Some((namespace.metadata.name.as_deref()?, namespace.metadata.labels.as_ref()?))
        };
        let namespaces = snapshot.namespaces.iter().filter_map(|namespace| labels(namespace));
        let mut gateways = Self { entries: BTreeMap::new(), namespaces: namespaces.collect() };
        for gateway in &snapshot.gateways {
            if controller(snapshot, options, gateway).is_some() {
                let mut entry = match options.gateway_status {
                    GatewayStatusSource::Recorded => recorded(gateway),
                    GatewayStatusSource::Derived => {
                        derived((snapshot, options), &gateways, gateway)
                    }
                };
                entry.doors = service::doors(snapshot, options, gateway);
                if let Some(doors) = &entry.doors {
                    for slot in &mut entry.slots {
                        slot.entrance = doors.get(&service::door(slot.listener)).copied();
                    }
                }
                gateways.entries.insert((gateway.namespace(), gateway.name()), entry);
            }
        }
        gateways
    }
}

/// The name under which we control a Gateway; nothing when its class is another's.
pub(crate) fn controller<'a>(
    snapshot: &'a Snapshot,
    options: &Options,
    gateway: &Gateway,
) -> Option<&'a str> {
    let class = snapshot.gateway_classes.get("", &gateway.spec.gateway_class_name)?;
    let name = &class.spec.controller_name;
    options.serves(class.name(), name).then_some(name)
}

/// Whether a Gateway is served by our controllers, but not by the fleet that these options are for.
pub(crate) fn of_another_fleet(snapshot: &Snapshot, options: &Options, gateway: &Gateway) -> bool {
    let class = snapshot.gateway_classes.get("", &gateway.spec.gateway_class_name);
    class.is_some_and(|class| {
        let controller = &class.spec.controller_name;
        options.gateway_controllers.contains(controller)
            && !options.serves(class.name(), controller)
    })
}

/// A Gateway with its own listeners, as its status has it.
fn recorded(gateway: &Gateway) -> Entry<'_> {
    let generation = gateway.metadata.generation;
    let status = gateway.status.as_ref();
    let slot = |listener| {
        let listener: &Listener = listener;
        let known = status
            .and_then(|status| status.listeners.iter().find(|known| known.name == listener.name));
        let programmed = match known {
            Some(known) => is_programmed(Some(&known.conditions), generation),
            // A controller has looked at the Gateway, and has not said anything about this listener.
            None => status.is_none_or(|status| status.conditions.is_empty()),
        };
        Slot { listener, set: None, programmed, attaches: programmed, entrance: None }
    };
    let conditions = status.map(|status| status.conditions.as_slice());
    Entry {
        gateway,
        slots: gateway.spec.listeners.iter().map(slot).collect(),
        programmed: is_programmed(conditions, generation),
        doors: None,
    }
}

/// A Gateway with its own listeners and those of ListenerSets, as we judge them.
fn derived<'a>(
    (snapshot, options): (&'a Snapshot, &Options),
    gateways: &Gateways<'a>,
    gateway: &'a Gateway,
) -> Entry<'a> {
    let standing = listener::standing(snapshot, gateways, gateway);
    let worth = listener::judge((snapshot, options), gateway, &standing);
    let slots = standing.iter().zip(&worth).map(|(standing, worth)| Slot {
        listener: standing.listener,
        set: standing.set,
        programmed: worth.usable(),
        attaches: true,
        entrance: None,
    });
    let programmed = listener::gateway_fault(gateway).is_none();
    Entry { gateway, slots: slots.collect(), programmed, doors: None }
}
