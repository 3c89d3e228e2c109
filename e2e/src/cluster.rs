//! A Kubernetes on this machine: up, down, and what is left of a crashed one removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::binaries::Binaries;
use crate::command::{finish, run};
use crate::components;
use crate::images;
use crate::netns::Netns;
use crate::place::{DNS_ADDRESS, NODE_ADDRESS, Place};
use crate::{packages, processes};

/// The folders that exist before anything starts.
const FOLDERS: [&str; 8] =
    ["cni", "cni-addresses", "kubelet", "kubelet-pki", "kubelet-plugins", "log/pods", "pid", "pki"];

/// Kubelet puts its plugins' socket here, whatever its root folder is.
const KUBELET_FOLDER: &str = "/var/lib/kubelet";

/// A running cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    place: Place,
    binaries: Binaries,
    netns: Netns,
}

impl Cluster {
    /// Brings a cluster up from nothing and moves the calling thread into its network.
    pub fn up(place: Place) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("a cluster needs root: it makes network namespaces and containers");
        }
        packages::ensure()?;
        let binaries = Binaries::ensure()?;
        remove(&place)?;
        let begun = Instant::now();
        for folder in FOLDERS {
            fs::create_dir_all(place.path(folder))
                .with_context(|| format!("failed to create {folder}"))?;
        }
        if !Path::new(KUBELET_FOLDER).exists() {
            fs::write(place.path("made-kubelet-folder"), "")
                .context("failed to note what is made")?;
        }
        crate::pki::write(&place)?;
        components::configure(&place)?;
        let netns = Netns::named(place.network());
        netns.create()?;
        netns.enter()?;
        let cluster = Self { place, binaries, netns };
        cluster.start()?;
        crate::say(&format!("the node is ready after {:.1} s", begun.elapsed().as_secs_f32()));
        Ok(cluster)
    }

    /// The cluster of `place` when it is running, with the calling thread moved into its network.
    pub fn running(place: Place) -> Result<Option<Self>> {
        let netns = Netns::named(place.network());
        if !netns.exists() || !components::ORDER.iter().all(|name| processes::alive(&place, name)) {
            return Ok(None);
        }
        netns.enter()?;
        Ok(Some(Self { place, binaries: Binaries::ensure()?, netns }))
    }

    fn start(&self) -> Result<()> {
        for name in components::ORDER {
            components::start(&self.place, &self.binaries, name)?;
            match name {
                "kube-apiserver" => self.until("the API server answers", || {
                    self.kubectl(&["get", "--raw=/readyz"], None).map(|answer| answer == "ok")
                })?,
                "containerd" => {
                    self.until("containerd answers", || {
                        images::ctr(&self.place, &["version"]).map(|_| true)
                    })?;
                    images::import(&self.place, &images::pause()?)?;
                }
                _ => {}
            }
        }
        self.kubectl(&["apply", "-f", "-"], Some(&dns_service()))?;
        self.until("the node is ready", || {
            let state = "-o=jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
            self.kubectl(&["get", "nodes", state], None).map(|answer| answer == "True")
        })?;
        self.until("the default service account exists", || {
            self.kubectl(&["get", "serviceaccount", "default"], None).map(|_| true)
        })
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = Command::new(self.binaries.component("kubectl"));
        command.env("KUBECONFIG", self.place.kubeconfig()).args(arguments);
        finish(&mut command, input)
    }

    /// Runs helm as the administrator.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.binaries.helm());
        command
            .env("KUBECONFIG", self.place.kubeconfig())
            .env("HELM_CACHE_HOME", self.place.path("helm/cache"))
            .env("HELM_CONFIG_HOME", self.place.path("helm/config"))
            .env("HELM_DATA_HOME", self.place.path("helm/data"))
            .args(arguments);
        finish(&mut command, None)
    }

    /// The cluster's folder and names.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The programs that the cluster runs on.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The cluster's network.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The two lines that point a shell's kubectl at this cluster.
    #[must_use]
    pub fn shell_lines(&self) -> String {
        format!(
            "export KUBECONFIG={}\nalias kubectl='nsenter --net=/run/netns/{} {}'",
            self.place.kubeconfig().display(),
            self.place.network(),
            self.binaries.component("kubectl").display()
        )
    }

    fn until(&self, what: &str, holds: impl FnMut() -> Result<bool>) -> Result<()> {
        wait(what, Duration::from_secs(120), holds)
            .with_context(|| format!("the logs are in {}", self.place.path("log").display()))
    }
}

