//! URLs and addresses as Go's `net/url` and `net` read them: where API servers and proxies are. Connects to nothing.

pub use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use percent_encoding::percent_decode_str;

/// A URL, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoUrl {
    /// In lower case; empty without one.
    pub scheme: String,
    /// What follows the scheme where no slash does.
    pub opaque: String,
    /// Name and password before the host.
    pub user: Option<(String, Option<String>)>,
    /// Host, and port where there is one. An IPv6 address is in brackets.
    pub host: String,
    /// Path, as it is written.
    pub path: String,
}

/// The text is no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URL")]
pub struct NoUrl;

impl GoUrl {
    /// Reads a text as `url.Parse` does.
    ///
    /// # Errors
    /// When Go refuses it.
    pub fn parse(text: &str) -> Result<Self, NoUrl> {
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        unescaped(fragment)?;
        Self::read(text, false)
    }

    /// Reads a text as `url.ParseRequestURI` does.
    ///
    /// # Errors
    /// When Go refuses it.
    pub fn parse_request(text: &str) -> Result<Self, NoUrl> {
        Self::read(text, true)
    }

    fn read(text: &str, is_request: bool) -> Result<Self, NoUrl> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) || (text.is_empty() && is_request) {
            return Err(NoUrl);
        }
        if text == "*" {
            return Ok(Self { path: "*".into(), ..Self::default() });
        }
        let (scheme, rest) = scheme_of(text)?;
        let mut url = Self { scheme: scheme.to_ascii_lowercase(), ..Self::default() };
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_owned();
                return Ok(url);
            }
            let first = rest.split('/').next().unwrap_or_default();
            if is_request || first.contains(':') {
                return Err(NoUrl);
            }
        }
        let has_authority = !url.scheme.is_empty() || (!is_request && !rest.starts_with("///"));
        let path = match rest.strip_prefix("//").filter(|_| has_authority) {
            Some(after) => {
                let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
                url.authority(authority)?;
                path
            }
            None => rest,
        };
        unescaped(path)?;
        url.path = path.to_owned();
        Ok(url)
    }

    fn authority(&mut self, authority: &str) -> Result<(), NoUrl> {
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        self.host = host_of(&self.scheme, host)?;
        let Some(user) = user else { return Ok(()) };
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
        if !user.bytes().all(is_valid) {
            return Err(NoUrl);
        }
        let (name, password) = match user.split_once(':') {
            Some((name, password)) => (name, Some(unescaped(password)?)),
            None => (user, None),
        };
        self.user = Some((unescaped(name)?, password));
        Ok(())
    }

    /// Host without port and brackets.
    pub fn hostname(&self) -> &str {
        if let Some(inside) = self.host.strip_prefix('[')
            && let Some((address, _)) = inside.split_once(']')
        {
            return address;
        }
        self.host.split_once(':').map_or(&self.host, |(name, _)| name)
    }

    /// Port, as it is written; empty without one.
    pub fn port(&self) -> &str {
        let after = match self.host.rsplit_once(']') {
            Some((_, after)) => after,
            None => self.host.find(':').map_or("", |at| &self.host[at..]),
        };
        after.strip_prefix(':').unwrap_or_default()
    }

    /// Scheme, user, host and path, as Go writes them. It has the password.
    pub fn text(&self) -> String {
        let user = match &self.user {
            None => String::new(),
            Some((name, None)) => format!("{}@", escaped(name)),
            Some((name, Some(password))) => format!("{}:{}@", escaped(name), escaped(password)),
        };
        format!("{}://{user}{}{}", self.scheme, self.host, self.path)
    }
}

/// A part of user and password as Go writes it.
fn escaped(text: &str) -> String {
    const KEPT: percent_encoding::AsciiSet = {
        let mut set = percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
        let mut at = 0;
        let kept = b"$&+,;=";
        while at < kept.len() {
            set = set.remove(kept[at]);
            at += 1;
        }
        set
    };
    percent_encoding::utf8_percent_encode(text, &KEPT).to_string()
}

