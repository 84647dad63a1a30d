//! Detection of a container, and of clients on the machine outside of it.
//!
//! A client that connects through a published port comes from the address of the container's gateway, and the address that it
//! reached is known only inside of the container's network. Such a client can connect again to `localhost`, if the port is
//! published under its own number.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Gateway of this container; `None` outside of containers.
pub fn gateway() -> Option<IpAddr> {
    let inside = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists());
    if !inside {
        return None;
    }
    default_route(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// Gateway of the default route in the text of `/proc/net/route`.
fn default_route(routes: &str) -> Option<IpAddr> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        if destination != "00000000" {
            return None;
        }
        // The number is printed in the byte order of the machine.
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
