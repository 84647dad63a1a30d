//! pure: one line of the log in the format of Kafka's log4j layout: `[2026-11-21 00:11:55,715] INFO text field=value (module)`.
//! Times are UTC.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::base::time::Timestamp;

/// Field with the address and port of the client that a line is about.
const PEER: &str = "peer";
/// Network mask: the prefix length of 64 bits covers all addresses of one IPv6 household.
const HOUSEHOLD: u128 = u128::MAX << 64;

/// Content of an event: message, fields, and client. Control characters in values are escaped. Otherwise a client could send a
/// line break and forge a line of the log.
#[derive(Clone, Debug, Default)]
pub struct Words {
    message: String,
    /// All fields but the peer, each with a space before it.
    fields: String,
    /// Client as the event names it.
    peer: String,
}

impl Words {
    pub fn of(event: &Event<'_>) -> Self {
        let mut words = Self::default();
        event.record(&mut words);
        words
    }

    /// Content without fields.
    pub fn plain(message: String) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }

    /// Address of the client, without its port.
    pub fn address(&self) -> Option<IpAddr> {
        let address: SocketAddr = self.peer.parse().ok()?;
        Some(address.ip().to_canonical())
    }

    /// Text that identifies repetitions: message and fields, but not the client.
    pub fn sense(&self) -> String {
        format!("{}{}", self.message, self.fields)
    }

    /// Complete line for an event, with a line break.
    pub fn line(&self, at: Timestamp, level: Level, target: &str) -> String {
        self.print(at, level, target, &self.peer, "")
    }

    /// Line with a summary of repetitions. The client is named by its address without the port.
    pub fn summary(&self, at: Timestamp, level: Level, target: &str, after: &str) -> String {
        let peer = self.address().map(|address| address.to_string());
        self.print(
            at,
            level,
            target,
            peer.as_deref().unwrap_or(&self.peer),
            after,
        )
    }

    fn print(&self, at: Timestamp, level: Level, target: &str, peer: &str, after: &str) -> String {
        let (
            time,
            Self {
                message, fields, ..
            },
        ) = (Moment(at), self);
        let mut line = format!("[{time}] {level} {message}");
        // Writing to a string does not fail.
        if !peer.is_empty() {
            let _ = write!(line, " {PEER}={peer}");
        }
        let _ = writeln!(line, "{fields}{after} ({target})");
        line
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        let value = if value.contains(char::is_control) {
            value.escape_debug().to_string()
        } else {
            value
        };
        match field.name() {
            "message" => self.message = value,
            PEER => self.peer = value,
            name => {
                let _ = write!(self.fields, " {name}={value}");
            }
        }
    }
}

/// Address by which log lines of a client are counted: an IPv4 address, or the network of an IPv6 household.
pub fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & HOUSEHOLD).into(),
    }
}

/// A time in the format of log4j's `%d`.
struct Moment(Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S,%3f")),
            // The time is outside of the calendar's range.
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_log4j_does() {
        let print = |ms| Moment(ms).to_string();
        assert_eq!(print(0), "1970-01-01 00:00:00,000");
        assert_eq!(print(951_782_399_999), "2000-02-28 23:59:59,999");
        assert_eq!(print(951_782_400_000), "2000-02-29 00:00:00,000");
        assert_eq!(print(1_795_219_915_715), "2026-11-21 00:11:55,715");
        assert_eq!(print(4_107_542_400_000), "2100-03-01 00:00:00,000");
        assert_eq!(print(-1), "1969-12-31 23:59:59,999");
        assert_eq!(print(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn addresses_of_a_household_count_together() {
        let of = |text: &str| household(text.parse().unwrap()).to_string();
        assert_eq!(of("10.1.2.3"), "10.1.2.3");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_summary_names_the_client_without_its_port() {
        let words = Words {
            message: "closing a connection".to_owned(),
            fields: " reason=why".to_owned(),
            peer: "[::ffff:10.0.0.9]:4711".to_owned(),
        };
        let target = "monedula::server";
        assert_eq!(
            words.line(0, Level::INFO, target),
            "[1970-01-01 00:00:00,000] INFO closing a connection peer=[::ffff:10.0.0.9]:4711 reason=why (monedula::server)\n"
        );
        assert_eq!(
            words.summary(0, Level::WARN, target, ", again"),
            "[1970-01-01 00:00:00,000] WARN closing a connection peer=10.0.0.9 reason=why, again (monedula::server)\n"
        );
    }
}
