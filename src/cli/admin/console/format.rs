//! Format of a record in the output.

use std::io::Write;
use std::ops::RangeInclusive;

use clap::Args;
use serde_json::json;

use super::{is_true, property};
use crate::cli::admin::client::Failure;
use crate::cli::dump_log::decode::Decoder;
use crate::wire::batch::record::Record;

/// Type of a key or value, named like Kafka's deserializers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    Text,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
}

impl Shown {
    fn by(class: Option<&str>) -> Result<Self, Failure> {
        const PACKAGE: &str = "org.apache.kafka.common.serialization.";
        let Some(class) = class else {
            return Ok(Self::Text);
        };
        let name = class.strip_prefix(PACKAGE).unwrap_or_default();
        match name.strip_suffix("Deserializer").unwrap_or_default() {
            // A UUID is sent as text.
            "String" | "Bytes" | "UUID" => Ok(Self::Text),
            "Short" => Ok(Self::Short),
            "Integer" => Ok(Self::Integer),
            "Long" => Ok(Self::Long),
            "Float" => Ok(Self::Float),
            "Double" => Ok(Self::Double),
            "Boolean" => Ok(Self::Boolean),
            _ => Err(format!("the deserializer {class} is not supported").into()),
        }
    }

    fn text(self, bytes: Option<&[u8]>, null: &[u8]) -> Result<Vec<u8>, Failure> {
        let Some(bytes) = bytes else {
            return Ok(null.to_vec());
        };
        let text = match self {
            Self::Text => return Ok(bytes.to_vec()),
            Self::Short => i16::from_be_bytes(sized(bytes)?).to_string(),
            Self::Integer => i32::from_be_bytes(sized(bytes)?).to_string(),
            Self::Long => i64::from_be_bytes(sized(bytes)?).to_string(),
            Self::Float => format!("{:?}", f32::from_be_bytes(sized(bytes)?)),
            Self::Double => format!("{:?}", f64::from_be_bytes(sized(bytes)?)),
            Self::Boolean => match sized(bytes)? {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                [other] => return Err(format!("{other} is neither true nor false").into()),
            },
        };
        Ok(text.into_bytes())
    }
}

/// The bytes of a number, if their count is right.
fn sized<const SIZE: usize>(bytes: &[u8]) -> Result<[u8; SIZE], Failure> {
    bytes.try_into().map_err(|_| {
        let found = bytes.len();
        Failure(format!(
            "a number of {SIZE} bytes was expected, the record has {found}"
        ))
    })
}

/// How records are shown.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct FormatOptions {
    /// What a line shows: print.key, print.value, print.offset, print.partition, print.timestamp, print.headers,
    /// key.separator, line.separator, headers.separator, null.literal, key.deserializer, value.deserializer,
    /// headers.deserializer
    #[arg(long, value_name = "NAME=VALUE", alias = "property")]
    formatter_property: Vec<String>,
    /// One of Kafka's formatters: Default-, Logging-, NoOp-, Offsets-, GroupMetadata- or TransactionLogMessageFormatter
    #[arg(long, value_name = "CLASS")]
    formatter: Option<String>,
    /// Kafka's deserializer for keys
    #[arg(long, value_name = "CLASS")]
    key_deserializer: Option<String>,
    /// Kafka's deserializer for values
    #[arg(long, value_name = "CLASS")]
    value_deserializer: Option<String>,
}

/// Kafka's formatters.
pub(super) enum Format {
    /// `DefaultMessageFormatter`.
    Columns(Columns),
    /// Formatters for records of a coordinator of these types, as JSON.
    Coordinator(Decoder, RangeInclusive<i64>),
    /// `NoOpMessageFormatter`: records are only counted.
    Nothing,
}

