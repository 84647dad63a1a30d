//! pure: parsing of HTTP/1 requests, and the check that a request does not come from a web page.
//!
//! The endpoint has no authentication, so web pages in a browser that can reach it must be kept out. Browsers tell where a
//! request comes from (`Origin`, `Sec-Fetch-Site`) and by which name the server is addressed (`Host`). A page that makes its
//! own name resolve to this machine (DNS rebinding) is recognized by that name, which belongs to its own domain.

use std::net::IpAddr;

use form_urlencoded::parse;

/// Largest number of headers. Usual clients send about ten.
const HEADERS_MAX: usize = 64;

/// A parsed request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Decoded query parameters.
    pub query: Vec<(String, String)>,
    /// Length of the body, which follows the head.
    pub body_bytes: u64,
}

/// Reason why a request is refused, for the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Malformed(String),
    Forbidden(String),
}

/// Parses the head of a request. `None` while it is incomplete. `is_own` tells whether a host name, in lower case, belongs to
/// this machine.
pub fn read(bytes: &[u8], is_own: impl Fn(&str) -> bool) -> Result<Option<Request>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return malformed(error),
    }
    let (method, target, version) = (
        parsed.method.unwrap_or_default(),
        parsed.path.unwrap_or_default(),
        parsed.version.unwrap_or_default(),
    );
    let header = |name: &str| -> Result<Option<&str>, Refused> {
        let mut all = parsed
            .headers
            .iter()
            .filter(|one| one.name.eq_ignore_ascii_case(name));
        let Some(first) = all.next() else {
            return Ok(None);
        };
        if all.next().is_some() {
            return malformed(format_args!("{name} is named twice"));
        }
        match std::str::from_utf8(first.value) {
            Ok(value) => Ok(Some(value.trim())),
            Err(error) => malformed(format_args!("{name}: {error}")),
        }
    };
    let host = header("Host")?;
    match host {
        Some(host) => check_host(host, &is_own)?,
        None if version > 0 => return forbid("HTTP/1.1 asks for a header Host".to_owned()),
        // HTTP/1.0 does not require the header. No browser uses HTTP/1.0.
        None => {}
    }
    // An absolute URL, as sent to a proxy, contains the host.
    let (authority, target) = match target.split_once("://") {
        Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("", target),
    };
    if !authority.is_empty() {
        check_host(authority, &is_own)?;
    }
    if let Some(origin) = header("Origin")? {
        let own = host.map(|host| format!("http://{host}"));
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(origin)) {
            return forbid(format!(
                "the request comes from a web page, {origin}; only programs, and pages of this listener, are answered"
            ));
        }
    }
    if let Some(site) = header("Sec-Fetch-Site")?
        && !["same-origin", "none"].contains(&site)
    {
        return forbid(format!(
            "a browser sent the request for another page (Sec-Fetch-Site: {site}); only programs are answered"
        ));
    }
    if header("Transfer-Encoding")?.is_some() {
        return malformed("no request here has a body of unknown length");
    }
    let body_bytes = match header("Content-Length")? {
        Some(length) => match length.parse() {
            Ok(length) => length,
            Err(error) => return malformed(format_args!("Content-Length: {error}")),
        },
        None => 0,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: parse(query.as_bytes()).into_owned().collect(),
        body_bytes,
    }))
}

/// Checks that the host cannot be the name of a page on the internet. Allowed are addresses, names without a domain (as
/// containers have them), names in domains that public name servers do not serve, and names of this machine.
fn check_host(authority: &str, is_own: impl Fn(&str) -> bool) -> Result<(), Refused> {
    let name =
        host_of(authority).ok_or_else(|| Refused::Malformed(format!("Host: {authority}")))?;
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let is_private = ["localhost", "internal"]
        .iter()
        .any(|last| name.rsplit('.').next() == Some(last));
    if is_address(&name) || !name.contains('.') || is_private || is_own(&name) {
        return Ok(());
    }
    forbid(format!(
        "Host is {name}, which is none of this broker's names; monedula.admin.allowed.hosts={name} allows it"
    ))
}

/// Host before the port, in lower case and without the trailing dot of the root domain.
fn host_of(authority: &str) -> Option<String> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let known = |letter: char| letter.is_ascii_alphanumeric() || "-._:%".contains(letter);
    (!host.is_empty() && host.chars().all(known)).then(|| host.to_ascii_lowercase())
}

fn malformed<T>(what: impl ToString) -> Result<T, Refused> {
    Err(Refused::Malformed(what.to_string()))
}

