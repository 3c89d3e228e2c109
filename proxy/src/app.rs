//! The gateway on one page: what it is made of, and how it starts and stops.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::HeaderValue;
use proxy_core::plugin::{Context, Lasting, Secrets, Services};
use runtime::{Shutdown, Tasks, shutdown};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::access_log::AccessLog;
use crate::dns::Dns;
use crate::services::World;
use crate::settings::{Listen, Settings};
use crate::state::{Disk, State};
use crate::tls::{self, Basics};
use crate::upstream::Pool;
use crate::vault::{self, Vaults};
use crate::{admin, entrance, listen, stream};

/// What is counted for `GET /status`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open.
    pub active: AtomicU64,
    /// Requests begun.
    pub requests: AtomicU64,
    /// Choices made by chance.
    pub choices: AtomicU64,
}

/// The gateway.
pub struct Gateway {
    /// How it is set up.
    pub settings: Settings,
    /// The configuration.
    pub state: State,
    /// The last good configuration on disk.
    pub disk: Disk,
    /// Connections to upstreams.
    pub pool: Pool,
    /// Names.
    pub dns: Arc<Dns>,
    /// Requests, written down.
    pub access_log: AccessLog,
    /// Numbers.
    pub counters: Counters,
    /// `flotilla/<version>`.
    pub product: HeaderValue,
    /// This process's id.
    pub node: uuid::Uuid,
    /// What plugins share.
    pub plugins: Context,
    /// What references to secrets mean.
    pub vaults: Arc<Vaults>,
    /// Whether the gateway is going down.
    pub shutdown: Shutdown,
    date: arc_swap::ArcSwap<(u64, HeaderValue)>,
    started: Instant,
}

/// The product's token in Server and Via.
pub(crate) const PRODUCT: &str = concat!("flotilla/", env!("CARGO_PKG_VERSION"));

impl Gateway {
    /// A gateway without configuration.
    pub fn new(settings: Settings, shutdown: Shutdown) -> anyhow::Result<Self> {
        let dns = Arc::new(Dns::new());
        let (verified, unverified) = tls::for_plugins(Arc::new(trusted(&settings)));
        let node = uuid::Uuid::new_v4();
        let services: Arc<dyn Services> = Arc::new(World::new(node, verified, unverified));
        let vaults = Arc::new(Vaults::new(&settings.raw, Arc::clone(&services)));
        let plugins = Context {
            services,
            lasting: Arc::new(Lasting::default()),
            secrets: Arc::clone(&vaults) as Arc<dyn Secrets>,
            tracing: settings.tracing.clone(),
        };
        let basics = Basics {
            default: Arc::new(
                tls::Defaults::new().context("failed to make the default certificate")?,
            ),
            trusted: Arc::new(trusted(&settings)),
            verify: settings.tls_verify,
        };
        let state = State::new(
            settings.flavor,
            plugins.clone(),
            basics,
            (Arc::clone(&dns), Arc::clone(&vaults)),
        )?;
        Ok(Self {
            disk: Disk::new(&settings.prefix),
            access_log: AccessLog::open(settings.access_log.as_deref(), settings.log_json)?,
            settings,
            state,
            pool: Pool::default(),
            dns,
            counters: Counters::default(),
            product: HeaderValue::from_static(PRODUCT),
            node,
            plugins,
            vaults,
            shutdown,
            date: arc_swap::ArcSwap::from_pointee((0, HeaderValue::from_static(""))),
            started: Instant::now(),
        })
    }

    /// The product as text.
    pub fn product_name(&self) -> &'static str {
        PRODUCT
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f32 {
        self.started.elapsed().as_secs_f32()
    }