/// Waits until `holds` is true, and says with what it failed last when it does not become so.
fn wait(what: &str, patience: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = holds();
        match answer {
            Ok(true) => return Ok(()),
            _ if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(50)),
            Ok(false) => bail!("waited in vain until {what}"),
            Err(error) => return Err(error.context(format!("waited in vain until {what}"))),
        }
    }
}

/// Removes a cluster and every trace of it, whether it runs, is half up, or crashed.
pub fn remove(place: &Place) -> Result<()> {
    let netns = Netns::named(place.network());
    if !place.root().exists() && !netns.exists() {
        return Ok(());
    }
    for name in processes::names(place).iter().filter(|name| *name != "containerd") {
        processes::stop(place, name, Duration::from_secs(2))?;
    }
    if place.path("containerd.toml").exists() && netns.exists() {
        remove_containers(place)?;
    }
    processes::stop(place, "containerd", Duration::from_secs(5))?;
    unmount_below(place)?;
    if place.path("made-kubelet-folder").exists() && Path::new(KUBELET_FOLDER).exists() {
        fs::remove_dir_all(KUBELET_FOLDER).context("failed to remove what kubelet made")?;
    }
    forget_containers(place);
    netns.delete()?;
    if place.root().exists() {
        fs::remove_dir_all(place.root())
            .with_context(|| format!("failed to remove {}", place.root().display()))?;
        // The folder of all clusters stays while there is another one.
        let _ = place.root().parent().map(fs::remove_dir);
    }
    Ok(())
}

/// Ends all tasks through containerd, which is started again when it crashed: it finds its containers by its folder.
fn remove_containers(place: &Place) -> Result<()> {
    if !processes::alive(place, "containerd") {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", place.network()));
        command.args(["containerd", "--config"]).arg(place.path("containerd.toml"));
        processes::start(place, "containerd", &mut command)?;
    }
    wait("containerd answers", Duration::from_secs(30), || {
        images::ctr(place, &["version"]).map(|_| true)
    })?;
    for container in images::ctr(place, &["container", "ls", "-q"])?.lines() {
        // Either may be gone already; what stays is unmounted and removed below.
        let _ = images::ctr(place, &["task", "rm", "-f", container]);
        let _ = images::ctr(place, &["container", "rm", container]);
    }
    Ok(())
}

fn unmount_below(place: &Place) -> Result<()> {
    let root = format!("{}/", place.root().display());
    let mounts = fs::read_to_string("/proc/self/mounts").context("failed to read the mounts")?;
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|target| target.starts_with(&root));
    for target in below.collect::<Vec<_>>().into_iter().rev() {
        // One mount may go together with another.
        let _ = run("umount", &["-l", &target.replace("\\040", " ")]);
    }
    Ok(())
}

/// Removes what kubelet, containerd and the CNI library keep outside the cluster's folder: files that name
/// the folder, and folders that are empty without them.
fn forget_containers(place: &Place) {
    let root = place.root().display().to_string();
    let links_here =
        |path: &Path| fs::read_link(path).is_ok_and(|target| target.starts_with(place.root()));
    let names_root = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(&root));
    for folder in ["/var/log/containers", "/var/lib/cni/results"] {
        let entries =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in entries.filter(|path| links_here(path) || names_root(path)) {
            let _ = fs::remove_file(path);
        }
    }
    let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let groups = groups.map(|controller| controller.path().join("k8s.io"));
    let folders = [
        "/var/log/containers",
        "/var/lib/cni/results",
        "/var/lib/cni",
        "/run/containerd/s",
        "/run/containerd",
    ];
    for folder in folders.into_iter().map(PathBuf::from).chain(groups) {
        // Only an empty folder goes; a control group has files of its own, which do not count.
        let _ = fs::remove_dir(folder);
    }
}

/// A Service without a selector that leads to the DNS server on the node's address.
fn dns_service() -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system}}
spec:
  clusterIP: {DNS_ADDRESS}
  ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: kube-dns, namespace: kube-system, labels: {{kubernetes.io/service-name: kube-dns}}}}
addressType: IPv4
endpoints: [{{addresses: [{NODE_ADDRESS}]}}]
ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
"
    )
}
