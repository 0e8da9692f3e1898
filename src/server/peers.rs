//! How many connections of TCP an address has, from before anything is known of who comes.
//!
//! Sockets, streams and polls are counted where they are let in. This is the bound for what says nothing, or says it
//! slowly, and for requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::address;
use crate::config::Config;

/// As many again as an address may have sockets and streams, for its requests.
const PER_CONNECTION: usize = 2;

/// Counts connections by address. A trusted proxy's are those of many, and are not counted.
#[derive(Debug, Clone)]
pub(super) struct Peers(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    max: usize,
    proxies: Vec<IpAddr>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    address: Option<IpAddr>,
}

impl Peers {
    pub(super) fn new(config: &Config) -> Self {
        Self(Arc::new(Counted {
            max: config.max_connections_per_ip.saturating_mul(PER_CONNECTION),
            proxies: config.trusted_proxies.clone(),
            open: Mutex::default(),
        }))
    }

    /// A place for one more connection of an address; nothing, if it has as many as it may.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        if self.0.proxies.contains(&peer) {
            return Some(Place {
                peers: self.clone(),
                address: None,
            });
        }
        let address = address::network(peer);
        let mut open = self.0.open.lock().unwrap();
        let count = open.entry(address).or_default();
        if *count >= self.0.max {
            return None;
        }
        *count += 1;
        Some(Place {
            peers: self.clone(),
            address: Some(address),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.peers.0.open.lock().unwrap();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_a_place_comes_back() {
        let peers = Peers::new(&Config {
            max_connections_per_ip: 1,
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            ..Config::default()
        });
        let admit = |address: &str| peers.admit(address.parse().unwrap());
        let (first, _second) = (
            admit("192.0.2.1").unwrap(),
            admit("::ffff:192.0.2.1").unwrap(),
        );
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        let proxied: Vec<_> = (0..10).map(|_| admit("10.0.0.1")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop(first);
        assert!(admit("192.0.2.1").is_some());
    }

    #[test]
    fn one_network_of_ipv6_is_one_address_and_who_is_gone_is_forgotten() {
        let peers = Peers::new(&Config {
            max_connections_per_ip: 1,
            ..Config::default()
        });
        let places: Vec<_> = (1..=3)
            .map(|n| peers.admit(format!("2001:db8::{n}").parse().unwrap()))
            .collect();
        assert_eq!(places.iter().flatten().count(), 2);
        drop(places);
        assert!(peers.0.open.lock().unwrap().is_empty());
    }
}
