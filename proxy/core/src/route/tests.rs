//! Laws of the routers.

use http::HeaderMap;
use proptest::prelude::*;
use uuid::Uuid;

use super::engine::Engine;
use super::*;

/// Few words, so that routes and requests meet.
fn host() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "one.test",
        "two.test",
        "a.one.test",
        "*.test",
        "one.*",
        "one.test:81",
    ])
    .prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    let paths =
        vec!["/", "/a", "/a/", "/a/b", "/ab", "~/a", "~/a/[bc]$", "~/(?<x>[a-c]+)", "/a/b/c"];
    prop::sample::select(paths).prop_map(str::to_owned)
}

fn list(item: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(item, 0..3)
}

fn rule() -> impl Strategy<Value = Rule> {
    let methods = prop::collection::vec(prop::sample::select(vec!["GET", "POST"]), 0..2);
    let headers = prop::option::of(prop::sample::select(vec!["1", "2", "~*^[12]$"]));
    (any::<u128>(), list(host()), list(path()), methods, headers, -2_i64..3).prop_map(
        |(id, hosts, paths, methods, header, regex_priority)| Rule {
            id: Uuid::from_u128(id),
            protocols: [Protocol::Http, Protocol::Https].into_iter().collect(),
            methods: methods.into_iter().map(str::to_owned).collect(),
            headers: header
                .map(|value| ("x-a".to_owned(), vec![value.to_owned()]))
                .into_iter()
                .collect(),
            hosts,
            paths,
            regex_priority,
            strip_path: true,
            ..Rule::default()
        },
    )
}

fn expression() -> impl Strategy<Value = Rule> {
    let expressions = vec![
        r#"http.host == "one.test" && http.path ^= "/a""#,
        r#"http.host == "one.test" || http.path == "/a/b""#,
        r#"!(http.path ^= "/a")"#,
        r#"http.path ^= "/a" || http.path ^= "/a/b""#,
        r#"lower(http.path) ^= "/a""#,
        r#"http.path ^= "/" && http.method == "GET""#,
        r#"http.path =^ "/b""#,
        r#"(http.host == "one.test" || http.host == "two.test") && http.path ~ "^/a""#,
        r#"http.host != "one.test""#,
    ];
    (any::<u128>(), prop::sample::select(expressions), 0_u64..3).prop_map(|(id, text, priority)| {
        Rule {
            id: Uuid::from_u128(id),
            protocols: [Protocol::Http, Protocol::Https].into_iter().collect(),
            expression: Some(text.to_owned()),
            priority,
            ..Rule::default()
        }
    })
}

fn check(
    rules: &[Rule],
    flavor: Flavor,
    (host, path, method): (&str, &str, &str),
    header: Option<&str>,
) {
    let engine = Engine::new(rules, flavor).unwrap();
    let mut headers = HeaderMap::new();
    if let Some(value) = header {
        headers.insert("x-a", value.parse().unwrap());
    }
    let lookup = Lookup {
        protocol: Protocol::Http,
        method,
        host_header: host,
        host,
        host_port: None,
        path,
        query: "",
        headers: &headers,
        sni: None,
        source: ([127, 0, 0, 1].into(), 1),
        destination: ([127, 0, 0, 1].into(), 81),
    };
    let sorted = |found: Option<Match>| {
        found.map(|mut found| {
            found.captures.sort();
            found
        })
    };
    assert_eq!(sorted(engine.find(&lookup)), sorted(engine.find_without_index(&lookup)));
}

proptest! {
    #[test]
    fn the_index_never_changes_the_answer_for_classic_routes(
        rules in prop::collection::vec(rule(), 1..12),
        host in prop::sample::select(vec!["one.test", "two.test", "a.one.test", "x.test", ""]),
        path in prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/abc", "/c"]),
        method in prop::sample::select(vec!["GET", "POST"]),
        header in prop::option::of(prop::sample::select(vec!["1", "3"])),
    ) {
        check(&rules, Flavor::TraditionalCompatible, (host, path, method), header);
    }

    #[test]
    fn the_index_never_changes_the_answer_for_expressions(
        rules in prop::collection::vec(expression(), 1..12),
        host in prop::sample::select(vec!["one.test", "two.test", "x.test"]),
        path in prop::sample::select(vec!["/", "/a", "/a/b", "/A/b", "/c"]),
    ) {
        check(&rules, Flavor::Expressions, (host, path, "GET"), None);
    }
}
