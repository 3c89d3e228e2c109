//! The definitions of Kong's kinds: committed and complete.

use std::path::Path;

use operator_api::{crd_file, crd_yaml, kong};

/// The folders that hold a copy of every definition: for `kubectl apply -k`, and for the chart.
const FOLDERS: [&str; 2] = ["../../crds/kong", "../../charts/flotilla-crds/files/kong"];

#[test]
fn committed_definitions_of_kongs_kinds_are_those_of_the_types() {
    let definitions = kong::crds();
    assert_eq!(definitions.len(), 13);
    for folder in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for crd in &definitions {
            let path = folder.join(crd_file(crd));
            let wanted = crd_yaml(crd).unwrap();
            if std::env::var_os("UPDATE").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &wanted).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, wanted, "{} is stale: run the test with UPDATE=1", path.display());
        }
    }
}
