//! pure: parser for JAAS texts: the value of `sasl.jaas.config` and the file of `-Djava.security.auth.login.config`.
//!
//! Kafka's `JaasConfig` and Java's `ConfigFile`. Both split the text with Java's `StreamTokenizer`, and its oddities are kept:
//! a single `/` begins a comment, and an unquoted number is not accepted as a value.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// One login module with its options. Options hold passwords, so `Debug` prints none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginModule {
    pub class: String,
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for LoginModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [hidden]", self.class)
    }
}

/// Control flags that Java accepts for a login module. A flag has no meaning if there is only one module.
const FLAGS: &[&str] = &["required", "requisite", "sufficient", "optional"];

/// Reads the value of `sasl.jaas.config`: login modules, each with a `;` at its end.
///
/// Errors: Kafka's message.
pub fn modules(text: &str) -> Result<Vec<LoginModule>, String> {
    let mut tokens = Tokens::of(text);
    let mut found = Vec::new();
    while let Some(first) = tokens.next() {
        found.push(module(first, &mut tokens)?);
    }
    match found.is_empty() {
        true => Err("Login module not specified in JAAS config".to_owned()),
        false => Ok(found),
    }
}

/// Reads a JAAS file: sections of the form `Name { modules };`.
///
/// Errors: what is wrong, with the section if there is one.
pub fn sections(text: &str) -> Result<BTreeMap<String, Vec<LoginModule>>, String> {
    let mut tokens = Tokens::of(text);
    let mut found = BTreeMap::new();
    while let Some(first) = tokens.next() {
        let Token::Word(name) = first else {
            return Err(format!("the name of a section is expected, not {first}"));
        };
        let in_section = |what: &str| format!("section {name}: {what}");
        if tokens.next() != Some(Token::Sign('{')) {
            return Err(in_section("'{' is missing"));
        }
        let mut modules = Vec::new();
        loop {
            match tokens.next() {
                Some(Token::Sign('}')) => break,
                Some(first) => {
                    let module = module(first, &mut tokens);
                    modules.push(module.map_err(|what| in_section(&what))?);
                }
                None => return Err(in_section("'}' is missing")),
            }
        }
        if tokens.next() != Some(Token::Sign(';')) {
            return Err(in_section("';' is missing behind '}'"));
        }
        if found.insert(name.clone(), modules).is_some() {
            return Err(format!("section {name} is there twice"));
        }
    }
    Ok(found)
}

fn module(first: Token, tokens: &mut Tokens<'_>) -> Result<LoginModule, String> {
    let Token::Word(class) = first else {
        return Err(format!(
            "the class of a login module is expected, not {first}"
        ));
    };
    match tokens.next() {
        None => return Err("Login module control flag not specified in JAAS config".to_owned()),
        Some(Token::Word(flag)) if FLAGS.contains(&flag.to_ascii_lowercase().as_str()) => {}
        Some(Token::Word(flag)) => {
            return Err(format!(
                "Invalid login module control flag '{flag}' in JAAS config"
            ));
        }
        Some(_) => {
            return Err("Login module control flag is not available in the JAAS config".to_owned());
        }
    }
    let mut options = BTreeMap::new();
    loop {
        let key = match tokens.next() {
            Some(Token::Sign(';')) => return Ok(LoginModule { class, options }),
            None => return Err("JAAS config entry not terminated by semi-colon".to_owned()),
            Some(Token::Word(key)) => key,
            // In Java other tokens have the text `null`; parsing goes on and reports the missing value.
            Some(_) => "null".to_owned(),
        };
        let value = match tokens.next() {
            Some(Token::Sign('=')) => tokens.next(),
            _ => None,
        };
        let Some(Token::Word(value)) = value else {
            return Err(format!(
                "Value not specified for key '{key}' in JAAS config"
            ));
        };
        options.insert(key, value);
    }
}

/// A token of Java's `StreamTokenizer`.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word, or the text between two quotes.
    Word(String),
    Number,
    Sign(char),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The word is not shown: it may be a misplaced password.
            Self::Word(_) => f.write_str("a word"),
            Self::Number => f.write_str("a number"),
            Self::Sign(sign) => write!(f, "'{sign}'"),
        }
    }
}

