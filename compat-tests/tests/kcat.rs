//! librdkafka, through kcat, works the same with this broker as with Apache Kafka.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use compat_tests::apache::{Apache, PRESENT, SETTINGS, tool};
use compat_tests::node::{Node, free_port};
use compat_tests::programs::{run, succeed};

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("record-{n:06}\n")).collect()
}

#[test]
#[ignore = "needs kcat"]
fn every_codec_comes_back_as_it_was_sent() {
    let node = Node::start().unwrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("codec-{codec}");
        let sent = lines(5_000);
        assert!(
            node.kcat(&["-P", "-t", &topic, "-z", codec], &sent)
                .unwrap()
                .success,
            "{codec}"
        );
        let got = node
            .kcat(&["-C", "-t", &topic, "-o", "beginning", "-e", "-q"], "")
            .unwrap();
        assert_eq!(got.stdout, sent, "{codec}");
    }
}

#[test]
#[ignore = "needs kcat"]
fn keys_headers_and_times_survive_a_restart() {
    let mut node = Node::start().unwrap();
    let produce = ["-P", "-t", "t", "-K:", "-H", "kind=test", "-H", "empty="];
    assert!(node.kcat(&produce, "k1:v1\nk2:v2\n").unwrap().success);
    let consume = [
        "-C",
        "-t",
        "t",
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%o %k %s %h %T\n",
    ];
    let before = node.kcat(&consume, "").unwrap().stdout;
    assert!(before.contains("0 k1 v1 kind=test,empty="), "{before}");
    node.stop().unwrap();
    node.resume().unwrap();
    assert_eq!(node.kcat(&consume, "").unwrap().stdout, before);
    node.kill().unwrap();
    node.resume().unwrap();
    assert_eq!(node.kcat(&consume, "").unwrap().stdout, before);
}

#[test]
#[ignore = "needs kcat"]
fn a_group_goes_on_from_its_commits() {
    let mut node = Node::start().unwrap();
    assert!(node.kcat(&["-P", "-t", "g"], &lines(100)).unwrap().success);
    let read = [
        "-G",
        "group",
        "-X",
        "auto.offset.reset=earliest",
        "-e",
        "-q",
        "g",
    ];
    assert_eq!(node.kcat(&read, "").unwrap().stdout.lines().count(), 100);
    assert!(node.kcat(&["-P", "-t", "g"], "later\n").unwrap().success);
    node.kill().unwrap();
    node.resume().unwrap();
    assert_eq!(node.kcat(&read, "").unwrap().stdout, "later\n");
}

#[test]
#[ignore = "needs kcat"]
fn an_idempotent_producer_writes_each_record_once() {
    let node = Node::start().unwrap();
    let sent = lines(20_000);
    let produce = [
        "-P",
        "-t",
        "i",
        "-X",
        "enable.idempotence=true",
        "-X",
        "linger.ms=1",
    ];
    assert!(node.kcat(&produce, &sent).unwrap().success);
    let got = node
        .kcat(&["-C", "-t", "i", "-o", "beginning", "-e", "-q"], "")
        .unwrap();
    assert_eq!(got.stdout, sent);
}

/// In twenty rounds the broker is killed with kill -9 while a producer sends: acknowledged records are there, once and in
/// order.
#[test]
#[ignore = "needs kcat"]
fn what_was_acknowledged_survives_twenty_kills() {
    let mut node = Node::start().unwrap();
    let mut acknowledged = String::new();
    for round in 0..20 {
        let sent: String = (0..500).map(|n| format!("{round:02}-{n:04}\n")).collect();
        // The producer has exited, so everything it sent was acknowledged; the data may be only in the page cache.
        assert!(
            node.kcat(&["-P", "-t", "k", "-X", "enable.idempotence=true"], &sent)
                .unwrap()
                .success
        );
        acknowledged += &sent;
        node.kill().unwrap();
        node.resume().unwrap();
        let got = node
            .kcat(&["-C", "-t", "k", "-o", "beginning", "-e", "-q"], "")
            .unwrap();
        assert!(
            got.stdout == acknowledged,
            "round {round}: {} lines",
            got.stdout.lines().count()
        );
    }
}

/// A folder with key stores and certificates for TLS, made by keytool and openssl.
struct Stores(tempfile::TempDir);

