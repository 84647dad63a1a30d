//! pure: `message!`, the macro that turns the declaration of a message into a struct with a bounded decoder and an encoder for
//! every version.
//!
//! ```text
//! message! {
//!     request 8 OffsetCommitRequest -> OffsetCommitResponse, versions 0..=10, flexible 8.. {
//!         group_id: ByteString [0..];
//!         group_instance_id: Option<ByteString> [7..] null [7..];
//!         #[ignorable] retention_time_ms: i64 [2..=4] = -1;
//!         topics: Vec<OffsetCommitRequestTopic> [0..];
//!     }
//!     struct OffsetCommitRequestTopic { … }
//! }
//! ```
//!
//! A field is declared by its name, its type, the versions that have it, the versions in which it may be null, its tag if it is
//! a tagged field, and its default if the default is not zero or empty. `#[ignorable]` fields are left out of versions that
//! lack them. Any other field that is set in such a version is an [`EncodeError`](crate::wire::codec::EncodeError), unless the
//! writer is one for responses: a response leaves out all fields that the client's version does not have.

/// A whole message, with its range of versions.
pub trait Message: crate::wire::codec::Field + Default + std::fmt::Debug {
    const NAME: &'static str;
    const VERSIONS: std::ops::RangeInclusive<i16>;

    fn is_flexible(version: i16) -> bool;

    /// Time for which a client should wait, in milliseconds; `None` in messages without it.
    fn throttle_time_ms(&mut self) -> Option<&mut i32>;

    /// Reads one message and leaves the bytes after it in `reader`.
    fn read(
        reader: &mut crate::wire::codec::Reader,
        version: i16,
    ) -> Result<Self, crate::wire::codec::DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(crate::wire::codec::DecodeError::UnknownVersion(version));
        }
        Self::decode(
            reader,
            crate::wire::codec::Layout::new(version, Self::is_flexible(version)),
        )
    }

    fn write(
        &self,
        writer: &mut crate::wire::codec::Writer,
        version: i16,
    ) -> Result<(), crate::wire::codec::EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(crate::wire::codec::EncodeError::UnknownVersion(version));
        }
        self.encode(
            writer,
            crate::wire::codec::Layout::new(version, Self::is_flexible(version)),
        )
    }
}

/// A request and its type of response.
pub trait Request: Message {
    const KEY: i16;
    type Response: Message;
}

