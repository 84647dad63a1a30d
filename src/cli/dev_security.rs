//! `start --dev-security`: listeners of every security protocol side by side, for tests of clients. Makes a certificate authority,
//! certificates, users and settings files of clients, so that nothing has to be prepared.
//!
//! The passwords are known to everybody, so this is for development only.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use super::scram_users::upsertion;
use crate::base::plain::Plain;
use crate::broker::Broker;
use crate::config::authorizer::{AUTHORIZER, STANDARD_AUTHORIZER};
use crate::config::listener::SecurityProtocol;
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::Identity;
use crate::security::scram::{ITERATIONS, ScramMechanism};
use crate::wire::message::alter_user_scram_credentials::AlterUserScramCredentialsRequest;

/// Folder of certificates and client settings, unless another is given.
pub const DEFAULT_FOLDER: &str = "monedula-security";
/// Port of the first listener, unless another is given. The others follow it.
pub const DEFAULT_PORT: u16 = 9092;
/// Users with their passwords. The first is a super user.
const USERS: [(&str, &str); 2] = [("admin", "admin-secret"), ("alice", "alice-secret")];
/// User to whom the client's certificate belongs, by the rule `DEFAULT` of `ssl.principal.mapping.rules`.
const CERTIFICATE_USER: &str = "alice";
/// The listeners, in the order of their ports.
const LISTENERS: [SecurityProtocol; 4] = [
    SecurityProtocol::Plaintext,
    SecurityProtocol::Ssl,
    SecurityProtocol::SaslPlaintext,
    SecurityProtocol::SaslSsl,
];
/// Time limit for the making of the users, the same as that of Kafka's clients.
const USERS_WITHIN: Duration = Duration::from_secs(60);

/// A folder with certificates, which were made when it was prepared.
#[derive(Debug)]
pub struct DevSecurity {
    folder: PathBuf,
}

impl DevSecurity {
    /// Makes the certificates. A certificate authority that is in the folder already is kept, so that clients need not be told
    /// a new one. `names` are those under which clients may reach the broker, besides this machine's.
    ///
    /// Errors: a file cannot be read or written, or is not what it should be.
    pub fn prepare(folder: &Path, host: &Host, names: &[String]) -> Result<Self, String> {
        fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {}", folder.display(), Plain(&error)))?;
        let folder = fs::canonicalize(folder)
            .map_err(|error| format!("cannot find {}: {}", folder.display(), Plain(&error)))?;
        let this = Self { folder };
        let authority = this.authority()?;
        let mut all = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec();
        all.push(host.network.own_name());
        all.extend_from_slice(names);
        all.retain(|name| !name.is_empty());
        all.sort();
        all.dedup();
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        this.certify(&authority, "broker", all, server)?;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        this.certify(&authority, CERTIFICATE_USER, Vec::new(), client)?;
        Ok(this)
    }

