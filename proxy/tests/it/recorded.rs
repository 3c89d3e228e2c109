//! Every recorded case of a real Kong against the real binary, each case on its own instance.
//!
//! `proxy/testdata/kong/expected.yaml` lists the cases that do not come out as recorded: those not
//! done yet (`failing`), and those where this gateway differs on purpose (`better`, with the reason).
//! The test is a ratchet in both directions: a listed case that comes out must leave the list.
//! `CASES=name` runs the files whose name begins so and prints what differs.

mod client;
mod echo;
mod observe;

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use client::Failure;
use echo::Upstreams;
use observe::{Ports, Samples, observe};

/// How many cases run at once.
const WORKERS: usize = 6;

/// How many cases that differ among others are run a second time, alone: more than a few are no accident.
const REPEATED_MOST: usize = 5;

/// Which cases do not come out as recorded.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Expected {
    /// Not done yet: names by area.
    failing: BTreeMap<String, Vec<String>>,
    /// Done better: the reason by name, by area.
    better: BTreeMap<String, BTreeMap<String, String>>,
}

impl Expected {
    fn fails(&self, area: &str, name: &str) -> bool {
        self.failing.get(area).is_some_and(|all| all.iter().any(|one| one == name))
            || self.better.get(area).is_some_and(|all| all.contains_key(name))
    }
}

/// A gateway of this test, killed when it is done.
struct Gateway {
    process: Child,
    addresses: HashMap<&'static str, SocketAddr>,
    _prefix: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    /// Whether it is this very process that answers, on all ports.
    fn answers(&self) -> bool {
        let asked = json!({ "path": "/" });
        let Ok(answer) = client::send(self.addresses["admin"], &asked) else { return false };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        body["pids"]["master"] == self.process.id()
            && ["proxy", "tls", "status"]
                .iter()
                .all(|name| std::net::TcpStream::connect(self.addresses[name]).is_ok())
    }

    /// Starts one; another process may take a port between its choice and its use, then others
    /// are chosen.
    fn start(flavor: &str) -> Self {
        for _ in 0..5 {
            if let Some(gateway) = Self::try_start(flavor) {
                return gateway;
            }
        }
        panic!("the gateway did not start");
    }

