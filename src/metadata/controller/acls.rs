//! pure: creation, deletion and listing of access control entries. Kafka's `AclControlManager`, with the checks that Kafka's
//! brokers make before it.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

use super::Decision;
use crate::base::ids::Uuid;
use crate::metadata::image::Image;
use crate::metadata::image::acls::Acl;
use crate::metadata::record::Record;
use crate::metadata::record::schema::{AccessControlEntryRecord, RemoveAccessControlEntryRecord};
use crate::security::acl::{
    CLUSTER_NAME, EVERYTHING, Operation, PatternType, Permission, ResourceType,
};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_acls::{
    AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};
use crate::wire::message::delete_acls::{
    DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest,
    DeleteAclsResponse,
};
use crate::wire::message::describe_acls::{
    AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
};

type Refusal = (ErrorCode, String);

/// Limit of the entries that one request may create or delete. Each is a record, and Kafka's controller also writes at most
/// this number for one request.
pub const RECORDS_MAX: usize = 10_000;
/// Limit of comparisons of entries with the filters of one request. This many take about half a second, in which nothing else
/// is decided.
const LOOKS_MAX: usize = 5_000_000;
/// Limit of the entries in the answer to one DeleteAcls request, over all of its filters.
const TOLD_MAX: usize = LOOKS_MAX / 10;

/// CreateAcls: each entry succeeds or fails on its own. As in Kafka, creating an entry that exists already succeeds.
pub fn create(
    image: &Image,
    request: &CreateAclsRequest,
    ids: &[Uuid],
) -> Decision<CreateAclsResponse> {
    let mut ids = ids.iter().rev().copied();
    let mut made = BTreeSet::new();
    let mut records: Vec<Record> = Vec::new();
    let mut results = Vec::with_capacity(request.creations.len());
    for creation in &request.creations {
        let outcome = check(creation).and_then(|()| {
            if is_there(image, creation) || !made.insert(said(creation)) {
                return Ok(());
            }
            let id = ids.next().ok_or_else(|| {
                let why = "There are no random numbers for the entry's id.".to_owned();
                (ErrorCode::UnknownServerError, why)
            })?;
            records.push(record(creation, id).into());
            Ok(())
        });
        results.push(result(outcome));
        if records.len() > RECORDS_MAX {
            let refused = result(Err(too_many()));
            return Decision::only(CreateAclsResponse {
                results: vec![refused; request.creations.len()],
                ..Default::default()
            });
        }
    }
    Decision {
        records,
        answer: CreateAclsResponse {
            results,
            ..Default::default()
        },
    }
}

/// All fields of an entry, for comparisons.
fn said(creation: &AclCreation) -> (i8, i8, &str, &str, &str, i8, i8) {
    (
        creation.resource_type,
        creation.resource_pattern_type,
        &creation.resource_name,
        &creation.principal,
        &creation.host,
        creation.operation,
        creation.permission_type,
    )
}

fn is_there(image: &Image, creation: &AclCreation) -> bool {
    let kind = (creation.resource_type, creation.resource_pattern_type);
    let (name, principal) = (&creation.resource_name, &creation.principal);
    let mut there = image.acls.of_principal(kind, name, principal);
    let words = (creation.operation, creation.permission_type);
    there.any(|acl| *acl.host == *creation.host && (acl.operation, acl.permission_type) == words)
}

fn record(creation: &AclCreation, id: Uuid) -> AccessControlEntryRecord {
    AccessControlEntryRecord {
        id,
        resource_type: creation.resource_type,
        resource_name: creation.resource_name.clone(),
        pattern_type: creation.resource_pattern_type,
        principal: creation.principal.clone(),
        host: creation.host.clone(),
        operation: creation.operation,
        permission_type: creation.permission_type,
    }
}

