//! The private networks to which this machine is directly attached: what goes there takes nothing of the line to the internet.
//!
//! A network is *near* if a route without a gateway leads to it, by a real network card. Tunnels are not near, whatever addresses they
//! have: what goes through them goes over the line. Nor is this machine itself: on it end the tunnels of programs like ssh.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use stash_vault::server::transfers::Subnet;

/// Networks that are looked at; a machine with more is a router of somebody else's.
const MOST: usize = 64;

/// `ARPHRD_ETHER`, if_arp.h: cables and Wi-Fi. Tunnels have other numbers, or `tun_flags`.
const ETHERNET: &str = "1";

/// The private networks to which this machine is attached now. Blocking. None where the system does not tell.
pub(super) fn near() -> Vec<Subnet> {
    let read = |name: &str| std::fs::read_to_string(Path::new("/proc/net").join(name));
    let v4 = read("route").map(|text| routes_v4(&text)).unwrap_or_default();
    let v6 = read("ipv6_route").map(|text| routes_v6(&text)).unwrap_or_default();
    let near = v4.into_iter().chain(v6).filter(|route| is_card(&route.device));
    near.take(MOST).map(|route| Subnet::new(route.address, route.bits)).collect()
}

/// True of a network card; false of a tunnel.
fn is_card(device: &str) -> bool {
    let at = Path::new("/sys/class/net").join(device);
    let kind = std::fs::read_to_string(at.join("type"));
    kind.is_ok_and(|kind| kind.trim() == ETHERNET) && !at.join("tun_flags").exists()
}

/// A route to a private network without a gateway.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    address: IpAddr,
    bits: u32,
    device: String,
}

impl Route {
    fn private(address: IpAddr, bits: u32, device: &str) -> Option<Route> {
        // A name of a device has no slash (dev_valid_name), so it leads nowhere else.
        let known = !device.contains('/') && device != "lo";
        (known && is_private(address, bits)).then(|| Route {
            address,
            bits,
            device: device.to_owned(),
        })
    }
}

/// True if all addresses that begin so are private ones (RFC 1918, RFC 4193) or of one link (RFC 3927, RFC 4291).
fn is_private(address: IpAddr, bits: u32) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            match (a, b) {
                (10, _) => bits >= 8,
                (172, 16..=31) => bits >= 12,
                (192, 168) | (169, 254) => bits >= 16,
                _ => false,
            }
        }
        IpAddr::V6(address) => {
            let unique = address.is_unique_local() && bits >= 7;
            unique || address.is_unicast_link_local() && bits >= 10
        }
    }
}

/// `/proc/net/route`: device, destination, gateway, flags, and three columns on the mask; addresses in hexadecimal digits as the machine
/// has them in memory.
fn routes_v4(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [device, to, gateway, _flags, _, _, _, mask, ..] = fields[..] else {
            return None;
        };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let (to, gateway, mask) = (number(to)?, number(gateway)?, number(mask)?);
        let address = Ipv4Addr::from(to.to_ne_bytes());
        let bits = u32::from_be_bytes(mask.to_ne_bytes()).leading_ones();
        (gateway == 0).then(|| Route::private(address.into(), bits, device)).flatten()
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric, use, flags, device; all in hexadecimal digits.
fn routes_v6(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [to, bits, _, _, next, _, _, _, _, device] = fields[..] else {
            return None;
        };
        let address = |text: &str| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from);
        let bits = u32::from_str_radix(bits, 16).ok()?;
        let is_direct = address(next)?.is_unspecified();
        let to = address(to)?;
        is_direct.then(|| Route::private(to.into(), bits, device)).flatten()
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: &[Route]) -> Vec<String> {
        let text = |route: &Route| format!("{}/{} {}", route.address, route.bits, route.device);
        routes.iter().map(text).collect()
    }

    // As a machine with a small end first writes it.
    #[cfg(target_endian = "little")]
    #[test]
    fn attached_private_networks_of_ipv4_are_near_and_what_lies_behind_a_gateway_is_not() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
            eth0\t0000000A\t0101A8C0\t0003\t0\t0\t100\t000000FF\t0\t0\t0\n\
            wlan0\t000010AC\t00000000\t0001\t0\t0\t600\t0000F0FF\t0\t0\t0\n\
            eth1\t007100CB\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
            ppp0\t00000000\t00000000\t0001\t0\t0\t100\t00000000\t0\t0\t0\n\
            short\t0001A8C0\n";
        let near = ["192.168.1.0/24 eth0", "172.16.0.0/12 wlan0"];
        assert_eq!(found(&routes_v4(text)), near);
    }

    #[test]
    fn unique_local_and_link_local_networks_of_ipv6_are_near() {
        let zero = "0".repeat(32);
        let line = |to: &str, bits: &str, next: &str, device: &str| {
            format!(
                "{to:0<32} {bits} {zero} 00 {next:0<32} 00000100 00000001 00000000 00000001 {device}\n"
            )
        };
        let text = [
            line("fd00000100000002", "40", "", "eth0"),
            line("fe80", "40", "", "eth0"),
            line("20010db8", "40", "", "eth0"),
            line("fd11", "10", "fe80", "eth0"),
            line("", "00", "fe80", "eth0"),
            line("fe80", "40", "", "lo"),
            line("fe80", "40", "", "../x"),
        ];
        let near = ["fd00:1:0:2::/64 eth0", "fe80::/64 eth0"];
        assert_eq!(found(&routes_v6(&text.concat())), near);
        assert_eq!(routes_v6("nonsense\n"), []);
    }

    #[test]
    fn a_network_that_is_wider_than_a_private_one_is_not_near() {
        for (net, bits) in
            [("10.0.0.0", 7), ("172.16.0.0", 11), ("192.168.0.0", 15), ("172.32.0.0", 16)]
        {
            assert!(!is_private(net.parse().unwrap(), bits), "{net}/{bits}");
        }
        assert!(is_private("169.254.0.0".parse().unwrap(), 16));
        assert!(!is_private("100.64.0.0".parse().unwrap(), 10), "a provider's");
    }

    #[test]
    fn the_machine_itself_is_not_near() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert!(near().iter().all(|subnet| !subnet.contains(loopback)));
        assert!(!is_card("lo") && !is_card("no-such-device"));
    }
}
