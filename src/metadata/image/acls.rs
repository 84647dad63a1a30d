//! pure: the access control entries of a cluster. Kafka's `AclsImage`.
//!
//! Entries are kept as in the metadata log, including numbers that this program does not know. The authorizer interprets the
//! numbers.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound::{self, Included, Unbounded};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::base::ids::Uuid;
use crate::metadata::record::schema::AccessControlEntryRecord;

/// An access control entry (KIP-11, KIP-290); numbers are those of the ACL APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub id: Uuid,
    pub resource_type: i8,
    pub pattern_type: i8,
    pub resource_name: Arc<str>,
    pub principal: Arc<str>,
    pub host: Arc<str>,
    pub operation: i8,
    pub permission_type: i8,
}

/// Resource type and pattern type, as numbers of the ACL APIs.
pub type PatternKind = (i8, i8);

/// Sort key of an entry: entries of a resource pattern are neighbours, and within them those of a principal.
type Place<'a> = (PatternKind, &'a str, Whose<'a>, Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose<'a> {
    Of(&'a str),
    /// Upper bound: sorts after the entries of all principals.
    Behind,
}

/// A value with a sort key: an entry, or the bound of a range of entries.
trait Placed {
    fn place(&self) -> Place<'_>;
}

impl Placed for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Placed + '_ {}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// An entry that is ordered by its sort key.
#[derive(Clone, Debug)]
struct InPlace(Arc<Acl>);

impl Placed for InPlace {
    fn place(&self) -> Place<'_> {
        let acl = &self.0;
        let kind = (acl.resource_type, acl.pattern_type);
        (kind, &acl.resource_name, Whose::Of(&acl.principal), acl.id)
    }
}

impl PartialEq for InPlace {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for InPlace {}

impl PartialOrd for InPlace {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InPlace {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<'a> Borrow<dyn Placed + 'a> for InPlace {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

impl Acl {
    pub fn kind(&self) -> PatternKind {
        (self.resource_type, self.pattern_type)
    }

    /// Whether two entries are equal except for their ids.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let with_this_id = Self {
            id: self.id,
            ..other.clone()
        };
        *self == with_this_id
    }
}

impl From<&AccessControlEntryRecord> for Acl {
    fn from(record: &AccessControlEntryRecord) -> Self {
        Self {
            id: record.id,
            resource_type: record.resource_type,
            pattern_type: record.pattern_type,
            resource_name: Arc::from(&*record.resource_name),
            principal: Arc::from(&*record.principal),
            host: Arc::from(&*record.host),
            operation: record.operation,
            permission_type: record.permission_type,
        }
    }
}

impl From<&Acl> for AccessControlEntryRecord {
    fn from(acl: &Acl) -> Self {
        Self {
            id: acl.id,
            resource_type: acl.resource_type,
            pattern_type: acl.pattern_type,
            resource_name: (*acl.resource_name).into(),
            principal: (*acl.principal).into(),
            host: (*acl.host).into(),
            operation: acl.operation,
            permission_type: acl.permission_type,
        }
    }
}

/// All access control entries, by id and by resource. Cloning shares everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acls {
    by_id: OrdMap<Uuid, Arc<Acl>>,
    by_place: OrdSet<InPlace>,
}

/// Greatest id, used as the upper bound of ranges.
const LAST_ID: Uuid = Uuid([0xff; 16]);

impl Acls {
    pub fn get(&self, id: Uuid) -> Option<&Arc<Acl>> {
        self.by_id.get(&id)
    }

    /// All entries, ordered by resource type, pattern type, resource name and principal.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Acl>> {
        self.by_place.iter().map(|entry| &entry.0)
    }

