//! `--command-config`: connection and authentication settings of a Kafka client. Other settings are ignored.

use std::path::Path;
use std::sync::Arc;

use super::client::Failure;
use crate::base::plain::Plain;
use crate::config::broker::BrokerSettings;
use crate::config::listener::SecurityProtocol;
use crate::config::parse::{Property, properties};
use crate::config::sasl;
use crate::config::tls::ClientTls;
use crate::peer::connection::Access;
use crate::security::sasl::client::Credentials;
use crate::transport::client::{self, Transport};

/// Connection and authentication settings of a file.
pub(super) fn access(path: &Path) -> Result<Access, Failure> {
    let name = path.display();
    let given = read(path)?.into_iter();
    let settings = BrokerSettings::new(given.map(|one| (one.key, one.value)).collect());
    let protocol = settings
        .explicit("security.protocol")
        .unwrap_or("PLAINTEXT");
    let protocol = SecurityProtocol::parse(protocol.trim()).ok_or_else(|| {
        format!(
            "{name}: security.protocol={protocol} is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL"
        )
    })?;
    let told = |faults: Vec<(String, String)>| {
        let lines: Vec<String> = faults
            .into_iter()
            .map(|(_, what)| format!("{name}: {what}"))
            .collect();
        Failure(lines.join("\n"))
    };
    let transport = match protocol.has_tls() {
        false => Transport::Plain,
        true => {
            let wanted = ClientTls::of(&settings).map_err(told)?;
            Transport::Tls(client::load(&wanted).map_err(told)?)
        }
    };
    let login = match protocol.has_sasl() {
        false => None,
        true => {
            let (mechanism, user, password) =
                sasl::of_client(&settings).map_err(|fault| told(vec![fault]))?;
            let credentials = Credentials::new(mechanism, &user, password.reveal());
            Some(Arc::new(credentials))
        }
    };
    Ok(Access { transport, login })
}

/// A setting of the file that is not about the connection.
pub(super) fn file_property(path: Option<&Path>, name: &str) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let found = read(path)?.into_iter().rfind(|one| one.key == name);
    Ok(found.map(|one| one.value))
}

