//! Which objects are ours: the ingress class by annotation, by field, or by default.

use k8s_openapi::api::networking::v1::Ingress;
use operator_api::kong::IngressClassParametersSpec;

use crate::annotations;
use crate::object::Object;
use crate::options::Options;
use crate::snapshot::Snapshot;

/// The controller's IngressClass, as far as the translation needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Class {
    name: String,
    default: bool,
    /// Its parameters, or the defaults.
    pub(crate) parameters: IngressClassParametersSpec,
}

const PARAMETERS: &str = "IngressClassParameters";

impl Class {
    /// Looks the class up.
    pub(crate) fn of(snapshot: &Snapshot, options: &Options) -> Self {
        let name = options.ingress_class.clone();
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

    /// Whether an object that names its class by annotation is ours.
    pub(crate) fn serves<K: Object>(&self, object: &K) -> bool {
        match object.annotation(annotations::INGRESS_CLASS) {
            Some(named) => named == self.name,
            None => self.default,
        }
    }

    /// Whether a name is that of the class.
    pub(crate) fn is(&self, name: &str) -> bool {
        name == self.name
    }

    /// Whether an Ingress is ours: a class in the annotation beats one in the spec.
    pub(crate) fn serves_ingress(&self, ingress: &Ingress) -> bool {
        let annotation = ingress.annotation(annotations::INGRESS_CLASS);
        if let Some(named) = annotation.filter(|named| !named.is_empty()) {
            return named == self.name;
        }
        match ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref()) {
            Some(named) => named == self.name,
            None => annotation.is_none() && self.default,
        }
    }
}
