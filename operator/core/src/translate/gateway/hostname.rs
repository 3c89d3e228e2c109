//! Hostnames that listeners and routes have in common.

/// What a listener's and a route's hostname have in common: the narrower of the two. `None` when nothing.
///
/// A listener without hostname takes every one. A wildcard stands for one or more labels.
pub(crate) fn common<'a>(listener: Option<&'a str>, route: &'a str) -> Option<&'a str> {
    let Some(listener) = listener else { return Some(route) };
    if covers(listener, route) {
        Some(route)
    } else if covers(route, listener) {
        Some(listener)
    } else {
        None
    }
}

/// Whether a route with these hostnames has any in common with a listener; without hostnames it has.
pub(crate) fn any_common(listener: Option<&str>, route: &[String]) -> bool {
    route.is_empty() || route.iter().any(|host| common(listener, host).is_some())
}

/// The hostnames under which a route is served by listeners with these hostnames, in the order of the route. Empty
/// means every hostname.
///
/// A route without hostnames takes those of the listeners, unless one of them takes every hostname.
pub(crate) fn effective(listeners: &[Option<&str>], route: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    if route.is_empty() {
        if listeners.iter().any(Option::is_none) {
            return hosts;
        }
        for host in listeners.iter().flatten() {
            push(&mut hosts, host);
        }
        return hosts;
    }
    for host in route {
        for shared in listeners.iter().filter_map(|listener| common(*listener, host)) {
            push(&mut hosts, shared);
        }
    }
    let covered = |host: &String| {
        hosts.iter().any(|other| other != host && covers(other, host) && !route.contains(host))
    };
    hosts.iter().filter(|host| !covered(host)).cloned().collect()
}

fn push(hosts: &mut Vec<String>, host: &str) {
    if !hosts.iter().any(|known| known == host) {
        hosts.push(host.to_owned());
    }
}

/// Whether every host that `narrow` means is also meant by `wide`.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    if wide.eq_ignore_ascii_case(narrow) {
        return true;
    }
    let Some(suffix) = wide.strip_prefix('*') else { return false };
    let bare = narrow.strip_prefix('*').unwrap_or(narrow);
    bare.len() > suffix.len() && bare.to_ascii_lowercase().ends_with(&suffix.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listeners: &[Option<&str>], route: &[&str], expected: &[&str]) {
        let route: Vec<String> = route.iter().map(|&host| host.to_owned()).collect();
        assert_eq!(effective(listeners, &route), expected);
    }

    #[test]
    fn the_narrower_hostname_is_common() {
        assert_eq!(common(Some("*.example.com"), "shop.example.com"), Some("shop.example.com"));
        assert_eq!(common(Some("shop.example.com"), "*.example.com"), Some("shop.example.com"));
        assert_eq!(common(Some("*.example.com"), "*.eu.example.com"), Some("*.eu.example.com"));
        assert_eq!(common(Some("*.example.com"), "example.com"), None);
        assert_eq!(common(None, "example.com"), Some("example.com"));
    }

    #[test]
    fn hostnames_outside_every_listener_are_dropped() {
        check(
            &[Some("*.example.com")],
            &["shop.example.com", "shop.example.org"],
            &["shop.example.com"],
        );
    }

    #[test]
    fn a_route_without_hostnames_takes_those_of_all_listeners() {
        check(
            &[Some("a.example.com"), Some("b.example.com")],
            &[],
            &["a.example.com", "b.example.com"],
        );
        check(&[Some("a.example.com"), None], &[], &[]);
    }

    #[test]
    fn a_wide_hostname_meets_each_listener() {
        check(
            &[Some("a.example.com"), Some("b.example.com")],
            &["*.example.com"],
            &["a.example.com", "b.example.com"],
        );
        check(
            &[Some("a.example.com"), Some("*.example.com")],
            &["*.example.com"],
            &["*.example.com"],
        );
    }
}
