//! The addresses of nodes: those that a node has, and those that others name and it may dial.

use std::net::{IpAddr, SocketAddr};

use stash_crypto::member::{AddressKind, Announced, MAX_ADDRESSES, Place};
use stash_p2p::{Attached, Candidate, Source, Way};

/// Places that this node tells others: what the user set, and where it listens. A specified listening address
/// is told only if the user set nothing; for an unspecified one stand the addresses of this machine
/// of its family, and those at which others see it.
pub(crate) fn announced(
    listen: &[SocketAddr],
    advertise: &[Place],
    attached: &[Attached],
    seen: &[IpAddr],
) -> Vec<Announced> {
    let configured = advertise.iter().cloned();
    let configured = configured.map(|place| Announced { kind: AddressKind::Configured, place });
    let mut all: Vec<Announced> = configured.collect();
    for addr in listen {
        let mine: Vec<IpAddr> = match addr.ip().is_unspecified() {
            false if advertise.is_empty() => vec![addr.ip()],
            false => Vec::new(),
            true => of_machine(addr, attached),
        };
        for ip in mine {
            let kind = if is_public(&ip) { AddressKind::Public } else { AddressKind::Lan };
            let place = Place::Address(SocketAddr::new(ip, addr.port()));
            if all.iter().all(|other| other.place != place) {
                all.push(Announced { kind, place });
            }
        }
    }
    // A router in between may pass the port on.
    for ip in seen {
        let of_family =
            |addr: &&SocketAddr| addr.ip().is_unspecified() && addr.is_ipv4() == ip.is_ipv4();
        let port = listen.iter().find(of_family).map(SocketAddr::port);
        let place = port.map(|port| Place::Address(SocketAddr::new(*ip, port)));
        if let Some(place) = place.filter(|place| all.iter().all(|other| other.place != *place)) {
            all.push(Announced { kind: AddressKind::Seen, place });
        }
    }
    all.truncate(MAX_ADDRESSES);
    all
}

