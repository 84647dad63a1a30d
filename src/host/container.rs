//! Whether this is a container, and which of its clients are on the machine outside.
//!
//! A client behind a published port comes from the address of the container's gateway and reached an address that only
//! the container's network knows; `localhost` is what it can reach again, if the port is published under its own number.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// The gateway of this container; `None` outside of one.
pub fn gateway() -> Option<IpAddr> {
    let inside = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists());
    if !inside {
        return None;
    }
    default_route(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the default route in the text of `/proc/net/route`.
fn default_route(routes: &str) -> Option<IpAddr> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        if destination != "00000000" {
            return None;
        }
        // As the bytes lie in memory.
        let bytes = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
        Some(Ipv4Addr::from(bytes).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_route_names_the_gateway() {
        let routes = "Iface\tDestination\tGateway \tFlags\n\
            eth0\t000011AC\t00000000\t0001\n\
            eth0\t00000000\t010011AC\t0003\n";
        assert_eq!(
            default_route(routes),
            Some(Ipv4Addr::new(172, 17, 0, 1).into())
        );
        assert_eq!(default_route("Iface\n"), None);
    }
}
