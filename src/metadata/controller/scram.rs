//! pure: SCRAM users. Kafka's `ScramControlManager` and `ScramImage`.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

use super::{Decision, repeated};
use crate::metadata::image::Image;
use crate::metadata::record::Record;
use crate::metadata::record::schema::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};
use crate::security::scram::{ITERATIONS, ScramMechanism};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use crate::wire::message::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};

type Refusal = (ErrorCode, &'static str);

/// Level of `metadata.version` from which on SCRAM users are records (3.5). Older nodes stop at such a record.
const USERS_SINCE: i16 = 11;
/// Limit of the users that one request may change. Each is a record, and Kafka's controller also writes at most this number for
/// one request.
const CHANGES_MAX: usize = 10_000;

/// AlterUserScramCredentials: each user succeeds or fails on its own, and may be named only once.
pub fn alter(
    image: &Image,
    request: &AlterUserScramCredentialsRequest,
) -> Decision<AlterUserScramCredentialsResponse> {
    let deleted = request.deletions.iter().map(|one| &one.name);
    let names = deleted.chain(request.upsertions.iter().map(|one| &one.name));
    let twice = repeated(names.clone());
    let too_many = names.clone().count() > CHANGES_MAX;
    let admitted = |name: &ByteString| {
        if image.metadata_version() < USERS_SINCE {
            let why = "The level of metadata.version has no users of SCRAM.";
            Err((ErrorCode::UnsupportedVersion, why))
        } else if too_many {
            let why = "A request may change at most 10000 users.";
            Err((ErrorCode::PolicyViolation, why))
        } else if twice.contains(name) {
            let why = "A request may change a user once.";
            Err((ErrorCode::DuplicateResource, why))
        } else {
            Ok(())
        }
    };
    let mut records: Vec<Record> = Vec::new();
    let mut results: BTreeMap<&ByteString, Option<Refusal>> = BTreeMap::new();
    for one in &request.deletions {
        let outcome = admitted(&one.name).and_then(|()| delete(image, one));
        results.insert(&one.name, outcome.map(|record| records.push(record)).err());
    }
    for one in &request.upsertions {
        let outcome = admitted(&one.name).and_then(|()| set(one));
        results.insert(&one.name, outcome.map(|record| records.push(record)).err());
    }
    let results = results.into_iter().map(|(user, refusal)| {
        let (code, message) = refusal.unzip();
        AlterUserScramCredentialsResult {
            user: user.clone(),
            error_code: code.unwrap_or(ErrorCode::None).code(),
            error_message: message.map(Into::into),
        }
    });
    let answer = AlterUserScramCredentialsResponse {
        results: results.collect(),
        ..Default::default()
    };
    Decision { records, answer }
}

fn check(name: &str, mechanism: i8) -> Result<ScramMechanism, Refusal> {
    if name.is_empty() {
        return Err((ErrorCode::UnacceptableCredential, "A user needs a name."));
    }
    ScramMechanism::of(mechanism).ok_or((
        ErrorCode::UnsupportedSaslMechanism,
        "The mechanism of SCRAM is unknown.",
    ))
}

fn delete(image: &Image, asked: &ScramCredentialDeletion) -> Result<Record, Refusal> {
    check(&asked.name, asked.mechanism)?;
    if image.scram.get(&asked.name, asked.mechanism).is_none() {
        let why = "There is no such user with this mechanism.";
        return Err((ErrorCode::ResourceNotFound, why));
    }
    let record = RemoveUserScramCredentialRecord {
        name: asked.name.clone(),
        mechanism: asked.mechanism,
    };
    Ok(record.into())
}

fn set(asked: &ScramCredentialUpsertion) -> Result<Record, Refusal> {
    let mechanism = check(&asked.name, asked.mechanism)?;
    let refused = |why| (ErrorCode::UnacceptableCredential, why);
    if asked.iterations < *ITERATIONS.start() {
        return Err(refused("There must be at least 4096 iterations."));
    }
    if asked.iterations > *ITERATIONS.end() {
        return Err(refused("There may be at most 16384 iterations."));
    }
    let keys = mechanism.keys(&asked.salted_password);
    // Kafka differs: it throws an exception and answers UNKNOWN_SERVER_ERROR.
    let (stored_key, server_key) = keys.ok_or_else(|| refused("A user needs a password."))?;
    let record = UserScramCredentialRecord {
        name: asked.name.clone(),
        mechanism: asked.mechanism,
        salt: asked.salt.clone(),
        stored_key,
        server_key,
        iterations: asked.iterations,
    };
    Ok(record.into())
}

/// DescribeUserScramCredentials: mechanisms of the named users, or of all users.
pub fn describe(
    image: &Image,
    request: &DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let mut known: BTreeMap<&str, Vec<CredentialInfo>> = BTreeMap::new();
    for (user, mechanism, credential) in image.scram.iter() {
        known.entry(&**user).or_default().push(CredentialInfo {
            mechanism,
            iterations: credential.iterations,
        });
    }
    let named: Vec<&str> = request
        .users
        .iter()
        .flatten()
        .map(|user| &*user.name)
        .collect();
    let twice = repeated(named.iter().copied());
    let wanted: BTreeSet<&str> = match named.is_empty() {
        true => known.keys().copied().collect(),
        false => named.into_iter().collect(),
    };
    let results = wanted.into_iter().map(|user| {
        let (code, message, infos) = match known.get(user) {
            _ if twice.contains(user) => {
                let why = "A request may ask for a user once.";
                (ErrorCode::DuplicateResource, Some(why.into()), Vec::new())
            }
            Some(infos) => (ErrorCode::None, None, infos.clone()),
            None => {
                let why = format!("There is no user {user}.");
                (ErrorCode::ResourceNotFound, Some(why.into()), Vec::new())
            }
        };
        DescribeUserScramCredentialsResult {
            user: user.into(),
            error_code: code.code(),
            error_message: message,
            credential_infos: infos,
        }
    });
    DescribeUserScramCredentialsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::metadata::bootstrap;
    use crate::metadata::image::Delta;
    use crate::metadata::image::records::records_of;
    use crate::wire::message::describe_user_scram_credentials::UserName;

    fn cluster() -> Image {
        let mut image = Image::empty();
        apply(&mut image, &bootstrap::records(false));
        image
    }

    fn apply(image: &mut Image, records: &[Record]) {
        for record in records {
            image.apply(record, image.offset + 1, &mut Delta::default());
        }
    }

    fn upsertion(name: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
        ScramCredentialUpsertion {
            name: name.into(),
            mechanism,
            iterations,
            salt: Bytes::from_static(b"salt"),
            salted_password: Bytes::from_static(b"salted password"),
        }
    }

    /// Changes users: `+name/mechanism/iterations` sets, `-name/mechanism` deletes. Returns the errors by user.
    fn change(image: &mut Image, text: &str) -> String {
        let mut request = AlterUserScramCredentialsRequest::default();
        for word in text.split_whitespace() {
            let mut parts = word[1..].split('/');
            let name = parts.next().unwrap();
            let mechanism = parts.next().unwrap().parse().unwrap();
            match word.starts_with('+') {
                true => request.upsertions.push(upsertion(
                    name,
                    mechanism,
                    parts.next().map_or(4_096, |text| text.parse().unwrap()),
                )),
                false => request.deletions.push(ScramCredentialDeletion {
                    name: name.into(),
                    mechanism,
                }),
            }
        }
        let decision = alter(image, &request);
        apply(image, &decision.records);
        let results = decision.answer.results.iter();
        results
            .map(|one| format!("{}:{}", one.user, one.error_code))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn shown(image: &Image, users: &[&str]) -> String {
        let request = DescribeUserScramCredentialsRequest {
            users: Some(
                users
                    .iter()
                    .map(|name| UserName {
                        name: (*name).into(),
                    })
                    .collect(),
            ),
        };
        let results = describe(image, &request).results;
        results
            .iter()
            .map(|one| {
                let infos = one.credential_infos.iter();
                let infos: Vec<_> = infos
                    .map(|info| format!("{}/{}", info.mechanism, info.iterations))
                    .collect();
                match one.error_code {
                    0 => format!("{} {}", one.user, infos.join(" ")),
                    error => format!("{} error {error}", one.user),
                }
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn users_are_set_shown_and_deleted() {
        let mut image = cluster();
        assert_eq!(change(&mut image, ""), "");
        assert_eq!(change(&mut image, "+u/1 +w/2/16384"), "u:0 w:0");
        assert_eq!(change(&mut image, "+u/2/5000"), "u:0");
        assert_eq!(shown(&image, &[]), "u 1/4096 2/5000, w 2/16384");
        assert_eq!(shown(&image, &["w", "x"]), "w 2/16384, x error 91");
        assert_eq!(
            shown(&image, &["w", "u", "w"]),
            "u 1/4096 2/5000, w error 92"
        );
        assert_eq!(change(&mut image, "-u/1 -w/2 -x/1"), "u:0 w:0 x:91");
        assert_eq!(shown(&image, &[]), "u 2/5000");
    }

    #[test]
    fn each_mistake_has_kafkas_error() {
        let mut image = cluster();
        for (request, expected) in [
            ("+u/1 +u/2", "u:92"),
            ("-u/1 +u/1", "u:92"),
            ("+u/1/4095", "u:93"),
            ("+u/1/16385", "u:93"),
            ("+u/0", "u:33"),
            ("-u/3", "u:33"),
            ("+/1", ":93"),
            ("-/1", ":93"),
            ("-u/1", "u:91"),
        ] {
            assert_eq!(change(&mut image, request), expected, "{request}");
        }
        assert_eq!(shown(&image, &[]), "");
        let without = ScramCredentialUpsertion {
            salted_password: Bytes::new(),
            ..upsertion("u", 1, 4_096)
        };
        assert_eq!(
            set(&without).unwrap_err().0,
            ErrorCode::UnacceptableCredential
        );
    }

    #[test]
    fn a_request_has_a_limit() {
        let mut request = AlterUserScramCredentialsRequest::default();
        for number in 0..=CHANGES_MAX {
            request
                .upsertions
                .push(upsertion(&number.to_string(), 1, 4_096));
        }
        let decision = alter(&cluster(), &request);
        assert!(decision.records.is_empty());
        assert_eq!(decision.answer.results[0].error_code, 44);
    }

    /// Nodes before 3.5 stop at the record of a SCRAM user.
    #[test]
    fn an_old_level_has_no_users() {
        let mut image = cluster();
        image.features.insert("metadata.version".into(), 10);
        assert_eq!(change(&mut image, "+u/1"), "u:35");
    }

    #[test]
    fn users_survive_a_snapshot() {
        let mut image = cluster();
        change(&mut image, "+u/1 +w/2");
        let mut again = Image::empty();
        apply(&mut again, &records_of(&image));
        assert_eq!(shown(&again, &[]), "u 1/4096, w 2/4096");
    }
}
