//! pure: regular expressions in subscriptions. Kafka uses RE2/J, this broker uses the `regex` crate. An expression is parsed by
//! the grammar of RE2/J and translated: expressions that RE2/J refuses are refused, all others keep their meaning.
//!
//! Names of topics are ASCII, so it does not matter that classes such as `\w` contain more characters in the `regex` crate.

use bytestring::ByteString;
use regex::{Regex, RegexBuilder};

use crate::base::work_pool::checkpoint;

/// Size limit of a compiled expression, in bytes. RE2/J has no such limit; there the stack is the limit.
const COMPILED_BYTES_MAX: usize = 10 << 20;
/// Length limit of an expression, in bytes. A string in a member's record cannot be longer.
const LENGTH_MAX: usize = 32_767;
/// Depth limit of nested groups.
const DEPTH_MAX: u32 = 1_000;
/// Limit of a repetition count, the same as in RE2.
const REPEAT_MAX: u32 = 1_000;

/// Compiles an expression that must match whole names. The error describes what is wrong with the expression.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LENGTH_MAX {
        return Err(format!("it is longer than {LENGTH_MAX} bytes"));
    }
    let translated = Scanner::new(pattern).translate()?;
    RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
        .size_limit(COMPILED_BYTES_MAX)
        .nest_limit(DEPTH_MAX * 2)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large once it is compiled".to_owned(),
            _ => "it is no regular expression".to_owned(),
        })
}

/// Names that match, in the given order. Yields to other tasks of the work pool in between.
pub fn matching<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> Vec<ByteString> {
    // An expression that does not compile matches nothing.
    let Ok(regex) = compile(pattern) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for name in names {
        checkpoint();
        if regex.is_match(name) {
            found.push(name.into());
        }
    }
    found
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
    depth: u32,
    /// Whether there is an operand before the current position that may be repeated.
    has_operand: bool,
    /// Whether that operand is a repetition itself.
    was_repeated: bool,
}

impl<'a> Scanner<'a> {
    fn new(pattern: &'a str) -> Self {
        Self {
            rest: pattern,
            out: String::with_capacity(pattern.len() * 2),
            depth: 0,
            has_operand: false,
            was_repeated: false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn operand(&mut self) {
        self.has_operand = true;
        self.was_repeated = false;
    }

    fn literal(&mut self, letter: char) {
        push_literal(&mut self.out, letter);
        self.operand();
    }

    fn translate(mut self) -> Result<String, String> {
        while let Some(letter) = self.next() {
            match letter {
                '(' => self.open()?,
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or("a ) has no (")?;
                    self.out.push(')');
                    self.operand();
                }
                '|' => {
                    self.out.push('|');
                    self.has_operand = false;
                }
                '*' | '+' | '?' => self.repeat(&letter.to_string())?,
                '{' => match self.counts()? {
                    Some(counts) => self.repeat(&counts)?,
                    None => self.literal('{'),
                },
                '[' => {
                    self.class()?;
                    self.operand();
                }
                '\\' => self.escape()?,
                '.' | '^' | '$' => {
                    self.out.push(letter);
                    self.operand();
                }
                letter => self.literal(letter),
            }
        }
        if self.depth > 0 {
            return Err("a ( has no )".to_owned());
        }
        Ok(self.out)
    }

    fn repeat(&mut self, operator: &str) -> Result<(), String> {
        if !self.has_operand {
            return Err(format!("there is nothing that {operator} may repeat"));
        }
        if self.was_repeated {
            return Err(format!("{operator} repeats a repetition"));
        }
        self.out.push_str(operator);
        if self.take("?") {
            self.out.push('?');
        }
        self.was_repeated = true;
        Ok(())
    }

    /// Parses a counted repetition, `{2}`, `{2,}` or `{2,3}`, after its opening brace. `None` if the text is none of these.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let Some(end) = self.rest.find('}') else {
            return Ok(None);
        };
        let inside = self.rest.get(..end).unwrap_or_default();
        let (least, most) = match inside.split_once(',') {
            Some((least, most)) => (least, Some(most)),
            None => (inside, None),
        };
        let is_number = |text: &str| {
            let is_plain = text == "0" || !text.starts_with('0');
            !text.is_empty() && is_plain && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(least) || most.is_some_and(|most| !most.is_empty() && !is_number(most)) {
            return Ok(None);
        }
        let number = |text: &str| text.parse().unwrap_or(u32::MAX);
        let least_number = number(least);
        let most_number = most
            .filter(|most| !most.is_empty())
            .map_or(least_number, number);
        if least_number > REPEAT_MAX || most_number > REPEAT_MAX || most_number < least_number {
            return Err(format!("{{{inside}}} is no number of times"));
        }
        let counts = format!("{{{inside}}}");
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Ok(Some(counts))
    }