    /// A number that spreads choices; nothing secret depends on it.
    pub fn chance(&self) -> u64 {
        let step = self.counters.choices.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (step ^ (step >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// The Date header of now, made once a second.
    pub fn date(&self) -> HeaderValue {
        let second = crate::http::now().as_secs();
        let kept = self.date.load();
        if kept.0 == second {
            return kept.1.clone();
        }
        let stamp = jiff::Timestamp::from_second(i64::try_from(second).unwrap_or_default())
            .unwrap_or_default();
        let text = stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        self.date.store(Arc::new((second, value.clone())));
        value
    }

    /// The TLS of a proxy listener: certificates of whatever generation is current.
    pub fn server_config(self: &Arc<Self>, http2: bool) -> Arc<rustls::ServerConfig> {
        self.server_config_for(http2, rustls::server::WebPkiClientVerifier::no_client_auth())
    }

    /// The same, for clients that this verifier takes.
    pub fn server_config_for(
        self: &Arc<Self>,
        http2: bool,
        clients: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    ) -> Arc<rustls::ServerConfig> {
        let gateway = Arc::clone(self);
        Arc::new(tls::server(move || Arc::clone(&gateway.state.current().tls), http2, clients))
    }
}

fn trusted(settings: &Settings) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for path in &settings.trusted_certificates {
        match std::fs::read(path) {
            Ok(pem) => {
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no trusted certificates there");
            }
        }
    }
    roots
}

/// Serves until a signal.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::new();
    let mut tasks = Tasks::new(shutdown.clone());
    let drain = settings.drain;
    let gateway = Arc::new(Gateway::new(settings, shutdown.clone())?);
    admin::load_first(&gateway).await;
    for one in gateway.settings.proxy.clone() {
        let listener =
            listen::bind(&one).with_context(|| format!("failed to listen on {}", one.address))?;
        let (gateway, shutdown) = (Arc::clone(&gateway), shutdown.clone());
        tasks.spawn(format!("proxy {}", one.address), async move {
            listen::proxy(gateway, one, listener, shutdown).await;
            Ok(())
        });
    }
    for one in gateway.settings.stream.clone() {
        start_stream(&gateway, one, &mut tasks, &shutdown).await?;
    }
    for one in gateway.settings.entrances.clone() {
        start_entrance(&gateway, one, &mut tasks, &shutdown).await?;
    }
    admin::start(&gateway, &mut tasks, &shutdown)?;
    let (sweeping, stop) = (Arc::clone(&gateway), shutdown.clone());
    tasks.spawn("idle connections", async move {
        // Biased: a stop wins over a sweep.
        while tokio::select! {
            biased;
            () = stop.requested() => false,
            () = tokio::time::sleep(Duration::from_secs(30)) => true,
        } {
            sweeping.pool.sweep();
        }
        Ok(())
    });
    let (asking, stop) = (Arc::clone(&gateway), shutdown.clone());
    tasks.spawn("secrets", async move {
        // Biased: a stop wins over another question.
        while tokio::select! {
            biased;
            () = stop.requested() => false,
            () = tokio::time::sleep(asking.vaults.refresh().unwrap_or(vault::REFRESH)) => true,
        } {
            if let Err(error) = asking.state.refresh().await {
                tracing::error!(%error, "failed to use changed secrets");
            }
        }
        Ok(())
    });
    tracing::info!(version = PRODUCT, flavor = gateway.settings.flavor.name(), "gateway started");
    let (ended, end) = tokio::sync::oneshot::channel();
    let finish = async move {
        let result = tasks.finish().await;
        // The receiver outlives the race below.
        let _ = ended.send(result);
    };
    shutdown::conduct(&shutdown, drain, finish).await?;
    match end.await {
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(())) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Opens one of the ports of Gateways, for connections and for datagrams.
async fn start_entrance(
    gateway: &Arc<Gateway>,
    one: Listen,
    tasks: &mut Tasks,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let listener =
        listen::bind(&one).with_context(|| format!("failed to listen on {}", one.address))?;
    let (served, stop) = (Arc::clone(gateway), shutdown.clone());
    tasks.spawn(format!("entrance {}", one.address), async move {
        entrance::serve(served, listener, stop).await;
        Ok(())
    });
    start_stream(gateway, Listen { udp: true, ..one }, tasks, shutdown).await
}

async fn start_stream(
    gateway: &Arc<Gateway>,
    one: Listen,
    tasks: &mut Tasks,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (gateway, shutdown) = (Arc::clone(gateway), shutdown.clone());
    let name = format!("stream {}", one.address);
    if one.udp {
        let socket = tokio::net::UdpSocket::bind(one.address).await;
        let socket = socket.with_context(|| format!("failed to listen on {}", one.address))?;
        tasks.spawn(name, async move { Ok(stream::serve_udp(gateway, socket, shutdown).await?) });
    } else {
        let listener =
            listen::bind(&one).with_context(|| format!("failed to listen on {}", one.address))?;
        tasks.spawn(name, async move {
            stream::serve(gateway, one, listener, shutdown).await;
            Ok(())
        });
    }
    Ok(())
}

/// Says whether a file would be accepted.
pub async fn check(settings: &Settings, file: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let gateway = Arc::new(Gateway::new(settings.clone(), Shutdown::new())?);
    let problem = admin::try_text(&gateway, &text).await;
    let (line, code) = match problem {
        None => ("parse successful\n".to_owned(), ExitCode::SUCCESS),
        Some(problem) => (format!("error: {problem}\n"), ExitCode::FAILURE),
    };
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    Ok(code)
}
