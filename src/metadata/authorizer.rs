//! pure: authorization of clients by the access control entries (ACLs) of an image. Kafka's `StandardAuthorizer`.
//!
//! Super users may do everything. An entry matches if its resource pattern, principal, host and operation all match. A matching
//! entry that denies decides; otherwise a matching entry that allows decides. If no entry matches, the action is denied if the
//! resource has any entries, for whatever principal, and otherwise `allow.everyone.if.no.acl.found` decides.
//!
//! A decision costs some lookups for the resource's name, for `*` and for each prefix of the name that has entries, regardless
//! of the number of other entries.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::authorizer::AuthorizerSettings;
use crate::metadata::image::acls::{Acl, Acls, PatternKind};
use crate::security::acl::{
    EVERYBODY, EVERYTHING, Operation, PatternType, Permission, ResourceType, is_host,
};

const LITERAL: i8 = PatternType::Literal.code();
const PREFIXED: i8 = PatternType::Prefixed.code();

/// Client that asks to do something.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Kind and name of the principal, in the form that entries use, such as `User:name`.
    pub principal: &'a str,
    pub host: IpAddr,
}

/// Operation on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    pub operation: Operation,
    pub resource: ResourceType,
    pub name: &'a str,
}

/// Reason for which an action is allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    SuperUser,
    DefaultAllow,
    DefaultDeny,
    Allows(Arc<Acl>),
    Denies(Arc<Acl>),
}

impl Rule {
    pub fn allows(&self) -> bool {
        matches!(self, Self::SuperUser | Self::DefaultAllow | Self::Allows(_))
    }
}

/// The text that Kafka's authorizer logs.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SuperUser => f.write_str("SuperUser"),
            Self::DefaultAllow => f.write_str("DefaultAllow"),
            Self::DefaultDeny => f.write_str("DefaultDeny"),
            Self::Allows(acl) | Self::Denies(acl) => {
                write!(
                    f,
                    "MatchingAcl(acl=StandardAcl(resourceType={}, resourceName={}, patternType={}, principal={}, host={}, operation={}, permissionType={}))",
                    ResourceType::name_of(acl.resource_type),
                    acl.resource_name,
                    PatternType::name_of(acl.pattern_type),
                    acl.principal,
                    acl.host,
                    Operation::name_of(acl.operation),
                    Permission::name_of(acl.permission_type),
                )
            }
        }
    }
}

/// Authorizer of a broker; holds the settings, while the entries are given with each call.
#[derive(Clone, Debug)]
pub struct Authorizer {
    super_users: BTreeSet<String>,
    default: Rule,
}

impl Authorizer {
    pub fn new(settings: AuthorizerSettings) -> Self {
        Self {
            super_users: settings.super_users,
            default: match settings.allows_without_acls {
                true => Rule::DefaultAllow,
                false => Rule::DefaultDeny,
            },
        }
    }

    /// Decides whether an action is allowed; the rule returned says why.
    pub fn decide(&self, acls: &Acls, who: Who<'_>, action: Action<'_>) -> Rule {
        if self.super_users.contains(who.principal) {
            return Rule::SuperUser;
        }
        let mut search = Search {
            acls,
            who,
            operation: action.operation,
            has_entries: false,
            allowing: None,
        };
        let kind = |pattern| (action.resource.code(), pattern);
        for name in [action.name, EVERYTHING] {
            if let Some(denying) = search.look_at(kind(LITERAL), name) {
                return Rule::Denies(denying);
            }
        }
        for prefix in acls.prefixes_of(kind(PREFIXED), action.name) {
            if let Some(denying) = search.look_at(kind(PREFIXED), prefix) {
                return Rule::Denies(denying);
            }
        }
        match search.allowing {
            Some(acl) => Rule::Allows(acl),
            None if search.has_entries => Rule::DefaultDeny,
            None => self.default.clone(),
        }
    }