impl Format {
    pub(super) fn new(options: &FormatOptions) -> Result<Self, Failure> {
        let Some(class) = options.formatter.as_deref() else {
            return Columns::new(options).map(Self::Columns);
        };
        // Only the class name is compared, because formatters have moved between packages.
        match class.rsplit(['.', '$']).next().unwrap_or(class) {
            "DefaultMessageFormatter" => Columns::new(options).map(Self::Columns),
            "NoOpMessageFormatter" => Ok(Self::Nothing),
            "OffsetsMessageFormatter" => Ok(Self::Coordinator(Decoder::Offsets, 0..=1)),
            "GroupMetadataMessageFormatter" => Ok(Self::Coordinator(Decoder::Offsets, 2..=2)),
            "TransactionLogMessageFormatter" => Ok(Self::Coordinator(Decoder::Transactions, 0..=0)),
            _ => Err(format!("--formatter {class} is not supported").into()),
        }
    }

    pub(super) fn write(
        &self,
        out: &mut impl Write,
        partition: i32,
        record: &Record<'_>,
        append_time: bool,
    ) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::Columns(columns) => columns.write(out, partition, record, append_time),
            Self::Coordinator(decoder, types) => {
                let Some(line) = coordinator(*decoder, types, record)? else {
                    return Ok(());
                };
                writeln!(out, "{line}").map_err(|error| error.to_string().into())
            }
        }
    }
}

/// A coordinator's record as Kafka's `CoordinatorRecordMessageFormatter` shows it; `None` for a record of another type.
fn coordinator(
    decoder: Decoder,
    types: &RangeInclusive<i64>,
    record: &Record<'_>,
) -> Result<Option<serde_json::Value>, Failure> {
    let Some(key) = record.key else {
        return Ok(None);
    };
    let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
    let (key, value) = decoder
        .decode(Some(key), record.value)
        .map_err(|error| format!("Could not read record at offset {}: {error}", record.offset))?;
    let Some(mut key) = key else {
        return Ok(None);
    };
    let Some(kind) = number(&key["type"]).filter(|kind: &i64| types.contains(kind)) else {
        return Ok(None);
    };
    key["type"] = kind.into();
    let value = value.filter(serde_json::Value::is_object).map(|mut value| {
        if let Some(version) = number(&value["version"]) {
            value["version"] = version.into();
        }
        value
    });
    Ok(Some(json!({"key": key, "value": value})))
}

/// Parts of a record that `DefaultMessageFormatter` shows.
pub(super) struct Columns {
    timestamp: bool,
    partition: bool,
    offset: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null: String,
    shown: [Shown; 3],
}

impl Columns {
    fn new(options: &FormatOptions) -> Result<Self, Failure> {
        let said = |key| property(&options.formatter_property, key);
        let is = |key, default| is_true(said(key), default);
        let class = |key, option: &Option<String>| -> Result<Shown, Failure> {
            Shown::by(
                said(key)
                    .or(option.as_deref())
                    .map(str::to_owned)
                    .as_deref(),
            )
        };
        let text = |key, default: &str| said(key).unwrap_or(default).to_owned();
        Ok(Self {
            timestamp: is("print.timestamp", false),
            partition: is("print.partition", false),
            offset: is("print.offset", false),
            headers: is("print.headers", false),
            key: is("print.key", false),
            value: is("print.value", true),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null: text("null.literal", "null"),
            shown: [
                class("headers.deserializer", &None)?,
                class("key.deserializer", &options.key_deserializer)?,
                class("value.deserializer", &options.value_deserializer)?,
            ],
        })
    }

