//! Configurations and their changes.

use kong::declarative::{Context, Declared, Lenient, decode, patch};
use kong::diff::Delta;
use kong::schema::Flavor;
use proptest::prelude::*;

use super::{config, corpus, input, shown};

fn context() -> Context<'static> {
    Context { now: 1.5, seed: 1, flavor: Flavor::TraditionalCompatible, judge: &Lenient }
}

/// What the changes change.
fn base() -> Declared {
    let text = r#"{"_format_version":"3.0","upstreams":[{"name":"u","targets":[{"target":"10.0.0.1:80"}]}],
        "services":[{"name":"s","host":"u","routes":[{"name":"r","paths":["/"]}]}],"consumers":[{"username":"ann"}]}"#;
    decode(text.as_bytes(), &context()).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_configuration_is_refused_with_reasons_or_is_a_fixed_point(text in input("declarative")) {
        match decode(&text, &context()) {
            Ok(declared) => {
                let again = declared.document().to_string();
                let again = decode(again.as_bytes(), &context());
                prop_assert!(again.is_ok(), "{}", shown(&text));
                prop_assert_eq!(again.unwrap().to_json(), declared.to_json(), "{}", shown(&text));
            }
            Err(rejection) => {
                prop_assert!(rejection.to_json(true).is_object());
                prop_assert!(rejection.to_json(false).is_object());
            }
        }
    }

    #[test]
    fn a_change_gives_what_the_whole_gives(text in input("patch")) {
        let Ok(mut delta) = serde_json::from_slice::<Delta>(&filled(&text)) else { return Ok(()) };
        delta.result = "00000000000000000000000000000001".into();
        let base = base();
        let whole = delta.apply(&base.document()).to_string();
        match (patch(&base, &delta, &context()), decode(whole.as_bytes(), &context())) {
            (Ok(short), Ok(long)) => {
                prop_assert_eq!(short.declared.to_json(), long.to_json(), "{}", shown(&text));
            }
            (Err(_), Err(_)) => {}
            (short, long) => {
                prop_assert!(false, "{} {}: {}", short.is_ok(), long.is_ok(), shown(&text));
            }
        }
    }
}

/// A change with the hashes that every change has.
fn filled(text: &[u8]) -> Vec<u8> {
    let rest = text.strip_prefix(b"{").unwrap_or(text);
    [&br#"{"base":"","result":"","#[..], rest].concat()
}

#[test]
fn the_corpus_of_changes_reaches_the_short_way() {
    let short = |text: &Vec<u8>| {
        let delta: Delta = serde_json::from_slice(&filled(text)).unwrap();
        let delta = Delta { result: "00000000000000000000000000000001".into(), ..delta };
        kong::declarative::amend(&base(), &delta, &context()).is_some()
    };
    assert!(corpus("patch").iter().any(short));
}
