//! pure: schemas of requests as data, for test programs that write requests which our structs cannot represent, such as an
//! array of a million equal elements or an unknown field. The broker itself does not use them.

use std::ops::RangeInclusive;

use bytes::Bytes;
use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::every_api;
use crate::wire::codec::Records;

/// Type of a value, in one version.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A number, UUID or boolean; its size in bytes.
    Number(usize),
    Text,
    Bytes,
    Records,
    Array(Box<Self>),
    /// Fields in the order of the wire; tagged fields stand among the others.
    Struct(Vec<Place>),
}

/// A field of a struct, in one version that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub name: &'static str,
    pub nullable: bool,
    pub tag: Option<u32>,
    pub kind: Kind,
}

/// A type with a schema.
pub trait Shape {
    fn shape(version: i16) -> Kind;
}

macro_rules! shapes {
    ($($ty:ty: $kind:expr;)*) => {$(
        impl Shape for $ty {
            fn shape(_: i16) -> Kind {
                $kind
            }
        }
    )*};
}

shapes! {
    bool: Kind::Number(1);
    i8: Kind::Number(1);
    i16: Kind::Number(2);
    u16: Kind::Number(2);
    i32: Kind::Number(4);
    u32: Kind::Number(4);
    i64: Kind::Number(8);
    f64: Kind::Number(8);
    Uuid: Kind::Number(16);
    ByteString: Kind::Text;
    Bytes: Kind::Bytes;
    Records: Kind::Records;
}

impl<T: Shape> Shape for Option<T> {
    fn shape(version: i16) -> Kind {
        T::shape(version)
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn shape(version: i16) -> Kind {
        Kind::Array(Box::new(T::shape(version)))
    }
}

/// Schema of one API's request.
#[derive(Clone, Debug)]
pub struct Form {
    pub key: i16,
    pub name: &'static str,
    pub versions: RangeInclusive<i16>,
    pub is_flexible: fn(i16) -> bool,
    /// Schema of the request in a version; always `Kind::Struct`.
    pub shape: fn(i16) -> Kind,
}

macro_rules! forms {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        /// Requests of all APIs, in the order of keys.
        pub fn requests() -> Vec<Form> {
            use crate::wire::message::*;
            vec![$(Form {
                key: $key,
                name: stringify!($name),
                versions: $module::[<$name Request>]::VERSIONS,
                is_flexible: $module::[<$name Request>]::is_flexible,
                shape: $module::[<$name Request>]::shape,
            }),*]
        }
    } };
}

every_api!(forms);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Message;
    use crate::wire::message::list_offsets::ListOffsetsRequest;

    #[test]
    fn a_form_is_what_was_declared() {
        let form = requests().into_iter().find(|form| form.key == 2).unwrap();
        assert_eq!(form.versions, ListOffsetsRequest::VERSIONS);
        let Kind::Struct(places) = (form.shape)(4) else {
            panic!("a request is a struct");
        };
        let names: Vec<_> = places.iter().map(|place| place.name).collect();
        assert_eq!(names, ["replica_id", "isolation_level", "topics"]);
        let Kind::Array(topic) = &places[2].kind else {
            panic!("topics are an array");
        };
        assert_eq!(
            **topic,
            Kind::Struct(vec![
                Place {
                    name: "name",
                    nullable: false,
                    tag: None,
                    kind: Kind::Text,
                },
                Place {
                    name: "partitions",
                    nullable: false,
                    tag: None,
                    kind: Kind::Array(Box::new(Kind::Struct(vec![
                        Place {
                            name: "partition_index",
                            nullable: false,
                            tag: None,
                            kind: Kind::Number(4),
                        },
                        Place {
                            name: "current_leader_epoch",
                            nullable: false,
                            tag: None,
                            kind: Kind::Number(4),
                        },
                        Place {
                            name: "timestamp",
                            nullable: false,
                            tag: None,
                            kind: Kind::Number(8),
                        },
                    ]))),
                },
            ])
        );
    }
}
