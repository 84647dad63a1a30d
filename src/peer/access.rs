//! Credentials with which a node connects to other nodes of its cluster: the security protocol of their listener, the keys of
//! that listener, and the user of this node.

use std::sync::Arc;

use super::connection::Access;
use crate::config::broker::BrokerSettings;
use crate::config::listener::SecurityProtocol;
use crate::config::sasl;
use crate::config::tls::ClientTls;
use crate::security::sasl::client::Credentials;
use crate::transport::client::{self, Transport};

/// Reads the key stores that the settings name. `mechanism_setting` is the name of the setting with the SASL mechanism.
///
/// Errors: all mistakes, each with the name of its setting.
pub fn to_listener(
    settings: &BrokerSettings,
    listener: &str,
    protocol: SecurityProtocol,
    mechanism_setting: &str,
) -> Result<Access, Vec<(String, String)>> {
    let transport = match protocol.has_tls() {
        false => Transport::Plain,
        true => Transport::Tls(client::load(&ClientTls::of_listener(settings, listener)?)?),
    };
    let login = match protocol.has_sasl() {
        false => None,
        true => {
            let of_peer = sasl::of_peer(settings, listener, mechanism_setting);
            let (mechanism, user, password) = of_peer.map_err(|fault| vec![fault])?;
            let credentials = Credentials::new(mechanism, &user, password.reveal());
            Some(Arc::new(credentials))
        }
    };
    Ok(Access { transport, login })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::properties;

    fn access(text: &str, protocol: SecurityProtocol) -> Result<Access, String> {
        let given = properties(text).into_iter();
        let settings = BrokerSettings::new(given.map(|one| (one.key, one.value)).collect());
        let access = to_listener(&settings, "INNER", protocol, sasl::BETWEEN_BROKERS);
        access.map_err(|faults| faults.into_iter().map(|(_, what)| what).collect())
    }

    #[test]
    fn the_user_is_that_of_the_listeners_login_module() {
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        let text = format!(
            "sasl.mechanism.inter.broker.protocol=PLAIN\n\
             listener.name.inner.plain.sasl.jaas.config={module} username=b password=s user_b=s;\n"
        );
        let found = access(&text, SecurityProtocol::SaslPlaintext).unwrap();
        assert!(found.login.is_some() && matches!(found.transport, Transport::Plain));
        assert!(
            access(&text, SecurityProtocol::Plaintext)
                .unwrap()
                .login
                .is_none()
        );
        for (wrong, expected) in [
            (
                text.replace("=PLAIN\n", "=GSSAPI\n"),
                "GSSAPI is not supported",
            ),
            (
                text.replace("username=b ", ""),
                "the login module has no username",
            ),
            (
                text.replace("inner", "outer"),
                "listener.name.inner.plain.sasl.jaas.config: ",
            ),
        ] {
            let found = access(&wrong, SecurityProtocol::SaslPlaintext).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
        let text = "listener.name.inner.ssl.truststore.location=/gone\n";
        let found = access(text, SecurityProtocol::Ssl).unwrap_err();
        assert!(
            found.contains("listener.name.inner.ssl.truststore.location"),
            "{found}"
        );
    }
}
