//! Which proxy leads to a server, by the rules of Go's `golang.org/x/net/http/httpproxy`.
//! Pure: variables are passed in.

use serde::{Deserialize, Serialize};

use super::go_url::{GoUrl, IpAddr, address};
use crate::env::Env;

/// Variables that name a proxy, for API servers whose kubeconfig names none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// `HTTPS_PROXY`.
    pub https: String,
    /// `HTTP_PROXY`.
    pub http: String,
    /// `NO_PROXY`.
    pub none: String,
    /// `REQUEST_METHOD` is set: a web server runs this program, and `HTTP_PROXY` may be its visitor's header.
    #[serde(default)]
    pub is_cgi: bool,
}

/// `HTTP_PROXY` is set in the environment of a CGI program, for a server without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTP_PROXY is not used where REQUEST_METHOD is set: in a CGI program a request could have set it")]
pub struct CgiProxy;

impl Proxies {
    /// The variables in the order in which Go reads them: upper case first, and empty is not set.
    pub fn of(env: &Env) -> Self {
        let first = |names: [&str; 2]| {
            let set = names.into_iter().filter_map(|name| env.get(name)).find(|value| !value.is_empty());
            set.cloned().unwrap_or_default()
        };
        Self {
            https: first(["HTTPS_PROXY", "https_proxy"]),
            http: first(["HTTP_PROXY", "http_proxy"]),
            none: first(["NO_PROXY", "no_proxy"]),
            is_cgi: env.get("REQUEST_METHOD").is_some_and(|method| !method.is_empty()),
        }
    }

    /// The proxy for a server; none for this machine itself, and for what `NO_PROXY` names. `is_sloppy`: CIDR blocks and
    /// addresses may have leading zeros, which client-go takes where it has set up TLS itself.
    ///
    /// # Errors
    /// For `HTTP_PROXY` in a CGI program.
    pub fn to(&self, server: &GoUrl, is_sloppy: bool) -> Result<Option<GoUrl>, CgiProxy> {
        if is_sloppy && self.is_in_sloppy_block(server.hostname()) {
            return Ok(None);
        }
        let proxy = match &*server.scheme {
            "https" => parse(&self.https),
            "http" => parse(&self.http),
            _ => None,
        };
        if proxy.is_some() && server.scheme == "http" && self.is_cgi {
            return Err(CgiProxy);
        }
        Ok(proxy.filter(|_| self.is_used_for(server)))
    }

    fn is_used_for(&self, server: &GoUrl) -> bool {
        let host = server.hostname();
        let port = match (server.port(), &*server.scheme) {
            ("", "https") => "443",
            ("", _) => "80",
            (port, _) => port,
        };
        // An address may have a zone here, and is compared without it.
        let ip = address(host.split_once('%').map_or(host, |(address, _)| address));
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return false;
        }
        let host = host.trim().to_lowercase();
        let entries = || self.none.split(',').map(|entry| entry.trim().to_lowercase());
        let is_all = entries().any(|entry| entry == "*");
        !is_all && !entries().any(|entry| names(&entry, &host, port, ip))
    }

    fn is_in_sloppy_block(&self, host: &str) -> bool {
        let Some(ip) = sloppy_address(host) else { return false };
        self.none.split(',').any(|entry| {
            entry.split_once('/').is_some_and(|(start, bits)| {
                let block = sloppy_address(start).map(|start| (start, start.is_ipv6()));
                block.is_some_and(|(start, is_v6)| is_in_block(start, is_v6, bits, ip))
            })
        })
    }
}

/// A proxy as it is named in a variable: a URL, or host and port.
fn parse(text: &str) -> Option<GoUrl> {
    if text.is_empty() {
        return None;
    }
    let url = GoUrl::parse(text);
    match &url {
        Ok(whole) if !whole.scheme.is_empty() && !whole.host.is_empty() => url.ok(),
        _ => GoUrl::parse(&format!("http://{text}")).or(url).ok(),
    }
}

/// Does an entry of `NO_PROXY` name this host?
fn names(entry: &str, host: &str, port: &str, ip: Option<IpAddr>) -> bool {
    if let Some((start, bits)) = entry.split_once('/')
        && let Some(block) = address(start)
        && is_bits(bits, start.contains(':'))
    {
        return ip.is_some_and(|ip| is_in_block(block, start.contains(':'), bits, ip));
    }
    let (name, only) = split_port(entry).unwrap_or((entry, ""));
    let is_port = only.is_empty() || only == port;
    if let Some(named) = address(name) {
        return is_port && ip == Some(named);
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    if name.is_empty() || ip.is_some() || !is_port {
        return false;
    }
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => host == name || host.strip_suffix(name).is_some_and(|before| before.ends_with('.')),
    }
}

/// Host and port, as `net.SplitHostPort` parts them.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inside) => {
            let inside = inside.strip_suffix(']')?;
            (!inside.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((inside, port))
        }
        None => (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port)),
    }
}

/// Is this the length of a block, as `net.ParseCIDR` reads it?
fn is_bits(bits: &str, is_v6: bool) -> bool {
    let is_number = !bits.is_empty() && bits.len() <= 8 && bits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && bits.parse::<u32>().is_ok_and(|bits| bits <= if is_v6 { 128 } else { 32 })
}