fn check(creation: &AclCreation) -> Result<(), Refusal> {
    let refused = |why: String| Err((ErrorCode::InvalidRequest, why));
    let resource = ResourceType::of(creation.resource_type);
    if resource == Some(ResourceType::Cluster) && creation.resource_name != CLUSTER_NAME {
        return refused(format!(
            "The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
        ));
    }
    if creation.resource_name.is_empty() {
        return refused("Invalid empty resource name".to_owned());
    }
    if matches!(resource, None | Some(ResourceType::Any)) {
        let name = ResourceType::name_of(creation.resource_type);
        return refused(format!("Invalid resourceType {name}"));
    }
    // Kafka differs: if a pattern type is only valid in filters, it throws an exception and answers UNKNOWN_SERVER_ERROR for
    // all entries.
    let pattern = PatternType::of(creation.resource_pattern_type);
    if !is_of_entries(pattern) {
        let name = PatternType::name_of(creation.resource_pattern_type);
        return refused(format!("Invalid patternType {name}"));
    }
    if matches!(
        Operation::of(creation.operation),
        None | Some(Operation::Any)
    ) {
        let name = Operation::name_of(creation.operation);
        return refused(format!("Invalid operation {name}"));
    }
    if matches!(
        Permission::of(creation.permission_type),
        None | Some(Permission::Any)
    ) {
        let name = Permission::name_of(creation.permission_type);
        return refused(format!("Invalid permissionType {name}"));
    }
    if !creation.principal.contains(':') {
        return refused(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the principal name)",
            creation.principal
        ));
    }
    Ok(())
}

/// Whether a pattern type is one that entries have, and not only valid in filters.
fn is_of_entries(pattern: Option<PatternType>) -> bool {
    matches!(pattern, Some(PatternType::Literal | PatternType::Prefixed))
}

fn too_many() -> Refusal {
    let why = "Unable to perform excessively large batch operation.".to_owned();
    (ErrorCode::PolicyViolation, why)
}

fn result(outcome: Result<(), Refusal>) -> AclCreationResult {
    let (code, message) = outcome.err().unzip();
    AclCreationResult {
        error_code: code.unwrap_or(ErrorCode::None).code(),
        error_message: message.map(ByteString::from),
    }
}

/// Filter of entries; a text of `None` matches anything.
#[derive(Clone, Copy, Debug)]
struct Filter<'a> {
    resource_type: i8,
    pattern_type: i8,
    name: Option<&'a str>,
    principal: Option<&'a str>,
    host: Option<&'a str>,
    operation: i8,
    permission_type: i8,
}

macro_rules! filter_from {
    ($message:ty) => {
        impl<'a> From<&'a $message> for Filter<'a> {
            fn from(filter: &'a $message) -> Self {
                Self {
                    resource_type: filter.resource_type_filter,
                    pattern_type: filter.pattern_type_filter,
                    name: filter.resource_name_filter.as_deref(),
                    principal: filter.principal_filter.as_deref(),
                    host: filter.host_filter.as_deref(),
                    operation: filter.operation,
                    permission_type: filter.permission_type,
                }
            }
        }
    };
}

filter_from!(DeleteAclsFilter);
filter_from!(DescribeAclsRequest);

impl<'a> Filter<'a> {
    /// Entries that may match: those of one resource pattern if the filter names it, otherwise all.
    fn candidates(self, image: &'a Image) -> Box<dyn Iterator<Item = &'a Acl> + 'a> {
        let kind = (self.resource_type, self.pattern_type);
        let is_whole = ResourceType::of(self.resource_type) != Some(ResourceType::Any)
            && is_of_entries(PatternType::of(self.pattern_type));
        match self.name {
            Some(name) if is_whole => Box::new(image.acls.of(kind, name).map(|acl| &**acl)),
            _ => Box::new(image.acls.iter().map(|acl| &**acl)),
        }
    }

    fn matches(self, acl: &Acl) -> bool {
        let word = |asked: i8, own: i8| asked == ANY || asked == own;
        let text = |asked: Option<&str>, own: &str| asked.is_none_or(|asked| asked == own);
        word(self.resource_type, acl.resource_type)
            && self.names(acl)
            && text(self.principal, &acl.principal)
            && text(self.host, &acl.host)
            && word(self.operation, acl.operation)
            && word(self.permission_type, acl.permission_type)
    }