    fn try_start(flavor: &str) -> Option<Self> {
        let prefix = tempfile::tempdir().unwrap();
        let free: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<SocketAddr> = free.iter().map(|one| one.local_addr().unwrap()).collect();
        drop(free);
        let process = Command::new(env!("CARGO_BIN_EXE_flotilla-proxy"))
            .env("KONG_PREFIX", prefix.path())
            .env("KONG_ROUTER_FLAVOR", flavor)
            .env("KONG_PROXY_LISTEN", format!("{}, {} ssl http2", ports[0], ports[1]))
            .env("KONG_ADMIN_LISTEN", ports[2].to_string())
            .env("KONG_STATUS_LISTEN", ports[3].to_string())
            .env("KONG_LOG_LEVEL", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let names = ["proxy", "tls", "admin", "status"];
        let addresses: HashMap<_, _> = names.into_iter().zip(ports).collect();
        let mut gateway = Self { process, addresses, _prefix: prefix };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !gateway.answers() {
            if Instant::now() >= deadline || gateway.process.try_wait().ok()?.is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(gateway)
    }
}

/// What a case's steps share.
struct Run<'a> {
    gateway: &'a Gateway,
    upstreams: &'a Upstreams,
    ports: Ports,
    samples: Samples,
    jar: HashMap<String, String>,
}

impl Run<'_> {
    /// Waits until the proxy serves the configuration that the Admin API reports.
    fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let asked = json!({ "path": "/status" });
        let probe =
            json!({ "path": "/.flotilla/revision", "headers": { "x-flotilla-probe": "1" } });
        while Instant::now() < deadline {
            let loaded = client::send(self.gateway.addresses["admin"], &asked).ok();
            let loaded = loaded
                .and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok())
                .and_then(|body| body["configuration_hash"].as_str().map(str::to_owned));
            let served = client::send(self.gateway.addresses["proxy"], &probe).ok();
            let served = served.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
            if loaded == served {
                return;
            }
        }
    }

    fn step(&mut self, step: &Value) -> Value {
        if let Some(seconds) = step["sleep"].as_f64() {
            // The recorded case waits for what time does: counters, checks, expiry.
            std::thread::sleep(Duration::from_secs_f64(seconds));
            return Value::Null;
        }
        if let Some(name) = step["sink"].as_str() {
            return self.sink(step, name);
        }
        if step.get("config").is_some() {
            return self.config(step);
        }
        if step.get("admin").is_some() {
            return self.admin(step);
        }
        self.request(step)
    }

    fn config(&mut self, step: &Value) -> Value {
        let text = self.ports.fill(&step["config"]).to_string();
        let request = json!({
            "method": "POST", "path": "/config?flatten_errors=1",
            "headers": { "Content-Type": "text/yaml" }, "body": text,
        });
        match client::send(self.gateway.addresses["admin"], &request) {
            Err(Failure(name)) => json!({ "error": name }),
            Ok(answer) if answer.status == 201 => {
                self.settle();
                json!({ "status": 201 })
            }
            Ok(answer) => {
                let mut step = step.clone();
                if step.get("only_headers").is_none() {
                    step["only_headers"] = json!(["content-type"]);
                }
                observe(answer, &step, &self.ports, &mut self.samples)
            }
        }
    }

    fn admin(&mut self, step: &Value) -> Value {
        let request = self.ports.fill(&step["admin"]);
        let door = if request["listener"] == "status" { "status" } else { "admin" };
        let answer = client::send(self.gateway.addresses[door], &request);
        if step["settle"].as_bool().unwrap_or(false) {
            self.settle();
        }
        let mut step = step.clone();
        if step.get("only_headers").is_none() {
            step["only_headers"] = json!(["content-type", "allow"]);
        }
        match answer {
            Err(Failure(name)) => json!({ "error": name }),
            Ok(answer) => observe(answer, &step, &self.ports, &mut self.samples),
        }
    }

    fn sink(&self, step: &Value, name: &str) -> Value {
        // As many as were recorded: how long they take is the machine's affair. That nothing comes
        // can only be waited for.
        let recorded = step["expect"].as_array().map_or(0, Vec::len);
        let wait = step["wait"].as_f64().unwrap_or(3.0);
        let wait = if recorded == 0 { wait } else { wait.max(20.0) };
        let deadline = Instant::now() + Duration::from_secs_f64(wait);
        let wanted = usize::try_from(step["count"].as_u64().unwrap_or(1)).unwrap().max(recorded);
        let fits = |one: &&Value| step["uri"].is_null() || one["uri"] == step["uri"];
        let mut memory = loop {
            let memory = self.upstreams.memory.lock().unwrap();
            let there = memory.sink.get(name).map_or(0, |all| all.iter().filter(fits).count());
            if there >= wanted || Instant::now() >= deadline {
                break memory;
            }
            drop(memory);
            std::thread::sleep(Duration::from_millis(20));
        };
        let all = memory.sink.remove(name).unwrap_or_default();
        drop(memory);
        let first = step["first"].as_bool().unwrap_or(false);
        let kept = all.iter().filter(fits).take(if first { 1 } else { usize::MAX });
        let names: Vec<&str> = step["with_headers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        kept.map(|one| {
            let body = one["body"].as_str().unwrap_or_default();
            let mut body: Value = serde_json::from_str(body).unwrap_or_default();
            observe::blur(&mut body, &step["types"]);
            let mut out = json!({ "method": one["method"], "uri": one["uri"], "json": body });
            if !names.is_empty() {
                let headers = one["headers"].as_array().into_iter().flatten();
                let headers: Vec<&Value> = headers
                    .filter(|pair| pair[0].as_str().is_some_and(|name| names.contains(&name)))
                    .collect();
                out["headers"] = json!(headers);
            }
            let out = self.ports.json(&out, false);
            if step["pick"].is_array() { observe::pick(&out, &step["pick"]) } else { out }
        })
        .collect()
    }

    fn request(&mut self, step: &Value) -> Value {
        let mut request = self.ports.fill(&step["request"]);
        let proxy = self.gateway.addresses["proxy"];
        let tls = self.gateway.addresses["tls"];
        if request.get("raw").is_some() {
            let (data, closed) = client::raw(proxy, &request);
            if request["answers"].as_bool().unwrap_or(false) {
                let answers = observe::answers(data, step, &request, &self.ports);
                return json!({ "answers": answers, "closed": closed });
            }
            return observe::raw_lines(&data, &self.ports);
        }
        let uses_jar = step["jar"].as_bool().unwrap_or(false);
        let cookies: Vec<String> = self
            .jar
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if uses_jar && !cookies.is_empty() {
            request["headers"]["Cookie"] = json!(cookies.join("; "));
        }
        if request["tls"]["handshake"].as_bool().unwrap_or(false) {
            return client::handshake(tls, &request["tls"]);
        }
        let times = usize::try_from(request["times"].as_u64().unwrap_or(1)).unwrap();
        let variations = request["vary"].as_array().cloned().unwrap_or_else(|| vec![json!({})]);
        let mut all = Vec::new();
        for _ in 0..times {
            for variation in &variations {
                let mut one = request.clone();
                for (name, value) in variation.as_object().into_iter().flatten() {
                    one[name] = value.clone();
                }
                all.push(one);
            }
        }
        let address = if request.get("tls").is_some() { tls } else { proxy };
        let answers: Vec<Result<_, Failure>> = if request["parallel"].as_bool().unwrap_or(false) {
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    all.iter().map(|one| scope.spawn(move || client::send(address, one))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        } else {
            all.iter().map(|one| client::send(address, one)).collect()
        };
        let seen: Vec<Value> =
            answers.into_iter().map(|answer| self.one(answer, step, uses_jar)).collect();
        summary(seen, step)
    }

    fn one(
        &mut self,
        answer: Result<client::Answer, Failure>,
        step: &Value,
        uses_jar: bool,
    ) -> Value {
        match answer {
            Err(Failure(name)) => json!({ "error": name }),
            Ok(mut answer) => {
                if uses_jar {
                    self.keep_cookies(&mut answer);
                }
                observe(answer, step, &self.ports, &mut self.samples)
            }
        }
    }

    /// Keeps the cookies that were set; old and new values become `<cookie>`.
    fn keep_cookies(&mut self, answer: &mut client::Answer) {
        let mut values: Vec<String> =
            self.jar.values().filter(|value| !value.is_empty()).cloned().collect();
        for (name, value) in &answer.headers {
            if name.eq_ignore_ascii_case("set-cookie")
                && let Some((name, value)) = value.split(';').next().and_then(|v| v.split_once('='))
            {
                self.jar.insert(name.to_owned(), value.to_owned());
                values.extend((!value.is_empty()).then(|| value.to_owned()));
            }
        }
        let mask = |text: &str| {
            values.iter().fold(text.to_owned(), |text, value| text.replace(value, "<cookie>"))
        };
        answer.headers.iter_mut().for_each(|(_, value)| *value = mask(value));
        let body: String = answer.body.iter().copied().map(char::from).collect();
        answer.body = mask(&body).chars().map(|letter| letter as u8).collect();
    }
}