fn scheme_of(text: &str) -> Result<(&str, &str), NoUrl> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err(NoUrl),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

/// Text without its escapes, each of which must be whole.
fn unescaped(text: &str) -> Result<String, NoUrl> {
    let is_whole = |after: &str| {
        let bytes = after.as_bytes();
        bytes.len() >= 2 && bytes[..2].iter().all(u8::is_ascii_hexdigit)
    };
    if !text.split('%').skip(1).all(is_whole) {
        return Err(NoUrl);
    }
    Ok(percent_decode_str(text).decode_utf8_lossy().into_owned())
}

fn host_of(scheme: &str, host: &str) -> Result<String, NoUrl> {
    if let Some(inside) = host.strip_prefix('[') {
        let (address, port) = inside.rsplit_once(']').ok_or(NoUrl)?;
        if address.contains('[') || !is_port(port) {
            return Err(NoUrl);
        }
        let (address, zone) = match address.split_once("%25") {
            Some((address, zone)) => (address, Some(unescaped(zone)?).filter(|zone| !zone.is_empty())),
            None if address.contains('%') => return Err(NoUrl),
            None => (address, None),
        };
        address.parse::<Ipv6Addr>().map_err(|_| NoUrl)?;
        let zone = zone.map(|zone| format!("%{zone}")).unwrap_or_default();
        return Ok(format!("[{address}{zone}]{port}"));
    }
    if host.contains('[') {
        return Err(NoUrl);
    }
    if let Some(first) = host.find(':') {
        let is_web = matches!(scheme, "http" | "https");
        let at = if is_web { first } else { host.rfind(':').unwrap_or(first) };
        if !is_port(&host[at..]) {
            return Err(NoUrl);
        }
    }
    // In a host only what is not ASCII may be escaped.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
    let escapes = host.split('%').skip(1);
    let is_escape = |after: &str| {
        after.starts_with("25")
            || after.bytes().next().is_some_and(|digit| b"89abcdefABCDEF".contains(&digit))
    };
    if !host.bytes().all(|byte| byte >= 0x80 || is_plain(byte)) || !escapes.clone().all(is_escape) {
        return Err(NoUrl);
    }
    unescaped(host)
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An address as Go's `net.ParseIP` reads it. One of IPv4 that is written as IPv6 is one of IPv4.
pub fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::from(address).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_go_does() {
        for (text, wanted) in [
            ("https://a.example:6443/k8s?x=1#f", Some(("https", "a.example:6443", "/k8s"))),
            ("HTTPS://A", Some(("https", "A", ""))),
            ("localhost:8080", Some(("localhost", "", ""))),
            ("10.0.0.1:6443", None),
            ("10.0.0.1", Some(("", "", "10.0.0.1"))),
            ("//host/x", Some(("", "host", "/x"))),
            ("https://[::1]:6443", Some(("https", "[::1]:6443", ""))),
            ("https://[fe80::1%25eth0]", Some(("https", "[fe80::1%eth0]", ""))),
            ("https://[::1", None),
            ("https://a b", None),
            ("https://a:b", None),
            ("https://a:1:2", None),
            ("https://a%41", None),
            ("https://a/%zz", None),
            ("https://a\n", None),
            (":a", None),
            ("", Some(("", "", ""))),
            ("socks5://me:s%40cret@p:1080", Some(("socks5", "p:1080", ""))),
            ("https://me@x@h", Some(("https", "h", ""))),
            ("https://m e@h", None),
        ] {
            let read = GoUrl::parse(text);
            let parts = read.as_ref().ok().map(|url| (&*url.scheme, &*url.host, &*url.path));
            assert_eq!(parts, wanted, "{text}");
        }
        let url = GoUrl::parse("socks5://me:s%40cret@[::1]:1080").unwrap();
        assert_eq!(url.user, Some(("me".into(), Some("s@cret".into()))));
        assert_eq!((url.hostname(), url.port()), ("::1", "1080"));
        assert_eq!(url.text(), "socks5://me:s%40cret@[::1]:1080");
    }
}
