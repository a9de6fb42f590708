//! Whether the API server is to be reached through a proxy, and through which. `pf` does not use one yet, and going
//! around one that is configured would be wrong: it says so and ends. `pfspec` uses it.
//!
//! The rules are those of Go's HTTP client, which kubectl uses.

use http::Uri;
use std::net::IpAddr;

pub(crate) mod rest;
mod through;

pub use through::ProxyUrl;
pub(crate) use through::Through;

/// A proxy that applies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// `proxy-url` of the cluster entry.
    Kubeconfig,
    /// An environment variable, by name.
    Environment(&'static str),
}

/// `proxy_url` is that of the kubeconfig, `variable` reads the environment.
pub(crate) fn applying(
    server: &Uri,
    proxy_url: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Proxy> {
    if proxy_url.is_some_and(|url| !url.is_empty()) {
        return Some(Proxy::Kubeconfig);
    }
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let names = if server.scheme_str() == Some("http") {
        ["HTTP_PROXY", "http_proxy"]
    } else {
        ["HTTPS_PROXY", "https_proxy"]
    };
    let name = names.into_iter().find(|name| set(name))?;
    let exceptions = variable("NO_PROXY")
        .filter(|value| !value.is_empty())
        .or_else(|| variable("no_proxy"))
        .unwrap_or_default();
    (!excepted(host(server), port(server), &exceptions)).then_some(Proxy::Environment(name))
}

/// Host of a URL without the brackets of IPv6.
pub(crate) fn host(server: &Uri) -> &str {
    let host = server.host().unwrap_or_default();
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Port of a URL, or that of its scheme, which is https unless it says http.
pub(crate) fn port(server: &Uri) -> u16 {
    let default = if server.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    server.port_u16().unwrap_or(default)
}

/// What a URL names as a port. If [`Uri::port_u16`] has none, it is no port, and who goes on asks that of the scheme.
#[must_use]
pub fn named_port(url: &Uri) -> Option<&str> {
    let authority = url.authority()?.as_str();
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let behind_brackets = place.rsplit(']').next()?;
    behind_brackets.split_once(':').map(|(_, port)| port)
}

fn excepted(host: &str, port: u16, exceptions: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ip: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback()) {
        return true;
    }
    exceptions.split(',').any(|entry| {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let Some((network, length)) = entry.split_once('/') {
            return ip.is_some_and(|ip| in_network(ip, network, length));
        }
        let (name, only) = split_port(&entry);
        if name.is_empty() || only.is_some_and(|only| only != port) {
            return false;
        }
        if let Ok(other) = name.parse::<IpAddr>() {
            return ip == Some(other);
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        match name.strip_prefix('.') {
            Some(_) => host.ends_with(name),
            None => {
                host == name
                    || host
                        .strip_suffix(name)
                        .is_some_and(|rest| rest.ends_with('.'))
            }
        }
    })
}

/// `host`, `host:port`, `[ip]:port` or a bare IPv6 address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = entry
        .strip_prefix('[')
        .and_then(|entry| entry.split_once(']'))
    {
        return (
            host,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    }
}

fn in_network(ip: IpAddr, network: &str, length: &str) -> bool {
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    let (a, b, width) = match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32u32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    width
        .checked_sub(length)
        .is_some_and(|low| a.checked_shr(low) == b.checked_shr(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server: &str, file: Option<&str>, variables: &[(&str, &str)]) -> Option<Proxy> {
        applying(&server.parse().unwrap(), file, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn sources() {
        let environment = [("HTTPS_PROXY", "http://proxy:3128")];
        let server = "https://api.example.com:6443";
        assert_eq!(of(server, None, &[]), None);
        assert_eq!(of(server, Some(""), &[]), None);
        assert_eq!(
            of(server, Some("http://proxy"), &environment),
            Some(Proxy::Kubeconfig)
        );
        assert_eq!(
            of(server, None, &environment),
            Some(Proxy::Environment("HTTPS_PROXY"))
        );
        assert_eq!(
            of(server, None, &[("https_proxy", "p")]),
            Some(Proxy::Environment("https_proxy"))
        );
        assert_eq!(of(server, None, &[("HTTPS_PROXY", "")]), None);
        assert_eq!(of("http://api.example.com", None, &environment), None);
        assert_eq!(
            of("http://api.example.com", None, &[("http_proxy", "p")]),
            Some(Proxy::Environment("http_proxy"))
        );
        // The file's proxy is used even for this machine.
        assert_eq!(
            of("https://127.0.0.1:6443", Some("http://proxy"), &[]),
            Some(Proxy::Kubeconfig)
        );
    }

    #[test]
    fn exceptions() {
        let table = [
            ("https://127.0.0.1:6443", "", true),
            ("https://[::1]:6443", "", true),
            ("https://localhost", "", true),
            ("https://api.example.com", "", false),
            ("https://api.example.com", "*", true),
            ("https://api.example.com", "example.com", true),
            ("https://example.com", "example.com", true),
            ("https://badexample.com", "example.com", false),
            ("https://api.example.com", ".example.com", true),
            ("https://api.example.com", "*.example.com", true),
            ("https://example.com", ".example.com", false),
            ("https://API.example.com", "other, api.EXAMPLE.com", true),
            ("https://api.example.com", "api.example.com:443", true),
            ("https://api.example.com:6443", "api.example.com:443", false),
            ("https://10.1.2.3:6443", "10.0.0.0/8", true),
            ("https://11.1.2.3:6443", "10.0.0.0/8", false),
            ("https://10.1.2.3:6443", "10.1.2.3", true),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", true),
            ("https://10.1.2.3:6443", "10.1.2.3:443", false),
            ("https://10.1.2.3", "0.0.0.0/0", true),
            ("https://10.1.2.3", "10.1.2.3/33", false),
            ("https://[2001:db8::1]:6443", "2001:db8::/32", true),
            ("https://[2001:db8::1]:6443", "2001:db8::1", true),
            ("https://[2001:db8::1]:6443", "[2001:db8::1]:6443", true),
            ("https://[2001:db8::1]:6443", "2001:db9::/32", false),
        ];
        for (server, exceptions, none) in table {
            let variables = [
                ("HTTPS_PROXY", "http://proxy:3128"),
                ("NO_PROXY", exceptions),
            ];
            assert_eq!(
                of(server, None, &variables).is_none(),
                none,
                "{server} {exceptions}"
            );
        }
    }
}