    /// The entries of one resource pattern for a principal.
    pub fn of_principal<'a>(
        &'a self,
        kind: PatternKind,
        resource_name: &str,
        principal: &str,
    ) -> impl Iterator<Item = &'a Arc<Acl>> + use<'a> {
        let of = Whose::Of(principal);
        let first: Place<'_> = (kind, resource_name, of, Uuid::ZERO);
        let last: Place<'_> = (kind, resource_name, of, LAST_ID);
        self.between(Included(&first), Included(&last))
    }

    /// The entries of one resource pattern.
    pub fn of<'a>(
        &'a self,
        kind: PatternKind,
        resource_name: &str,
    ) -> impl Iterator<Item = &'a Arc<Acl>> + use<'a> {
        let first: Place<'_> = (kind, resource_name, Whose::Of(""), Uuid::ZERO);
        let last: Place<'_> = (kind, resource_name, Whose::Behind, LAST_ID);
        self.between(Included(&first), Included(&last))
    }

    /// The entries of all resource patterns of a kind.
    pub fn of_kind(&self, kind: PatternKind) -> impl Iterator<Item = &Arc<Acl>> {
        let first: Place<'_> = (kind, "", Whose::Of(""), Uuid::ZERO);
        let all = self.between(Included(&first), Unbounded);
        all.take_while(move |acl| acl.kind() == kind)
    }

    /// Resource names of this kind that have entries and are prefixes of a name, the longest first. The cost is one lookup for
    /// each, plus one for each point at which other resource names diverge from the name.
    pub fn prefixes_of<'a>(
        &'a self,
        kind: PatternKind,
        name: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        // All prefixes longer than this one have been searched.
        let mut longest = Some(name);
        std::iter::from_fn(move || {
            while let Some(bound) = longest {
                let last: Place<'_> = (kind, bound, Whose::Behind, LAST_ID);
                let before = self.between(Unbounded, Included(&last)).next_back();
                let found = &*before.filter(|acl| acl.kind() == kind)?.resource_name;
                let common = common_prefix(found, name);
                if common.len() == found.len() {
                    longest = shorter(common);
                    return Some(found);
                }
                longest = Some(common);
            }
            None
        })
    }

    fn between<'a>(
        &'a self,
        from: Bound<&Place<'_>>,
        to: Bound<&Place<'_>>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Acl>> + use<'a> {
        let placed = (
            from.map(|place| place as &dyn Placed),
            to.map(|place| place as &dyn Placed),
        );
        self.by_place
            .range::<_, dyn Placed + '_>(placed)
            .map(|entry| &entry.0)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn insert(&mut self, acl: Acl) {
        self.remove(acl.id);
        let acl = Arc::new(acl);
        self.by_place.insert(InPlace(Arc::clone(&acl)));
        self.by_id.insert(acl.id, acl);
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        if let Some(acl) = self.by_id.remove(&id) {
            self.by_place.remove(&InPlace(acl));
        }
    }
}

/// The common prefix of two texts.
fn common_prefix<'a>(of: &'a str, with: &str) -> &'a str {
    let same = of.chars().zip(with.chars()).take_while(|(a, b)| a == b);
    let len = same.map(|(char, _)| char.len_utf8()).sum::<usize>();
    of.get(..len).unwrap_or_default()
}

