//! The parts of Kubernetes: their command lines and their configuration files.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::binaries::Binaries;
use crate::place::{DNS_ADDRESS, NODE_ADDRESS, POD_RANGE, Place, SERVICE_RANGE};
use crate::processes;

/// In the order in which they are started; taken down in the reverse one.
pub const ORDER: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "containerd",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
];

/// Starts one component in the background. The calling thread is in the cluster's namespace.
pub fn start(place: &Place, binaries: &Binaries, name: &str) -> Result<()> {
    let program = if name == "containerd" { "containerd".into() } else { binaries.component(name) };
    let mut command = Command::new(program);
    command.args(arguments(place, name));
    // Kubelet and containerd look for nsenter, mount, nft and their like.
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    processes::start(place, name, &mut command)
}

fn arguments(place: &Place, name: &str) -> Vec<String> {
    let root = place.root().display();
    let text = match name {
        "etcd" => format!(
            "--data-dir={root}/etcd --unsafe-no-fsync --listen-client-urls=http://127.0.0.1:2379
             --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380
             --listen-metrics-urls=http://127.0.0.1:2381 --log-level=warn"
        ),
        "kube-apiserver" => format!(
            "--etcd-servers=http://127.0.0.1:2379 --advertise-address={NODE_ADDRESS} --secure-port=6443
             --cert-dir={root}/pki --tls-cert-file={root}/pki/apiserver.crt
             --tls-private-key-file={root}/pki/apiserver.key --client-ca-file={root}/pki/ca.crt
             --service-account-issuer=https://kubernetes.default.svc.cluster.local
             --service-account-key-file={root}/pki/tokens.pub
             --service-account-signing-key-file={root}/pki/tokens.key
             --service-cluster-ip-range={SERVICE_RANGE} --authorization-mode=Node,RBAC
             --enable-admission-plugins=NodeRestriction --allow-privileged
             --kubelet-client-certificate={root}/pki/apiserver-kubelet.crt
             --kubelet-client-key={root}/pki/apiserver-kubelet.key
             --kubelet-preferred-address-types=InternalIP
             --audit-policy-file={root}/audit.yaml --audit-log-path={root}/log/audit.jsonl"
        ),
        "kube-controller-manager" => format!(
            "--kubeconfig={root}/controller-manager.kubeconfig --leader-elect=false --secure-port=0
             --use-service-account-credentials --service-account-private-key-file={root}/pki/tokens.key
             --root-ca-file={root}/pki/ca.crt --cluster-signing-cert-file={root}/pki/ca.crt
             --cluster-signing-key-file={root}/pki/ca.key --allocate-node-cidrs --cluster-cidr={POD_RANGE}
             --node-cidr-mask-size=24 --service-cluster-ip-range={SERVICE_RANGE}"
        ),
        "kube-scheduler" => format!("--kubeconfig={root}/scheduler.kubeconfig --leader-elect=false --secure-port=0"),
        "kubelet" => format!(
            "--config={root}/kubelet.yaml --kubeconfig={root}/kubelet.kubeconfig --root-dir={root}/kubelet
             --cert-dir={root}/kubelet-pki --hostname-override={} --node-ip={NODE_ADDRESS}",
            place.network()
        ),
        "kube-proxy" => format!("--config={root}/kube-proxy.yaml"),
        "coredns" => format!("-conf {root}/Corefile"),
        "containerd" => format!("--config {root}/containerd.toml"),
        _ => String::new(),
    };
    text.split_whitespace().map(str::to_owned).collect()
}

/// Writes the files that the command lines name.
pub fn configure(place: &Place) -> Result<()> {
    let root = place.root().display();
    let network = place.network();
    let files = [
        ("audit.yaml", AUDIT_POLICY.to_owned()),
        ("resolv.conf", String::new()),
        (
            "kubelet.yaml",
            format!(
                "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {root}/pki/ca.crt}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
clusterDNS: [{DNS_ADDRESS}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{root}/containerd.sock
enforceNodeAllocatable: []
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}}
failCgroupV1: false
failSwapOn: false
fileCheckFrequency: 1h
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
localStorageCapacityIsolation: false
maxPods: 240
nodeStatusReportFrequency: 1m
podLogsDir: {root}/log/pods
registerNode: true
resolvConf: {root}/resolv.conf
serializeImagePulls: false
volumePluginDir: {root}/kubelet-plugins
"
            ),
        ),
        (
            "kube-proxy.yaml",
            format!(
                "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: {root}/kube-proxy.kubeconfig}}
clusterCIDR: {POD_RANGE}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
hostnameOverride: {network}
mode: nftables
nftables: {{minSyncPeriod: 100ms}}
"
            ),
        ),
        (
            "Corefile",
            format!(
                ".:53 {{
  bind {NODE_ADDRESS}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local {{
    kubeconfig {root}/admin.kubeconfig
  }}
  cache 2
}}
"
            ),
        ),
        ("containerd.toml", containerd(place)),
        (
            "cni/10-flotilla.conflist",
            format!(
                r#"{{"cniVersion": "0.4.0", "name": "{network}", "plugins": [
  {{"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {{"type": "host-local", "dataDir": "{root}/cni-addresses", "ranges": [[{{"subnet": "{POD_RANGE}"}}]],
            "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#
            ),
        ),
    ];
    for (name, text) in files {
        fs::write(place.path(name), text).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

fn containerd(place: &Place) -> String {
    let root = place.root().display();
    let image = crate::images::PAUSE;
    format!(
        r#"version = 2
root = "{root}/containerd"
state = "{root}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{root}/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{root}/cni"
"#
    )
}

/// Every write of a service account is on record: the benchmark counts the operator's.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- {level: None, userGroups: ['system:serviceaccounts:kube-system']}
- {level: Metadata, userGroups: ['system:serviceaccounts'], verbs: [create, update, patch, delete, deletecollection]}
- {level: None}
";
