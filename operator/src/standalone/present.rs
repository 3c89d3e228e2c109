//! What a person sees: the fleet as a table, one line per convergence, and what is wrong.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use operator_core::fleet::view::{FleetView, InstanceView};
use operator_core::object::ObjectRef;
use operator_core::outcome::Verdict;
use runtime::Shutdown;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ask::Question;
use super::proxies::Entry;
use super::{FLEET, PATIENCE};
use crate::ticks::Ticks;
use crate::translator::{Scene, Translated};

/// Writes one line for people.
pub(super) fn say(line: &str) {
    // A closed terminal must not end the gateways.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The terminal.
#[derive(Debug)]
pub(super) struct Presenter {
    pub(super) view: watch::Receiver<Arc<FleetView>>,
    pub(super) translated: watch::Receiver<Arc<Translated>>,
    pub(super) scenes: watch::Receiver<Option<Scene>>,
    pub(super) entries: Vec<Entry>,
    pub(super) manifests: PathBuf,
    pub(super) ticks: Ticks,
}

impl Presenter {
    /// Shows what happens until shutdown; with `once`, makes one edit and ends.
    pub(super) async fn run(mut self, once: bool, shutdown: Shutdown) -> anyhow::Result<()> {
        if once {
            // Biased: a person who interrupts wants the end.
            return tokio::select! {
                biased;
                () = shutdown.requested() => bail!("interrupted"),
                done = self.once() => done,
            };
        }
        let mut shown = 0;
        let mut problems = BTreeMap::new();
        self.greet();
        loop {
            self.complain(&mut problems);
            let view = Arc::clone(&self.view.borrow_and_update());
            if let Some(number) = converged(&view).filter(|number| *number != shown) {
                self.show_convergence(&view, number);
                if shown == 0 {
                    self.show_table(&view);
                    self.show_requests().await;
                    say("\nedit the manifests and watch; Ctrl-C ends everything");
                }
                shown = number;
            }
            // Biased: the end first.
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                Ok(()) = self.translated.changed() => {}
                Ok(()) = self.view.changed() => {}
            }
        }
    }

    fn greet(&self) {
        say(&format!("reading {}", self.manifests.display()));
        for Entry { name, http, https } in &self.entries {
            say(&format!("{name} at http://{http} and https://{https}"));
        }
    }

    /// One edit, seen through.
    async fn once(&mut self) -> anyhow::Result<()> {
        self.greet();
        let first = self.convergence(0).await?;
        self.complain(&mut BTreeMap::new());
        self.show_table(&self.view.borrow().clone());
        self.show_requests().await;
        let question = self.edit()?;
        say(&format!("\nedit: a new Ingress for {}{}", question.host, question.path));
        self.convergence(first).await?;
        self.show_table(&self.view.borrow().clone());
        for entry in self.entries.clone() {
            let reply = question.ask(entry.http).await;
            let reply = reply.with_context(|| format!("{} did not answer", entry.name))?;
            show_request(&entry, &question, &format!("{} {}", reply.status, reply.line));
            if !reply.status.is_success() {
                bail!("{} does not serve the edit: {}", entry.name, reply.status);
            }
        }
        say("\nall proxies serve the edit");
        Ok(())
    }

    /// Waits until every proxy holds a revision that is newer than `number`.
    async fn convergence(&mut self, number: u64) -> anyhow::Result<u64> {
        let newer = |view: &Arc<FleetView>| converged(view).is_some_and(|it| it > number);
        let mut views = self.view.clone();
        let waiting = timeout(PATIENCE, views.wait_for(newer)).await;
        let Ok(view) = waiting else {
            let view = self.view.borrow().clone();
            self.show_table(&view);
            self.complain(&mut BTreeMap::new());
            for instance in view.instances.values() {
                if let Some(trouble) = &instance.trouble {
                    say(&format!("✗ {}: {}", instance.member.name, trouble.message));
                }
            }
            bail!("the proxies did not converge within {} s", PATIENCE.as_secs());
        };
        let view = Arc::clone(&*view.context("the fleet ended")?);
        let number = converged(&view).unwrap_or_default();
        self.show_convergence(&view, number);
        Ok(number)
    }

    /// Adds an Ingress for a new host, to the backend of one that is there.
    fn edit(&self) -> anyhow::Result<Question> {
        let scene = self.scenes.borrow().clone().context("nothing was read")?;
        let ingress = scene.snapshot.ingresses.iter().find(|it| Question::of(it).is_some());
        let mut ingress = (**ingress.context("no Ingress to take a backend from")?).clone();
        let question = Question { host: "edited.example.test".to_owned(), path: "/".to_owned() };
        ingress.metadata.name = Some("edited".to_owned());
        ingress.metadata.annotations = None;
        if let Some(spec) = &mut ingress.spec {
            spec.tls = None;
            let rule = spec.rules.iter().flatten().find(|rule| rule.host.is_some()).cloned();
            let mut rule = rule.context("no rule to take a backend from")?;
            rule.host = Some(question.host.clone());
            for path in rule.http.iter_mut().flat_map(|http| &mut http.paths).take(1) {
                path.path = Some(question.path.clone());
                path.path_type = "Prefix".to_owned();
            }
            rule.http.iter_mut().for_each(|http| http.paths.truncate(1));
            spec.rules = Some(vec![rule]);
        }
        let text = serde_json::to_string(&ingress)?;
        std::fs::write(self.manifests.join("edited.json"), text)?;
        Ok(question)
    }

    /// Tells what is wrong with objects, once for each problem.
    fn complain(&mut self, told: &mut BTreeMap<ObjectRef, String>) {
        let translated = Arc::clone(&self.translated.borrow_and_update());
        let mut now = BTreeMap::new();
        for outcome in &translated.outcomes {
            let mut message = match &outcome.verdict {
                Verdict::Rejected { reason, message } => format!("{}: {message}", reason.as_str()),
                Verdict::Configured | Verdict::Ignored { .. } => String::new(),
            };
            for warning in &outcome.warnings {
                message.push_str(if message.is_empty() { "" } else { "; " });
                message.push_str(&warning.message);
            }
            if !message.is_empty() {
                now.insert(outcome.object.clone(), message);
            }
        }
        for (object, why) in &translated.excluded {
            now.insert(object.clone(), format!("refused by the proxies: {why}"));
        }
        if let Some(words) = &translated.unexplained {
            say(&format!("✗ the proxies refuse revision {}: {words}", translated.number));
        }
        for (object, message) in &now {
            if told.get(object) != Some(message) {
                say(&format!("✗ {object}: {message}"));
            }
        }
        for object in told.keys().filter(|object| !now.contains_key(*object)) {
            say(&format!("✓ {object}: as it should be"));
        }
        *told = now;
    }

    fn show_convergence(&self, view: &FleetView, number: u64) {
        let lags = view.instances.values().filter_map(|it| it.verified).map(|it| it.lag);
        let (Some(lag), Some(revision)) = (lags.max(), &view.revision) else { return };
        let entities = revision.census.total();
        let count = view.instances.len();
        say(&format!(
            "✓ revision {number} ({entities} entities) on all {count} proxies in {} ms",
            lag.as_millis()
        ));
    }

    /// The columns of `kubectl get proxyinstances`.
    fn show_table(&self, view: &FleetView) {
        let head = ["NAME", "FLEET", "READY", "SYNC", "MTLS", "CONFIG", "VERSION", "AGE"];
        let mut rows = vec![head.map(str::to_owned)];
        let mut instances: Vec<_> = view.instances.values().collect();
        instances.sort_by(|a, b| a.member.name.cmp(&b.member.name));
        rows.extend(instances.into_iter().map(|instance| self.row(instance)));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        say("");
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            say(cells.collect::<Vec<_>>().join("   ").trim_end());
        }
    }

    fn row(&self, instance: &InstanceView) -> [String; 8] {
        use operator_core::fleet::event::IdentityMode;
        use operator_core::fleet::view::Sync;
        let ready = if instance.sync == Sync::Synced { "True" } else { "False" };
        let mtls = match instance.identity.as_ref().map(|identity| identity.mode) {
            Some(IdentityMode::PodBound) => "Pod",
            Some(IdentityMode::Shared) => "Shared",
            Some(IdentityMode::None) | None => "None",
        };
        let config = instance.reported.map_or_else(String::new, |it| it.hash.short());
        let version = instance.node.as_ref().map_or_else(String::new, |node| node.version.clone());
        let age = self.ticks.now().since(instance.found_at).as_secs();
        [
            instance.member.name.to_string(),
            FLEET.1.to_owned(),
            ready.to_owned(),
            instance.sync.to_string(),
            mtls.to_owned(),
            config,
            version,
            format!("{age}s"),
        ]
    }

    /// One request through each proxy.
    async fn show_requests(&self) {
        let scene = self.scenes.borrow().clone();
        let Some(question) = scene.and_then(|scene| Question::from(&scene.snapshot)) else {
            return;
        };
        say("");
        for entry in &self.entries {
            let reply = match question.ask(entry.http).await {
                Ok(reply) => format!("{} {}", reply.status, reply.line),
                Err(error) => format!("{error:#}"),
            };
            show_request(entry, &question, &reply);
        }
    }
}

fn show_request(entry: &Entry, question: &Question, reply: &str) {
    let Question { host, path } = question;
    say(&format!("$ curl -H 'Host: {host}' http://{}{path}   # {}", entry.http, entry.name));
    say(&format!("  {reply}"));
}

/// The revision that every proxy holds.
fn converged(view: &FleetView) -> Option<u64> {
    let number = view.revision.as_ref()?.number;
    view.converged().then_some(number)
}
