//! Addresses of the brokers in the newest committed image: the address book for requests to other brokers.

use std::sync::Arc;

use super::image::Broker;
use super::loader::ImageHandle;
use crate::base::ids::BrokerId;
use crate::config::listener::host_and_port;
use crate::peer::connection::AddressBook;

/// Addresses on one listener (`inter.broker.listener.name`).
#[derive(Clone, Debug)]
pub struct BrokerAddresses {
    image: ImageHandle,
    listener: Arc<str>,
}

impl BrokerAddresses {
    /// `listener` is in upper case.
    pub fn new(image: ImageHandle, listener: &str) -> Self {
        Self {
            image,
            listener: listener.into(),
        }
    }
}

impl AddressBook for BrokerAddresses {
    fn address(&self, node: BrokerId) -> Option<String> {
        address_at(self.image.load().brokers.get(&node)?, &self.listener)
    }
}

/// `host:port` of a listener.
fn address_at(broker: &Broker, listener: &str) -> Option<String> {
    let mut endpoints = broker.endpoints.iter();
    let (_, host, port, _) = endpoints.find(|(name, ..)| **name == *listener)?;
    Some(host_and_port(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::image::{Delta, Image};
    use crate::metadata::record::schema::{BrokerEndpoint, RegisterBrokerRecord};

    #[test]
    fn a_broker_is_found_by_the_listener_that_is_asked_for() {
        let endpoint = |name: &str, host: &str, port| BrokerEndpoint {
            name: name.into(),
            host: host.into(),
            port,
            security_protocol: 0,
        };
        let record = RegisterBrokerRecord {
            broker_id: 3,
            end_points: vec![endpoint("CLIENTS", "a", 1), endpoint("INNER", "fe80::1", 2)],
            ..Default::default()
        };
        let mut image = Image::empty();
        image.apply(&record.into(), 0, &mut Delta::default());
        let image = ImageHandle::new(Arc::new(image));
        let address = |listener, node| BrokerAddresses::new(image.clone(), listener).address(node);
        assert_eq!(address("INNER", 3).as_deref(), Some("[fe80::1]:2"));
        assert_eq!(address("CLIENTS", 3).as_deref(), Some("a:1"));
        assert_eq!(address("CONTROLLER", 3), None);
        assert_eq!(address("INNER", 4), None);
    }
}