    fn open(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("its groups lie too deep in each other".to_owned());
        }
        self.has_operand = false;
        if !self.take("?") {
            self.out.push('(');
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            let name = self.rest.split_once('>').map_or("", |(name, _)| name);
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            if name.is_empty() || !name.chars().all(is_word) {
                return Err("a group has no good name".to_owned());
            }
            self.rest = self.rest.get(name.len() + 1..).unwrap_or_default();
            self.out.push('(');
            return Ok(());
        }
        let mut flags = String::new();
        loop {
            match self.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => flags.push(flag),
                Some('-') if !flags.contains('-') => flags.push('-'),
                Some(end @ (':' | ')')) => {
                    if flags.ends_with('-') {
                        return Err("flags end with -".to_owned());
                    }
                    if end == ')' {
                        // Flags without a colon apply to the rest of the enclosing group.
                        self.depth -= 1;
                        if !flags.is_empty() {
                            self.out.push_str(&format!("(?{flags})"));
                        }
                    } else {
                        self.out.push_str(&format!("(?{flags}:"));
                    }
                    return Ok(());
                }
                _ => return Err("a group has flags that are none".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        if self.take("Q") {
            let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            for letter in quoted.chars() {
                self.literal(letter);
            }
            return Ok(());
        }
        let start = self.rest;
        match self.next() {
            Some(boundary @ ('A' | 'z' | 'b' | 'B')) => {
                self.out.push('\\');
                self.out.push(boundary);
                self.operand();
            }
            Some('C') => {
                self.out.push_str("(?s:.)");
                self.operand();
            }
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P') => {
                self.rest = start;
                let class = self.class_escape()?;
                self.out.push_str(&class);
                self.operand();
            }
            _ => {
                self.rest = start;
                let letter = self.escaped_letter()?;
                self.literal(letter);
            }
        }
        Ok(())
    }

    /// Translates a class such as `\d` or `\p{L}`. The backslash has been consumed.
    fn class_escape(&mut self) -> Result<String, String> {
        let letter = self.next().ok_or("it ends with a backslash")?;
        if !matches!(letter, 'p' | 'P') {
            return Ok(format!(r"\{letter}"));
        }
        let name = if self.take("{") {
            let (name, rest) = self.rest.split_once('}').ok_or("a { of a class has no }")?;
            self.rest = rest;
            name.to_owned()
        } else {
            self.next().ok_or("a class has no name")?.to_string()
        };
        let (name, turned) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (&*name, false),
        };
        let is_category = CATEGORIES.contains(&name);
        let is_script = name.len() > 2
            && name.starts_with(|first: char| first.is_ascii_uppercase())
            && !LONG_CATEGORIES.contains(&name)
            && !name.starts_with("Is")
            && name
                .chars()
                .all(|one| one.is_ascii_alphabetic() || one == '_');
        if !is_category && !is_script && name != "Any" {
            return Err(format!("there is no class {name}"));
        }
        let upper = (letter == 'P') != turned;
        Ok(format!(r"\{}{{{name}}}", if upper { 'P' } else { 'p' }))
    }

    /// Parses an escaped single character. The backslash has been consumed.
    fn escaped_letter(&mut self) -> Result<char, String> {
        let letter = self.next().ok_or("it ends with a backslash")?;
        match letter {
            '0'..='7' => {
                let next_is_octal = self.rest.starts_with(|next| matches!(next, '0'..='7'));
                if letter != '0' && !next_is_octal {
                    return Err(format!(r"\{letter} refers to a group"));
                }
                let mut code = letter.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8))
                    else {
                        break;
                    };
                    code = code * 8 + digit;
                    self.next();
                }
                char::from_u32(code).ok_or_else(|| "a number is no character".to_owned())
            }
            'x' => {
                let digits = if self.take("{") {
                    let (digits, rest) = self.rest.split_once('}').ok_or("a { has no }")?;
                    self.rest = rest;
                    digits
                } else {
                    let digits = self.rest.get(..2).ok_or(r"\x needs two digits")?;
                    self.rest = self.rest.get(2..).unwrap_or_default();
                    digits
                };
                let is_hex =
                    !digits.is_empty() && digits.bytes().all(|one| one.is_ascii_hexdigit());
                let code = is_hex
                    .then(|| u32::from_str_radix(digits, 16).ok())
                    .flatten();
                code.and_then(char::from_u32)
                    .ok_or_else(|| "a number is no character".to_owned())
            }
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            letter if letter.is_ascii_alphanumeric() => Err(format!(r"\{letter} means nothing")),
            letter => Ok(letter),
        }
    }

    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            if self.rest.is_empty() {
                return Err("a [ has no ]".to_owned());
            }
            if !is_first && self.take("]") {
                break;
            }
            is_first = false;
            if self.rest.starts_with("[:") && self.rest.contains(":]") {
                let (name, rest) = self.rest.split_once(":]").unwrap_or_default();
                let name = name.get(2..).unwrap_or_default();
                let plain = name.strip_prefix('^').unwrap_or(name);
                if !POSIX.contains(&plain) {
                    return Err(format!("there is no class [:{name}:]"));
                }
                self.out.push_str(&format!("[:{name}:]"));
                self.rest = rest;
                continue;
            }
            if let Some(behind) = self.rest.strip_prefix('\\')
                && behind.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P'])
            {
                self.rest = behind;
                let class = self.class_escape()?;
                self.out.push_str(&class);
                continue;
            }
            let low = self.class_letter()?;
            let is_range =
                self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1;
            push_literal(&mut self.out, low);
            if is_range {
                self.take("-");
                let high = self.class_letter()?;
                if high < low {
                    return Err(format!("{low}-{high} is no range"));
                }
                self.out.push('-');
                push_literal(&mut self.out, high);
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn class_letter(&mut self) -> Result<char, String> {
        if self.take("\\") {
            return self.escaped_letter();
        }
        self.next().ok_or_else(|| "a [ has no ]".to_owned())
    }
}

