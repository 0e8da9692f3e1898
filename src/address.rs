//! Where a request came from: its peer, or what trusted proxies say of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ::http::{Extensions, HeaderMap};
use axum::extract::ConnectInfo;

use crate::config::Config;

/// The client's address. Each proxy adds whom it was called by at the end of `X-Forwarded-For`, so that is read from
/// the end, and only as far as it was written by proxies of ours; what stands before, anybody may have written.
pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions, config: &Config) -> Option<IpAddr> {
    let mut address = extensions
        .get::<ConnectInfo<SocketAddr>>()?
        .0
        .ip()
        .to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter();
    let forwarded: Vec<&str> = forwarded
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for before in forwarded.iter().rev() {
        if !config.trusted_proxies.contains(&address) {
            break;
        }
        let Ok(before) = before.trim().parse::<IpAddr>() else {
            break;
        };
        address = before.to_canonical();
    }
    Some(network(address))
}

/// Whoever has one address of IPv6 has a whole network of them, so that counts as one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let mut request = ::http::Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts
            .extensions
            .insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        let trusted_proxies = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let config = Config {
            trusted_proxies,
            ..Config::default()
        };
        of(&parts.headers, &parts.extensions, &config)
            .unwrap()
            .to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        assert_eq!(address("192.0.2.7", &["1.2.3.4"]), "192.0.2.7");
        assert_eq!(address("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(
            address("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]),
            "1.2.3.4"
        );
        assert_eq!(address("10.0.0.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("10.0.0.1", &["junk"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(
            address("10.0.0.1", &["2001:db8:1:2:3::4"]),
            "2001:db8:1:2::"
        );
    }
}
