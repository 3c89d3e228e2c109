//! Paths, expressions and routers.

use http::HeaderMap;
use proptest::prelude::*;
use proxy_core::route::engine::Engine;
use proxy_core::route::traditional::Traditional;
use proxy_core::route::{Flavor, Lookup, Protocol, Rule, judge};
use proxy_core::uri;
use serde_json::{Value, json};

use super::{config, input, shown};

fn lookup<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Lookup<'a> {
    let home = (std::net::IpAddr::from([127, 0, 0, 1]), 80);
    Lookup {
        protocol: Protocol::Http,
        method: "GET",
        host_header: host,
        host,
        host_port: None,
        path,
        query: "q=x",
        headers,
        sni: None,
        source: home,
        destination: home,
    }
}

fn rule() -> Rule {
    Rule { protocols: [Protocol::Http, Protocol::Https].into_iter().collect(), ..Rule::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_normal_path_stays_normal_and_inside_its_root(path in input("path")) {
        let valid = uri::validate(&path).is_ok();
        let once = uri::normalize(&path);
        prop_assert_eq!(once.first(), Some(&b'/'), "{}", shown(&path));
        let segments: Vec<&[u8]> = once.split(|byte| *byte == b'/').collect();
        if valid && path.first() == Some(&b'/') {
            prop_assert!(!segments.contains(&&b".."[..]), "{}", shown(&path));
            prop_assert!(!segments.contains(&&b"."[..]), "{}", shown(&path));
        }
        let escaped = uri::escape(&uri::lossless(&once));
        prop_assert!(escaped.bytes().all(|byte| byte > b' ' && byte < 0x7f), "{}", shown(&path));
    }

    #[test]
    fn an_expression_is_refused_or_runs(text in input("expression")) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let Value::Object(route) = json!({ "expression": text }) else { unreachable!("it is an object") };
        let rules = [Rule { expression: Some(text.clone()), ..rule() }];
        let judged = judge(&route);
        let compiled = Engine::new(&rules, Flavor::Expressions);
        if judged.is_ok() {
            prop_assert!(compiled.is_ok(), "judged good, cannot run: {text:?}");
        }
        if let Ok(engine) = compiled {
            let headers = HeaderMap::new();
            let lookup = lookup("a.test", "/a/b", &headers);
            prop_assert_eq!(engine.find(&lookup), engine.find_without_index(&lookup), "{:?}", text);
        }
    }

    #[test]
    fn the_index_never_changes_a_routers_answer(text in input("route")) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.split('\n').collect();
        let words = |at: usize| -> Vec<String> {
            let line = lines.get(at).copied().unwrap_or_default();
            line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let rules: Vec<Rule> = words(1)
            .into_iter()
            .enumerate()
            .map(|(at, path)| Rule {
                id: uuid::Uuid::from_u128(at as u128),
                hosts: words(0).into_iter().skip(at % 2).collect(),
                paths: vec![path],
                methods: words(2),
                ..rule()
            })
            .collect();
        let (host, path) = (words(3).concat(), words(4).concat());
        let headers = HeaderMap::new();
        let lookup = lookup(&host, &path, &headers);
        if let Ok(engine) = Engine::new(&rules, Flavor::TraditionalCompatible) {
            prop_assert_eq!(engine.find(&lookup), engine.find_without_index(&lookup), "{:?}", text);
        }
        if let Ok(router) = Traditional::new(&rules) {
            let found = router.find(&lookup);
            prop_assert!(found.is_none_or(|found| found.route < rules.len()));
        }
    }
}