fn read(path: &Path) -> Result<Vec<Property>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), Plain(&error)))?;
    Ok(properties(&text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;
    use crate::broker::temporary::TemporaryBroker;
    use crate::cli::admin::client::Cluster;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A key and a certificate for these names, as a PEM keystore.
    fn own(authority: &Authority, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }

    struct Scene {
        dir: tempfile::TempDir,
    }

    impl Scene {
        fn write(&self, name: &str, text: &str) -> String {
            let path = self.dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        }

        async fn broker(&self, own: &str, more: &[(&str, &str)]) -> TemporaryBroker {
            let own = self.write("own.pem", own);
            let mut settings = vec![
                ("listeners", "SSL://127.0.0.1:0"),
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", own.as_str()),
            ];
            settings.extend(more);
            TemporaryBroker::start(&settings).await.unwrap()
        }

        /// Connects with the settings of a file; returns the number of brokers, or the error.
        async fn ask(&self, broker: &TemporaryBroker, file: &str) -> Result<usize, String> {
            let path = self.write("client.properties", file);
            let access = access(Path::new(&path)).map_err(|Failure(text)| text)?;
            let servers = broker.bootstrap_servers();
            let cluster = Cluster::at(&servers, &access, Duration::ZERO).await;
            let cluster = cluster.map_err(|Failure(text)| text)?;
            // Connections to the brokers in the metadata use the same settings.
            let found = cluster.brokers(None).await.map_err(|Failure(text)| text)?;
            for (_, broker) in &found {
                broker
                    .versions(Duration::from_secs(30))
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Ok(found.len())
        }
    }

    fn scene() -> Scene {
        Scene {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    #[tokio::test]
    async fn tools_speak_tls_with_the_settings_of_kafkas_clients() {
        let (scene, ca, stranger) = (scene(), authority("ca"), authority("stranger"));
        let trusted = scene.write("ca.pem", &ca.pem());
        let unknown = scene.write("stranger.pem", &stranger.pem());
        let broker = scene.broker(&own(&ca, &["127.0.0.1"]), &[]).await;
        let file = format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={trusted}\n"
        );
        assert_eq!(scene.ask(&broker, &file).await, Ok(1));
        let check = async |file: &str, expected: &str| {
            let found = scene.ask(&broker, file).await.unwrap_err();
            assert!(found.contains(expected), "{file}: {found}");
        };
        check(
            "",
            "If the listener speaks TLS, use --command-config with a file that has security.protocol=SSL",
        )
        .await;
        let wrong = file.replace(&trusted, &unknown);
        check(&wrong, "by TLS: invalid peer certificate: UnknownIssuer").await;
        check(
            "security.protocol=SASL",
            "security.protocol=SASL is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL",
        )
        .await;
        let gone = file.replace("ca.pem", "gone.pem");
        check(&gone, "ssl.truststore.location: ").await;
        check(&gone, "gone.pem: it cannot be read: no such file").await;
        let other = format!("{file}ssl.endpoint.identification.algorithm=ldaps\n");
        check(
            &other,
            "ssl.endpoint.identification.algorithm: it is https or empty",
        )
        .await;
    }

    #[tokio::test]
    async fn the_name_of_a_broker_is_compared_unless_a_setting_says_otherwise() {
        let (scene, ca) = (scene(), authority("ca"));
        let trusted = scene.write("ca.pem", &ca.pem());
        let broker = scene.broker(&own(&ca, &["kafka.example"]), &[]).await;
        let file = format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={trusted}\n"
        );
        let found = scene.ask(&broker, &file).await.unwrap_err();
        assert!(found.contains("not valid for name"), "{found}");
        let file = format!("{file}ssl.endpoint.identification.algorithm=\n");
        assert_eq!(scene.ask(&broker, &file).await, Ok(1));
    }

    #[tokio::test]
    async fn a_broker_that_wants_a_certificate_gets_that_of_the_keystore() {
        let (scene, ca) = (scene(), authority("ca"));
        let trusted = scene.write("ca.pem", &ca.pem());
        let more = [
            ("ssl.client.auth", "required"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", trusted.as_str()),
        ];
        let broker = scene.broker(&own(&ca, &["127.0.0.1"]), &more).await;
        let without = format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={trusted}\n"
        );
        assert!(scene.ask(&broker, &without).await.is_err());
        let client = scene.write("client.pem", &own(&ca, &["client"]));
        let with = format!("{without}ssl.keystore.type=PEM\nssl.keystore.location={client}\n");
        assert_eq!(scene.ask(&broker, &with).await, Ok(1));
    }

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

    #[tokio::test]
    async fn tools_log_in_with_the_settings_of_kafkas_clients() {
        let (scene, ca) = (scene(), authority("ca"));
        let trusted = scene.write("ca.pem", &ca.pem());
        let users = format!("{PLAIN} user_ann=\"p=,\";");
        let plain = "listener.name.sasl_plaintext.plain.sasl.jaas.config";
        let both = [
            (plain.to_owned(), users.clone()),
            (plain.replace("plaintext", "ssl"), users.clone()),
            (
                plain.replace(".plain.", ".scram-sha-512."),
                format!("{SCRAM};"),
            ),
            (
                plain.replace("plaintext.plain", "ssl.scram-sha-512"),
                format!("{SCRAM};"),
            ),
        ];
        let mut more: Vec<(&str, &str)> = both.iter().map(|(a, b)| (&**a, &**b)).collect();
        more.extend([
            (
                "listeners",
                "SASL_PLAINTEXT://127.0.0.1:0,SASL_SSL://127.0.0.1:0",
            ),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
        ]);
        let broker = scene.broker(&own(&ca, &["127.0.0.1"]), &more).await;
        let addresses = broker.bootstrap_servers();
        let (open, safe) = addresses.split_once(',').unwrap();
        let tls = format!("ssl.truststore.type=PEM\nssl.truststore.location={trusted}\n");
        let file = |protocol: &str, mechanism: &str, jaas: &str| {
            format!(
                "security.protocol={protocol}\nsasl.mechanism={mechanism}\nsasl.jaas.config={jaas}\n{tls}"
            )
        };
        let ask = async |address: &str, file: &str| {
            let path = scene.write("client.properties", file);
            let access = access(Path::new(&path)).map_err(|Failure(text)| text)?;
            let cluster = Cluster::at(address, &access, Duration::ZERO).await;
            let cluster = cluster.map_err(|Failure(text)| text)?;
            let metadata = cluster.metadata(None).await.map_err(|Failure(text)| text)?;
            Ok::<_, String>(metadata.brokers.len())
        };
        let ann = format!("{PLAIN} username=ann password=\"p=,\";");
        assert_eq!(
            ask(open, &file("SASL_PLAINTEXT", "PLAIN", &ann)).await,
            Ok(1)
        );
        assert_eq!(ask(safe, &file("SASL_SSL", "PLAIN", &ann)).await, Ok(1));
        let eve = ann.replace("p=,", "p");
        let found = ask(open, &file("SASL_PLAINTEXT", "PLAIN", &eve))
            .await
            .unwrap_err();
        assert!(
            found.contains("Authentication failed: Invalid username or password"),
            "{found}"
        );
        let nobody = format!("{SCRAM} username=ann password=x;");
        let found = ask(open, &file("SASL_PLAINTEXT", "SCRAM-SHA-512", &nobody))
            .await
            .unwrap_err();
        assert!(
            found.contains("invalid credentials with SASL mechanism SCRAM-SHA-512"),
            "{found}"
        );
        let found = ask(open, &file("SASL_PLAINTEXT", "SCRAM-SHA-256", &nobody))
            .await
            .unwrap_err();
        assert!(
            found.contains("the listener has PLAIN, SCRAM-SHA-512, not SCRAM-SHA-256"),
            "{found}"
        );
        let found = ask(open, "").await.unwrap_err();
        assert!(found.contains("closed"), "{found}");
        for (wrong, expected) in [
            (
                file("SASL_SSL", "GSSAPI", &ann),
                "sasl.mechanism: GSSAPI is not supported",
            ),
            (
                file("SASL_SSL", "PLAIN", ""),
                "sasl.jaas.config: Login module not specified",
            ),
            (
                file("SASL_SSL", "PLAIN", &format!("{PLAIN} username=a;")),
                "the login module has no password",
            ),
            (
                file("SASL_SSL", "PLAIN", &nobody),
                "the login module of PLAIN is",
            ),
        ] {
            let found = ask(safe, &wrong).await.unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_not_kafkas_is_not_taken_for_one() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 16];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let found = Cluster::at(&address, &Access::default(), Duration::ZERO).await;
        let Failure(found) = found.unwrap_err();
        assert!(
            found.contains("is not a listener for Kafka clients"),
            "{found}"
        );
    }
}
