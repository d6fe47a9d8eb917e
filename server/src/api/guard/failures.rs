//! How often a peer has shown a wrong token.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::{listen::Peer, rate::Rate};

/// Peers that are remembered; those that failed longest ago are forgotten first.
const MAX_PEERS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Failures of one peer in a minute, half of them at once. Beyond, they are answered with 429 and not logged.
const FAILURES_PER_MINUTE: u32 = 120;

/// The failures of the last minutes.
pub(crate) struct Failures(Mutex<LruCache<Source, Rate>>);

/// What is counted as one peer.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Source {
    /// IPv6 hosts choose among the addresses of their network, so that is what counts.
    Network(IpAddr),
    User(u32),
    Unknown,
}

impl Default for Failures {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_PEERS)))
    }
}

impl Failures {
    /// Counts a failure, or says after which time the next is listened to.
    pub(in super::super) fn count(&self, peer: Option<&Peer>) -> Result<(), Duration> {
        let now = Instant::now();
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get_or_insert_mut(Source::of(peer), || Rate::per_minute(FAILURES_PER_MINUTE, now)).take(now)
    }
}

impl Source {
    fn of(peer: Option<&Peer>) -> Self {
        match peer {
            Some(Peer::Tcp(address)) => Self::Network(match address.ip().to_canonical() {
                IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
                address @ IpAddr::V4(_) => address,
            }),
            Some(Peer::Unix { uid, .. }) => Self::User(*uid),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn a_peer_that_fails_too_often_is_told_to_wait_and_others_are_not() {
        let failures = Failures::default();
        let stubborn = from("192.0.2.1:1");
        let allowed =
            (0..FAILURES_PER_MINUTE).take_while(|_| failures.count(Some(&stubborn)).is_ok()).count();
        assert!((60..120).contains(&allowed), "{allowed}");
        assert!(failures.count(Some(&from("192.0.2.1:2"))).is_err(), "another port is the same peer");
        assert!(failures.count(Some(&from("192.0.2.2:1"))).is_ok());
        assert!(failures.count(Some(&Peer::Unix { uid: 7, pid: None })).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let of = |address| Source::of(Some(&from(address)));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:2]:2"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:1"));
    }
}
