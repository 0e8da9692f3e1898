//! How many connections of TCP an address has, from before anything is known of who comes.
//!
//! Sockets, streams and polls are counted where they are let in. This is the bound for what says nothing, or says it
//! slowly, and for requests.

use std::net::IpAddr;

use crate::address;
use crate::config::Config;
use crate::limits::{AtOnce, Place, Who};

/// As many again as an address may have sockets and streams, for its requests.
const PER_CONNECTION: usize = 2;

/// Counts connections by address. A trusted proxy's are those of many, and are not counted.
#[derive(Debug)]
pub(super) struct Peers {
    open: AtOnce,
    proxies: Vec<IpAddr>,
}

impl Peers {
    pub(super) fn new(config: &Config) -> Self {
        let max = config.max_connections_per_ip.saturating_mul(PER_CONNECTION);
        Self {
            open: AtOnce::new(max),
            proxies: config.trusted_proxies.clone(),
        }
    }

    /// A place for one more connection of an address, which a proxy does not need; an error, if it has as many as it
    /// may.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<Option<Place>, Full> {
        let peer = peer.to_canonical();
        if self.proxies.contains(&peer) {
            return Ok(None);
        }
        let place = self.open.take(Who::Address(address::network(peer)));
        place.map(Some).ok_or(Full)
    }
}

/// An address has as many connections as it may.
#[derive(Debug)]
pub(super) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_a_proxy_has_those_of_others() {
        let peers = Peers::new(&Config {
            max_connections_per_ip: 1,
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            ..Config::default()
        });
        let admit = |address: &str| peers.admit(address.parse().unwrap());
        let places = [admit("192.0.2.1"), admit("::ffff:192.0.2.1")];
        assert!(places.iter().all(Result::is_ok));
        assert!(admit("192.0.2.1").is_err());
        assert!(admit("192.0.2.2").is_ok());
        let proxied: Vec<_> = (0..10).map(|_| admit("10.0.0.1")).collect();
        assert!(proxied.iter().all(Result::is_ok));
        // One network of IPv6 is one address.
        let places: Vec<_> = (1..=3).map(|n| admit(&format!("2001:db8::{n}"))).collect();
        assert_eq!(places.iter().flatten().count(), 2);
    }
}