fn forbid<T>(why: String) -> Result<T, Refused> {
    Err(Refused::Forbidden(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str) -> Result<Option<Request>, Refused> {
        let text = head.replace('\n', "\r\n") + "\r\n\r\n";
        read(text.as_bytes(), |name| name == "broker.example.com")
    }

    #[test]
    fn programs_are_answered_under_every_name_that_is_no_pages() {
        for head in [
            "GET /ready HTTP/1.1\nHost: localhost:9644",
            "GET /ready HTTP/1.1\nhost: LOCALHOST",
            "GET /ready HTTP/1.1\nHost: 127.0.0.1:9644",
            "GET /ready HTTP/1.1\nHost: 10.1.2.3",
            "GET /ready HTTP/1.1\nHost: [::1]:9644",
            // Requests from another container of a compose network, and from a container to its machine.
            "GET /ready HTTP/1.1\nHost: kafka:9644",
            "GET /ready HTTP/1.1\nHost: my_project-kafka-1:9644",
            "GET /ready HTTP/1.1\nHost: host.docker.internal:9644",
            "GET /ready HTTP/1.1\nHost: broker.example.com:9644",
            "GET /ready HTTP/1.1\nHost: Broker.Example.com.",
            "GET /ready HTTP/1.0",
            "GET http://localhost:9644/ready HTTP/1.1\nHost: localhost:9644",
            "GET /ready HTTP/1.1\nHost: localhost:9644\nUser-Agent: curl/8.5.0\nAccept: */*",
            // A URL typed into a browser.
            "GET /ready HTTP/1.1\nHost: localhost:9644\nSec-Fetch-Site: none\nSec-Fetch-Mode: navigate",
            "GET /ready HTTP/1.1\nHost: localhost:9644\nSec-Fetch-Site: same-origin\nOrigin: http://localhost:9644",
        ] {
            let request = check(head).unwrap().unwrap();
            assert_eq!(
                (&*request.method, &*request.path),
                ("GET", "/ready"),
                "{head}"
            );
        }
    }

    #[test]
    fn web_pages_are_refused() {
        for (head, why) in [
            (
                "Host: localhost:9644\nOrigin: http://evil.example",
                "web page",
            ),
            ("Host: localhost:9644\nOrigin: null", "web page"),
            (
                "Host: localhost:9644\nOrigin: http://localhost:3000",
                "web page",
            ),
            (
                "Host: localhost:9644\nOrigin: https://localhost:9644",
                "web page",
            ),
            (
                "Host: localhost:9644\nSec-Fetch-Site: cross-site",
                "browser",
            ),
            ("Host: localhost:9644\nSec-Fetch-Site: same-site", "browser"),
            ("Host: evil.example:9644", "monedula.admin.allowed.hosts"),
            (
                "Host: localhost.evil.example",
                "none of this broker's names",
            ),
            (
                "Host: 127.0.0.1.evil.example",
                "none of this broker's names",
            ),
            ("Host: evil.example\nOrigin: http://evil.example", "none of"),
            ("X: y", "Host"),
        ] {
            let refused = check(&format!("POST /reset HTTP/1.1\n{head}"));
            let Err(Refused::Forbidden(text)) = refused else {
                panic!("{head}: {refused:?}");
            };
            assert!(text.contains(why), "{head}: {text}");
        }
        let absolute = check("POST http://evil.example/reset HTTP/1.1\nHost: localhost");
        assert!(
            matches!(absolute, Err(Refused::Forbidden(_))),
            "{absolute:?}"
        );
        let old = check("POST /reset HTTP/1.0\nOrigin: http://evil.example");
        assert!(matches!(old, Err(Refused::Forbidden(_))), "{old:?}");
    }

    #[test]
    fn what_is_no_http_is_malformed() {
        for head in [
            "GET",
            "GET /ready",
            "GET /ready HTTP/2.0",
            "GET /ready HTTP/1.1\nHost: a\nHost: b",
            "GET /ready HTTP/1.1\nHost: [::1",
            "GET /ready HTTP/1.1\nHost: ",
            "GET /ready HTTP/1.1\nHost: <script>",
            "GET /ready HTTP/1.1\nHost : a",
            "POST /reset HTTP/1.1\nHost: a\nContent-Length: -1",
            "POST /reset HTTP/1.1\nHost: a\nTransfer-Encoding: chunked",
            "\u{16}\u{3}\u{1}",
        ] {
            let refused = check(head);
            assert!(
                matches!(refused, Err(Refused::Malformed(_))),
                "{head}: {refused:?}"
            );
        }
        let many = format!("GET / HTTP/1.1{}", "\na: b".repeat(HEADERS_MAX + 1));
        assert!(matches!(check(&many), Err(Refused::Malformed(_))));
    }

    #[test]
    fn a_head_that_is_not_all_there_is_waited_for() {
        let text = b"POST /reset?keep=_schemas,connect-*&x=%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n";
        for len in 0..text.len() {
            assert_eq!(read(&text[..len], |_| false), Ok(None));
        }
        let request = read(text, |_| false).unwrap().unwrap();
        assert_eq!((&*request.path, request.body_bytes), ("/reset", 7));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let query = [("keep", "_schemas,connect-*"), ("x", "A")].map(owned);
        assert_eq!(request.query, query);
    }
}
