//! What a real Kong Ingress Controller 3.5.13 made of each case, against what we make of it.
//!
//! `testdata/kic/<case>` holds objects and recorded configurations for both flavors. Where we differ on
//! purpose, our own expectation stands beside the recorded one (`ours.traditional.yaml` …) and
//! docs/differences-from-kic.md says why. `testdata/kic/open.txt` lists what is not reached yet, and
//! holds in both directions: a case that passes must leave the list.
//!
//! `CASE=name` prints the differences of one case; `UPDATE=1` writes our expectations anew where they
//! exist already, and the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use operator_core::object::{Kind, Object as _};
use operator_core::options::{Gate, Options, RouterFlavor};
use operator_core::outcome::Verdict;
use operator_core::snapshot::{Loader, Snapshot, is_offered};
use operator_core::translate::{Translation, translate};
use serde_json::Value;

const FLAVORS: [(&str, RouterFlavor); 2] =
    [("traditional", RouterFlavor::Traditional), ("expressions", RouterFlavor::Expressions)];
/// Noon of the day on which the cases were recorded.
const NOW: i64 = 1_795_262_400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kic")
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn yaml(path: &Path) -> Option<Value> {
    read(path).map(|text| serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}")))
}

/// The objects of a case, without those that its recording left out.
pub(crate) fn snapshot(case: &Path) -> Snapshot {
    let mut loader = Loader::new();
    loader.add("in.yaml", &read(&case.join("in.yaml")).expect("in.yaml"));
    let (snapshot, _) = loader.finish();
    let broken = |annotations: Option<&BTreeMap<String, String>>| {
        annotations.and_then(|all| all.get("test.konghq.com/broken")).is_some_and(|v| v == "true")
    };
    let rejected =
        operator_core::fallback::select(&snapshot, |meta| broken(meta.annotations.as_ref()));
    operator_core::fallback::without(&snapshot, &rejected)
}

/// The settings of a case.
pub(crate) fn options(case: &Path, flavor: RouterFlavor) -> Options {
    let mut options = Options { flavor, now: Some(NOW), ..Options::default() };
    let Some(settings) = yaml(&case.join("settings.yaml")) else { return options };
    for (name, value) in settings["feature_flags"].as_object().into_iter().flatten() {
        let gate: Gate = name.parse().unwrap_or_else(|e| panic!("{case:?}: {e}"));
        options.gates.set(gate, value.as_bool().expect("a boolean"));
    }
    if let Some(drain) = settings["enable_drain_support"].as_bool() {
        options.drain_support = drain;
    }
    if let Some(domain) = settings["cluster_domain"].as_str() {
        options.cluster_domain = domain.into();
    }
    if let Some(version) = settings["kong_version"].as_str() {
        options.kong_version = version.parse().expect("a version");
    }
    options
}

/// Orders what has no order, so that texts compare; numbers compare as numbers.
fn canonical(mut value: Value) -> Value {
    sort(&mut value);
    value
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, child) in map.iter_mut() {
                sort(child);
                let unordered = [
                    "services",
                    "routes",
                    "upstreams",
                    "targets",
                    "plugins",
                    "certificates",
                    "snis",
                    "consumers",
                    "consumer_groups",
                    "ca_certificates",
                    "vaults",
                    "consumer_group_consumers",
                    "degraphql_routes",
                ];
                if let Value::Array(items) = child
                    && unordered.contains(&key.as_str())
                {
                    items.sort_by_key(ToString::to_string);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
                #[allow(clippy::cast_possible_truncation)]
                let whole = whole as i64;
                *value = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Lines of the configuration, for showing differences.
fn lines(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, child)| lines(child, &format!("{path}.{key}"), out));
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                let name = ["name", "target", "username", "id", "prefix"]
                    .iter()
                    .find_map(|key| item[*key].as_str())
                    .unwrap_or_default();
                lines(item, &format!("{path}[{name}]"), out);
            }
        }
        other => out.push(format!("{path} = {other}")),
    }
}

fn difference(expected: &Value, actual: &Value) -> String {
    let (mut wanted, mut got) = (Vec::new(), Vec::new());
    lines(expected, "", &mut wanted);
    lines(actual, "", &mut got);
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (wanted.iter().collect(), got.iter().collect());
    let mut text = String::new();
    for line in a.difference(&b) {
        let _ = writeln!(text, "  - {line}");
    }
    for line in b.difference(&a) {
        let _ = writeln!(text, "  + {line}");
    }
    if text.is_empty() {
        text = "  (same lines, other count)\n".into();
    }
    text
}