/// Several answers in one.
fn summary(mut seen: Vec<Value>, step: &Value) -> Value {
    if seen.len() == 1 {
        return seen.remove(0);
    }
    let mut names: Vec<String> = seen
        .iter()
        .map(|one| match one["upstream"]["upstream"].as_str() {
            Some(name) => name.to_owned(),
            None => one["status"].as_u64().map_or_else(|| "None".into(), |s| s.to_string()),
        })
        .collect();
    match step["count"].as_str() {
        Some("list") => json!({ "targets": names }),
        Some("kinds") => {
            names.sort();
            names.dedup();
            json!({ "kinds": names })
        }
        Some("distinct") => {
            names.sort();
            names.dedup();
            json!({ "distinct": names.len() })
        }
        _ if !matches!(step["count"], Value::Null | Value::Bool(false)) => {
            let mut tally: BTreeMap<String, u64> = BTreeMap::new();
            names.into_iter().for_each(|name| *tally.entry(name).or_default() += 1);
            json!({ "tally": tally })
        }
        _ => {
            let statuses: Vec<Value> = seen.iter().map(|one| one["status"].clone()).collect();
            json!({ "statuses": statuses, "last": seen.pop() })
        }
    }
}

/// Whether two values are the same; 1 and 1.0 are.
fn same(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|b| same(v, b)))
        }
        _ => want == got,
    }
}

