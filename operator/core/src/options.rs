//! What a translation depends on beside the objects.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The controller name of IngressClasses that are ours.
pub const INGRESS_CONTROLLER: &str = "ingress-controllers.konghq.com/kong";

/// The controller name of GatewayClasses that Kong Ingress Controller served, and we serve too.
pub const KIC_GATEWAY_CONTROLLER: &str = "konghq.com/kic-gateway-controller";

/// The controller name of GatewayClasses that are ours by our own name.
pub const GATEWAY_CONTROLLER: &str = "flotilla.dev/gateway-controller";

/// Settings of a translation. Same snapshot, same options: same configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The ingress classes that are served.
    pub ingress_classes: Vec<String>,
    /// The controller name an IngressClass must carry for its `default` annotation to count.
    pub ingress_controller: String,
    /// The controller names of the GatewayClasses that are served.
    pub gateway_controllers: Vec<String>,
    /// The names of the GatewayClasses that are served; every one of these controllers' when not said.
    pub gateway_classes: Option<Vec<String>>,
    /// Which kind of routes the proxies understand.
    pub flavor: RouterFlavor,
    /// What is switched on.
    pub gates: Gates,
    /// Whether terminating endpoints stay, with weight zero.
    pub drain_support: bool,
    /// The cluster's DNS domain, appended to the names of Services; may be empty.
    pub cluster_domain: String,
    /// The version of Kong that the proxies are, or stand for.
    pub kong_version: Version,
    /// Who says whether Gateways and listeners are programmed.
    pub gateway_status: GatewayStatusSource,
    /// Seconds since 1970, for judging what has expired; without it nothing has.
    pub now: Option<i64>,
    /// What the proxies are.
    pub engine: Engine,
    /// Whether the last good version of a refused object stands in for it.
    pub backfill: bool,
    /// The ports that the proxies keep for Gateways; without them all Gateways share the fleet's Service.
    pub entrances: Option<Entrances>,
}

/// Ports that every proxy of a fleet listens on for Gateways that have a Service of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrances {
    /// The fleet's namespace, in which the Services are made.
    pub namespace: String,
    /// The fleet's name.
    pub fleet: String,
    /// The Service in front of the fleet: those of Gateways are of its type and lead to the same proxies.
    pub service: String,
    /// The ports.
    pub ports: RangeInclusive<u16>,
}

/// What the proxies are. Where Kong Ingress Controller and the specification of Gateway API differ, a fleet of
/// our own proxies follows the specification; stock Kong gets what it always got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Kong, or something that must behave as Kong under its own controller.
    #[default]
    Kong,
    /// Our own proxy.
    Flotilla,
}

/// Who says whether Gateways and listeners are programmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayStatusSource {
    /// The status in the snapshot, which some controller wrote: for translations of manifests. A Gateway
    /// without any condition counts as programmed.
    #[default]
    Recorded,
    /// We do, from the specs alone: for the operator, which writes that status itself.
    Derived,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ingress_classes: vec!["kong".into()],
            ingress_controller: INGRESS_CONTROLLER.into(),
            gateway_controllers: vec![KIC_GATEWAY_CONTROLLER.into(), GATEWAY_CONTROLLER.into()],
            gateway_classes: None,
            flavor: RouterFlavor::Traditional,
            gates: Gates::default(),
            drain_support: false,
            cluster_domain: String::new(),
            kong_version: Version { major: 3, minor: 9, patch: 1 },
            gateway_status: GatewayStatusSource::default(),
            now: None,
            engine: Engine::default(),
            entrances: None,
            backfill: true,
        }
    }
}

impl Options {
    /// The options of an operator that runs: it judges Gateways itself and serves with our own proxies.
    #[must_use]
    pub fn live() -> Self {
        Self {
            gateway_status: GatewayStatusSource::Derived,
            engine: Engine::Flotilla,
            ..Self::default()
        }
    }

    /// Whether a GatewayClass of this name and controller is served.
    #[must_use]
    pub fn serves(&self, class: &str, controller: &str) -> bool {
        self.gateway_controllers.iter().any(|ours| ours == controller)
            && self
                .gateway_classes
                .as_ref()
                .is_none_or(|classes| classes.iter().any(|ours| ours == class))
    }

    /// Whether `gate` is on.
    #[must_use]
    pub fn on(&self, gate: Gate) -> bool {
        self.gates.has(gate)
    }

    /// Whether the proxies know consumer groups: Kong's Enterprise edition does, our own proxy does not. Of a Kong nobody
    /// knows beforehand.
    #[must_use]
    pub fn consumer_groups(&self) -> bool {
        self.engine == Engine::Kong || self.on(Gate::EnterpriseEdition)
    }

    /// Whether routes are written as expressions.
    #[must_use]
    pub fn expressions(&self) -> bool {
        self.flavor == RouterFlavor::Expressions
    }

    /// Whether redirects become the `redirect` plugin, which Kong has since 3.9.
    #[must_use]
    pub fn redirect_plugin(&self) -> bool {
        self.on(Gate::SupportRedirectPlugin)
            && self.kong_version >= Version { major: 3, minor: 9, patch: 0 }
    }
}

/// The two ways in which Kong takes routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouterFlavor {
    /// Hosts, paths, methods, headers and SNIs as lists (`traditional`, `traditional_compatible`).
    #[default]
    Traditional,
    /// One expression with a priority.
    Expressions,
}