/// Objects that Kong Ingress Controller reports as failed and we do not.
fn unreported(case: &Path, flavor: &str, translation: &Translation) -> Vec<String> {
    let Some(failures) = yaml(&case.join("failures.yaml")) else { return Vec::new() };
    let mut missing = BTreeSet::new();
    for failure in failures[flavor]["failures"].as_array().into_iter().flatten() {
        for object in failure["objects"].as_array().into_iter().flatten() {
            let (kind, name) = (&object["kind"], &object["name"]);
            let told = translation.outcomes.iter().any(|outcome| {
                *kind == outcome.object.kind.name()
                    && *name == outcome.object.name
                    && (matches!(outcome.verdict, Verdict::Rejected { .. })
                        || !outcome.warnings.is_empty())
            });
            if !told {
                missing.insert(format!("  ! {kind} {name}: {}", failure["message"]));
            }
        }
    }
    missing.into_iter().collect()
}

/// What is wrong with one case in one flavor; nothing if all is well.
fn check(case: &Path, snapshot: &Snapshot, (name, flavor): (&str, RouterFlavor)) -> Option<String> {
    let translation = translate(snapshot, &options(case, flavor));
    let text = serde_json::to_value(&translation.config).expect("serializes");
    let actual = canonical(text.clone());
    let own = case.join(format!("ours.{name}.yaml"));
    if own.exists() && std::env::var_os("UPDATE").is_some() {
        let text = serde_saphyr::to_string(&text).expect("prints");
        std::fs::write(&own, text).expect("written");
    }
    let expected = yaml(&own).or_else(|| yaml(&case.join(format!("{name}.yaml"))));
    let expected = canonical(expected.expect("an expectation"));
    let mut wrong = String::new();
    if expected != actual {
        wrong.push_str(&difference(&expected, &actual));
    }
    let fallback = case.file_name().is_some_and(|n| n.to_string_lossy().starts_with("fallback"));
    if !fallback && !own.exists() {
        for line in unreported(case, name, &translation) {
            let _ = writeln!(wrong, "{line}");
        }
    }
    (!wrong.is_empty()).then(|| format!("{name}:\n{wrong}"))
}

/// The folders of all cases.
pub(crate) fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root()).expect("cases");
    let entries = entries.map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

fn open() -> BTreeSet<String> {
    let text = read(&root().join("open.txt")).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn recorded_cases_are_equal_or_listed() {
    let only = std::env::var("CASE").ok();
    let cases = cases();
    let mut areas: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut failing: BTreeMap<String, String> = BTreeMap::new();
    for case in &cases {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        let snapshot = snapshot(case);
        let wrong: Vec<String> =
            FLAVORS.iter().filter_map(|flavor| check(case, &snapshot, *flavor)).collect();
        let area = name.split('-').next().unwrap_or_default().to_owned();
        let (passed, total) = areas.entry(area).or_default();
        *total += 1;
        if wrong.is_empty() {
            *passed += 1;
        } else {
            failing.insert(name, wrong.join(""));
        }
    }
    let (mut passed, mut total) = (0, 0);
    for (area, (good, all)) in &areas {
        println!("{area:20} {good}/{all}");
        passed += good;
        total += all;
    }
    println!("{:20} {passed}/{total}", "all");
    if only.is_some() || std::env::var_os("SHOW").is_some() {
        for (name, wrong) in &failing {
            println!("== {name}\n{wrong}");
        }
        return;
    }
    let failing: BTreeSet<String> = failing.into_keys().collect();
    if std::env::var_os("UPDATE").is_some() {
        let mut text = String::from(
            "# Recorded cases that are not reached yet, one a line. A case that passes must leave the list.\n",
        );
        failing.iter().for_each(|name| text.push_str(&format!("{name}\n")));
        std::fs::write(root().join("open.txt"), text).expect("written");
    }
    let open = open();
    let broken: Vec<_> = failing.difference(&open).collect();
    let reached: Vec<_> = open.difference(&failing).collect();
    assert!(broken.is_empty(), "no longer as recorded (CASE=name shows it): {broken:?}");
    assert!(reached.is_empty(), "reached, take them off open.txt: {reached:?}");
}

/// Contents of Secrets that nothing refers to are never read, so nothing may depend on them.
#[test]
fn secrets_that_nothing_refers_to_change_nothing() {
    let mut left_out = 0;
    for case in cases() {
        let whole = snapshot(&case);
        let wanted = whole.wanted_secrets();
        let mut kept = BTreeSet::new();
        for secret in &whole.secrets {
            if wanted.contains(&(secret.namespace(), secret.name())) || is_offered(&secret.metadata)
            {
                kept.insert(secret.reference());
            }
        }
        left_out += whole.secrets.len() - kept.len();
        let read = whole.filtered(|object| object.kind != Kind::Secret || kept.contains(object));
        for (_, flavor) in FLAVORS {
            let options = options(&case, flavor);
            let (all, some) = (translate(&whole, &options), translate(&read, &options));
            assert_eq!(all.outcomes, some.outcomes, "{case:?}");
            let json =
                |translation: &Translation| serde_json::to_value(&translation.config).unwrap();
            assert_eq!(json(&all), json(&some), "{case:?}");
        }
    }
    assert!(left_out > 0, "no case holds a Secret that nothing refers to");
}
