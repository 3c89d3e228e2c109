//! New versions under load, and the end of a release.

use anyhow::{Result, ensure};
use e2e::load::Load;
use e2e::product::{Product, RELEASE, items};
use e2e::wait::eventually;

use crate::routing::ingress;

pub(crate) fn under_load(product: &Product) -> Result<()> {
    let namespace = "upgrading";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "loaded", "loaded.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("loaded.example", "/", 200)?;
    let before: Vec<String> = product.pods("proxy")?.into_iter().map(|pod| pod.uid).collect();
    let load = Load::start(product.service()?, "loaded.example", 6)?;
    // A changed annotation replaces every pod, as a new image does.
    let upgraded =
        product.upgrade(&["operator.podAnnotations.round=two", "proxy.podAnnotations.round=two"]);
    let synced = upgraded.and_then(|()| product.wait_for_proxies(3));
    let reached = load.answered() + 200;
    let served = eventually("the load goes on", || {
        ensure!(load.answered() > reached, "{} answered", load.answered());
        Ok(())
    });
    let tally = load.finish()?;
    let pods = synced?;
    served?;
    ensure!(pods.iter().all(|pod| !before.contains(&pod.uid)), "a proxy was not replaced");
    e2e::say(&format!("upgrade under load: {} answered, {} failed", tally.answered, tally.failed));
    ensure!(
        tally.failed == 0,
        "{} of {} requests failed: {:#?}",
        tally.failed,
        tally.answered,
        tally.failures
    );
    product.forget(namespace)
}

pub(crate) fn uninstall(product: &Product) -> Result<()> {
    product.cluster().helm(&["uninstall", RELEASE, "--namespace", RELEASE, "--wait"])?;
    eventually("nothing of the release is left", || {
        let kinds = "all,configmaps,secrets,serviceaccounts,leases,endpointslices,ingresses,roles,rolebindings,\
                     poddisruptionbudgets,proxyfleets,proxyinstances";
        let left = product.read(&[kinds, "--namespace", RELEASE])?;
        let names: Vec<String> = items(&left)
            .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
            .filter(|name| {
                !name.contains("kube-root-ca.crt") && name != "\"ServiceAccount\" \"default\""
            })
            .collect();
        ensure!(names.is_empty(), "{names:?}");
        let cluster = product.read(&["clusterroles,clusterrolebindings,ingressclasses"])?;
        let ours = items(&cluster)
            .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE);
        ensure!(ours.count() == 0, "cluster-wide objects are left");
        Ok(())
    })?;
    let definitions = product.kubectl(&["get", "crds", "-o", "name"])?;
    ensure!(
        definitions.contains("proxyfleets.flotilla.dev"),
        "the definitions are gone: {definitions}"
    );
    // And it can come back.
    product.upgrade(&[])?;
    product.wait_for_proxies(3).map(drop)
}