    fn names(self, acl: &Acl) -> bool {
        let asked = PatternType::of(self.pattern_type);
        let is_open = matches!(asked, Some(PatternType::Any | PatternType::Match));
        if !is_open && self.pattern_type != acl.pattern_type {
            return false;
        }
        let Some(name) = self.name else {
            return true;
        };
        match (asked, PatternType::of(acl.pattern_type)) {
            (Some(PatternType::Match), Some(PatternType::Literal)) => {
                *acl.resource_name == *name || &*acl.resource_name == EVERYTHING
            }
            (Some(PatternType::Match), Some(PatternType::Prefixed)) => {
                name.starts_with(&*acl.resource_name)
            }
            (Some(PatternType::Match), _) => false,
            _ => *acl.resource_name == *name,
        }
    }

    /// Whether one of the numbers is 0 (UNKNOWN).
    fn has_zeros(self) -> bool {
        [
            self.resource_type,
            self.pattern_type,
            self.operation,
            self.permission_type,
        ]
        .contains(&0)
    }

    /// Refuses a filter with unknown numbers.
    fn check(self) -> Result<(), Refusal> {
        let refused = |why: &str| Err((ErrorCode::InvalidRequest, why.to_owned()));
        if ResourceType::of(self.resource_type).is_none()
            || PatternType::of(self.pattern_type).is_none()
        {
            return refused("Unknown patternFilter.");
        }
        if Operation::of(self.operation).is_none() || Permission::of(self.permission_type).is_none()
        {
            return refused("Unknown entryFilter.");
        }
        Ok(())
    }
}

/// Number of ANY, which is the same for resource types, pattern types, operations and permissions.
const ANY: i8 = Operation::Any.code();

/// Whether a resource type, pattern type, operation or permission of a CreateAcls request is 0 (UNKNOWN). Kafka fails to read
/// such a request and closes the connection.
pub fn creates_unknown(request: &CreateAclsRequest) -> bool {
    request.creations.iter().any(|creation| {
        [
            creation.resource_type,
            creation.resource_pattern_type,
            creation.operation,
            creation.permission_type,
        ]
        .contains(&0)
    })
}

/// Whether a filter of a DeleteAcls request has a number that is 0 (UNKNOWN), as in [`creates_unknown`].
pub fn deletes_unknown(request: &DeleteAclsRequest) -> bool {
    let mut filters = request.filters.iter().map(Filter::from);
    filters.any(Filter::has_zeros)
}

/// Whether the filter of a DescribeAcls request has a number that is 0 (UNKNOWN), as in [`creates_unknown`].
pub fn describes_unknown(request: &DescribeAclsRequest) -> bool {
    Filter::from(request).has_zeros()
}

/// DeleteAcls: an entry that several filters match is in the answer for each of them, and deleted once. Either all deletions
/// happen or none.
pub fn delete(image: &Image, request: &DeleteAclsRequest) -> Decision<DeleteAclsResponse> {
    match try_delete(image, request) {
        Ok(decision) => decision,
        Err((code, message)) => {
            let refused = DeleteAclsFilterResult {
                error_code: code.code(),
                error_message: Some(message.into()),
                ..Default::default()
            };
            Decision::only(DeleteAclsResponse {
                filter_results: vec![refused; request.filters.len()],
                ..Default::default()
            })
        }
    }
}

fn try_delete(
    image: &Image,
    request: &DeleteAclsRequest,
) -> Result<Decision<DeleteAclsResponse>, Refusal> {
    let (mut removed, mut looks, mut told) = (BTreeSet::new(), 0_usize, 0_usize);
    let mut filter_results = Vec::with_capacity(request.filters.len());
    for filter in request.filters.iter().map(Filter::from) {
        if let Err((code, message)) = filter.check() {
            filter_results.push(DeleteAclsFilterResult {
                error_code: code.code(),
                error_message: Some(message.into()),
                ..Default::default()
            });
            continue;
        }
        let mut matching_acls = Vec::new();
        for acl in filter.candidates(image) {
            looks += 1;
            if looks > LOOKS_MAX {
                return Err(too_many());
            }
            if !filter.matches(acl) {
                continue;
            }
            removed.insert(acl.id);
            told += 1;
            if removed.len() > RECORDS_MAX || told > TOLD_MAX {
                return Err(too_many());
            }
            matching_acls.push(deleted(acl));
        }
        filter_results.push(DeleteAclsFilterResult {
            matching_acls,
            ..Default::default()
        });
    }
    let records = removed.into_iter();
    let records = records.map(|id| RemoveAccessControlEntryRecord { id }.into());
    Ok(Decision {
        records: records.collect(),
        answer: DeleteAclsResponse {
            filter_results,
            ..Default::default()
        },
    })
}

