//! Discovery on the local network, as far as it decides: what is said by multicast DNS and when, who is recognised, and what is
//! kept of it. Without sockets and clocks; `membership/discovery.rs` carries the datagrams.

pub(crate) mod announcement;
pub(crate) mod datagram;
pub(crate) mod heard;
pub(crate) mod schedule;
pub(crate) mod tags;

use std::net::{IpAddr, SocketAddr};

use stash_p2p::Link;

/// The hour of a moment, in hours since 1970.
pub(crate) fn hour(seconds: u64) -> u64 {
    seconds / 3600
}

/// The port at which this node is reached by a link. None if it does not listen there: then it hears and is not heard.
pub(crate) fn port_at(link: &Link, listen: &[SocketAddr]) -> Option<u16> {
    let here = |addr: &&SocketAddr| {
        addr.ip() == link.ip || addr.ip().is_unspecified() && addr.is_ipv4() == link.ip.is_ipv4()
    };
    listen.iter().find(here).map(SocketAddr::port)
}

/// True if a node that listens so is to be found by others at all: not if it listens on its own machine alone.
pub(crate) fn may_be_found(listen: &[SocketAddr]) -> bool {
    let own = |ip: IpAddr| ip.to_canonical().is_loopback();
    listen.iter().any(|addr| !own(addr.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(listen: &[&str]) -> Vec<SocketAddr> {
        listen.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[test]
    fn a_node_on_loopback_alone_neither_speaks_nor_listens() {
        assert!(!may_be_found(&[]));
        assert!(!may_be_found(&all(&["127.0.0.1:7979", "[::1]:7979", "127.8.8.8:1"])));
        assert!(may_be_found(&all(&["127.0.0.1:7979", "192.168.1.2:7979"])));
        assert!(may_be_found(&all(&["0.0.0.0:7979"])) && may_be_found(&all(&["[::]:7979"])));
    }

    #[test]
    fn a_link_says_the_port_of_the_address_that_is_listened_on_there() {
        let link = |ip: &str| Link { interface: 2, ip: ip.parse().unwrap() };
        let listen = all(&["192.168.1.2:1", "[::]:2"]);
        assert_eq!(port_at(&link("192.168.1.2"), &listen), Some(1));
        assert_eq!(port_at(&link("192.168.1.3"), &listen), None);
        assert_eq!(port_at(&link("fe80::1"), &listen), Some(2));
        assert_eq!(port_at(&link("10.0.0.1"), &all(&["0.0.0.0:7979"])), Some(7979));
        assert_eq!(port_at(&link("fe80::1"), &all(&["0.0.0.0:7979"])), None);
    }
}