struct Tokens<'a>(Peekable<Chars<'a>>);

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.chars().peekable())
    }

    /// The next token; `None` at the end.
    fn next(&mut self) -> Option<Token> {
        loop {
            let letter = self.0.next()?;
            match letter {
                letter if letter <= ' ' => {}
                '0'..='9' | '.' => return Some(self.number()),
                '-' => match self.0.peek() {
                    Some(next) if next.is_ascii_digit() || *next == '.' => {
                        return Some(self.number());
                    }
                    _ => return Some(Token::Sign('-')),
                },
                letter if begins_word(letter) => {
                    let mut word = String::from(letter);
                    while let Some(next) = self.0.next_if(|next| continues_word(*next)) {
                        word.push(next);
                    }
                    return Some(Token::Word(word));
                }
                '"' | '\'' => return Some(self.quoted(letter)),
                '/' => self.comment(),
                sign => return Some(Token::Sign(sign)),
            }
        }
    }

    fn number(&mut self) -> Token {
        while self
            .0
            .next_if(|next| next.is_ascii_digit() || *next == '.')
            .is_some()
        {}
        Token::Number
    }

    /// Reads a quoted word up to the closing quote, the end of the line or the end of the text.
    fn quoted(&mut self, quote: char) -> Token {
        let mut text = String::new();
        while let Some(letter) = self.0.next_if(|next| !matches!(next, '\n' | '\r')) {
            if letter == quote {
                break;
            }
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            let Some(escaped) = self.0.next() else { break };
            text.push(match escaped {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '0'..='7' => self.octal(escaped),
                other => other,
            });
        }
        Token::Word(text)
    }

    /// Reads an octal escape of up to three digits, or two if the first digit is above 3.
    fn octal(&mut self, first: char) -> char {
        let mut number = first.to_digit(8).unwrap_or(0);
        let more = if first <= '3' { 2 } else { 1 };
        for _ in 0..more {
            match self.0.next_if(|next| next.is_digit(8)) {
                Some(digit) => number = number * 8 + digit.to_digit(8).unwrap_or(0),
                None => break,
            }
        }
        char::from_u32(number).unwrap_or_default()
    }

    /// Skips a comment whose first `/` is already read.
    fn comment(&mut self) {
        if self.0.next_if_eq(&'*').is_some() {
            let mut before = ' ';
            for letter in self.0.by_ref() {
                if before == '*' && letter == '/' {
                    return;
                }
                before = letter;
            }
            return;
        }
        while self
            .0
            .next_if(|next| !matches!(next, '\n' | '\r'))
            .is_some()
        {}
    }
}

fn begins_word(letter: char) -> bool {
    letter.is_ascii_alphabetic() || matches!(letter, '_' | '$') || letter >= '\u{a0}'
}

fn continues_word(letter: char) -> bool {
    begins_word(letter) || letter.is_ascii_digit() || matches!(letter, '.' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules in the form `class key=value key=value; …`, or the error.
    fn read(text: &str) -> String {
        let shown = |module: LoginModule| {
            let options = module.options.iter();
            let options = options.map(|(key, value)| format!(" {key}={value}"));
            format!("{}{};", module.class, options.collect::<String>())
        };
        match modules(text) {
            Ok(modules) => modules.into_iter().map(shown).collect(),
            Err(what) => what,
        }
    }

    #[test]
    fn modules_are_read_as_java_reads_them() {
        for (text, expected) in [
            (
                "org.apache.PlainLoginModule required username=\"admin\" password='s e' user_a=b;",
                "org.apache.PlainLoginModule password=s e user_a=b username=admin;",
            ),
            ("a.B REQUIRED;", "a.B;"),
            ("a optional; b sufficient k=v;", "a;b k=v;"),
            ("a required // k=x;\n k=y;", "a k=y;"),
            ("a required /* k=x; * / */ k=y;", "a k=y;"),
            ("a required k=x/y;\n;", "a k=x;"),
            ("a required k=\"x/y\";", "a k=x/y;"),
            (r#"a required k="q\"\\\t\101\x";"#, "a k=q\"\\\tAx;"),
            (r#"a required k="\4012";"#, "a k= 12;"),
            (
                "a required k=\"ends with the line\n;",
                "a k=ends with the line;",
            ),
            ("a required k=pässwörd-1.2_$;", "a k=pässwörd-1.2_$;"),
            ("a required user_ä=\"=,;\";", "a user_ä==,;;"),
            (
                "a required k=1 k=2;",
                "Value not specified for key 'k' in JAAS config",
            ),
            (
                "a required k=12ab;",
                "Value not specified for key 'k' in JAAS config",
            ),
            (
                "a required k=-x;",
                "Value not specified for key 'k' in JAAS config",
            ),
            (
                "a required k;",
                "Value not specified for key 'k' in JAAS config",
            ),
            (
                "a required k=",
                "Value not specified for key 'k' in JAAS config",
            ),
            (
                "a required =x;",
                "Value not specified for key 'null' in JAAS config",
            ),
            (
                "a required k=v",
                "JAAS config entry not terminated by semi-colon",
            ),
            (
                "a",
                "Login module control flag not specified in JAAS config",
            ),
            (
                "a needed;",
                "Invalid login module control flag 'needed' in JAAS config",
            ),
            (
                "a ;",
                "Login module control flag is not available in the JAAS config",
            ),
            ("", "Login module not specified in JAAS config"),
            (";", "the class of a login module is expected, not ';'"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn files_have_sections() {
        let found = sections(
            "// brokers\nKafkaServer {\n a required\n  user_x=\"y\";\n b required;\n};\nsafe.KafkaServer { c required; };",
        )
        .unwrap();
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["KafkaServer", "safe.KafkaServer"]
        );
        assert_eq!(found["KafkaServer"].len(), 2);
        assert_eq!(sections("").unwrap(), BTreeMap::new());
        for (text, expected) in [
            ("A { a required; }", "section A: ';' is missing behind '}'"),
            ("A { a required;", "section A: '}' is missing"),
            ("A a required; };", "section A: '{' is missing"),
            (
                "A { a; };",
                "section A: Login module control flag is not available in the JAAS config",
            ),
            ("A { }; A { };", "section A is there twice"),
            ("{ };", "the name of a section is expected, not '{'"),
        ] {
            assert_eq!(sections(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let module = modules("a required password=secret;").unwrap();
        assert!(!format!("{module:?}").contains("secret"));
    }
}