/// The number of a resource type, operation and so on, or 0 (UNKNOWN) if this program does not know the number.
fn shown<T>(code: i8, of: fn(i8) -> Option<T>) -> i8 {
    of(code).map_or(0, |_| code)
}

fn deleted(acl: &Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        error_code: 0,
        error_message: None,
        resource_type: shown(acl.resource_type, ResourceType::of),
        resource_name: (*acl.resource_name).into(),
        pattern_type: shown(acl.pattern_type, PatternType::of),
        principal: (*acl.principal).into(),
        host: (*acl.host).into(),
        operation: shown(acl.operation, Operation::of),
        permission_type: shown(acl.permission_type, Permission::of),
    }
}

/// DescribeAcls: the matching entries, grouped by resource.
pub fn describe(image: &Image, request: &DescribeAclsRequest) -> DescribeAclsResponse {
    let filter = Filter::from(request);
    let found = filter.candidates(image);
    let found = found.filter(|acl| filter.matches(acl));
    let mut resources: BTreeMap<(i8, i8, &str), Vec<AclDescription>> = BTreeMap::new();
    for acl in found {
        let kind = (
            shown(acl.resource_type, ResourceType::of),
            shown(acl.pattern_type, PatternType::of),
            &*acl.resource_name,
        );
        resources.entry(kind).or_default().push(AclDescription {
            principal: (*acl.principal).into(),
            host: (*acl.host).into(),
            operation: shown(acl.operation, Operation::of),
            permission_type: shown(acl.permission_type, Permission::of),
        });
    }
    let resources = resources.into_iter();
    let resources =
        resources.map(
            |((resource_type, pattern_type, name), acls)| DescribeAclsResource {
                resource_type,
                resource_name: name.into(),
                pattern_type,
                acls,
            },
        );
    DescribeAclsResponse {
        resources: resources.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::image::Delta;
    use crate::metadata::image::records::records_of;

    fn apply(image: &mut Image, records: &[Record]) {
        for record in records {
            image.apply(record, image.offset + 1, &mut Delta::default());
        }
    }

    /// An entry from a text such as `TOPIC LITERAL t User:a * READ ALLOW`; unknown words are given as numbers.
    fn creation(text: &str) -> AclCreation {
        let words: Vec<&str> = text.split(' ').collect();
        let code = |word: &str, all: &[(&str, i8)]| {
            let found = all.iter().find(|(name, _)| *name == word);
            found.map_or_else(|| word.parse().unwrap(), |(_, code)| *code)
        };
        let types: Vec<_> = ResourceType::ALL
            .iter()
            .map(|one| (one.name(), one.code()))
            .collect();
        let kinds: Vec<_> = PatternType::ALL
            .iter()
            .map(|one| (one.name(), one.code()))
            .collect();
        let verbs: Vec<_> = Operation::ALL
            .iter()
            .map(|one| (one.name(), one.code()))
            .collect();
        let says: Vec<_> = Permission::ALL
            .iter()
            .map(|one| (one.name(), one.code()))
            .collect();
        AclCreation {
            resource_type: code(words[0], &types),
            resource_pattern_type: code(words[1], &kinds),
            resource_name: words[2].into(),
            principal: words[3].into(),
            host: words[4].into(),
            operation: code(words[5], &verbs),
            permission_type: code(words[6], &says),
        }
    }

    /// A filter from the same form of text; `-` matches any text.
    fn filter(text: &str) -> DeleteAclsFilter {
        let one = creation(text);
        let some = |text: ByteString| (text != "-").then_some(text);
        DeleteAclsFilter {
            resource_type_filter: one.resource_type,
            resource_name_filter: some(one.resource_name),
            pattern_type_filter: one.resource_pattern_type,
            principal_filter: some(one.principal),
            host_filter: some(one.host),
            operation: one.operation,
            permission_type: one.permission_type,
        }
    }

    fn ids(image: &Image, count: usize) -> Vec<Uuid> {
        let first = image.offset + 2;
        let id = |number: i64| Uuid((first + number).to_be_bytes().repeat(2).try_into().unwrap());
        (0..count as i64).map(id).collect()
    }

    fn make(image: &mut Image, texts: &[&str]) -> Vec<AclCreationResult> {
        let creations = texts.iter().map(|text| creation(text)).collect();
        let request = CreateAclsRequest { creations };
        let ids = ids(image, texts.len());
        let decision = create(image, &request, &ids);
        apply(image, &decision.records);
        decision.answer.results
    }

    /// The entries that a filter matches, as `resource principal operation`.
    fn meant(image: &Image, text: &str) -> String {
        let request = DeleteAclsRequest {
            filters: vec![filter(text)],
        };
        let answer = delete(image, &request).answer;
        let mut found: Vec<_> = answer.filter_results[0]
            .matching_acls
            .iter()
            .map(|acl| format!("{} {} {}", acl.resource_name, acl.principal, acl.operation))
            .collect();
        let one = filter(text);
        let same = DescribeAclsRequest {
            resource_type_filter: one.resource_type_filter,
            resource_name_filter: one.resource_name_filter,
            pattern_type_filter: one.pattern_type_filter,
            principal_filter: one.principal_filter,
            host_filter: one.host_filter,
            operation: one.operation,
            permission_type: one.permission_type,
        };
        let shown = describe(image, &same).resources;
        let shown = shown.iter().map(|resource| resource.acls.len());
        assert_eq!(shown.sum::<usize>(), found.len(), "{text}");
        found.sort();
        found.join(", ")
    }

    #[test]
    fn entries_are_made_once() {
        let mut image = Image::empty();
        let (one, other) = (
            "TOPIC LITERAL t User:a * READ ALLOW",
            "TOPIC LITERAL t User:a 1.2.3.4 READ ALLOW",
        );
        let results = make(&mut image, &[one, other, one]);
        assert!(results.iter().all(|result| result.error_code == 0));
        assert_eq!(image.acls.len(), 2);
        assert_eq!(make(&mut image, &[one])[0].error_code, 0);
        assert_eq!(image.acls.len(), 2);
        let mut again = Image::empty();
        apply(&mut again, &records_of(&image));
        assert_eq!(again.acls, image.acls);
    }

    #[test]
    fn each_mistake_is_told_as_by_kafka() {
        let mut image = Image::empty();
        for (text, message) in [
            (
                "TOPIC LITERAL  User:a * READ ALLOW",
                "Invalid empty resource name",
            ),
            (
                "CLUSTER LITERAL c User:a * ALTER ALLOW",
                "The only valid name for the CLUSTER resource is kafka-cluster",
            ),
            (
                "ANY LITERAL t User:a * READ ALLOW",
                "Invalid resourceType ANY",
            ),
            (
                "77 LITERAL t User:a * READ ALLOW",
                "Invalid resourceType UNKNOWN",
            ),
            (
                "TOPIC MATCH t User:a * READ ALLOW",
                "Invalid patternType MATCH",
            ),
            (
                "TOPIC 9 t User:a * READ ALLOW",
                "Invalid patternType UNKNOWN",
            ),
            (
                "TOPIC LITERAL t User:a * ANY ALLOW",
                "Invalid operation ANY",
            ),
            (
                "TOPIC LITERAL t User:a * READ ANY",
                "Invalid permissionType ANY",
            ),
            (
                "TOPIC LITERAL t alice * READ ALLOW",
                "Could not parse principal from `alice` (no colon is present separating the principal type from the principal name)",
            ),
        ] {
            let results = make(&mut image, &[text, "GROUP PREFIXED g User:a * READ DENY"]);
            assert_eq!(
                results[0].error_code,
                ErrorCode::InvalidRequest.code(),
                "{text}"
            );
            assert_eq!(results[0].error_message.as_deref(), Some(message));
            assert_eq!(results[1].error_code, 0);
        }
        assert_eq!(image.acls.len(), 1);
    }

    #[test]
    fn filters_find_what_they_mean() {
        let mut image = Image::empty();
        make(
            &mut image,
            &[
                "TOPIC LITERAL t User:a * READ ALLOW",
                "TOPIC LITERAL tt User:a * READ ALLOW",
                "TOPIC LITERAL * User:b * WRITE DENY",
                "TOPIC PREFIXED t User:c 1.2.3.4 ALL ALLOW",
                "GROUP LITERAL t User:a * READ ALLOW",
            ],
        );
        let all = "* User:b 4, t User:a 3, t User:a 3, t User:c 2, tt User:a 3";
        for (text, expected) in [
            ("ANY ANY - - - ANY ANY", all),
            ("TOPIC LITERAL t - - ANY ANY", "t User:a 3"),
            ("TOPIC PREFIXED t - - ANY ANY", "t User:c 2"),
            ("TOPIC ANY t - - ANY ANY", "t User:a 3, t User:c 2"),
            (
                "TOPIC MATCH t - - ANY ANY",
                "* User:b 4, t User:a 3, t User:c 2",
            ),
            (
                "TOPIC MATCH tt - - ANY ANY",
                "* User:b 4, t User:c 2, tt User:a 3",
            ),
            ("TOPIC MATCH x - - ANY ANY", "* User:b 4"),
            ("TOPIC MATCH - User:a - ANY ANY", "t User:a 3, tt User:a 3"),
            ("ANY LITERAL t - - ANY ANY", "t User:a 3, t User:a 3"),
            ("ANY ANY - - 1.2.3.4 ANY ANY", "t User:c 2"),
            (
                "ANY ANY - - - READ ANY",
                "t User:a 3, t User:a 3, tt User:a 3",
            ),
            ("ANY ANY - - - ANY DENY", "* User:b 4"),
            ("TOPIC LITERAL * - - ANY ANY", "* User:b 4"),
        ] {
            assert_eq!(meant(&image, text), expected, "{text}");
        }
        let filters = vec![
            filter("TOPIC ANY t - - ANY ANY"),
            filter("77 ANY t - - ANY ANY"),
        ];
        let decision = delete(&image, &DeleteAclsRequest { filters });
        apply(&mut image, &decision.records);
        let results = decision.answer.filter_results;
        assert_eq!(
            results[1].error_message.as_deref(),
            Some("Unknown patternFilter.")
        );
        assert_eq!(image.acls.len(), 3);
    }

    #[test]
    fn a_request_has_a_limit() {
        let mut image = Image::empty();
        let texts = |range: std::ops::Range<usize>| -> Vec<String> {
            range
                .map(|number| format!("TOPIC LITERAL t{number} User:a * READ ALLOW"))
                .collect()
        };
        let (most, more) = (texts(0..RECORDS_MAX), texts(0..RECORDS_MAX + 1));
        fn words(all: &[String]) -> Vec<&str> {
            all.iter().map(String::as_str).collect()
        }
        let refused = make(&mut image, &words(&more));
        let policy = ErrorCode::PolicyViolation.code();
        assert!(refused.iter().all(|result| result.error_code == policy));
        assert!(image.acls.is_empty());
        make(&mut image, &words(&most));
        assert_eq!(image.acls.len(), RECORDS_MAX);
        make(&mut image, &["TOPIC LITERAL x User:a * READ ALLOW"]);
        let filters = vec![filter("ANY ANY - - - ANY ANY")];
        let decision = delete(&image, &DeleteAclsRequest { filters });
        assert!(decision.records.is_empty());
        assert_eq!(decision.answer.filter_results[0].error_code, policy);
        let filters = vec![filter("TOPIC LITERAL t1 - - ANY ANY"); 1_000];
        let decision = delete(&image, &DeleteAclsRequest { filters });
        assert_eq!(decision.records.len(), 1);
        let filters = vec![filter("ANY ANY nobody - - ANY ANY"); 1_000];
        let decision = delete(&image, &DeleteAclsRequest { filters });
        assert_eq!(decision.answer.filter_results[0].error_code, policy);
    }

    #[test]
    fn what_says_that_it_does_not_know_is_found() {
        let creations = vec![creation("TOPIC LITERAL t User:a * 0 ALLOW")];
        assert!(creates_unknown(&CreateAclsRequest { creations }));
        let filters = vec![filter("TOPIC 0 t - - ANY ANY")];
        assert!(deletes_unknown(&DeleteAclsRequest { filters }));
        assert!(describes_unknown(&DescribeAclsRequest::default()));
    }
}