impl Stores {
    fn new() -> Result<Self> {
        const SCRIPT: &str = r#"
            export P=secret1
            keytool -genkeypair -alias broker -keyalg EC -groupname secp256r1 -dname CN=broker -validity 3650 \
                -ext san=dns:localhost,ip:127.0.0.1 -storetype JKS -keystore own.jks -storepass $P -keypass secret2
            keytool -exportcert -rfc -alias broker -keystore own.jks -storepass $P -file broker.pem
            for ca in ca other; do
                openssl req -x509 -newkey rsa:2048 -nodes -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 3650
            done
            client() { # client NAME CA DAYS
                openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj /CN=$1
                printf 'subjectAltName=DNS:localhost' > $1.ext
                openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days $3 -extfile $1.ext -out $1.pem
                cat $1.key $1.pem > $1.both.pem
            }
            client known ca 3650
            client stranger other 3650
            client expired ca -1
            keytool -importcert -noprompt -alias ca -file ca.pem -storetype PKCS12 -keystore trust.p12 -storepass $P
        "#;
        let dir = tempfile::tempdir()?;
        succeed(
            Command::new("bash")
                .args(["-ec", SCRIPT])
                .current_dir(dir.path()),
            Duration::from_secs(120),
        )?;
        Ok(Self(dir))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// TLS settings of both brokers.
    fn settings(&self, auth: &str) -> String {
        format!(
            "ssl.keystore.location={}\nssl.keystore.password=secret1\nssl.key.password=secret2\n\
             ssl.truststore.type=PKCS12\nssl.truststore.location={}\nssl.truststore.password=secret1\n\
             ssl.client.auth={auth}\nssl.cipher.suites={CIPHERS}\n",
            self.path("own.jks"),
            self.path("trust.p12"),
        )
    }

    /// Whether kcat gets metadata with the certificate of a client.
    fn is_served(&self, port: u16, who: Option<&str>) -> Result<bool> {
        let mut kcat = Command::new("kcat");
        // A refused kcat retries until its time limit.
        let within = if who == Some("known") { "60" } else { "5" };
        kcat.args(["-L", "-m", within, "-b", &format!("localhost:{port}")])
            .args(["-X", "security.protocol=ssl", "-X"])
            .arg(format!("ssl.ca.location={}", self.path("broker.pem")));
        if let Some(who) = who {
            kcat.arg("-X")
                .arg(format!(
                    "ssl.certificate.location={}",
                    self.path(&format!("{who}.pem"))
                ))
                .arg("-X")
                .arg(format!(
                    "ssl.key.location={}",
                    self.path(&format!("{who}.key"))
                ));
        }
        Ok(run(&mut kcat, "", Duration::from_secs(120))?.success)
    }
}

const CIPHERS: &str = "TLS_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";

/// Whether openssl can connect with a version of TLS and a cipher.
fn negotiates(port: u16, words: &[&str]) -> Result<bool> {
    let mut openssl = Command::new("openssl");
    openssl
        .args(["s_client", "-connect", &format!("localhost:{port}")])
        .args(words);
    let finished = run(&mut openssl, "", Duration::from_secs(60))?;
    Ok(!finished.stdout.contains("Cipher is (NONE)"))
}

#[test]
#[ignore = "needs java, maven, kcat and openssl"]
fn with_the_same_stores_the_same_clients_are_served() -> Result<()> {
    const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
    const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let stores = Stores::new()?;
    let dir = tempfile::tempdir()?;
    let (apaches, secured) = (free_port()?, free_port()?);
    let settings = SETTINGS
        .replace(
            ",CONTROLLER://",
            &format!(",SSL://127.0.0.1:{apaches},CONTROLLER://"),
        )
        .replace("PLAINTEXT:PLAINTEXT,", "PLAINTEXT:PLAINTEXT,SSL:SSL,")
        + &stores.settings("required");
    let apache = Apache::start_with(PRESENT, &settings, dir.path(), &dir.path().join("data"))?;
    let settings = format!(
        "listeners=PLAINTEXT://localhost:{{port}},SSL://localhost:{secured}\nlog.dirs={{dir}}\noffsets.topic.replication.factor=1\n{}",
        stores.settings("required")
    );
    let mut node = Node::with_settings(&settings)?;
    // kcat retries until its time limit, so all clients run at the same time.
    let all = |port: u16| -> Result<Vec<(&str, bool)>> {
        const CLIENTS: [(&str, Option<&str>); 4] = [
            ("known", Some("known")),
            ("stranger", Some("stranger")),
            ("expired", Some("expired")),
            ("nobody", None),
        ];
        let stores = &stores;
        let mut outcomes = std::thread::scope(|scope| {
            let asked = CLIENTS
                .map(|(name, who)| scope.spawn(move || Ok((name, stores.is_served(port, who)?))));
            asked
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect::<Result<Vec<_>>>()
        })?;
        for (name, words) in [
            ("TLS 1.3", &["-tls1_3"][..]),
            ("TLS 1.2", &["-tls1_2"]),
            ("TLS 1.1", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]),
            (
                "a cipher that is not named",
                &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            ),
        ] {
            outcomes.push((name, negotiates(port, words)?));
        }
        Ok(outcomes)
    };
    let expected = all(apaches)?;
    assert_eq!(all(secured)?, expected);
    let served: Vec<_> = expected
        .iter()
        .filter(|(_, served)| *served)
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(served, ["known", "TLS 1.3", "TLS 1.2"]);
    drop(apache);

    // Java's own client as producer and consumer.
    let client = dir.path().join("client.properties");
    std::fs::write(
        &client,
        format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\nssl.keystore.type=PEM\nssl.keystore.location={}\n",
            stores.path("broker.pem"),
            stores.path("known.both.pem"),
        ),
    )?;
    let (client, address) = (client.display().to_string(), format!("localhost:{secured}"));
    let common = [
        "--bootstrap-server",
        &address,
        "--topic",
        "t",
        "--command-config",
        &client,
    ];
    let sent = lines(1_000);
    let produced = tool(PRODUCER, &common, &sent)?;
    assert!(produced.success, "{}", produced.stderr);
    let read = [&common[..], &["--from-beginning", "--max-messages", "1000"]].concat();
    let consumed = tool(CONSUMER, &read, "")?;
    assert_eq!(consumed.stdout, sent, "{}", consumed.stderr);
    node.stop()?;
    Ok(())
}
