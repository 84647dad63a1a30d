//! pure: parser for Java properties files.

/// A key, its value and the line that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    /// Line number, from 1; 0 for a property that is not from a file.
    pub line: usize,
}

impl Property {
    /// A property that is not from a file.
    pub fn given(key: &str, value: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
            line: 0,
        }
    }
}

/// Reads a file: `key=value`, `key: value` or `key value`; `#` and `!` begin comments; a backslash escapes a character or
/// continues the line. Duplicate keys are all returned; callers use the last one.
pub fn properties(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = split(&logical);
        properties.push(Property {
            key,
            value: value.trim_end().to_owned(),
            line: index + 1,
        });
    }
    properties
}

/// Whether the line is continued: it ends with an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> (String, String) {
    let mut key = String::new();
    let mut chars = line.chars();
    let mut separated = false;
    while let Some(next) = chars.next() {
        match next {
            '\\' => unescape(&mut chars, &mut key),
            '=' | ':' => {
                separated = true;
                break;
            }
            ' ' | '\t' | '\u{c}' => break,
            _ => key.push(next),
        }
    }
    let mut rest = chars.as_str().trim_start();
    if !separated {
        rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    }
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => unescape(&mut chars, &mut value),
            _ => value.push(next),
        }
    }
    (key, value)
}

fn unescape(chars: &mut std::str::Chars<'_>, out: &mut String) {
    match chars.next() {
        Some('t') => out.push('\t'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => {
            let digits: String = chars.clone().take(4).collect();
            if let Some(letter) = u32::from_str_radix(&digits, 16)
                .ok()
                .and_then(char::from_u32)
            {
                out.push(letter);
                for _ in 0..4 {
                    chars.next();
                }
            } else {
                out.push('u');
            }
        }
        Some(other) => out.push(other),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let found = properties(text);
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.key.as_str(), found.value.as_str(), found.line))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn all_spellings_of_a_line() {
        check(
            "a=1\n b = 2\nc:3\nd 4\ne\n",
            &[
                ("a", "1", 1),
                ("b", "2", 2),
                ("c", "3", 3),
                ("d", "4", 4),
                ("e", "", 5),
            ],
        );
        check("# x\n! y\n\n  # z\na=#1\n", &[("a", "#1", 5)]);
        check(
            "a=1,\\\n   2\nb=c:\\\\d\nx\\=y=\\u0041\\t.",
            &[("a", "1,2", 1), ("b", "c:\\d", 3), ("x=y", "A\t.", 4)],
        );
        check("a=1\\", &[("a", "1", 1)]);
    }
}
