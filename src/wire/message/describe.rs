//! pure: JSON form of messages, with Kafka's field names, for tools that print log files.
//!
//! Only messages in log files are declared with `described!`; requests and responses are never printed as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value;

use crate::base::ids::Uuid;

/// Conversion to JSON. Fields that do not exist in `version`, and tagged fields with their default value, are left out.
pub trait Describe {
    fn describe(&self, version: i16) -> Value;
}

macro_rules! plain {
    ($($ty:ty)*) => { $(
        impl Describe for $ty {
            fn describe(&self, _: i16) -> Value {
                Value::from(*self)
            }
        }
    )* };
}

plain! { bool i8 i16 u16 i32 i64 f64 }

impl Describe for ByteString {
    fn describe(&self, _: i16) -> Value {
        Value::from(&**self)
    }
}

impl Describe for Bytes {
    fn describe(&self, _: i16) -> Value {
        Value::from(STANDARD.encode(self))
    }
}

impl Describe for Uuid {
    fn describe(&self, _: i16) -> Value {
        Value::from(self.to_string())
    }
}

impl<D: Describe> Describe for Option<D> {
    fn describe(&self, version: i16) -> Value {
        self.as_ref()
            .map_or(Value::Null, |some| some.describe(version))
    }
}

impl<D: Describe> Describe for Vec<D> {
    fn describe(&self, version: i16) -> Value {
        self.iter().map(|one| one.describe(version)).collect()
    }
}

/// Converts `snake_case` to the `snakeCase` of Kafka's schemas.
pub fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.trim_start_matches("r#").chars() {
        if letter == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(letter.to_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Converts `CamelCase` to `CAMEL_CASE`, Kafka's spelling of record types.
pub fn screaming_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_uppercase());
    }
    out
}

/// Declares messages like `message!` and implements [`Describe`] for each of the structs.
macro_rules! described {
    ($($all:tt)*) => {
        $crate::wire::message::macros::message! { $($all)* }
        $crate::wire::message::describe::describe! { $($all)* }
    };
}
pub(crate) use described;

macro_rules! describe {
    () => {};

    (
        $(#[doc = $doc:literal])*
        message $name:ident, versions $versions:expr, flexible $flexible:expr;
        { $($body:tt)* }
        $($rest:tt)*
    ) => {
        $crate::wire::message::describe::describe! { struct $name { $($body)* } $($rest)* }
    };

    (
        $(#[doc = $doc:literal])*
        struct $name:ident {
            $(
                $(#[$ignorable:ident])?
                $field:ident : $ty:ty [ $($in:tt)* ] $(null [ $($null:tt)* ])? $(tag $tag:literal)? $(= $default:expr)? ;
            )*
        }
        $($rest:tt)*
    ) => {
        impl $crate::wire::message::describe::Describe for $name {
            #[allow(unused_variables, unused_mut)]
            fn describe(&self, version: i16) -> serde_json::Value {
                let mut fields = serde_json::Map::new();
                let unset = Self::default();
                $(
                    let silent = $crate::wire::message::describe::is_tagged!($($tag)?) && self.$field == unset.$field;
                    if ($($in)*).contains(&version) && !silent {
                        fields.insert(
                            $crate::wire::message::describe::camel_case(stringify!($field)),
                            $crate::wire::message::describe::Describe::describe(&self.$field, version),
                        );
                    }
                )*
                serde_json::Value::Object(fields)
            }
        }

        $crate::wire::message::describe::describe! { $($rest)* }
    };
}
pub(crate) use describe;

macro_rules! is_tagged {
    () => {
        false
    };
    ($tag:literal) => {
        true
    };
}
pub(crate) use is_tagged;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(camel_case("is_migrating_zk_broker"), "isMigratingZkBroker");
        assert_eq!(camel_case("r#type"), "type");
        assert_eq!(screaming_case("FeatureLevelRecord"), "FEATURE_LEVEL_RECORD");
    }
}