macro_rules! message {
    () => {};

    (
        $(#[doc = $doc:literal])*
        request $key:literal $name:ident -> $response:ident, versions $versions:expr, flexible $flexible:expr;
        { $($body:tt)* }
        $($rest:tt)*
    ) => {
        impl $crate::wire::message::Request for $name {
            const KEY: i16 = $key;
            type Response = $response;
        }
        message! {
            $(#[doc = $doc])*
            message $name, versions $versions, flexible $flexible; { $($body)* } $($rest)*
        }
    };

    (
        $(#[doc = $doc:literal])*
        message $name:ident, versions $versions:expr, flexible $flexible:expr;
        { $($body:tt)* }
        $($rest:tt)*
    ) => {
        impl $crate::wire::message::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: std::ops::RangeInclusive<i16> = $versions;

            fn is_flexible(version: i16) -> bool {
                let flexible: Option<i16> = $flexible;
                flexible.is_some_and(|first| version >= first)
            }

            #[allow(unreachable_code)]
            fn throttle_time_ms(&mut self) -> Option<&mut i32> {
                message!(@throttle self, { $($body)* })
            }
        }
        message! { $(#[doc = $doc])* struct $name { $($body)* } $($rest)* }
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
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: message!(@default $ty, $($default)?),)* }
            }
        }

        impl $crate::wire::codec::Field for $name {
            #[allow(unused_variables, unused_mut)]
            fn decode(
                reader: &mut $crate::wire::codec::Reader,
                layout: $crate::wire::codec::Layout,
            ) -> Result<Self, $crate::wire::codec::DecodeError> {
                let version = layout.version;
                let mut this = Self::default();
                $(message!(@decode_plain [$($tag)?] this.$field, reader, layout, [$($in)*], [$($($null)*)?]);)*
                if layout.flexible {
                    reader.tagged_section(|tag, payload| {
                        $(message!(
                            @decode_tagged [$($tag)?] this.$field, tag, payload, layout, [$($in)*], [$($($null)*)?]
                        );)*
                        Ok(false)
                    })?;
                }
                Ok(this)
            }

            #[allow(unused_variables, unused_mut)]
            fn encode(
                &self,
                writer: &mut $crate::wire::codec::Writer,
                layout: $crate::wire::codec::Layout,
            ) -> Result<(), $crate::wire::codec::EncodeError> {
                let version = layout.version;
                $(message!(
                    @encode_plain [$($tag)?] [$($ignorable)?] self.$field, stringify!($field), $ty, [$($default)?],
                    writer, layout, [$($in)*], [$($($null)*)?]
                );)*
                if layout.flexible {
                    let mut tagged = Vec::new();
                    $(message!(
                        @encode_tagged [$($tag)?] self.$field, $ty, [$($default)?], tagged, writer, layout, [$($in)*],
                        [$($($null)*)?]
                    );)*
                    writer.tagged_section(tagged);
                }
                Ok(())
            }
        }

        message!(@nullable $name);

        impl $crate::wire::message::schema::Shape for $name {
            #[allow(unused_variables, unused_mut)]
            fn shape(version: i16) -> $crate::wire::message::schema::Kind {
                let mut places = Vec::new();
                $(
                    if ($($in)*).contains(&version) {
                        places.push($crate::wire::message::schema::Place {
                            name: stringify!($field),
                            nullable: message!(@null version, [$($($null)*)?]),
                            tag: message!(@tag $($tag)?),
                            kind: <$ty as $crate::wire::message::schema::Shape>::shape(version),
                        });
                    }
                )*
                $crate::wire::message::schema::Kind::Struct(places)
            }
        }

        #[cfg(test)]
        impl $crate::wire::message::arbitrary::Arbitrary for $name {
            #[allow(unused_variables, unused_mut)]
            fn arbitrary(dice: &mut $crate::wire::message::arbitrary::Dice, layout: $crate::wire::codec::Layout) -> Self {
                let version = layout.version;
                let mut this = Self::default();
                $(
                    if ($($in)*).contains(&version) {
                        let layout = layout.nullable(message!(@null version, [$($($null)*)?]));
                        this.$field = $crate::wire::message::arbitrary::Arbitrary::arbitrary(dice, layout);
                    }
                )*
                this
            }
        }

        message! { $($rest)* }
    };

    (@nullable $name:ident) => {
        impl $crate::wire::codec::Field for Option<$name> {
            fn decode(
                reader: &mut $crate::wire::codec::Reader,
                layout: $crate::wire::codec::Layout,
            ) -> Result<Self, $crate::wire::codec::DecodeError> {
                $crate::wire::codec::decode_nullable_struct(reader, layout)
            }

            fn encode(
                &self,
                writer: &mut $crate::wire::codec::Writer,
                layout: $crate::wire::codec::Layout,
            ) -> Result<(), $crate::wire::codec::EncodeError> {
                $crate::wire::codec::encode_nullable_struct(self.as_ref(), writer, layout)
            }
        }
    };

    (@default $ty:ty, ) => { <$ty>::default() };
    (@default $ty:ty, $default:expr) => { $default };

    (
        @throttle $this:ident, {
            $(
                $(#[$ignorable:ident])?
                $field:ident : $ty:ty [ $($in:tt)* ] $(null [ $($null:tt)* ])? $(tag $tag:literal)? $(= $default:expr)? ;
            )*
        }
    ) => {{
        $(message!(@throttle_of $this.$field);)*
        None
    }};
    (@throttle_of $this:ident.throttle_time_ms) => { return Some(&mut $this.throttle_time_ms) };
    (@throttle_of $this:ident.$field:ident) => {};

    (@tag) => { None };
    (@tag $tag:literal) => { Some($tag) };

    (@null $version:ident, []) => { false };
    (@null $version:ident, [$($null:tt)*]) => { ($($null)*).contains(&$version) };

    (@decode_plain [$tag:literal] $($rest:tt)*) => {};
    (@decode_plain [] $this:ident.$field:ident, $reader:ident, $layout:ident, [$($in:tt)*], [$($null:tt)*]) => {{
        let version = $layout.version;
        if ($($in)*).contains(&version) {
            let layout = $layout.tagged(false).nullable(message!(@null version, [$($null)*]));
            $this.$field = $crate::wire::codec::Field::decode($reader, layout)?;
        }
    }};

    (@encode_plain [$tag:literal] $($rest:tt)*) => {};
    (
        @encode_plain [] [$($ignorable:ident)?] $this:ident.$field:ident, $name:expr, $ty:ty, [$($default:expr)?],
        $writer:ident, $layout:ident, [$($in:tt)*], [$($null:tt)*]
    ) => {{
        let version = $layout.version;
        if ($($in)*).contains(&version) {
            let layout = $layout.tagged(false).nullable(message!(@null version, [$($null)*]));
            $crate::wire::codec::Field::encode(&$this.$field, $writer, layout)?;
        } else {
            message!(@left_out [$($ignorable)?] $this.$field, $name, $ty, [$($default)?], version, $writer);
        }
    }};

    (@decode_tagged [] $($rest:tt)*) => {};
    (
        @decode_tagged [$expected:literal] $this:ident.$field:ident, $tag:ident, $payload:ident, $layout:ident,
        [$($in:tt)*], [$($null:tt)*]
    ) => {
        let version = $layout.version;
        if $tag == $expected && ($($in)*).contains(&version) {
            let layout = $layout.tagged(true).nullable(message!(@null version, [$($null)*]));
            $this.$field = $crate::wire::codec::Field::decode($payload, layout)?;
            return Ok(true);
        }
    };

    (@encode_tagged [] $($rest:tt)*) => {};
    (
        @encode_tagged [$tag:literal] $this:ident.$field:ident, $ty:ty, [$($default:expr)?], $tagged:ident,
        $writer:ident, $layout:ident, [$($in:tt)*], [$($null:tt)*]
    ) => {
        let version = $layout.version;
        if ($($in)*).contains(&version) && $this.$field != message!(@default $ty, $($default)?) {
            let mut payload = $writer.for_tagged_field();
            let layout = $layout.tagged(true).nullable(message!(@null version, [$($null)*]));
            $crate::wire::codec::Field::encode(&$this.$field, &mut payload, layout)?;
            $tagged.push(($tag, payload.into_bytes()));
        }
    };

    (@left_out [ignorable] $($rest:tt)*) => {};
    (@left_out [] $this:ident.$field:ident, $name:expr, $ty:ty, [$($default:expr)?], $version:ident, $writer:ident) => {
        if !$writer.leaves_out_newer_fields() && $this.$field != message!(@default $ty, $($default)?) {
            return Err($crate::wire::codec::EncodeError::FieldNotInVersion { field: $name, version: $version });
        }
    };
}
pub(crate) use message;