    fn authority(&self) -> Result<CertifiedIssuer<'static, KeyPair>, String> {
        let path = self.path("ca-key.pem");
        let key = match fs::read_to_string(&path) {
            Ok(text) => KeyPair::from_pem(&text).map_err(|error| {
                format!("{}: {error}; remove it to have another", path.display())
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(|error| error.to_string())?;
                self.write("ca-key.pem", &key.serialize_pem())?;
                key
            }
            Err(error) => return Err(format!("cannot read {}: {}", path.display(), Plain(&error))),
        };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "monedula development");
        // Only name and key of an authority count, so one that is made anew from the same key is the same to clients.
        let authority =
            CertifiedIssuer::self_signed(params, key).map_err(|error| error.to_string())?;
        self.write("ca.pem", &authority.pem())?;
        Ok(authority)
    }

    /// Writes a key and a certificate into `NAME.pem`.
    fn certify(
        &self,
        authority: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        hosts: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<(), String> {
        let faulty = |error: rcgen::Error| format!("the certificate of {name}: {error}");
        let key = KeyPair::generate().map_err(faulty)?;
        let mut params = CertificateParams::new(hosts).map_err(faulty)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, authority).map_err(faulty)?;
        self.write(
            &format!("{name}.pem"),
            &format!("{}{}", key.serialize_pem(), certificate.pem()),
        )
    }

    /// Settings of the broker, each as `name=value`. The listeners are at `host`; with port 0 each has a free port.
    pub fn settings(&self, host: &str, port: u16) -> Vec<String> {
        let listeners = LISTENERS.iter().enumerate().map(|(place, protocol)| {
            let port = match port {
                0 => 0,
                first => first.saturating_add(place as u16),
            };
            format!("{}://{host}:{port}", protocol.name())
        });
        let super_user = USERS[0].0;
        let plain: String = USERS
            .iter()
            .map(|(user, password)| format!(" user_{user}=\"{password}\""))
            .collect();
        let mut settings = vec![
            format!("listeners={}", listeners.collect::<Vec<_>>().join(",")),
            "ssl.keystore.type=PEM".to_owned(),
            format!(
                "ssl.keystore.location={}",
                self.path("broker.pem").display()
            ),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={}", self.path("ca.pem").display()),
            "listener.name.ssl.ssl.client.auth=requested".to_owned(),
            "ssl.principal.mapping.rules=RULE:^CN=(.*?)(,.*)?$/$1/,DEFAULT".to_owned(),
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
            format!("{AUTHORIZER}={STANDARD_AUTHORIZER}"),
            format!("super.users=User:{super_user};User:ANONYMOUS"),
            "allow.everyone.if.no.acl.found=true".to_owned(),
            "monedula.admin.reset.with.authorizer=true".to_owned(),
        ];
        for listener in ["sasl_plaintext", "sasl_ssl"] {
            settings.push(format!(
                "listener.name.{listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{plain};"
            ));
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                settings.push(format!(
                    "listener.name.{listener}.{mechanism}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ));
            }
        }
        settings
    }

    /// Makes the SCRAM users, writes a settings file of a client for each listener, and logs what clients need.
    ///
    /// Errors: the broker refuses the users, or a file cannot be written.
    pub async fn finish(&self, broker: &Broker, host: &Host) -> Result<(), String> {
        let ports = ports(broker.addresses());
        let first = ports.first().ok_or("there is no listener")?;
        make_users(host, format!("localhost:{first}")).await?;
        tracing::info!(
            "for development only: the users and their passwords are {}; {} is a super user; a resource without ACLs is open to everybody",
            USERS
                .map(|(user, password)| format!("{user}/{password}"))
                .join(", "),
            USERS[0].0
        );
        for (protocol, port) in LISTENERS.into_iter().zip(ports) {
            let name = protocol.name();
            let file = format!("{}.properties", name.to_ascii_lowercase().replace('_', "-"));
            self.write(&file, &self.client(protocol, port))?;
            tracing::info!(
                "{name}: monedula topics --bootstrap-server localhost:{port} --command-config {} --list",
                self.path(&file).display()
            );
        }
        Ok(())
    }

    /// Settings of a client.
    fn client(&self, protocol: SecurityProtocol, port: u16) -> String {
        let mut text = format!(
            "bootstrap.servers=localhost:{port}\nsecurity.protocol={}\n",
            protocol.name()
        );
        if protocol.has_tls() {
            text += &format!(
                "ssl.truststore.type=PEM\nssl.truststore.location={}\n",
                self.path("ca.pem").display()
            );
        }
        if protocol == SecurityProtocol::Ssl {
            let own = format!("{CERTIFICATE_USER}.pem");
            text += &format!(
                "ssl.keystore.type=PEM\nssl.keystore.location={}\n",
                self.path(&own).display()
            );
        }
        if protocol.has_sasl() {
            let (user, password) = USERS[1];
            text += &format!(
                "# PLAIN with org.apache.kafka.common.security.plain.PlainLoginModule, and SCRAM-SHA-512, work as well\n\
                sasl.mechanism=SCRAM-SHA-256\n\
                sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
                username=\"{user}\" password=\"{password}\";\n"
            );
        }
        text
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that others of this machine cannot read, because most have a key or a password.
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.path(name);
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|error| format!("cannot write {}: {}", path.display(), Plain(&error)))
    }
}