/// A text without its last character; `None` for an empty text.
fn shorter(text: &str) -> Option<&str> {
    let (at, _) = text.char_indices().next_back()?;
    text.get(..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: i8 = 2;
    const GROUP: i8 = 3;
    const LITERAL: i8 = 3;
    const PREFIXED: i8 = 4;

    fn acl(id: u8, resource_type: i8, pattern_type: i8, name: &str) -> Acl {
        Acl {
            id: Uuid([id; 16]),
            resource_type,
            pattern_type,
            resource_name: name.into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: 3,
            permission_type: 3,
        }
    }

    fn ids<'a>(acls: impl Iterator<Item = &'a Arc<Acl>>) -> Vec<u8> {
        acls.map(|acl| acl.id.0[0]).collect()
    }

    #[test]
    fn entries_are_found_by_id_and_by_resource() {
        let mut acls = Acls::default();
        for one in [
            acl(255, TOPIC, LITERAL, "b"),
            acl(0, TOPIC, LITERAL, "b"),
            acl(2, TOPIC, LITERAL, "bb"),
            acl(3, TOPIC, LITERAL, "a"),
            acl(4, TOPIC, PREFIXED, "b"),
            acl(5, GROUP, LITERAL, "b"),
        ] {
            acls.insert(one);
        }
        assert_eq!(ids(acls.of((TOPIC, LITERAL), "b")), [0, 255]);
        assert_eq!(ids(acls.of((TOPIC, PREFIXED), "b")), [4]);
        assert!(ids(acls.of((TOPIC, LITERAL), "c")).is_empty());
        assert_eq!(ids(acls.of_kind((TOPIC, LITERAL))), [3, 0, 255, 2]);
        assert_eq!(ids(acls.iter()), [3, 0, 255, 2, 4, 5]);
        assert_eq!(acls.get(Uuid([4; 16])).unwrap().pattern_type, PREFIXED);
        acls.remove(Uuid([255; 16]));
        acls.remove(Uuid([77; 16]));
        assert_eq!(ids(acls.of((TOPIC, LITERAL), "b")), [0]);
        assert_eq!(acls.len(), 5);
    }

    #[test]
    fn entries_of_a_principal_are_found_alone() {
        let mut acls = Acls::default();
        for (id, principal) in [(1, "User:a"), (2, "User:b"), (3, "User:a"), (4, "User:aa")] {
            let principal = principal.into();
            acls.insert(Acl {
                principal,
                ..acl(id, TOPIC, LITERAL, "t")
            });
        }
        let of = |principal| ids(acls.of_principal((TOPIC, LITERAL), "t", principal));
        assert_eq!(of("User:a"), [1, 3]);
        assert_eq!(of("User:b"), [2]);
        assert!(of("User:").is_empty());
        assert!(ids(acls.of_principal((TOPIC, PREFIXED), "t", "User:a")).is_empty());
    }

    /// Exactly the names that are prefixes are found, whatever other names there are.
    #[test]
    fn prefixes_of_a_name_are_found() {
        let names = [
            "a",
            "ab",
            "abc",
            "abd",
            "b",
            "é",
            "éa",
            "éb",
            "\u{10ffff}",
            "zz",
        ];
        let mut acls = Acls::default();
        for (id, name) in (0..).zip(names) {
            acls.insert(acl(id, TOPIC, PREFIXED, name));
            acls.insert(acl(id + 100, TOPIC, LITERAL, "abcd"));
            acls.insert(acl(id + 200, GROUP, PREFIXED, "abcde"));
        }
        let odd = "\u{10ffff}:x".into();
        acls.insert(Acl {
            principal: odd,
            ..acl(50, TOPIC, PREFIXED, "abcde")
        });
        for name in [
            "",
            "a",
            "abc",
            "abcdef",
            "abe",
            "éc",
            "éa",
            "b",
            "c",
            "\u{10ffff}a",
        ] {
            let found: Vec<_> = acls.prefixes_of((TOPIC, PREFIXED), name).collect();
            let all = names.iter().copied().chain(["abcde"]);
            let mut expected: Vec<_> = all.filter(|prefix| name.starts_with(prefix)).collect();
            expected.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
            assert_eq!(found, expected, "{name}");
        }
    }

    /// A record may reuse the id of an older one; it replaces the older entry.
    #[test]
    fn an_id_has_one_entry() {
        let mut acls = Acls::default();
        acls.insert(acl(1, TOPIC, LITERAL, "a"));
        acls.insert(acl(1, TOPIC, LITERAL, "b"));
        assert!(ids(acls.of((TOPIC, LITERAL), "a")).is_empty());
        assert_eq!(ids(acls.of((TOPIC, LITERAL), "b")), [1]);
        assert_eq!(ids(acls.iter()), [1]);
    }

    #[test]
    fn entries_are_compared_without_their_ids() {
        let one = acl(1, TOPIC, LITERAL, "a");
        assert!(one.says_the_same_as(&acl(2, TOPIC, LITERAL, "a")));
        assert!(!one.says_the_same_as(&acl(1, TOPIC, LITERAL, "b")));
    }
}