    fn write(
        &self,
        out: &mut impl Write,
        partition: i32,
        record: &Record<'_>,
        append_time: bool,
    ) -> Result<(), Failure> {
        let [header_as, key_as, value_as] = self.shown;
        let null = self.null.as_bytes();
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let kind = if append_time {
                "LogAppendTime"
            } else {
                "CreateTime"
            };
            columns.push(format!("{kind}:{}", record.timestamp).into());
        }
        if self.partition {
            columns.push(format!("Partition:{partition}").into());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset).into());
        }
        if self.headers {
            let pairs: Vec<Vec<u8>> = record
                .headers()
                .map(|(key, value)| {
                    let value = header_as.text(value, null)?;
                    Ok([key, b":", &value].concat())
                })
                .collect::<Result<_, Failure>>()?;
            columns.push(if pairs.is_empty() {
                b"NO_HEADERS".to_vec()
            } else {
                pairs.join(self.headers_separator.as_bytes())
            });
        }
        if self.key {
            columns.push(key_as.text(record.key, null)?);
        }
        if self.value {
            columns.push(value_as.text(record.value, null)?);
        }
        let mut line = columns.join(self.key_separator.as_bytes());
        line.extend_from_slice(self.line_separator.as_bytes());
        out.write_all(&line)
            .map_err(|error| error.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::batch::compression::Compression;
    use crate::wire::batch::header::BatchHeader;
    use crate::wire::batch::record::{decompressed, records};

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Alone {
        #[command(flatten)]
        options: FormatOptions,
    }

    fn check(options: &str, value: &[u8], expected: &str) {
        let options = Alone::parse_from(options.split_whitespace()).options;
        let mut builder = BatchBuilder::new(Compression::None);
        let headers = [(&b"h"[..], Some(&b"1"[..])), (b"i", None)];
        builder.push_with_headers(0, 5, Some(b"k"), Some(value), headers.into_iter());
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let body = decompressed(&header, &batch, 1 << 20).unwrap();
        let record = records(&header, &body).next().unwrap().unwrap();
        let mut out = Vec::new();
        let done =
            Format::new(&options).and_then(|format| format.write(&mut out, 3, &record, false));
        let shown = match done {
            Ok(()) => String::from_utf8_lossy(&out).into_owned(),
            Err(Failure(text)) => text,
        };
        assert_eq!(shown, expected, "{options:?}");
    }

    #[test]
    fn a_record_is_a_line_of_what_was_asked_for() {
        check("", b"v", "v\n");
        check(
            "--property print.key=true --property key.separator=,",
            b"v",
            "k,v\n",
        );
        check(
            "--formatter-property print.headers=true --formatter-property headers.separator=| \
             --formatter-property null.literal=- --formatter-property print.timestamp=true",
            b"v",
            "CreateTime:5\th:1|i:-\tv\n",
        );
        check(
            "--formatter-property print.partition=true --formatter-property print.offset=TRUE \
             --formatter-property print.value=false --formatter-property line.separator=;",
            b"v",
            "Partition:3\tOffset:0;",
        );
    }

    /// As in Kafka Streams' introductory example: words and their counts.
    #[test]
    fn numbers_are_shown_by_their_deserializers() {
        const BY: &str = "--property value.deserializer=org.apache.kafka.common.serialization.";
        let by = |class: &str, value: &[u8], expected: &str| {
            check(&format!("{BY}{class}Deserializer"), value, expected);
        };
        by("Long", &[0, 0, 0, 0, 0, 0, 0, 9], "9\n");
        by("Integer", &[255, 255, 255, 255], "-1\n");
        by("Short", &[1, 0], "256\n");
        by("Double", &1.0_f64.to_be_bytes(), "1.0\n");
        by("Float", &1.5_f32.to_be_bytes(), "1.5\n");
        by("Boolean", &[1], "true\n");
        by("String", b"v", "v\n");
        by(
            "Long",
            b"v",
            "a number of 8 bytes was expected, the record has 1",
        );
        check(
            "--formatter kafka.tools.DefaultMessageFormatter --value-deserializer \
             org.apache.kafka.common.serialization.IntegerDeserializer",
            &[0, 0, 0, 2],
            "2\n",
        );
        check(
            "--value-deserializer some.Avro",
            b"v",
            "the deserializer some.Avro is not supported",
        );
        check(
            "--formatter some.Formatter",
            b"v",
            "--formatter some.Formatter is not supported",
        );
    }
}
