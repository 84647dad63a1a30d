//! pure: the access control entries of a cluster. Kafka's `AclsImage`.
//!
//! Entries are kept as the metadata log has them, also with numbers that this program does not know. Whoever authorizes gives
//! the numbers their meaning.

use std::sync::Arc;

use imbl::OrdMap;

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

/// Where an entry stands among all: those of a resource are neighbours.
type Place = (i8, i8, Arc<str>, Uuid);

impl Acl {
    fn place(&self) -> Place {
        let name = Arc::clone(&self.resource_name);
        (self.resource_type, self.pattern_type, name, self.id)
    }

    /// Whether two entries say the same, whatever their ids are.
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
    by_resource: OrdMap<Place, Arc<Acl>>,
}

impl Acls {
    pub fn get(&self, id: Uuid) -> Option<&Arc<Acl>> {
        self.by_id.get(&id)
    }

    /// In the order of resources: their types, kinds of pattern and names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Acl>> {
        self.by_resource.values()
    }

    /// The entries of one resource pattern.
    pub fn of(
        &self,
        resource_type: i8,
        pattern_type: i8,
        resource_name: &str,
    ) -> impl Iterator<Item = &Arc<Acl>> {
        let name: Arc<str> = Arc::from(resource_name);
        let first: Place = (resource_type, pattern_type, Arc::clone(&name), Uuid::ZERO);
        let last: Place = (resource_type, pattern_type, name, Uuid([0xff; 16]));
        self.by_resource.range(first..=last).map(|(_, acl)| acl)
    }

    /// The entries of a type of resource whose kind of pattern is this one, and whose name is at or after `from`, in order.
    pub fn starting_at(
        &self,
        resource_type: i8,
        pattern_type: i8,
        from: &str,
    ) -> impl Iterator<Item = &Arc<Acl>> {
        let first: Place = (resource_type, pattern_type, Arc::from(from), Uuid::ZERO);
        let all = self.by_resource.range(first..).map(|(_, acl)| acl);
        all.take_while(move |acl| {
            (acl.resource_type, acl.pattern_type) == (resource_type, pattern_type)
        })
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
        self.by_resource.insert(acl.place(), Arc::clone(&acl));
        self.by_id.insert(acl.id, acl);
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        if let Some(acl) = self.by_id.remove(&id) {
            self.by_resource.remove(&acl.place());
        }
    }
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
        assert_eq!(ids(acls.of(TOPIC, LITERAL, "b")), [0, 255]);
        assert_eq!(ids(acls.of(TOPIC, PREFIXED, "b")), [4]);
        assert!(ids(acls.of(TOPIC, LITERAL, "c")).is_empty());
        assert_eq!(ids(acls.starting_at(TOPIC, LITERAL, "b")), [0, 255, 2]);
        assert_eq!(ids(acls.iter()), [3, 0, 255, 2, 4, 5]);
        assert_eq!(acls.get(Uuid([4; 16])).unwrap().pattern_type, PREFIXED);
        acls.remove(Uuid([255; 16]));
        acls.remove(Uuid([77; 16]));
        assert_eq!(ids(acls.of(TOPIC, LITERAL, "b")), [0]);
        assert_eq!(acls.len(), 5);
    }

    /// A record may come again with the id of an older one: what the older one said does not hold any more.
    #[test]
    fn an_id_has_one_entry() {
        let mut acls = Acls::default();
        acls.insert(acl(1, TOPIC, LITERAL, "a"));
        acls.insert(acl(1, TOPIC, LITERAL, "b"));
        assert!(ids(acls.of(TOPIC, LITERAL, "a")).is_empty());
        assert_eq!(ids(acls.of(TOPIC, LITERAL, "b")), [1]);
        assert_eq!(ids(acls.iter()), [1]);
    }

    #[test]
    fn entries_are_compared_without_their_ids() {
        let one = acl(1, TOPIC, LITERAL, "a");
        assert!(one.says_the_same_as(&acl(2, TOPIC, LITERAL, "a")));
        assert!(!one.says_the_same_as(&acl(1, TOPIC, LITERAL, "b")));
    }
}
