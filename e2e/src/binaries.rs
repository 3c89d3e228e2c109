//! The two Go programs of a cluster run: all of Kubernetes in one, and helm.
//!
//! Each is built once from a small module in this package and kept outside the work tree, under a name
//! that changes with the module, so that a machine pays for it one time.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Every name that the Kubernetes program answers to.
const COMPONENTS: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "kubectl",
];

const KUBERNETES_VERSION: &str = "v1.35.4";
const HELM_VERSION: &str = "v4.3.1";

/// The folders that hold the built programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    kube: PathBuf,
    helm: PathBuf,
}

impl Binaries {
    /// Builds what the cache does not hold.
    pub fn ensure() -> Result<Self> {
        let kube = Module {
            name: "kube",
            package: ".",
            takes: "six minutes on two cores",
            tags: "selinux,notest,grpcnotrace",
            flags: kubernetes_flags(),
        };
        let helm = Module {
            name: "helm",
            package: "helm.sh/helm/v4/cmd/helm",
            takes: "two and a half minutes on two cores",
            tags: "",
            flags: format!("-X helm.sh/helm/v4/internal/version.version={HELM_VERSION}"),
        };
        let binaries = Self { kube: kube.ensure()?, helm: helm.ensure()? };
        for component in COMPONENTS {
            let link = binaries.kube.join(component);
            if !link.exists() {
                symlink("kube", &link)
                    .with_context(|| format!("failed to link {}", link.display()))?;
            }
        }
        Ok(binaries)
    }

    /// The path of a component of Kubernetes, by its usual name.
    #[must_use]
    pub fn component(&self, name: &str) -> PathBuf {
        self.kube.join(name)
    }

    /// The path of helm.
    #[must_use]
    pub fn helm(&self) -> PathBuf {
        self.helm.join("helm")
    }

    /// The folder of kubectl, for a `PATH`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.kube
    }
}

fn kubernetes_flags() -> String {
    let version = "k8s.io/component-base/version";
    let client = "k8s.io/client-go/pkg/version";
    format!(
        "-X {version}.gitVersion={KUBERNETES_VERSION} -X {version}.gitMajor=1 -X {version}.gitMinor=35 \
         -X {version}.gitTreeState=clean -X {client}.gitVersion={KUBERNETES_VERSION}"
    )
}

/// A Go module of this package and how it is built.
struct Module {
    name: &'static str,
    package: &'static str,
    takes: &'static str,
    tags: &'static str,
    flags: String,
}

impl Module {
    /// The folder with the built program.
    fn ensure(&self) -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.name);
        let folder = cache()?.join(format!("{}-{}", self.name, digest(&source)?));
        let program = folder.join(self.name);
        if program.exists() {
            return Ok(folder);
        }
        crate::say(&format!(
            "building {} into {} ({}, once)",
            self.name,
            folder.display(),
            self.takes
        ));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let unfinished = folder.join(format!(".{}.{}", self.name, std::process::id()));
        let status = Command::new("go")
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .args(["build", "-trimpath", "-tags", self.tags])
            .arg(format!("-ldflags=-s -w {}", self.flags))
            .arg("-o")
            .arg(&unfinished)
            .arg(self.package)
            .stdin(Stdio::null())
            .status()
            .context("failed to start go, which builds Kubernetes and helm")?;
        if !status.success() {
            bail!("failed to build {}: {status}", self.name);
        }
        std::fs::rename(&unfinished, &program)
            .with_context(|| format!("failed to keep {}", program.display()))?;
        Ok(folder)
    }
}

fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("FLOTILLA_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let home = std::env::var_os("HOME")
        .context("failed to find a cache folder: neither FLOTILLA_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/flotilla"))
}

fn digest(source: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let file = source.join(name);
        // The helm module has no program of its own.
        if file.exists() {
            hasher.update(
                std::fs::read(&file)
                    .with_context(|| format!("failed to read {}", file.display()))?,
            );
        }
    }
    Ok(hex::encode(&hasher.finalize()[..6]))
}