/// The value names no known thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    /// No such router flavor.
    #[error("{0:?} is no router flavor: traditional_compatible, traditional or expressions")]
    Flavor(String),
    /// No such gate.
    #[error("{0:?} is no feature gate")]
    Gate(String),
    /// Not of the form NAME=BOOL.
    #[error("{0:?} is not NAME=true or NAME=false")]
    Assignment(String),
    /// Not of the form MAJOR.MINOR[.PATCH].
    #[error("{0:?} is no version: MAJOR.MINOR or MAJOR.MINOR.PATCH")]
    Version(String),
}

impl FromStr for RouterFlavor {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "traditional_compatible" | "traditional" => Ok(Self::Traditional),
            "expressions" => Ok(Self::Expressions),
            _ => Err(InvalidOption::Flavor(text.into())),
        }
    }
}

macro_rules! gates {
    ($($gate:ident, $name:literal, $default:literal, $doc:literal;)*) => {
        /// A behavior that can be switched; the names are Kong Ingress Controller's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Gate {
            $(#[doc = $doc] $gate,)*
        }

        impl Gate {
            /// Every gate.
            pub const ALL: &[Self] = &[$(Self::$gate,)*];

            /// The gate's name, as on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$gate => $name,)* }
            }

            /// Whether the gate is on when nothing is said.
            #[must_use]
            pub const fn default_on(self) -> bool {
                match self { $(Self::$gate => $default,)* }
            }
        }
    };
}

gates! {
    FillIds, "FillIDs", true, "Entities carry ids made from their names.";
    RewriteUris, "RewriteURIs", false, "The annotation `konghq.com/rewrite` is obeyed.";
    KongServiceFacade, "KongServiceFacade", false, "Ingress backends may be KongServiceFacades.";
    KongCustomEntity, "KongCustomEntity", true, "KongCustomEntities are translated.";
    CombinedServices, "CombinedServicesFromDifferentHTTPRoutes", false,
        "HTTPRoutes of a namespace with equal backends share a Kong service.";
    GatewayAlpha, "GatewayAlpha", true, "Alpha versions of Gateway API kinds are read.";
    FallbackConfiguration, "FallbackConfiguration", true,
        "Objects that a proxy refuses are left out with their dependants.";
    FailClosedPlugins, "FailClosedPlugins", true,
        "What names a plugin that is missing, or one that keeps requests out and is broken, answers 503.";
    EnterpriseEdition, "EnterpriseEdition", false, "The proxies are Kong Enterprise.";
    SupportRedirectPlugin, "SupportRedirectPlugin", true, "Redirects become the redirect plugin.";
    ExpressionRoutes, "ExpressionRoutes", false, "Named by recordings; the router flavor decides.";
    SanitizeKonnectConfigDumps, "SanitizeKonnectConfigDumps", true, "Accepted and without effect.";
}

impl FromStr for Gate {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|gate| gate.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| InvalidOption::Gate(text.into()))
    }
}

/// The gates that are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates(BTreeSet<Gate>);

impl Default for Gates {
    fn default() -> Self {
        Self(Gate::ALL.iter().copied().filter(|gate| gate.default_on()).collect())
    }
}

impl Gates {
    /// Whether `gate` is on.
    #[must_use]
    pub fn has(&self, gate: Gate) -> bool {
        self.0.contains(&gate)
    }

    /// Switches `gate`.
    pub fn set(&mut self, gate: Gate, on: bool) {
        if on {
            self.0.insert(gate);
        } else {
            self.0.remove(&gate);
        }
    }

    /// Obeys a list such as `RewriteURIs=true,FillIDs=false`.
    ///
    /// # Errors
    /// When an item names no gate or is no assignment.
    pub fn assign(&mut self, list: &str) -> Result<(), InvalidOption> {
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let invalid = || InvalidOption::Assignment(item.into());
            let (name, value) = item.split_once('=').ok_or_else(invalid)?;
            let on = value.trim().parse().map_err(|_| invalid())?;
            self.set(name.trim().parse()?, on);
        }
        Ok(())
    }
}

/// A version of Kong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible changes.
    pub major: u16,
    /// New features.
    pub minor: u16,
    /// Fixes.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidOption::Version(text.into());
        let bare = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = bare.split('.').map(str::parse::<u16>);
        let mut next = || parts.next().transpose().map_err(|_| invalid());
        let (major, minor, patch) = (next()?, next()?, next()?);
        match (major, minor) {
            (Some(major), Some(minor)) => Ok(Self { major, minor, patch: patch.unwrap_or(0) }),
            (Some(_) | None, Some(_) | None) => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_assigned_by_name() {
        let mut gates = Gates::default();
        assert!(gates.has(Gate::FillIds) && !gates.has(Gate::RewriteUris));
        gates.assign("RewriteURIs=true, FillIDs=false").expect("valid");
        assert!(!gates.has(Gate::FillIds) && gates.has(Gate::RewriteUris));
        assert_eq!(gates.assign("Nonsense=true"), Err(InvalidOption::Gate("Nonsense".into())));
        assert!(gates.assign("FillIDs").is_err());
    }

    #[test]
    fn versions_parse_with_and_without_patch() {
        assert_eq!("3.9".parse(), Ok(Version { major: 3, minor: 9, patch: 0 }));
        assert_eq!("3.4.1.2-enterprise".parse(), Ok(Version { major: 3, minor: 4, patch: 1 }));
        assert!("3".parse::<Version>().is_err());
    }
}