    /// Decides whether an operation is allowed on any resource of a type. An entry that allows counts unless entries that deny
    /// cover everything that it covers. Reads all entries of the type.
    pub fn decide_any(
        &self,
        acls: &Acls,
        who: Who<'_>,
        operation: Operation,
        resource: ResourceType,
    ) -> Rule {
        // Like Kafka, first decides for a resource of this name, so that super users and the default rule apply.
        let action = Action {
            operation,
            resource,
            name: "hardcode",
        };
        let rule = self.decide(acls, who, action);
        if rule.allows() {
            return rule;
        }
        let matching = |pattern| {
            let all = acls.of_kind((resource.code(), pattern));
            all.filter(move |acl| {
                let own = *acl.principal == *who.principal || &*acl.principal == EVERYBODY;
                let word = Operation::of(acl.operation);
                let meant = word == Some(Operation::All) || word == Some(operation);
                own && meant && is_host(&acl.host, who.host)
            })
        };
        let denies = |acl: &&Arc<Acl>| acl.permission_type != Permission::Allow.code();
        let denied = |pattern| -> BTreeSet<&str> {
            let denying = matching(pattern).filter(denies);
            denying.map(|acl| &*acl.resource_name).collect()
        };
        let (names, prefixes) = (denied(LITERAL), denied(PREFIXED));
        if names.contains(EVERYTHING) {
            return rule;
        }
        let covered = |name: &str| {
            let ends = name.char_indices().map(|(at, char)| at + char.len_utf8());
            let mut beginnings = ends.filter_map(|end| name.get(..end));
            !prefixes.is_empty() && beginnings.any(|beginning| prefixes.contains(beginning))
        };
        let open = |acl: &&Arc<Acl>| {
            let name = &*acl.resource_name;
            let all = acl.pattern_type == LITERAL && name == EVERYTHING;
            let named = acl.pattern_type == LITERAL && names.contains(name);
            all || (!named && !covered(name))
        };
        let allowing = matching(LITERAL).chain(matching(PREFIXED));
        let mut allowing = allowing.filter(|acl| !denies(acl));
        match allowing.find(open) {
            Some(acl) => Rule::Allows(Arc::clone(acl)),
            None => rule,
        }
    }
}

/// State of a decision, kept while the patterns that match the resource are read one by one.
struct Search<'a> {
    acls: &'a Acls,
    who: Who<'a>,
    operation: Operation,
    /// Whether any matching pattern has entries, for whatever principal.
    has_entries: bool,
    allowing: Option<Arc<Acl>>,
}

