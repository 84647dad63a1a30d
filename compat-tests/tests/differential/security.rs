//! Responses of a broker without SASL, an authorizer or delegation tokens to requests about them; quotas and SCRAM users, which
//! such a broker stores all the same; and brokers that are not registered.

use anyhow::Result;
use monedula::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, OpData,
};
use monedula::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use monedula::wire::message::api_versions::ApiVersionsRequest;
use monedula::wire::message::create_delegation_token::{
    CreatableRenewers, CreateDelegationTokenRequest,
};
use monedula::wire::message::describe_client_quotas::{ComponentData, DescribeClientQuotasRequest};
use monedula::wire::message::describe_delegation_token::DescribeDelegationTokenRequest;
use monedula::wire::message::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};
use monedula::wire::message::expire_delegation_token::ExpireDelegationTokenRequest;
use monedula::wire::message::renew_delegation_token::RenewDelegationTokenRequest;
use monedula::wire::message::sasl_authenticate::SaslAuthenticateRequest;
use monedula::wire::message::sasl_handshake::SaslHandshakeRequest;
use monedula::wire::message::unregister_broker::UnregisterBrokerRequest;

use super::pair::Pair;

pub fn play(pair: &mut Pair) -> Result<()> {
    sasl(pair)?;
    tokens(pair)?;
    quotas(pair)?;
    users(pair)?;
    addressed(pair)?;
    for broker_id in [9, -1] {
        pair.scene(&format!("broker {broker_id}"), |_| {
            UnregisterBrokerRequest { broker_id }
        })?;
    }
    Ok(())
}

/// On one connection, which stays open: later requests are answered as well.
fn sasl(pair: &mut Pair) -> Result<()> {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", ""] {
        pair.scene(&format!("mechanism {mechanism:?}"), |_| {
            SaslHandshakeRequest {
                mechanism: mechanism.into(),
            }
        })?;
        pair.scene(&format!("after {mechanism:?}"), |_| {
            SaslAuthenticateRequest {
                auth_bytes: "\0user\0password".into(),
            }
        })?;
    }
    Ok(())
}

fn tokens(pair: &mut Pair) -> Result<()> {
    let renewer = |kind: &str| CreatableRenewers {
        principal_type: kind.into(),
        principal_name: "r".into(),
    };
    let plain = CreateDelegationTokenRequest::default();
    for (name, request) in [
        ("a token", plain.clone()),
        (
            "renewers, one of an unknown kind",
            CreateDelegationTokenRequest {
                renewers: vec![renewer("User"), renewer("Group")],
                max_lifetime_ms: 5,
                ..plain.clone()
            },
        ),
        (
            "a token for somebody else",
            CreateDelegationTokenRequest {
                owner_principal_type: Some("User".into()),
                owner_principal_name: Some("bob".into()),
                ..plain
            },
        ),
    ] {
        pair.scene(name, |_| request.clone())?;
    }
    pair.scene("a token that is not there", |_| {
        RenewDelegationTokenRequest {
            hmac: "x".into(),
            renew_period_ms: 5,
        }
    })?;
    pair.scene("a token that is not there", |_| {
        ExpireDelegationTokenRequest {
            hmac: "x".into(),
            expiry_time_period_ms: -1,
        }
    })?;
    for owners in [None, Some(Vec::new())] {
        pair.scene(&format!("owners {owners:?}"), |_| {
            DescribeDelegationTokenRequest {
                owners: owners.clone(),
            }
        })?;
    }
    Ok(())
}

type Entity<'a> = &'a [(&'a str, Option<&'a str>)];
type Op<'a> = (&'a str, Option<f64>);

fn altered(entries: &[(Entity<'_>, &[Op<'_>])], validate_only: bool) -> AlterClientQuotasRequest {
    AlterClientQuotasRequest {
        entries: entries
            .iter()
            .map(|(entity, ops)| AlterClientQuotasRequestEntryData {
                entity: entity
                    .iter()
                    .map(|(kind, name)| EntityData {
                        entity_type: (*kind).into(),
                        entity_name: name.map(Into::into),
                    })
                    .collect(),
                ops: ops
                    .iter()
                    .map(|(key, value)| OpData {
                        key: (*key).into(),
                        value: value.unwrap_or_default(),
                        remove: value.is_none(),
                    })
                    .collect(),
            })
            .collect(),
        validate_only,
    }
}

