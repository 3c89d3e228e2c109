//! `flotilla standalone`: its arguments, and what they mean.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use operator_core::options::Options;

use crate::standalone::{self, Plan};

/// Arguments of `flotilla standalone`.
#[derive(Args, Clone, Debug)]
pub(super) struct StandaloneArgs {
    /// The folder of manifests: Ingresses, Services, Secrets, KongPlugins and so on, as for a cluster.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// How many proxies to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=200))]
    proxies: u16,
    /// The program of the proxy; by default flotilla-proxy beside this program.
    #[arg(long, value_name = "FILE")]
    proxy_bin: Option<PathBuf>,
    /// A Service that stands for something that runs already. Other Services without endpoints get a
    /// small echo server.
    #[arg(long = "upstream", value_name = "NAMESPACE/SERVICE=ADDRESS:PORT", value_parser = upstream)]
    upstreams: Vec<(String, SocketAddr)>,
    /// The ingress class that is served.
    #[arg(long, default_value = "kong", value_name = "CLASS")]
    ingress_class: String,
    /// Makes one edit on a copy of the manifests, shows that every proxy took it, and ends.
    #[arg(long)]
    once: bool,
}

impl StandaloneArgs {
    /// Runs it.
    ///
    /// # Errors
    /// When something could not be started.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { manifests, proxies, proxy_bin, upstreams, ingress_class, once } = self;
        let plan = Plan {
            manifests,
            proxies: usize::from(proxies),
            proxy_program: proxy_bin,
            upstreams: upstreams.into_iter().collect::<BTreeMap<_, _>>(),
            once,
            options: Options { ingress_classes: vec![ingress_class], ..Options::live() },
        };
        standalone::run(plan).await
    }
}

fn upstream(text: &str) -> Result<(String, SocketAddr), String> {
    let wrong = || format!("{text:?} is not NAMESPACE/SERVICE=ADDRESS:PORT");
    let (service, address) = text.split_once('=').ok_or_else(wrong)?;
    let address = address.parse().map_err(|_| wrong())?;
    if service.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(wrong());
    }
    Ok((service.to_owned(), address))
}
