//! pure: `ssl.principal.mapping.rules`, which map the subject of a certificate to a user name. Kafka's `SslPrincipalMapper`.

use regex::Regex;

/// Mapping rules in order. The first rule whose pattern matches the whole subject applies.
#[derive(Clone, Debug)]
pub struct MappingRules {
    text: String,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    /// The subject is the name.
    Default,
    Replace {
        /// Pattern anchored at both ends.
        whole: Regex,
        /// Pattern without anchors.
        pattern: Regex,
        replacement: Vec<Piece>,
        case: Case,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl MappingRules {
    /// Parses the value of the setting.
    ///
    /// Errors: the mistake in the rules.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut rules = Vec::new();
        while !rest.is_empty() {
            // Kafka ignores empty rules between commas.
            if let Some(behind) = rest.strip_prefix([',', '\n']) {
                rest = behind.trim_start();
                continue;
            }
            let (rule, behind) = one(rest)?;
            rules.push(rule);
            rest = behind.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(format!("a comma is expected before '{rest}'"));
            }
        }
        Ok(Self {
            text: text.trim().to_owned(),
            rules,
        })
    }

    /// User name for a subject.
    ///
    /// Errors: no rule applies.
    pub fn apply(&self, subject: &str) -> Result<String, String> {
        let found = self.rules.iter().find_map(|rule| rule.apply(subject));
        found.ok_or_else(|| format!("No rules apply to {subject}, rules [{}]", self.text))
    }
}

impl Rule {
    fn apply(&self, subject: &str) -> Option<String> {
        let Self::Replace {
            whole,
            pattern,
            replacement,
            case,
        } = self
        else {
            return Some(subject.to_owned());
        };
        if !whole.is_match(subject) {
            return None;
        }
        let name = replaced(pattern, subject, replacement);
        Some(match case {
            Case::Kept => name,
            Case::Lower => name.to_lowercase(),
            Case::Upper => name.to_uppercase(),
        })
    }
}

/// Replacement like Java's `replaceAll`: after a nonempty match, an empty match at its end is replaced, too.
fn replaced(pattern: &Regex, subject: &str, replacement: &[Piece]) -> String {
    let (mut all, mut copied, mut from) = (String::new(), 0, 0);
    while from <= subject.len()
        && let Some(groups) = pattern.captures_at(subject, from)
        && let Some(found) = groups.get(0)
    {
        all.push_str(&subject[copied..found.start()]);
        for piece in replacement {
            match piece {
                Piece::Text(text) => all.push_str(text),
                Piece::Group(number) => {
                    all.push_str(groups.get(*number).map_or("", |group| group.as_str()))
                }
            }
        }
        copied = found.end();
        from = match found.is_empty() {
            false => found.end(),
            true => {
                found.end()
                    + subject[found.end()..]
                        .chars()
                        .next()
                        .map_or(1, char::len_utf8)
            }
        };
    }
    all.push_str(&subject[copied..]);
    all
}

/// First rule of a text, and the rest of the text.
fn one(text: &str) -> Result<(Rule, &str), String> {
    if let Some(rest) = text.strip_prefix("DEFAULT") {
        return Ok((Rule::Default, rest));
    }
    let invalid = || format!("Invalid rule: {text}");
    let rest = text.strip_prefix("RULE:").ok_or_else(invalid)?;
    let (pattern, rest) = up_to_slash(rest).ok_or_else(invalid)?;
    let (replacement, rest) = up_to_slash(rest).ok_or_else(invalid)?;
    let (case, rest) = match rest.as_bytes().first() {
        Some(b'L') => (Case::Lower, &rest[1..]),
        Some(b'U') => (Case::Upper, &rest[1..]),
        _ => (Case::Kept, rest),
    };
    let compiled = |text: &str| {
        Regex::new(text).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => format!("the pattern {pattern} is too large"),
            _ => format!(
                "the pattern {pattern} cannot be used; of Java's patterns, those with (?=, (?!, (?<= or (?<! and those with \\1 are not supported"
            ),
        })
    };
    let whole = compiled(&format!("^(?:{pattern})\\z"))?;
    let anywhere = compiled(pattern)?;
    let replacement = pieces(replacement, anywhere.captures_len() - 1).ok_or_else(|| {
        format!("the replacement {replacement} names a group that {pattern} does not have")
    })?;
    let rule = Rule::Replace {
        whole,
        pattern: anywhere,
        replacement,
        case,
    };
    Ok((rule, rest))
}

