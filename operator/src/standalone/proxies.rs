//! Proxies as processes of this machine: ports, certificates bound to their ids, and their end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt as _;
use futures::future::select_all;
use operator_core::fleet::discovery::Members;
use operator_core::fleet::member::{InstanceId, Member, Presence};
use runtime::Shutdown;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::present::say;
use super::{FLEET, Plan, TRUST_DOMAIN};
use crate::trust::{BuiltIn, Purpose};

/// How long a proxy may finish its requests.
const DRAIN: Duration = Duration::from_secs(5);

/// The pause before a proxy that ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a proxy takes requests.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
}

#[derive(Debug)]
struct Proxy {
    entry: Entry,
    admin: SocketAddr,
    uid: String,
    launch: Launch,
    process: Child,
}

/// How a proxy is started, the first time and again.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    settings: BTreeMap<&'static str, String>,
    log: PathBuf,
}

impl Launch {
    fn spawn(&self) -> anyhow::Result<Child> {
        let Self { program, settings, log } = self;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        Command::new(program)
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))
    }
}

/// The proxies of this machine. They are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Proxies(Vec<Proxy>);

impl Proxies {
    pub(super) async fn start(
        plan: &Plan,
        authorities: &BuiltIn,
        work: &Path,
        now: i64,
    ) -> anyhow::Result<Self> {
        let program = program(plan.proxy_program.as_deref())?;
        let mut proxies = Vec::new();
        for number in 1..=plan.proxies {
            let folder = work.join(format!("proxy-{number}"));
            let proxy = start(&program, number, &folder, authorities, now).await?;
            proxies.push(proxy);
        }
        Ok(Self(proxies))
    }

    /// The proxies as discovery would find them.
    pub(super) fn members(&self) -> Members {
        let member = |proxy: &Proxy| Member {
            id: InstanceId::Pod(proxy.uid.as_str().into()),
            namespace: FLEET.0.into(),
            name: proxy.entry.name.as_str().into(),
            admin: proxy.admin,
            data: Some(proxy.entry.http),
            node: None,
            zone: None,
            service: FLEET.1.into(),
            presence: Presence::Ready,
        };
        self.0.iter().map(member).map(|member| (member.id.clone(), member)).collect()
    }

    /// Where requests go.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(|proxy| proxy.entry.clone()).collect()
    }

    /// Starts again whichever ends, as a kubelet does, until shutdown; then ends them all.
    ///
    /// # Errors
    /// When one cannot be started again.
    pub(super) async fn keep(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        while !self.0.is_empty() {
            let ends = self.0.iter_mut().map(|proxy| proxy.process.wait().boxed());
            // Biased: at the end they are not started again.
            let (ended, index) = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                (ended, index, _) = select_all(ends) => (ended, index),
            };
            let proxy = &mut self.0[index];
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            say(&format!("{} ended ({how}) and is started again", proxy.entry.name));
            sleep(PAUSE).await;
            proxy.process = proxy.launch.spawn()?;
        }
        self.stop().await;
        Ok(())
    }

    /// Ends all of them, and waits for it.
    async fn stop(&mut self) {
        for proxy in &mut self.0 {
            // Without a way to ask in order, and nothing in flight that anyone waits for, they are killed.
            let _ = proxy.process.start_kill();
        }
        for proxy in &mut self.0 {
            let _ = timeout(DRAIN, proxy.process.wait()).await;
        }
    }
}

/// The proxy's program: the given one, or the one beside this program.
fn program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let own = std::env::current_exe().context("failed to find this program's own path")?;
    let beside = own.with_file_name("flotilla-proxy");
    if !beside.is_file() {
        bail!("no flotilla-proxy beside {}; name it with --proxy-bin", own.display());
    }
    Ok(beside)
}

async fn start(
    program: &Path,
    number: usize,
    folder: &Path,
    authorities: &BuiltIn,
    now: i64,
) -> anyhow::Result<Proxy> {
    let name = format!("proxy-{number}");
    let uid = Uuid::new_v4().to_string();
    let [http, https, admin] = free_ports().await?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let purpose = Purpose {
        dns_names: vec![name.clone()],
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        uris: vec![format!("spiffe://{TRUST_DOMAIN}/ns/{}/sa/flotilla-proxy/pod/{uid}", FLEET.0)],
    };
    let leaf = authorities.server_leaf(&purpose, now)?;
    let certificate = write(folder, "tls.crt", leaf.chain.as_bytes())?;
    let key = write(folder, "tls.key", leaf.key.as_bytes())?;
    let clients = write(folder, "clients.crt", authorities.client.bundle().as_bytes())?;
    let settings: BTreeMap<&str, String> = BTreeMap::from([
        ("KONG_PREFIX", folder.display().to_string()),
        ("KONG_PROXY_LISTEN", format!("{http}, {https} http2 ssl")),
        ("KONG_ADMIN_LISTEN", format!("{admin} ssl")),
        ("KONG_STATUS_LISTEN", "off".to_owned()),
        ("KONG_ADMIN_SSL_CERT", certificate.display().to_string()),
        ("KONG_ADMIN_SSL_CERT_KEY", key.display().to_string()),
        ("KONG_NGINX_ADMIN_SSL_CLIENT_CERTIFICATE", clients.display().to_string()),
        ("KONG_NGINX_ADMIN_SSL_VERIFY_CLIENT", "on".to_owned()),
    ]);
    let launch = Launch { program: program.to_owned(), settings, log: folder.join("log") };
    let process = launch.spawn()?;
    Ok(Proxy { entry: Entry { name, http, https }, admin, uid, launch, process })
}

/// Three ports that were free a moment ago.
async fn free_ports() -> anyhow::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All three are held until each is known: otherwise they might be the same.
    let (one, two, three) = (bind().await?, bind().await?, bind().await?);
    Ok([one.local_addr()?, two.local_addr()?, three.local_addr()?])
}

/// Writes a file that only this user may read.
fn write(folder: &Path, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
    std::io::Write::write_all(&mut file, content)?;
    Ok(path)
}