/// Runs a case; what differs, step by step.
fn run(case: &Value, upstreams: &Upstreams) -> Vec<String> {
    let gateway = Gateway::start(case["flavor"].as_str().unwrap_or("traditional_compatible"));
    let mut ports: BTreeMap<String, u16> =
        upstreams.ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
    ports.insert("PROXY".into(), gateway.addresses["proxy"].port());
    ports.insert("TLS".into(), gateway.addresses["tls"].port());
    *upstreams.memory.lock().unwrap() = echo::Memory::default();
    let mut run = Run {
        gateway: &gateway,
        upstreams,
        ports: Ports(ports),
        samples: Samples::new(),
        jar: HashMap::new(),
    };
    let mut wrong = Vec::new();
    if let Some(config) = case.get("config") {
        let got = run.step(&json!({ "config": config }));
        if got != json!({ "status": 201 }) && case.get("refused").is_none() {
            return vec![format!("configuration refused: {got}")];
        }
    }
    let steps = case["steps"].as_array().unwrap();
    for (at, step) in steps.iter().enumerate() {
        let got = run.step(step);
        if step.get("sleep").is_some() || case.get("unordered").is_some() {
            continue;
        }
        let want = default_certificate(&step["expect"]);
        if !same(&want, &got) {
            wrong.push(format!("step {at}\n     want {want}\n     got  {got}"));
        }
    }
    wrong
}

/// The certificate that a gateway makes for itself has a name of its own.
fn default_certificate(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("subject=") && text.ends_with("CN = localhost") => {
            json!("<default certificate>")
        }
        Value::Array(all) => all.iter().map(default_certificate).collect(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), default_certificate(value))).collect()
        }
        other => other.clone(),
    }
}

/// All cases with their area.
fn cases(folder: &Path, prefix: &str) -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let area = path.file_stem().unwrap().to_string_lossy().into_owned();
        if area.starts_with(prefix) {
            let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            // Cases that demand fixed ports depend on what else runs on the machine.
            let free = cases.into_iter().filter(|case| case.get("ports").is_none());
            all.extend(free.map(|case| (area.clone(), case)));
        }
    }
    all
}

#[test]
fn recorded_cases_come_out_as_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kong");
    let expected: Expected = match std::fs::read_to_string(folder.join("expected.yaml")) {
        Ok(text) => serde_json::from_value(kong::declarative::yaml(&text).unwrap()).unwrap(),
        Err(_) => Expected::default(),
    };
    let prefix = std::env::var("CASES").unwrap_or_default();
    let cases = cases(&folder, &prefix);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Vec<String>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let upstreams = Upstreams::start(&folder.join("upstream.pem"));
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((_, case)) = cases.get(at) else { return };
                    let wrong = run(case, &upstreams);
                    results.lock().unwrap().push((at, wrong));
                }
            });
        }
    });
    let mut totals: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut failed, mut cured) = (Vec::new(), Vec::new());
    let mut results = results.into_inner().unwrap();
    results.sort();
    let alone = Upstreams::start(&folder.join("upstream.pem"));
    let mut again = 0..REPEATED_MOST;
    for (at, mut wrong) in results {
        let (area, case) = &cases[at];
        let name = case["name"].as_str().unwrap_or_default();
        if !wrong.is_empty() && !expected.fails(area, name) && again.next().is_some() {
            // Timers and retries were recorded on a machine that did nothing else.
            wrong = run(case, &alone);
        }
        let total = totals.entry(area).or_default();
        total.1 += 1;
        total.0 += usize::from(wrong.is_empty());
        match (wrong.is_empty(), expected.fails(area, name)) {
            (true, true) => cured.push(format!("{area}: {name}")),
            (false, false) => failed.push(format!("{area}: {name}\n   {}", wrong.join("\n   "))),
            _ => {}
        }
    }
    for (area, (good, all)) in &totals {
        println!("{good:>4} of {all:>4}  {area}");
    }
    let (good, all) = totals.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{good:>4} of {all:>4}  recorded cases");
    if let Ok(path) = std::env::var("FAILED") {
        // For whoever updates expected.yaml: one failed case a line.
        let names: Vec<&str> =
            failed.iter().map(|one| one.lines().next().unwrap_or_default()).collect();
        std::fs::write(path, names.join("\n") + "\n").unwrap();
    }
    assert!(failed.is_empty(), "not as recorded:\n{}", failed.join("\n"));
    assert!(cured.is_empty(), "as recorded now, take off the list:\n{}", cured.join("\n"));
}