fn push_literal(out: &mut String, letter: char) {
    // Only these are escaped, since an escape may have a meaning of its own: `\<` is a word boundary.
    if r"\.+*?()|[]{}^$#&-~".contains(letter) {
        out.push('\\');
    }
    match letter {
        // Control characters are written as numbers. White space then stays a literal character.
        letter if letter.is_ascii_control() => {
            out.push_str(&format!(r"\x{{{:x}}}", u32::from(letter)))
        }
        letter => out.push(letter),
    }
}

const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs", "Any",
];
/// Names of categories that RE2/J does not accept.
const LONG_CATEGORIES: [&str; 8] = [
    "Letter",
    "Mark",
    "Number",
    "Punctuation",
    "Symbol",
    "Separator",
    "Other",
    "Alphabetic",
];
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matches: &[&str], others: &[&str]) {
        let regex = compile(pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault}"));
        for name in matches {
            assert!(regex.is_match(name), "{pattern} and {name}");
        }
        for name in others {
            assert!(!regex.is_match(name), "{pattern} and {name}");
        }
    }

    #[test]
    fn a_whole_name_has_to_match() {
        check("^topic", &["topic"], &["topic-1", "a-topic"]);
        check("topic.*", &["topic", "topic-1"], &["a-topic"]);
        check("a|b", &["a", "b"], &["ab", "ac"]);
        check("(?i)Foo", &["foo", "FOO"], &["bar"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn what_re2_takes_is_taken_and_means_the_same() {
        check(r"\Qa.b\E+", &["a.b", "a.bb"], &["aab"]);
        check(r"\Qa.b", &["a.b"], &["aab"]);
        check("a{", &["a{"], &["a"]);
        check("{", &["{"], &[]);
        check("a{1", &["a{1"], &[]);
        check("a{,3}", &["a{,3}"], &["aaa"]);
        check(r"[\d-z]", &["-", "5", "z"], &["y"]);
        check("(?)a", &["a"], &[]);
        check(r"\p{^L}", &["5"], &["a"]);
        check("(?P<1a>a)", &["a"], &[]);
        check(r"\é", &["é"], &[]);
        check("[a&&b]", &["&", "a", "b"], &[]);
        check("[a~~b]", &["~", "a"], &[]);
        check("[[a]b]", &["[b]", "ab]"], &["a", "b"]);
        check(r"\<a\>", &["<a>"], &["a"]);
        check(r"\0\07\123", &["\0\x07S"], &[]);
        check("[]a]", &["]", "a"], &[]);
        check("[[:alpha:]]+", &["abc"], &["a1"]);
        check("a{2}", &["aa"], &["aaa"]);
        check("(a*)*", &["aaa"], &["b"]);
        check(
            &"(".repeat(300)
                .chars()
                .chain("a".chars())
                .chain(")".repeat(300).chars())
                .collect::<String>(),
            &["a"],
            &[],
        );
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "a**",
            "a*+",
            "a???",
            "a{2}{3}",
            "a{1001}",
            "a{3,2}",
            "[a--b]",
            "[[:foo:]]",
            r"\1",
            r"\7",
            r"\u0041",
            r"\U",
            "(?u)a",
            "(?x)a",
            "(?R)a",
            r"\p{Letter}",
            r"\p{IsLatin}",
            r"\p{script=Latin}",
            "(?P<é>a)",
            "(",
            ")",
            "[",
            "*",
            "(*)",
            r"\",
            "[z-a]",
            r"\x{110000}",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn an_expression_that_grows_is_refused() {
        assert!(compile("((((a{1000}){1000}){1000}){1000})").is_err());
        assert!(compile(&"(".repeat(5_000)).is_err());
        assert!(compile(&"a".repeat(40_000)).is_err());
    }
}