fn quotas(pair: &mut Pair) -> Result<()> {
    const RATE: &str = "producer_byte_rate";
    const CONNECTIONS: &str = "connection_creation_rate";
    /// Quota that is large enough not to delay the connections of this test.
    const MANY: f64 = 1e6;
    let (a, b) = (&[("user", Some("a"))][..], &[("user", Some("b"))][..]);
    let local = &[("ip", Some("127.0.0.1"))][..];
    let both = &[("user", Some("a")), ("client-id", Some("c"))][..];
    let turned = &[("client-id", Some("c")), ("user", Some("a"))][..];
    let one = &[(RATE, Some(5.0))][..];
    type Entry<'a> = (Entity<'a>, &'a [Op<'a>]);
    let cases: &[(&str, &[Entry<'_>])] = &[
        ("nothing", &[]),
        ("no changes", &[(a, &[])]),
        ("a user", &[(a, one)]),
        ("the same again", &[(a, one)]),
        ("a user and a client", &[(both, one)]),
        ("the same turned around", &[(turned, &[(RATE, Some(6.0))])]),
        (
            "the default of users, of one client",
            &[(
                &[("user", None), ("client-id", Some("other"))],
                &[("request_percentage", Some(5.5))],
            )],
        ),
        ("an address", &[(local, &[(CONNECTIONS, Some(MANY))])]),
        (
            "addresses",
            &[(&[("ip", None)], &[(CONNECTIONS, Some(MANY))])],
        ),
        (
            "an address of six",
            &[(&[("ip", Some("::1"))], &[(CONNECTIONS, Some(MANY))])],
        ),
        ("no entity", &[(&[], one)]),
        ("an unknown kind", &[(&[("group", Some("a"))], one)]),
        ("an empty kind", &[(&[("", Some("a"))], one)]),
        ("an empty name", &[(&[("user", Some(""))], one)]),
        (
            "a kind twice",
            &[(&[("user", Some("x")), ("user", Some("y"))], one)],
        ),
        (
            "a user at an address",
            &[(&[("user", Some("x")), ("ip", Some("::1"))], one)],
        ),
        ("a rate of users for an address", &[(local, one)]),
        ("an unknown key", &[(a, &[("z", Some(1.0))])]),
        ("an unknown key to be removed", &[(a, &[("z", None)])]),
        (
            "a good key and an unknown one",
            &[(b, &[(RATE, Some(1.0)), ("z", Some(1.0))])],
        ),
        ("zero", &[(b, &[(RATE, Some(0.0))])]),
        ("a negative rate", &[(b, &[(RATE, Some(-1.0))])]),
        ("no number", &[(b, &[(RATE, Some(f64::NAN))])]),
        ("without end", &[(b, &[(RATE, Some(f64::INFINITY))])]),
        ("half a byte", &[(b, &[(RATE, Some(1.5))])]),
        ("too much", &[(b, &[(RATE, Some(1e30))])]),
        (
            "too many connections",
            &[(local, &[(CONNECTIONS, Some(1e10))])],
        ),
        (
            "a fraction where one may be",
            &[(b, &[("controller_mutation_rate", Some(0.1))])],
        ),
        (
            "a key twice",
            &[(b, &[(RATE, Some(1.0)), (RATE, Some(2.0))])],
        ),
        (
            "an entity twice",
            &[(b, one), (b, &[("consumer_byte_rate", Some(1.0))])],
        ),
        ("a good one and a bad one", &[(b, one), (local, one)]),
    ];
    for (name, entries) in cases {
        for validate_only in [true, false] {
            let name = format!("{name}, only to validate: {validate_only}");
            pair.scene(&name, |_| altered(entries, validate_only))?;
        }
    }
    type Filter<'a> = (&'a str, i8, Option<&'a str>);
    let filters: &[(&str, &[Filter<'_>])] = &[
        ("all", &[]),
        ("users", &[("user", 2, None)]),
        ("a user", &[("user", 0, Some("a"))]),
        ("the default user", &[("user", 1, None)]),
        (
            "users and clients",
            &[("user", 2, None), ("client-id", 2, None)],
        ),
        ("an unknown user", &[("user", 0, Some("zz"))]),
        ("addresses", &[("ip", 2, None)]),
        ("a user without a name", &[("user", 0, None)]),
        ("the default user by name", &[("user", 1, Some("a"))]),
        ("any user by name", &[("user", 2, Some("a"))]),
        ("an unknown match", &[("user", 9, None)]),
        ("an unknown kind", &[("group", 2, None)]),
        ("an empty kind", &[("", 2, None)]),
        ("a kind twice", &[("user", 2, None), ("user", 1, None)]),
        ("users at addresses", &[("user", 2, None), ("ip", 2, None)]),
    ];
    let describe = |pair: &mut Pair, when: &str| {
        for (name, components) in filters {
            for strict in [true, false] {
                pair.scene(&format!("{name}, strictly: {strict}, {when}"), |_| {
                    DescribeClientQuotasRequest {
                        components: components
                            .iter()
                            .map(|(kind, match_type, name)| ComponentData {
                                entity_type: (*kind).into(),
                                match_type: *match_type,
                                r#match: name.map(Into::into),
                            })
                            .collect(),
                        strict,
                    }
                })?;
            }
        }
        Ok::<(), anyhow::Error>(())
    };
    // The quota is not stored on either broker.
    let named: Entity<'_> = &[("ip", Some("localhost"))];
    for value in [Some(MANY), None] {
        pair.once("an address by name", 1, |_| {
            altered(&[(named, &[(CONNECTIONS, value)])], false)
        })?;
    }
    describe(pair, "set")?;
    let gone: &[Op<'_>] = &[(RATE, None)];
    pair.scene("removed", |_| altered(&[(a, gone), (turned, gone)], false))?;
    describe(pair, "removed")
}

fn users(pair: &mut Pair) -> Result<()> {
    /// Parses changes: `+name/mechanism/iterations` upserts a credential, `-name/mechanism` deletes one.
    fn altered(text: &str) -> AlterUserScramCredentialsRequest {
        let mut request = AlterUserScramCredentialsRequest::default();
        for word in text.split_whitespace() {
            let mut parts = word[1..].split('/');
            let mut next = || parts.next().unwrap_or("4096");
            let (name, mechanism) = (next().into(), next().parse().unwrap_or_default());
            match word.starts_with('+') {
                true => request.upsertions.push(ScramCredentialUpsertion {
                    name,
                    mechanism,
                    iterations: next().parse().unwrap_or_default(),
                    salt: "salt".into(),
                    salted_password: "a salted password".into(),
                }),
                false => request
                    .deletions
                    .push(ScramCredentialDeletion { name, mechanism }),
            }
        }
        request
    }
    for text in [
        "",
        "+u/1 +w/2/16384",
        "+u/2/5000",
        "+x/1 +x/2",
        "+x/1 +x/1",
        "-u/1 +u/1",
        "-u/1 -u/2",
        "+x/1/4095",
        "+x/1/16385",
        "+x/0",
        "+x/3",
        "+/1",
        "-/1",
        "-u/0",
        "-nobody/1",
        "-nobody/1 +good/1",
        "-w/2",
    ] {
        pair.scene(&format!("{text:?}"), |_| altered(text))?;
    }
    pair.scene("an empty password", |_| {
        let mut request = altered("+empty/1");
        request.upsertions[0].salted_password = "".into();
        request
    })?;
    for users in [
        None,
        Some(&[][..]),
        Some(&["u"]),
        Some(&["nobody"]),
        Some(&["u", "nobody", "good"]),
        Some(&["u", "u"]),
        Some(&["nobody", "nobody"]),
        Some(&[""]),
    ] {
        pair.scene(&format!("{users:?}"), |_| {
            DescribeUserScramCredentialsRequest {
                users: users.map(|users| {
                    let users = users.iter();
                    users
                        .map(|name| UserName {
                            name: (*name).into(),
                        })
                        .collect()
                }),
            }
        })?;
    }
    Ok(())
}

/// Clients that name the broker that they expect (KIP-1242).
fn addressed(pair: &mut Pair) -> Result<()> {
    for (cluster, node) in [
        (Some("another"), 1),
        (Some(""), 1),
        (Some("another"), -1),
        (None, 1),
        (None, -2),
    ] {
        pair.once(&format!("cluster {cluster:?}, node {node}"), 5, |_| {
            ApiVersionsRequest {
                client_software_name: "client".into(),
                client_software_version: "1.0".into(),
                cluster_id: cluster.map(Into::into),
                node_id: node,
            }
        })?;
    }
    Ok(())
}
