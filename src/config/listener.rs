//! pure: listeners, written as `NAME://host:port`, and their security protocols.

use std::fmt;

/// Security protocol of a listener; the numbers are those of Kafka's broker registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext = 0,
    Ssl = 1,
    SaslPlaintext = 2,
    SaslSsl = 3,
}

impl SecurityProtocol {
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Some(Self::Plaintext),
            "SSL" => Some(Self::Ssl),
            "SASL_PLAINTEXT" => Some(Self::SaslPlaintext),
            "SASL_SSL" => Some(Self::SaslSsl),
            _ => None,
        }
    }

    /// Name in Kafka's settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// The name as in settings.
impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One element of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the listener in upper case.
    pub name: String,
    /// Host name or address; empty stands for all addresses of the machine.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Reads `NAME://host:port`; the host may be empty or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("'{text}' is not of the form NAME://host:port");
        let (name, address) = text.split_once("://").ok_or_else(malformed)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if let Some(strange) = host.chars().find(|letter| !is_of_hosts(*letter)) {
            return Err(format!(
                "'{strange}' in '{text}' cannot be part of a host's name"
            ));
        }
        let port = port
            .parse()
            .map_err(|_| format!("'{port}' in '{text}' is not a port"))?;
        if name.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            name: name.to_ascii_uppercase(),
            host: host.to_owned(),
            port,
        })
    }

    /// Whether only this machine can reach the endpoint.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether clients can be told this address. An empty host is advertisable: it stands for the machine's own name.
    pub fn is_advertisable(&self) -> bool {
        self.host != "0.0.0.0" && self.host != "::"
    }

    /// Whether the endpoint stands for all addresses of the machine.
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.host == "0.0.0.0" || self.host == "::"
    }
}

/// Whether Kafka allows this character in a host name or address.
fn is_of_hosts(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-%._:".contains(letter)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = host_and_port(&self.host, self.port);
        write!(f, "{}://{address}", self.name)
    }
}

/// `host:port`. An IPv6 address is in brackets.
pub fn host_and_port(host: &str, port: impl fmt::Display) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        for text in ["PLAINTEXT://localhost:9092", "A_B://:0", "X://[::1]:65535"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "localhost:9092",
            "X://localhost",
            "X://h:70000",
            "://h:1",
            "X://${HOST:-127.0.0.1}:1",
            "X://_{HOSTNAME_COMMAND}:1",
            "X://a b:1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        assert!(Endpoint::parse("x://:1").unwrap().is_wildcard());
    }
}
