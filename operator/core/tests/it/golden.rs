//! Our own translations: `testdata/translate/<case>/{in,out,status}.yaml`, each folder name a claim.
//!
//! `# expressions` on the first line asks for expressions, `# gates: NAME=BOOL` switches gates.
//! `UPDATE=1` writes `out.yaml` and `status.yaml` anew.

use std::collections::BTreeMap;
use std::path::Path;

use operator_core::options::{Options, RouterFlavor};
use operator_core::outcome::Verdict;
use operator_core::snapshot::Loader;
use operator_core::translate::{Translation, translate};

fn status(translation: &Translation) -> BTreeMap<String, String> {
    let told = translation.outcomes.iter().map(|outcome| {
        let mut text = match &outcome.verdict {
            Verdict::Configured => "configured".to_owned(),
            Verdict::Rejected { reason, message } => format!("{}: {message}", reason.as_str()),
            Verdict::Ignored { why } => format!("ignored: {why}"),
        };
        for warning in &outcome.warnings {
            text.push_str(&format!("; warning {}: {}", warning.reason.as_str(), warning.message));
        }
        (outcome.object.to_string(), text)
    });
    told.collect()
}

fn check(case: &Path, file: &str, text: &str) {
    let path = case.join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}: UPDATE=1 writes it anew", path.display());
}

#[test]
fn golden_translations_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/translate");
    let mut cases: Vec<_> =
        std::fs::read_dir(root).expect("cases").map(|e| e.expect("an entry").path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let mut loader = Loader::new();
        let text = std::fs::read_to_string(case.join("in.yaml")).expect("in.yaml");
        loader.add("in.yaml", &text);
        let expressions = text.starts_with("# expressions");
        let flavor =
            if expressions { RouterFlavor::Expressions } else { RouterFlavor::Traditional };
        let mut options = Options { flavor, ..Options::default() };
        for list in text.lines().filter_map(|line| line.strip_prefix("# gates: ")) {
            options.gates.assign(list).expect("gates");
        }
        let translation = translate(&loader.finish().0, &options);
        check(&case, "out.yaml", &serde_saphyr::to_string(&translation.config).expect("prints"));
        check(
            &case,
            "status.yaml",
            &serde_saphyr::to_string(&status(&translation)).expect("prints"),
        );
    }
}
