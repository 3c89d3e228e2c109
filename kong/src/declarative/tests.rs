//! The two ways of decoding make the same of a configuration.

use super::*;

fn context(flavor: Flavor) -> Context<'static> {
    Context { now: 1.5, seed: 7, flavor, judge: &Lenient }
}

#[derive(Default, Debug, PartialEq)]
struct Reaped(BTreeMap<(&'static str, String), Map<String, Value>>);

impl Harvest for Reaped {
    fn reap(&mut self, kind: &'static str, entity: Map<String, Value>) {
        let id = entity.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.0.insert((kind, id), entity);
    }

    fn start_over(&mut self) {
        self.0.clear();
    }
}

/// Decodes both ways; says whether the short one sufficed.
fn check(text: &str) -> bool {
    let mut streamed = false;
    for flavor in [Flavor::Traditional, Flavor::TraditionalCompatible, Flavor::Expressions] {
        let (mut short, mut long) = (Reaped::default(), Reaped::default());
        let one = stream::decode(text.as_bytes(), &context(flavor), &mut short);
        streamed |= one.is_some();
        let Some(one) = one else { continue };
        let Ok(other) = thorough(text.as_bytes(), &context(flavor), &mut long) else {
            panic!("only the short way takes {text}");
        };
        assert_eq!(one.to_json(), other.to_json(), "{text}");
        assert_eq!(short, long, "{text}");
    }
    streamed
}

#[test]
fn plain_configurations_are_decoded_in_one_pass_to_the_same_entities() {
    for body in [
        "",
        r#","services":[{"name":"s","url":"http://a:81/b","routes":[{"name":"r","paths":["/a"]},{"hosts":["b"],"paths":["~/x\\d"]}]}]"#,
        r#","services":[{"host":"a","routes":[{"paths":["/a"],"plugins":[{"name":"key-auth"}]}],"name":"s","plugins":[{"name":"cors"}]}]"#,
        r#","routes":[{"name":"r","paths":["/a"],"service":"s"}],"services":[{"name":"s","host":"a"}]"#,
        r#","services":[{"id":"0855b320-0dd2-547d-891d-601e9b38647f","host":"a"}],"routes":[{"paths":["/a"],"service":{"id":"0855b320-0dd2-547d-891d-601e9b38647f"}}]"#,
        r#","routes":[{"paths":["/a"],"service":"0855b320-0dd2-547d-891d-601e9b38647f"}],"services":[{"id":"0855b320-0dd2-547d-891d-601e9b38647f","host":"a"}]"#,
        r#","upstreams":[{"name":"u","hash_on":"ip","targets":[{"target":"10.0.0.1"},{"target":"[::1]:80","weight":3}]}]"#,
        r#","consumers":[{"username":"ann","custom_id":"1","keyauth_credentials":[{"key":"k"},{}],"basicauth_credentials":[{"username":"ann","password":"p"}],"acls":[{"group":"g"}]},{"username":"bob"}]"#,
        r#","_transform":false,"consumers":[{"username":"ann","basicauth_credentials":[{"username":"ann","password":"p"}]}]"#,
        r#","plugins":[{"name":"rate-limiting","config":{"minute":5,"policy":"redis","redis_host":"h"}}],"vaults":[{"name":"env","prefix":"mine"}]"#,
        r#","consumer_groups":[{"name":"g"}],"consumers":[{"username":"ann","groups":[{"name":"g"}]}]"#,
    ] {
        let text = format!(r#"{{"_format_version":"3.0"{body}}}"#);
        let streamed = check(&text);
        let thorough = thorough(text.as_bytes(), &context(Flavor::Traditional), &mut NoHarvest);
        assert_eq!(streamed, thorough.is_ok(), "{text}");
    }
}

#[test]
fn what_is_unclear_is_left_to_the_thorough_way() {
    for text in [
        "",
        "_format_version: '3.0'",
        r#"{"_format_version":"2.1"}"#,
        r#"{"_format_version":"3.0","_comment":"c"}"#,
        r#"{"_format_version":"3.0","nobody":[]}"#,
        r#"{"_format_version":"3.0","services":{}}"#,
        r#"{"_format_version":"3.0","services":[{"name":"s","host":"a","_comment":"c"}]}"#,
        r#"{"_format_version":"3.0","services":[{"name":"s","host":"a"},{"name":"s","host":"a"}]}"#,
        r#"{"_format_version":"3.0","services":[{"name":"s","host":"a","port":"x"}]}"#,
        r#"{"_format_version":"3.0","services":[{"name":"s","host":"a","routes":[{"paths":["/a"],"service":"s"}]}]}"#,
        r#"{"_format_version":"3.0","routes":[{"paths":["/a"],"service":"nobody"}]}"#,
        r#"{"_format_version":"3.0","routes":[{"paths":["/a"],"service":{"id":"0855b320-0dd2-547d-891d-601e9b38647f"}}]}"#,
        r#"{"_format_version":"3.0","routes":[{"paths":["/a"],"service":{"id":1}}]}"#,
        r#"{"_format_version":"3.0","consumers":[{"username":"a","custom_id":"1"},{"username":"b","custom_id":"1"}]}"#,
        r#"{"_format_version":"3.0","consumers":[{"username":"a","keyauth_credentials":[{"key":"k","ttl":9}]}]}"#,
    ] {
        assert!(!check(text), "{text}");
    }
}