/// The addresses of this machine that stand for an unspecified one. The first is the one that the system
/// would use towards the internet.
fn of_machine(unspecified: &SocketAddr, attached: &[Attached]) -> Vec<IpAddr> {
    let of_family = |ip: &IpAddr| ip.is_ipv4() == unspecified.is_ipv4();
    let useful = |ip: &IpAddr| !is_loopback(ip) && !is_link_local(ip);
    let outward = outward(unspecified.is_ipv4());
    let mut others: Vec<IpAddr> = attached.iter().map(|one| one.ip).collect();
    others.sort_unstable();
    let all = outward.into_iter().chain(others).filter(|ip| of_family(ip) && useful(ip));
    let mut found = Vec::new();
    for ip in all {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// The address of this machine that the system would use towards the internet.
fn outward(v4: bool) -> Option<IpAddr> {
    // Connecting a UDP socket sends nothing; it only makes the system choose a source address.
    // 192.0.2.1 and 2001:db8::1 are documentation addresses (RFC 5737, RFC 3849).
    let (any, far) = match v4 {
        true => ("0.0.0.0:0", "192.0.2.1:9"),
        false => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// True if an address is in a network that this machine is attached to. Where that is not known, those
/// that are good in one network alone pass for it.
pub(crate) fn is_near(ip: &IpAddr, attached: &[Attached]) -> bool {
    match attached.is_empty() {
        true => !is_public(ip),
        false => attached.iter().any(|one| one.contains(ip)),
    }
}

/// A place as the dialler takes it.
pub(crate) fn candidate(place: &Place, source: Source) -> Candidate {
    let way = match place {
        Place::Address(addr) => Way::Address(*addr),
        Place::Name(host, port) => Way::Name { host: host.as_str().to_owned(), port: *port },
    };
    Candidate::new(way, source)
}

/// True if an address that others named may be dialled by a node which can itself be reached at `own`.
///
/// Addresses that mean another machine to each node, or one of its own, are dialled only by a node
/// that has such ones itself: else a member could make others knock at doors that are open to them
/// alone.
pub(crate) fn may_dial(addr: &SocketAddr, own: &[SocketAddr]) -> bool {
    let ip = addr.ip().to_canonical();
    let nowhere = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    let near = [is_loopback, is_link_local];
    let is_ours = |of_kind: fn(&IpAddr) -> bool| own.iter().any(|own| of_kind(&own.ip()));
    let is_near = near.into_iter().any(|of_kind| of_kind(&ip) && !is_ours(of_kind));
    addr.port() != 0 && !nowhere && !ip.is_multicast() && !is_near
}

fn is_loopback(ip: &IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

pub(crate) fn is_link_local(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// True if an address is good in the whole internet, and not in one network alone.
pub(crate) fn is_public(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 6598: addresses between a provider's router and its customers'.
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared)
        }
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    fn dialled(claimed: &[SocketAddr], own: &[SocketAddr]) -> Vec<SocketAddr> {
        claimed.iter().filter(|addr| may_dial(addr, own)).copied().collect()
    }

    #[test]
    fn what_the_user_set_is_told_and_else_where_it_listens() {
        let name: Place = "nas.example.org:7979".parse().unwrap();
        let shown = |list: Vec<Announced>| -> Vec<String> {
            list.iter().map(|one| format!("{} {}", one.kind, one.place)).collect()
        };
        let listen = all(&["192.168.1.2:1", "100.64.0.9:1", "[fd00::1]:1", "203.0.113.7:1"]);
        let only = ["configured nas.example.org:7979"];
        assert_eq!(shown(announced(&listen, std::slice::from_ref(&name), &[], &[])), only);
        assert_eq!(
            shown(announced(&listen, &[], &[], &[])),
            ["lan 192.168.1.2:1", "lan 100.64.0.9:1", "lan [fd00::1]:1", "public 203.0.113.7:1"]
        );
    }

    #[test]
    fn all_addresses_of_the_machine_stand_for_an_unspecified_one_beside_what_the_user_set() {
        let attached = |ip: &str, prefix| Attached { ip: ip.parse().unwrap(), prefix };
        let machine = [
            attached("127.0.0.1", 8),
            attached("192.168.1.2", 24),
            attached("10.0.0.3", 8),
            attached("::1", 128),
            attached("fe80::1", 64),
            attached("2001:db8::5", 64),
        ];
        let name: Place = "nas.example.org:7979".parse().unwrap();
        let all = announced(
            &all(&["0.0.0.0:1", "[::]:2"]),
            &[name],
            &machine,
            &["203.0.113.7".parse().unwrap(), "2001:db8::5".parse().unwrap()],
        );
        let all: Vec<_> = all.iter().map(|one| format!("{} {}", one.kind, one.place)).collect();
        assert_eq!(all[0], "configured nas.example.org:7979");
        for wanted in
            ["lan 10.0.0.3:1", "lan 192.168.1.2:1", "public [2001:db8::5]:2", "seen 203.0.113.7:1"]
        {
            assert!(all.iter().any(|one| one == wanted), "{wanted} is not in {all:?}");
        }
        assert!(
            !all.iter().any(|one| one.contains("127.0.0.1") || one.contains("fe80")),
            "{all:?}"
        );
        assert!(!all.iter().any(|one| one.ends_with("[::1]:2")), "{all:?}");
        assert!(is_near(&"192.168.1.9".parse().unwrap(), &machine));
        assert!(!is_near(&"192.168.2.9".parse().unwrap(), &machine));
        assert!(is_near(&"192.168.2.9".parse().unwrap(), &[]));
    }

    #[test]
    fn what_is_nobodys_address_is_not_dialled() {
        let claimed = all(&[
            "0.0.0.0:9",
            "0.1.2.3:9",
            "[::]:9",
            "255.255.255.255:9",
            "224.0.0.1:9",
            "[ff02::1]:9",
            "192.0.2.1:0",
        ]);
        assert_eq!(dialled(&claimed, &all(&["127.0.0.1:1", "169.254.1.1:1"])), []);
    }

    #[test]
    fn loopback_and_link_local_are_dialled_by_whoever_has_such_an_address() {
        let loopback = all(&["127.0.0.1:9", "127.8.8.8:9", "[::1]:9", "[::ffff:127.0.0.1]:9"]);
        let link_local = all(&["169.254.7.7:9", "[fe80::1]:9"]);
        let claimed = [loopback.clone(), link_local.clone()].concat();
        assert_eq!(dialled(&claimed, &all(&["192.0.2.1:7979", "0.0.0.0:7979"])), []);
        assert_eq!(dialled(&claimed, &all(&["127.0.0.1:7979"])), loopback);
        assert_eq!(dialled(&claimed, &all(&["[fe80::2]:7979"])), link_local);
    }
}
