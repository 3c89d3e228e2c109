//! What `helm install` makes, and what it looks like.

use anyhow::{Context, Result, ensure};
use e2e::product::{Product, RELEASE, condition, items};
use e2e::wait::eventually;

pub(crate) fn whole(product: &Product) -> Result<()> {
    let proxies = product.wait_for_proxies(3)?;
    let (leader, standing_by) = product.operators()?;
    ensure!(standing_by.len() == 1, "one operator stands by, but there are {}", standing_by.len());
    ensure!(leader.restarts == 0 && standing_by[0].restarts == 0, "an operator was restarted");
    ensure!(proxies.iter().all(|pod| pod.restarts == 0), "a proxy was restarted");
    for instance in product.instances(RELEASE)? {
        ensure!(condition(&instance, "Ready")?.starts_with("True"), "not ready: {instance}");
        ensure!(
            condition(&instance, "IdentityVerified")?.starts_with("True"),
            "not verified: {instance}"
        );
        ensure!(
            instance["status"]["identity"]["mode"] == "Pod",
            "identity is not the pod's: {instance}"
        );
        ensure!(
            instance["metadata"]["ownerReferences"][0]["kind"] == "Pod",
            "not owned by its pod: {instance}"
        );
    }
    eventually("the fleet is ready", || {
        let fleet = product.read(&["proxyfleet", RELEASE, "--namespace", RELEASE])?;
        ensure!(condition(&fleet, "Ready")?.starts_with("True"), "{}", fleet["status"]);
        ensure!(fleet["status"]["summary"] == "3/3", "{}", fleet["status"]);
        Ok(())
    })
}

pub(crate) fn columns(product: &Product) -> Result<()> {
    let table = product.kubectl_here(&["get", "proxyinstances"])?;
    let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(
        head == ["NAME", "FLEET", "READY", "SYNC", "MTLS", "CONFIG", "VERSION", "AGE"],
        "{table}"
    );
    ensure!(table.lines().count() == 4, "{table}");
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        ensure!(cells.len() == 8 && cells[1..5] == [RELEASE, "True", "Synced", "Pod"], "{table}");
    }
    let wide = product.kubectl_here(&["get", "pxi", "-o", "wide"])?;
    let head: Vec<&str> =
        wide.lines().next().unwrap_or_default().split_whitespace().skip(8).collect();
    ensure!(head == ["POD-IP", "NODE", "DESIRED", "CERT-EXPIRES", "MESSAGE"], "{wide}");
    Ok(())
}

pub(crate) fn rights(product: &Product) -> Result<()> {
    let operator = format!("--as=system:serviceaccount:{RELEASE}:{RELEASE}");
    let proxy = format!("--as=system:serviceaccount:{RELEASE}:{RELEASE}-proxy");
    // Beyond its own namespace, where it keeps a Service for each Gateway, it writes no Service.
    let elsewhere =
        ["auth", "can-i", "patch", "services", "--namespace", "default", operator.as_str()];
    ensure!(product.kubectl(&elsewhere).is_err(), "{operator} may patch services in default");
    let asked = [
        (&operator, "create", "secrets"),
        (&operator, "delete", "pods"),
        (&operator, "create", "pods/exec"),
        (&operator, "update", "services"),
        (&operator, "update", "ingresses.networking.k8s.io"),
        (&operator, "create", "clusterroles.rbac.authorization.k8s.io"),
        (&proxy, "get", "secrets"),
        (&proxy, "list", "ingresses.networking.k8s.io"),
    ];
    for (who, verb, what) in asked {
        // kubectl ends with an error when the answer is no.
        let answer = product.kubectl_here(&["auth", "can-i", verb, what, who]);
        ensure!(answer.is_err(), "{who} may {verb} {what}");
    }
    let pods = product.read(&["pods", "--namespace", RELEASE])?;
    for pod in items(&pods) {
        let security = &pod["spec"]["containers"][0]["securityContext"];
        ensure!(
            security["readOnlyRootFilesystem"] == true,
            "{} may write",
            pod["metadata"]["name"]
        );
        ensure!(
            pod["spec"]["securityContext"]["runAsNonRoot"] == true,
            "{} is root",
            pod["metadata"]["name"]
        );
    }
    product
        .kubectl(&[
            "label",
            "--dry-run=server",
            "namespace",
            RELEASE,
            "pod-security.kubernetes.io/enforce=restricted",
        ])
        .map(drop)
}

pub(crate) fn kustomizations(product: &Product) -> Result<()> {
    let stale = e2e::manifests::stale(product.cluster().binaries())?;
    ensure!(stale.is_empty(), "stale, run flotilla-e2e manifests: {stale:?}");
    for name in
        ["admission", "crd", "default", "prometheus", "network-policy", "certmanager", "samples"]
    {
        let folder = format!("{}/../config/{name}", env!("CARGO_MANIFEST_DIR"));
        let built = product
            .kubectl(&["kustomize", &folder])
            .with_context(|| format!("config/{name} is not valid"))?;
        ensure!(built.contains("kind:"), "config/{name} is empty");
        if ["crd", "default", "network-policy", "samples"].contains(&name) {
            product
                .cluster()
                .kubectl(
                    &["apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", "-"],
                    Some(&built),
                )
                .with_context(|| format!("the API server refuses config/{name}"))?;
        }
    }
    Ok(())
}