/// `is_v6`: the block is written as one of IPv6, and so are its bits.
fn is_in_block(start: IpAddr, is_v6: bool, bits: &str, ip: IpAddr) -> bool {
    let Some(bits) = bits.parse::<u32>().ok().filter(|_| is_bits(bits, is_v6)) else { return false };
    match (start, ip) {
        (IpAddr::V4(start), IpAddr::V4(ip)) => {
            let bits = if is_v6 { bits.saturating_sub(96) } else { bits };
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            start.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(start), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            start.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

/// An address whose numbers may have leading zeros.
fn sloppy_address(text: &str) -> Option<IpAddr> {
    let plain = |part: &str| {
        let digits = part.trim_start_matches('0');
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| if digits.is_empty() { "0".to_owned() } else { digits.to_owned() })
    };
    address(text).or_else(|| {
        let (before, last) = text.rsplit_once(':').map_or(("", text), |(before, last)| (before, last));
        let parts: Option<Vec<String>> = last.split('.').map(plain).collect();
        let colon = if before.is_empty() && !text.contains(':') { "" } else { ":" };
        parts
            .filter(|parts| parts.len() == 4)
            .and_then(|parts| address(&format!("{before}{colon}{}", parts.join("."))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(proxies: &Proxies, server: &str) -> Option<String> {
        proxies.to(&GoUrl::parse(server).unwrap(), true).unwrap().map(|proxy| proxy.text())
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (none, server, is_used) in [
            ("", "https://api.example:6443", true),
            ("*", "https://api.example:6443", false),
            ("*", "https://10.1.2.3", false),
            ("x, *", "https://10.1.2.3", false),
            ("*x", "https://x", true),
            ("10.0.0.0/8", "https://10.1.2.3:6443", false),
            ("10.0.0.0/8", "https://11.1.2.3:6443", true),
            ("010.0.0.0/8", "https://10.1.2.3:6443", false),
            ("10.0.0.0/33", "https://10.1.2.3:6443", true),
            ("10.1.2.3", "https://10.1.2.3:6443", false),
            ("10.1.2.3:6443", "https://10.1.2.3:6443", false),
            ("10.1.2.3:443", "https://10.1.2.3:6443", true),
            ("10.1.2.3:443", "https://10.1.2.3", false),
            ("::1:2", "https://[::1:2]", false),
            ("[fd00::1]:6443", "https://[fd00::1]:6443", false),
            ("[fd00::1]", "https://[fd00::1]:6443", true),
            ("fd00::/8", "https://[fd00::1]:6443", false),
            ("::ffff:10.0.0.0/104", "https://10.1.2.3", false),
            ("::ffff:10.1.2.3", "https://10.1.2.3", false),
            ("example", "https://api.example", false),
            ("example", "https://example", false),
            (".example", "https://api.example", false),
            (".example", "https://example", true),
            ("*.example", "https://api.example", false),
            ("*.example", "https://example", true),
            ("ample", "https://api.example", true),
            ("EXAMPLE", "https://api.Example", false),
            ("example:6443", "https://api.example:6443", false),
            ("example:443", "https://api.example:6443", true),
            ("example:443", "https://api.example", false),
            (" example , b", "https://api.example", false),
            (":6443", "https://api.example:6443", true),
            ("", "https://localhost:6443", false),
            ("", "https://LOCALHOST:6443", true),
            ("", "https://127.9.9.9:6443", false),
            ("", "https://[::1]:6443", false),
            ("", "https://0.0.0.0:6443", true),
            ("0.0.0.0:6443", "https://0.0.0.0:6443", false),
        ] {
            let proxies =
                Proxies { https: "http://proxy:3128".into(), none: none.into(), ..Proxies::default() };
            let wanted = is_used.then(|| "http://proxy:3128".to_owned());
            assert_eq!(way(&proxies, server), wanted, "{none:?} {server}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host_with_a_port() {
        for (text, wanted) in [
            ("proxy:3128", Some("http://proxy:3128")),
            ("10.0.0.1:3128", Some("http://10.0.0.1:3128")),
            ("proxy", Some("http://proxy")),
            ("https://proxy", Some("https://proxy")),
            ("socks5h://me:secret@proxy:1080", Some("socks5h://me:secret@proxy:1080")),
            // Go takes what it cannot read for a host, here one named `http`.
            ("http://a b", Some("http://http://a b")),
        ] {
            let proxies = Proxies { https: text.into(), ..Proxies::default() };
            assert_eq!(way(&proxies, "https://api.example").as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_a_cgi_program_trusts_only_one() {
        let env = |pairs: &[(&str, &str)]| -> Env {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let both =
            Proxies::of(&env(&[("http_proxy", "plain:1"), ("HTTPS_PROXY", ""), ("https_proxy", "tls:1")]));
        assert_eq!(way(&both, "http://api.example").as_deref(), Some("http://plain:1"));
        assert_eq!(way(&both, "https://api.example").as_deref(), Some("http://tls:1"));
        let cgi = Proxies { is_cgi: true, ..both };
        assert_eq!(cgi.to(&GoUrl::parse("http://a").unwrap(), true), Err(CgiProxy));
        assert_eq!(way(&cgi, "https://a").as_deref(), Some("http://tls:1"));
    }
}