impl Search<'_> {
    /// Returns an entry of this pattern that denies the operation, if there is one. Otherwise notes an entry that allows the
    /// operation.
    fn look_at(&mut self, kind: PatternKind, name: &str) -> Option<Arc<Acl>> {
        self.acls.of(kind, name).next()?;
        self.has_entries = true;
        for principal in [self.who.principal, EVERYBODY] {
            for acl in self.acls.of_principal(kind, name, principal) {
                match verdict(acl, self.operation, self.who.host) {
                    Some(false) => return Some(Arc::clone(acl)),
                    Some(true) if self.allowing.is_none() => {
                        self.allowing = Some(Arc::clone(acl));
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

/// Whether an entry of the right resource and principal allows or denies an operation; `None` if the entry does not match. An
/// entry whose operation is unknown to this program is ignored, so it permits nothing.
fn verdict(acl: &Acl, operation: Operation, host: IpAddr) -> Option<bool> {
    let word = Operation::of(acl.operation)?;
    let allows = acl.permission_type == Permission::Allow.code();
    let matches = match allows {
        true => word.permits(operation),
        false => word == Operation::All || word == operation,
    };
    (matches && is_host(&acl.host, host)).then_some(allows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;
    use crate::metadata::image::{Delta, Image};
    use crate::metadata::record::schema::AccessControlEntryRecord;

    fn word<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> T {
        let found = all.iter().find(|one| name(**one) == text);
        *found.unwrap_or_else(|| panic!("{text}"))
    }

    fn resource(text: &str) -> ResourceType {
        word(ResourceType::ALL, ResourceType::name, text)
    }

    fn operation(text: &str) -> Operation {
        word(Operation::ALL, Operation::name, text)
    }

    /// Entries from lines such as `ALLOW ann 1.2.3.4 READ TOPIC t`; a name with a dash at its end is a prefix.
    fn image(entries: &str) -> Image {
        let mut image = Image::empty();
        for (number, line) in (1..).zip(entries.split(';').filter(|line| !line.trim().is_empty())) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [permission, user, host, operation_name, type_name, name] = words[..] else {
                panic!("{line}");
            };
            let prefix = name.strip_suffix('-');
            let record = AccessControlEntryRecord {
                id: Uuid([number; 16]),
                resource_type: resource(type_name).code(),
                resource_name: prefix.unwrap_or(name).into(),
                pattern_type: if prefix.is_some() { PREFIXED } else { LITERAL },
                principal: format!("User:{user}").into(),
                host: host.into(),
                operation: operation(operation_name).code(),
                permission_type: word(Permission::ALL, Permission::name, permission).code(),
            };
            image.apply(&record.into(), number.into(), &mut Delta::default());
        }
        image
    }

    fn authorizer(allows_without_acls: bool) -> Authorizer {
        Authorizer::new(AuthorizerSettings {
            super_users: ["User:root".to_owned()].into(),
            allows_without_acls,
        })
    }

    fn who<'a>(principal: &'a str, host: &str) -> Who<'a> {
        Who {
            principal,
            host: host.parse().unwrap(),
        }
    }

    /// Name of the rule that decides whether Ann may do `asked`, such as `READ TOPIC t`.
    fn rule(entries: &str, asked: &str, allows_without_acls: bool) -> String {
        let image = image(entries);
        let words: Vec<&str> = asked.split_whitespace().collect();
        let action = Action {
            operation: operation(words[0]),
            resource: resource(words[1]),
            name: words[2],
        };
        let rule = authorizer(allows_without_acls).decide(
            &image.acls,
            who("User:ann", "10.0.0.1"),
            action,
        );
        match rule {
            Rule::Allows(_) => "allowed".to_owned(),
            Rule::Denies(_) => "denied".to_owned(),
            default => default.to_string(),
        }
    }

    fn check(entries: &str, asked: &str, expected: &str) {
        assert_eq!(rule(entries, asked, false), expected, "{entries} / {asked}");
    }

    #[test]
    fn an_entry_counts_where_all_of_it_matches() {
        for (entry, expected) in [
            ("ALLOW ann * READ TOPIC t", "allowed"),
            ("ALLOW * * READ TOPIC t", "allowed"),
            ("ALLOW ann 10.0.0.1 READ TOPIC t", "allowed"),
            ("ALLOW ann * ALL TOPIC t", "allowed"),
            ("ALLOW ann * READ TOPIC *", "allowed"),
            ("ALLOW ann * READ TOPIC t-", "allowed"),
            ("DENY ann * READ TOPIC t", "denied"),
            ("ALLOW bob * READ TOPIC t", "DefaultDeny"),
            ("ALLOW annie * READ TOPIC t", "DefaultDeny"),
            ("ALLOW ann 10.0.0.2 READ TOPIC t", "DefaultDeny"),
            ("ALLOW ann * WRITE TOPIC t", "DefaultDeny"),
            ("ALLOW ann * READ TOPIC u", "DefaultDeny"),
            ("ALLOW ann * READ TOPIC tt", "DefaultDeny"),
            ("ALLOW ann * READ TOPIC tt-", "DefaultDeny"),
            ("ALLOW ann * READ GROUP t", "DefaultDeny"),
            ("ALLOW ann * READ GROUP t-", "DefaultDeny"),
            ("", "DefaultDeny"),
        ] {
            check(entry, "READ TOPIC t", expected);
        }
    }

    #[test]
    fn a_prefix_covers_what_begins_with_it() {
        let entries =
            "ALLOW ann * READ TOPIC a-; DENY ann * READ TOPIC ab-; ALLOW ann * READ TOPIC abc-";
        check(entries, "READ TOPIC a", "allowed");
        check(entries, "READ TOPIC ac", "allowed");
        check(entries, "READ TOPIC abc", "denied");
        check(entries, "READ TOPIC b", "DefaultDeny");
    }

    #[test]
    fn who_is_denied_anywhere_is_denied() {
        for entries in [
            "ALLOW ann * READ TOPIC t; DENY ann * READ TOPIC t",
            "ALLOW ann * READ TOPIC t; DENY ann * READ TOPIC *",
            "ALLOW ann * READ TOPIC *; DENY ann * READ TOPIC t-",
            "ALLOW ann * ALL TOPIC t; DENY * 10.0.0.1 READ TOPIC t",
            "ALLOW ann * READ TOPIC t; DENY ann * ALL TOPIC t",
        ] {
            check(entries, "READ TOPIC t", "denied");
        }
    }

    #[test]
    fn some_permissions_imply_others_and_no_prohibition_does() {
        for word in ["READ", "WRITE", "DELETE", "ALTER", "DESCRIBE", "ALL"] {
            let entry = format!("ALLOW ann * {word} TOPIC t");
            check(&entry, "DESCRIBE TOPIC t", "allowed");
        }
        for word in ["CREATE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"] {
            let entry = format!("ALLOW ann * {word} TOPIC t");
            check(&entry, "DESCRIBE TOPIC t", "DefaultDeny");
        }
        check(
            "ALLOW ann * ALTER_CONFIGS TOPIC t",
            "DESCRIBE_CONFIGS TOPIC t",
            "allowed",
        );
        check(
            "ALLOW ann * DESCRIBE_CONFIGS TOPIC t",
            "ALTER_CONFIGS TOPIC t",
            "DefaultDeny",
        );
        let entries = "ALLOW ann * DESCRIBE TOPIC t; DENY ann * READ TOPIC t";
        check(entries, "DESCRIBE TOPIC t", "allowed");
        check(entries, "READ TOPIC t", "denied");
        check(
            "ALLOW ann * DESCRIBE TOPIC t; DENY ann * ALL TOPIC t",
            "DESCRIBE TOPIC t",
            "denied",
        );
    }

    /// A single entry for another principal is enough to disable the default rule for a resource.
    #[test]
    fn the_default_is_for_resources_without_entries() {
        for (entries, expected) in [
            ("", "DefaultAllow"),
            ("ALLOW bob * WRITE TOPIC u", "DefaultAllow"),
            ("ALLOW bob * READ GROUP t", "DefaultAllow"),
            ("ALLOW bob * WRITE TOPIC t", "DefaultDeny"),
            ("DENY bob * WRITE TOPIC t", "DefaultDeny"),
            ("ALLOW bob * WRITE TOPIC t-", "DefaultDeny"),
            ("ALLOW bob * WRITE TOPIC *", "DefaultDeny"),
            ("ALLOW ann 10.0.0.9 READ TOPIC t", "DefaultDeny"),
        ] {
            assert_eq!(rule(entries, "READ TOPIC t", true), expected, "{entries}");
        }
    }

    #[test]
    fn super_users_are_not_denied() {
        let image = image("DENY root * ALL TOPIC *; DENY * * ALL TOPIC *");
        let action = Action {
            operation: Operation::Write,
            resource: ResourceType::Topic,
            name: "t",
        };
        let root = who("User:root", "10.0.0.1");
        let rule = authorizer(false).decide(&image.acls, root, action);
        assert_eq!(rule, Rule::SuperUser);
        let other = who("User:Root", "10.0.0.1");
        assert!(
            !authorizer(false)
                .decide(&image.acls, other, action)
                .allows()
        );
    }

    #[test]
    fn any_resource_of_a_type_is_enough_where_no_entry_denies_all_of_it() {
        let check = |entries: &str, default: bool, expected: bool| {
            let image = image(entries);
            let ann = who("User:ann", "10.0.0.1");
            let (write, topic) = (Operation::Write, ResourceType::Topic);
            let rule = authorizer(default).decide_any(&image.acls, ann, write, topic);
            assert_eq!(rule.allows(), expected, "{entries}");
        };
        for entries in [
            "ALLOW ann * WRITE TOPIC t",
            "ALLOW ann * ALL TOPIC t-",
            "ALLOW * * WRITE TOPIC *",
            "ALLOW ann * WRITE TOPIC t; DENY ann * WRITE TOPIC u",
            "ALLOW ann * WRITE TOPIC t-; DENY ann * WRITE TOPIC t",
            "ALLOW ann * WRITE TOPIC t-; DENY ann * WRITE TOPIC tt-",
            "ALLOW ann * WRITE TOPIC *; DENY ann * WRITE TOPIC t-",
            "ALLOW ann * WRITE TOPIC t; DENY bob * WRITE TOPIC *",
            "ALLOW ann * WRITE TOPIC t; DENY ann 10.0.0.2 WRITE TOPIC *",
            "ALLOW ann * WRITE TOPIC t; DENY ann * READ TOPIC *",
        ] {
            check(entries, false, true);
        }
        for entries in [
            "",
            "ALLOW ann * READ TOPIC t",
            "ALLOW ann * WRITE GROUP t",
            "ALLOW bob * WRITE TOPIC t",
            "ALLOW ann 10.0.0.2 WRITE TOPIC t",
            "ALLOW ann * WRITE TOPIC t; DENY ann * WRITE TOPIC t",
            "ALLOW ann * WRITE TOPIC tt; DENY ann * ALL TOPIC t-",
            "ALLOW ann * WRITE TOPIC tt-; DENY * * WRITE TOPIC t-",
            "ALLOW ann * WRITE TOPIC *; DENY ann * WRITE TOPIC *",
        ] {
            check(entries, false, false);
        }
        check("", true, true);
        check("ALLOW bob * WRITE TOPIC t", true, true);
        check("ALLOW bob * WRITE TOPIC *", true, false);
    }

    /// Records of a newer Kafka may have operations and permissions that are unknown here.
    #[test]
    fn unknown_words_permit_nothing() {
        let mut image = image("ALLOW ann * READ TOPIC t");
        let known = image.acls.iter().next().cloned().unwrap();
        let changed = |operation, permission_type| {
            let mut record = AccessControlEntryRecord::from(&*known);
            (record.operation, record.permission_type) = (operation, permission_type);
            record
        };
        let action = Action {
            operation: Operation::Read,
            resource: ResourceType::Topic,
            name: "t",
        };
        for (operation, permission) in [(77, 3), (3, 77)] {
            let record = changed(operation, permission);
            image.apply(&record.into(), 9, &mut Delta::default());
            let ann = who("User:ann", "10.0.0.1");
            assert!(!authorizer(false).decide(&image.acls, ann, action).allows());
        }
    }

    #[test]
    fn rules_are_shown_as_kafka_shows_them() {
        let image = image("DENY ann * READ TOPIC t-");
        let acl = image.acls.iter().next().cloned().unwrap();
        assert_eq!(
            Rule::Denies(acl).to_string(),
            "MatchingAcl(acl=StandardAcl(resourceType=TOPIC, resourceName=t, patternType=PREFIXED, principal=User:ann, host=*, operation=READ, permissionType=DENY))"
        );
    }
}