/// Text before the next unescaped slash, and text behind it.
fn up_to_slash(text: &str) -> Option<(&str, &str)> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '/' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Replacement in Java's syntax: `$1` is a group, a character behind a backslash is itself. `None` if a group does not exist.
fn pieces(text: &str, groups: usize) -> Option<Vec<Piece>> {
    let mut all = Vec::new();
    let mut plain = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            '$' => {
                let first = letters.next()?.to_digit(10)? as usize;
                let mut number = first;
                // Digits are added as long as they form the number of an existing group.
                while let Some(digit) = letters.peek().and_then(|next| next.to_digit(10))
                    && number * 10 + digit as usize <= groups
                {
                    number = number * 10 + digit as usize;
                    letters.next();
                }
                if number > groups {
                    return None;
                }
                if !plain.is_empty() {
                    all.push(Piece::Text(std::mem::take(&mut plain)));
                }
                all.push(Piece::Group(number));
            }
            other => plain.push(other),
        }
    }
    if !plain.is_empty() {
        all.push(Piece::Text(plain));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rules: &str, subject: &str) -> String {
        match MappingRules::parse(rules).and_then(|rules| rules.apply(subject)) {
            Ok(name) => name,
            Err(what) => format!("! {what}"),
        }
    }

    /// The examples of Kafka's documentation and of `SslPrincipalMapperTest`.
    #[test]
    fn subjects_become_names_as_with_kafka() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/L, RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U, DEFAULT";
        for (subject, expected) in [
            ("CN=Duke,OU=ServiceUsers,O=Org,C=US", "duke"),
            ("CN=Duke,OU=SME,O=mycp,L=Fulton,ST=MD,C=US", "duke@sme"),
            ("cn=duke,ou=ServiceUsers,O=Org,C=US", "DUKE"),
            (
                "OU=JavaSoft,O=Sun Microsystems,C=US",
                "OU=JavaSoft,O=Sun Microsystems,C=US",
            ),
        ] {
            assert_eq!(name(rules, subject), expected, "{subject}");
        }
        for (rules, subject, expected) in [
            ("DEFAULT", "CN=a,O=b", "CN=a,O=b"),
            ("RULE:^CN=([^,]*).*$/$1/", "CN=a,O=b", "a"),
            // Commas and escaped slashes may be part of a pattern.
            (
                "RULE:^CN=([^,]+),O=x\\/y$/$1\\/z/,DEFAULT",
                "CN=a,O=x/y",
                "a/z",
            ),
            // Java also matches the empty text at the end of the subject.
            ("RULE:.*/x/", "CN=a", "xx"),
            ("RULE:CN=(.)(.*)/$2$1\\$/", "CN=abc", "bca$"),
            ("RULE:CN=(.)/$12/", "CN=a", "a2"),
            (
                "RULE:CN=a/x/U",
                "CN=ab",
                "! No rules apply to CN=ab, rules [RULE:CN=a/x/U]",
            ),
            ("", "CN=a", "! No rules apply to CN=a, rules []"),
        ] {
            assert_eq!(name(rules, subject), expected, "{rules} {subject}");
        }
    }

    #[test]
    fn rules_that_cannot_be_used_are_refused() {
        for (rules, expected) in [
            ("RULE:a", "Invalid rule: RULE:a"),
            ("RULE:a/b", "Invalid rule: RULE:a/b"),
            ("NONE", "Invalid rule: NONE"),
            ("DEFAULTS", "a comma is expected before 'S'"),
            ("RULE:a/b/X", "a comma is expected before 'X'"),
            ("RULE:a(?=b)/c/", "the pattern a(?=b) cannot be used"),
            ("RULE:(/c/", "the pattern ( cannot be used"),
            (
                "RULE:a/$1/",
                "the replacement $1 names a group that a does not have",
            ),
        ] {
            let found = MappingRules::parse(rules).unwrap_err();
            assert!(found.starts_with(expected), "{rules}: {found}");
        }
    }
}
