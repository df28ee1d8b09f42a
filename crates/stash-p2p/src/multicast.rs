//! Datagrams of multicast DNS (RFC 6762): to everybody in the networks that this machine is attached to, and from them.
//!
//! Each link has a socket of its own, bound to the address of the group. So nothing arrives but what was sent to the group
//! in that network: neither what a stranger in the internet sends to this machine, nor what other programs here wait for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use futures::future::BoxFuture;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// The port of multicast DNS, from which and to which everything is sent.
pub const MULTICAST_PORT: u16 = 5353;

/// The groups of multicast DNS.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Links of a machine that are used; one with more is a router, or full of virtual networks.
const MAX_LINKS: usize = 16;

/// A network card of this machine, and its address of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The number of the card, as the system counts them.
    pub interface: u32,
    /// Its address. Of several the first; of IPv6 ones a link-local one, if it has any.
    pub ip: IpAddr,
}

/// Datagrams to and from everybody on one [`Link`].
pub trait Datagrams: Send + Sync {
    /// Sends one to the group.
    fn send<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;

    /// The next one that somebody sent to the group, cut to the length of `into`; this machine hears its own as well.
    fn receive<'a>(&'a self, into: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;
}

/// The links of the machine: cards that are up, but for this machine's own and for tunnels, on which nobody listens to groups.
pub(crate) fn links() -> io::Result<Vec<Link>> {
    let all = if_addrs::get_if_addrs()?.into_iter();
    let usable = |one: &if_addrs::Interface| one.is_oper_up() && !one.is_loopback() && !one.is_p2p;
    let link = |one: if_addrs::Interface| Some(Link { interface: one.index?, ip: one.ip() });
    Ok(one_of_each_family(all.filter(usable).filter_map(link).collect()))
}

/// One link of each card and family, the most useful one.
fn one_of_each_family(mut all: Vec<Link>) -> Vec<Link> {
    let farther = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local());
    // The order of the system stays, in which the first address is the one that it sends from.
    all.sort_by_key(|link| (link.interface, link.ip.is_ipv6(), farther(&link.ip)));
    all.dedup_by_key(|link| (link.interface, link.ip.is_ipv6()));
    all.truncate(MAX_LINKS);
    all
}

struct Joined {
    socket: UdpSocket,
    group: SocketAddr,
}

/// Listens to the group on a link. Other programs that speak multicast DNS go on hearing everything.
pub(crate) fn join(link: &Link) -> io::Result<Box<dyn Datagrams>> {
    let socket =
        Socket::new(Domain::for_address((link.ip, 0).into()), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    let group = match link.ip {
        IpAddr::V4(ip) => {
            let group = SocketAddrV4::new(GROUP_V4, MULTICAST_PORT).into();
            socket.bind(&SocketAddr::into(group))?;
            // Only what comes by this card, whatever other programs have joined.
            socket.set_multicast_all_v4(false)?;
            let card = InterfaceIndexOrAddress::Index(link.interface);
            socket.join_multicast_v4_n(&GROUP_V4, &card)?;
            socket.set_multicast_if_v4(&ip)?;
            // RFC 6762, section 11.
            socket.set_multicast_ttl_v4(255)?;
            group
        }
        IpAddr::V6(_) => {
            let group = SocketAddrV6::new(GROUP_V6, MULTICAST_PORT, 0, link.interface).into();
            socket.set_only_v6(true)?;
            // The number of the card in the address binds to that card.
            socket.bind(&SocketAddr::into(group))?;
            socket.join_multicast_v6(&GROUP_V6, link.interface)?;
            socket.set_multicast_if_v6(link.interface)?;
            socket.set_multicast_hops_v6(255)?;
            group
        }
    };
    Ok(Box::new(Joined { socket: UdpSocket::from_std(socket.into())?, group }))
}

impl Datagrams for Joined {
    fn send<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.socket.send_to(datagram, self.group).await.map(drop) })
    }

    fn receive<'a>(&'a self, into: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.socket.recv_from(into))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn link(interface: u32, ip: &str) -> Link {
        Link { interface, ip: ip.parse().unwrap() }
    }

    #[test]
    fn a_card_has_one_link_of_each_family() {
        let all = [
            link(3, "2001:db8::5"),
            link(3, "192.168.1.9"),
            link(3, "fe80::1"),
            link(3, "192.168.1.2"),
            link(2, "2001:db8:1::5"),
        ];
        let chosen = [link(2, "2001:db8:1::5"), link(3, "192.168.1.9"), link(3, "fe80::1")];
        assert_eq!(one_of_each_family(all.to_vec()), chosen);
        let many = (0..100).map(|n| link(n, "192.168.1.2")).collect();
        assert_eq!(one_of_each_family(many).len(), MAX_LINKS);
    }

    /// The link of the machine itself, where multicast works without any network.
    fn loopback() -> Option<Link> {
        let all = if_addrs::get_if_addrs().unwrap().into_iter();
        let mut own = all.filter(|one| one.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST));
        own.next().map(|one| Link { interface: one.index.unwrap(), ip: one.ip() })
    }

    #[tokio::test]
    async fn two_that_have_joined_a_link_hear_each_other() {
        let Some(link) = loopback() else {
            eprintln!("NOT SHOWN: this machine has no loopback address");
            return;
        };
        let pair = join(&link).and_then(|one| Ok((one, join(&link)?)));
        let (one, other) = match pair {
            Ok(pair) => pair,
            Err(error) => {
                eprintln!("NOT SHOWN: no multicast on this machine: {error}");
                return;
            }
        };
        let word = b"stash: one and the other";
        for (from, to) in [(&one, &other), (&other, &one)] {
            if let Err(error) = from.send(word).await {
                eprintln!("NOT SHOWN: nothing can be sent by multicast here: {error}");
                return;
            }
            let heard = async {
                loop {
                    let mut into = [0; 100];
                    let (length, from) = to.receive(&mut into).await.unwrap();
                    // Others on this machine may speak as well.
                    if into[..length] == *word {
                        return from;
                    }
                }
            };
            let from = timeout(Duration::from_secs(5), heard).await.expect("it was heard");
            assert_eq!(from, SocketAddr::from((Ipv4Addr::LOCALHOST, MULTICAST_PORT)));
        }
    }
}
