//! The product in a cluster, as a user who has kubectl and helm sees it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::http::{Answer, Client};
use crate::images;
use crate::oci::Image;
use crate::wait::{PATIENCE, eventually, within};

/// The namespace and the name of the release.
pub const RELEASE: &str = "flotilla";

/// The port on which proxies serve plain HTTP, and the one for TLS, in their pods.
const PROXY_PORT: u16 = 8000;
const PROXY_TLS_PORT: u16 = 8443;

/// An installed release and the clients that look at it.
#[derive(Clone, Debug)]
pub struct Product {
    cluster: Cluster,
    client: Client,
    /// The settings that every installation of this product has.
    settings: Vec<String>,
}

/// One of the release's pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its address.
    pub address: IpAddr,
    /// The id of its only container, as containerd knows it.
    pub container: String,
    /// How often its container has been started again.
    pub restarts: u64,
}

impl Product {
    /// Gives the images to the cluster, installs both charts from this tree with helm and waits until the
    /// release is whole.
    pub fn install(cluster: &Cluster, built: &[Image]) -> Result<Self> {
        for image in built {
            images::import(cluster.place(), image)?;
        }
        // This cluster has no load balancers; and a new image under an old name wants new pods.
        let mut settings = vec!["proxy.service.type=ClusterIP".to_owned()];
        for (component, name) in [("operator", images::OPERATOR), ("proxy", images::PROXY)] {
            let image = built.iter().find(|image| image.name == name);
            settings.extend(
                image.map(|image| {
                    format!("{component}.podAnnotations.image=i{}", image.fingerprint())
                }),
            );
        }
        let product =
            Self { cluster: cluster.clone(), client: Client::without_keepalive()?, settings };
        product.define(&[])?;
        product.upgrade(&[])?;
        Ok(product)
    }

    /// Installs or upgrades the chart of definitions with settings, each `name=value`.
    pub fn define(&self, settings: &[&str]) -> Result<()> {
        let chart = chart("flotilla-crds");
        let fixed = ["upgrade", "--install", "flotilla-crds", &chart, "--wait"];
        let settings: Vec<&str> = settings.iter().flat_map(|it| ["--set", it]).collect();
        self.cluster.helm(&[&fixed[..], &settings].concat()).map(drop)
    }

    /// Installs or upgrades the release with more settings, each `name=value`, and waits until it is whole.
    pub fn upgrade(&self, settings: &[&str]) -> Result<()> {
        let all = self.settings.iter().map(String::as_str).chain(settings.iter().copied());
        let settings: Vec<&str> = all.flat_map(|setting| ["--set", setting]).collect();
        let chart = chart("flotilla");
        let place = ["--namespace", RELEASE, "--create-namespace", "--wait", "--timeout=90s"];
        let fixed = [&["upgrade", "--install", RELEASE, &chart], &place[..]].concat();
        self.cluster
            .helm(&[&fixed[..], &settings].concat())
            .map(drop)
            .inspect_err(|_| self.say_state())
    }

