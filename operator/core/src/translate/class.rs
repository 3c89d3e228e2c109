//! Which objects are ours: the ingress class by annotation, by field, or by default.

use k8s_openapi::api::networking::v1::Ingress;
use operator_api::kong::IngressClassParametersSpec;

use super::rules::Origin;
use crate::annotations;
use crate::object::Object;
use crate::options::Options;
use crate::snapshot::Snapshot;

/// The IngressClasses that are served, as far as the translation needs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes(Vec<Class>);

/// One of them.
#[derive(Clone, Debug, Default)]
struct Class {
    name: String,
    default: bool,
    /// Its parameters, or the defaults.
    parameters: IngressClassParametersSpec,
}

const PARAMETERS: &str = "IngressClassParameters";

/// What a class says that is nowhere.
static NOTHING_SAID: IngressClassParametersSpec =
    IngressClassParametersSpec { service_upstream: false, enable_legacy_regex_detection: false };

impl Classes {
    /// Looks the classes up.
    pub(crate) fn of(snapshot: &Snapshot, options: &Options) -> Self {
        let names = options.ingress_classes.iter();
        Self(names.map(|name| Class::of(snapshot, options, name)).collect())
    }

    /// Whether an object that names its class by annotation is ours.
    pub(crate) fn serves<K: Object>(&self, object: &K) -> bool {
        match object.annotation(annotations::INGRESS_CLASS) {
            Some(named) => self.is(named),
            None => self.default().is_some(),
        }
    }

    /// Whether a name is that of a class.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.0.iter().any(|class| class.name == name)
    }

    /// Whether an Ingress is ours: a class in the annotation beats one in the spec.
    pub(crate) fn serves_ingress(&self, ingress: &Ingress) -> bool {
        match named(ingress) {
            Some(named) => self.is(named),
            None => {
                ingress.annotation(annotations::INGRESS_CLASS).is_none() && self.default().is_some()
            }
        }
    }

    /// The parameters that hold for an Ingress.
    pub(crate) fn parameters(&self, ingress: &Ingress) -> &IngressClassParametersSpec {
        self.said(named(ingress))
    }

    /// The parameters that hold for any other object.
    pub(crate) fn parameters_of(&self, origin: Origin<'_>) -> &IngressClassParametersSpec {
        self.said(origin.annotation(annotations::INGRESS_CLASS))
    }

    /// Whether no class has parameters.
    pub(crate) fn say_nothing(&self) -> bool {
        self.0.iter().all(|class| class.parameters == NOTHING_SAID)
    }

    /// Why an object of another class has no effect; `subject` is what names the class.
    pub(crate) fn unserved(&self, subject: &str) -> String {
        let names: Vec<String> = self.0.iter().map(|class| format!("{:?}", class.name)).collect();
        match names.as_slice() {
            [name] => format!("{subject} is not {name}"),
            _ => format!("{subject} is none of {}", names.join(", ")),
        }
    }

    fn default(&self) -> Option<&Class> {
        self.0.iter().find(|class| class.default)
    }

    fn said(&self, named: Option<&str>) -> &IngressClassParametersSpec {
        let found = named.and_then(|named| self.0.iter().find(|class| class.name == named));
        let class = found.or_else(|| self.default()).or_else(|| self.0.first());
        class.map_or(&NOTHING_SAID, |class| &class.parameters)
    }
}

/// The class that an Ingress names.
fn named(ingress: &Ingress) -> Option<&str> {
    let annotation = ingress.annotation(annotations::INGRESS_CLASS);
    let spec = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    annotation.filter(|named| !named.is_empty()).or(spec)
}

impl Class {
    fn of(snapshot: &Snapshot, options: &Options, name: &str) -> Self {
        let name = name.to_owned();
        let Some(class) = snapshot.ingress_classes.get("", &name) else {
            return Self { name, ..Self::default() };
        };
        let spec = class.spec.as_ref();
        let ours = spec.and_then(|spec| spec.controller.as_deref())
            == Some(options.ingress_controller.as_str());
        let default = ours && class.annotation(annotations::DEFAULT_CLASS) == Some("true");
        let parameters = spec.and_then(|spec| spec.parameters.as_ref()).filter(|reference| {
            reference.kind == PARAMETERS
                && reference.api_group.as_deref() == Some(operator_api::kong::GROUP)
                && reference.scope.as_deref() == Some("Namespace")
        });
        let parameters = parameters.and_then(|reference| {
            let namespace = reference.namespace.as_deref().unwrap_or_default();
            snapshot.ingress_class_parameters.get(namespace, &reference.name)
        });
        let parameters = parameters.map(|found| found.spec.clone()).unwrap_or_default();
        Self { name, default, parameters }
    }
}