/// Port of each listener. A listener at `localhost` has several addresses with one port.
fn ports(addresses: &[SocketAddr]) -> Vec<u16> {
    let each = (addresses.len() / LISTENERS.len()).max(1);
    addresses.chunks(each).map(|some| some[0].port()).collect()
}

/// Makes the users of SCRAM, or sets their passwords back, as a client of the broker.
async fn make_users(host: &Host, broker: String) -> Result<(), String> {
    let channel = Channel::new(host, broker, Identity::new("monedula-start"));
    // A request may name each user once.
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        let mut request = AlterUserScramCredentialsRequest::default();
        for (user, password) in USERS {
            let salt = host.chance.bytes().map_err(|error| error.to_string())?;
            let upsertion = upsertion(user, mechanism, password, salt, *ITERATIONS.start());
            request.upsertions.push(upsertion);
        }
        let answer = channel
            .call(&request, USERS_WITHIN)
            .await
            .map_err(|error| format!("users: {error}"))?;
        if let Some(refused) = answer.results.iter().find(|one| one.error_code != 0) {
            let why = refused.error_message.as_deref().unwrap_or_default();
            return Err(format!("user {}: {why}", refused.user));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::broker::temporary::TemporaryBroker;
    use crate::cli::admin;

    async fn broker(security: &DevSecurity) -> TemporaryBroker {
        let settings = security.settings("localhost", 0);
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|one| one.split_once('=').unwrap())
            .collect();
        TemporaryBroker::start(&settings).await.unwrap()
    }

    #[tokio::test]
    async fn a_client_of_each_protocol_works_with_the_file_that_is_written_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::default();
        let security = DevSecurity::prepare(dir.path(), &host, &[]).unwrap();
        let broker = broker(&security).await;
        let ports = ports(broker.addresses());
        security.finish(&broker, &host).await.unwrap();
        let names = ["plaintext", "ssl", "sasl-plaintext", "sasl-ssl"];
        assert_eq!(ports.len(), names.len());
        for (name, port) in names.into_iter().zip(ports) {
            let file = dir.path().join(format!("{name}.properties"));
            let server = format!("localhost:{port}");
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                text.starts_with(&format!("bootstrap.servers={server}\n")),
                "{text}"
            );
            assert_eq!(admin::nodes(&server, &file).await, Ok(1), "{name}");
            // The same with PLAIN, and not with another password.
            if text.contains("SCRAM") {
                let plain = text
                    .replace("=SCRAM-SHA-256", "=PLAIN")
                    .replace("scram.ScramLogin", "plain.PlainLogin");
                fs::write(&file, &plain).unwrap();
                assert_eq!(admin::nodes(&server, &file).await, Ok(1), "{name}");
                fs::write(&file, plain.replace("alice-secret", "guess")).unwrap();
                assert!(admin::nodes(&server, &file).await.is_err(), "{name}");
            }
        }
        broker.stop().await;
    }

    #[tokio::test]
    async fn an_authority_is_kept_and_the_files_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::default();
        let key = || fs::read_to_string(dir.path().join("ca-key.pem")).unwrap();
        DevSecurity::prepare(dir.path(), &host, &[]).unwrap();
        let (before, trusted) = (key(), fs::read(dir.path().join("ca.pem")).unwrap());
        let names = ["kafka.example.org".to_owned()];
        let security = DevSecurity::prepare(dir.path(), &host, &names).unwrap();
        assert_eq!(key(), before);
        for entry in fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // A client that has the certificate of the first authority trusts the second.
        fs::write(dir.path().join("ca.pem"), trusted).unwrap();
        let broker = broker(&security).await;
        let port = ports(broker.addresses())[1];
        let file = dir.path().join("client.properties");
        fs::write(&file, security.client(SecurityProtocol::Ssl, port)).unwrap();
        assert_eq!(
            admin::nodes(&format!("localhost:{port}"), &file).await,
            Ok(1)
        );

        fs::write(dir.path().join("ca-key.pem"), "no key").unwrap();
        let fault = DevSecurity::prepare(dir.path(), &host, &[]).unwrap_err();
        assert!(fault.contains("ca-key.pem: "), "{fault}");
        assert!(fault.ends_with("; remove it to have another"), "{fault}");
    }
}