    /// The cluster that the release is in.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(arguments, None)
    }

    /// Runs kubectl in the release's namespace.
    pub fn kubectl_here(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["--namespace", RELEASE], arguments].concat(), None)
    }

    /// Applies YAML.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.cluster
            .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(yaml))
    }

    /// Reads one object, or a list, as JSON.
    pub fn read(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("failed to read what kubectl printed")
    }

    /// The live pods of one component, `operator` or `proxy`, in the order of their names.
    pub fn pods(&self, component: &str) -> Result<Vec<Pod>> {
        let selector =
            format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}");
        let list = self.read(&["pods", "--namespace", RELEASE, "--selector", &selector])?;
        let mut pods: Vec<Pod> = items(&list)
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter_map(pod)
            .collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pods)
    }

    /// The operator that holds the lease, and the ones that stand by.
    pub fn operators(&self) -> Result<(Pod, Vec<Pod>)> {
        let lease = self.read(&["lease", RELEASE, "--namespace", RELEASE])?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        let (mut leading, standing_by): (Vec<Pod>, Vec<Pod>) = self
            .pods("operator")?
            .into_iter()
            .partition(|pod| !holder.is_empty() && holder.starts_with(&pod.name));
        let leader = leading
            .pop()
            .with_context(|| format!("no operator holds the lease, but {holder:?}"))?;
        Ok((leader, standing_by))
    }

    /// All ProxyInstances of a namespace.
    pub fn instances(&self, namespace: &str) -> Result<Vec<Value>> {
        let list = self.read(&["proxyinstances", "--namespace", namespace])?;
        Ok(items(&list).cloned().collect())
    }

    /// Waits until the release has exactly `count` proxies, each with an instance that is synced.
    pub fn wait_for_proxies(&self, count: usize) -> Result<Vec<Pod>> {
        // Fifty containers take a while to start on two cores.
        let patience = PATIENCE + Duration::from_secs(8) * u32::try_from(count)?;
        within(patience, &format!("{count} proxies are synced"), || {
            let pods = self.pods("proxy")?;
            let instances = self.instances(RELEASE)?;
            let synced = |pod: &&Pod| {
                instances.iter().any(|instance| {
                    instance["spec"]["pod"]["uid"] == pod.uid.as_str()
                        && instance["status"]["sync"] == "Synced"
                })
            };
            let good = pods.iter().filter(synced).count();
            ensure!(
                pods.len() == count && good == count && instances.len() == count,
                "{} pods, {} instances, {good} synced",
                pods.len(),
                instances.len()
            );
            Ok(pods)
        })
        .inspect_err(|_| self.say_state())
    }

    /// Asks one proxy.
    pub fn ask(&self, pod: &Pod, host: &str, path: &str) -> Result<Answer> {
        self.ask_at(pod, PROXY_PORT, host, path)
    }

    /// Asks one proxy on another port.
    pub fn ask_at(&self, pod: &Pod, port: u16, host: &str, path: &str) -> Result<Answer> {
        self.client.get(SocketAddr::new(pod.address, port), host, path)
    }

    /// Waits until every proxy answers a request with more headers with `status`.
    pub fn wait_for_answer_to(
        &self,
        (host, path): (&str, &str),
        headers: &[(&str, &str)],
        status: u16,
    ) -> Result<()> {
        eventually(&format!("every proxy answers {host}{path} {headers:?} with {status}"), || {
            for pod in self.pods("proxy")? {
                let address = SocketAddr::new(pod.address, PROXY_PORT);
                let answer = self.client.get_with(address, (host, path), headers)?;
                ensure!(
                    answer.status == status,
                    "{} answers {}: {}",
                    pod.name,
                    answer.status,
                    answer.body.trim()
                );
            }
            Ok(())
        })
        .inspect_err(|_| self.say_state())
    }

    /// Asks one proxy over TLS.
    pub fn ask_tls(&self, pod: &Pod, host: &str, path: &str) -> Result<Answer> {
        crate::http::get_tls(SocketAddr::new(pod.address, PROXY_TLS_PORT), host, path)
    }

    /// Waits until every proxy answers a request with `status`.
    pub fn wait_for_answer(&self, host: &str, path: &str, status: u16) -> Result<()> {
        self.wait_for_answer_to((host, path), &[], status)
    }

    /// The address of the Service in front of the proxies.
    pub fn service(&self) -> Result<SocketAddr> {
        let service = self.read(&["service", "flotilla-proxy", "--namespace", RELEASE])?;
        let address =
            service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        Ok(SocketAddr::new(address.parse().context("the Service's address is none")?, 80))
    }

    /// The process of a pod's container, on this machine.
    pub fn process(&self, pod: &Pod) -> Result<i32> {
        let tasks = images::ctr(self.cluster.place(), &["task", "ls"])?;
        let line = tasks.lines().find(|line| line.starts_with(&pod.container));
        let pid =
            line.and_then(|line| line.split_whitespace().nth(1)).and_then(|pid| pid.parse().ok());
        pid.with_context(|| format!("containerd knows no task of {}", pod.name))
    }

    /// A namespace of the scenario's own, with an upstream called `echo` in it.
    pub fn namespace(&self, name: &str) -> Result<()> {
        self.apply(&echo(name)).map(drop)
    }

    /// Removes a scenario's namespace without waiting for the end of it.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.kubectl(&["delete", "namespace", name, "--wait=false", "--ignore-not-found"]).map(drop)
    }

    /// Prints what a person would look at first when something does not come to pass.
    pub fn say_state(&self) {
        let looks: [&[&str]; 5] = [
            &["get", "pods,proxyfleets", "-o", "wide"],
            &["get", "proxyinstances", "-o", "wide"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["logs", "--tail=30", "--prefix", "--selector=app.kubernetes.io/component=operator"],
            &["logs", "--tail=15", "--prefix", "--selector=app.kubernetes.io/component=proxy"],
        ];
        for look in looks {
            crate::say(&self.kubectl_here(look).unwrap_or_else(|error| format!("{error:#}")));
        }
    }
}

/// A chart of this tree.
#[must_use]
pub fn chart(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../charts")
        .join(name)
        .to_string_lossy()
        .into_owned()
}

/// An example of this tree, for scenarios that apply what the documentation shows.
pub fn sample(name: &str) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples").join(name);
    fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
}

/// The items of a list.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn pod(value: &Value) -> Option<Pod> {
    let status = &value["status"];
    let container = &status["containerStatuses"][0];
    Some(Pod {
        name: value["metadata"]["name"].as_str()?.to_owned(),
        uid: value["metadata"]["uid"].as_str()?.to_owned(),
        address: status["podIP"].as_str()?.parse().ok()?,
        container: container["containerID"]
            .as_str()?
            .trim_start_matches("containerd://")
            .to_owned(),
        restarts: container["restartCount"].as_u64()?,
    })
}

/// The condition of an object, as `status reason`.
pub fn condition(object: &Value, kind: &str) -> Result<String> {
    let found = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["type"] == kind);
    let Some(found) = found else {
        bail!("the object has no condition {kind}: {}", object["status"])
    };
    Ok(format!(
        "{} {}",
        found["status"].as_str().unwrap_or_default(),
        found["reason"].as_str().unwrap_or_default()
    ))
}

fn echo(namespace: &str) -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: echo, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: echo}}}}
  template:
    metadata: {{labels: {{app: echo}}}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      containers:
      - name: echo
        image: {}
        imagePullPolicy: Never
        env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{tcpSocket: {{port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: {namespace}}}
spec:
  selector: {{app: echo}}
  ports: [{{name: http, port: 80, targetPort: http}}]
",
        images::ECHO
    )
}
