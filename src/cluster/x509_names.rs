//! Names in certificates: is one for this host, and may an authority say so? By the rules of Go's `crypto/x509`.
//! Pure.

use super::{
    go_url::{GoUrl, IpAddr, address},
    x509::{Certificate, Constraints, Names, Subtrees, is_domain},
};

/// Is the certificate for this host? Only its names count, not its common name.
pub fn is_for(certificate: &Certificate, host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Some(wanted) = address(bare) {
        return certificate.names.addresses.iter().any(|address| address.to_canonical() == wanted);
    }
    let wanted = host.to_ascii_lowercase();
    let is_host = is_host_name(&wanted, false);
    certificate.names.dns.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        if is_host && is_host_name(&name, true) {
            fits(&name, wanted.strip_suffix('.').unwrap_or(&wanted))
        } else {
            !matches!(&*name, "" | ".") && name == wanted
        }
    })
}

fn fits(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern
            .iter()
            .zip(&host)
            .enumerate()
            .all(|(at, (one, other))| (at == 0 && *one == "*") || one == other)
}

fn is_host_name(name: &str, is_pattern: bool) -> bool {
    let name = if is_pattern { name } else { name.strip_suffix('.').unwrap_or(name) };
    let is_label = |(at, label): (usize, &str)| {
        let is_wildcard = is_pattern && at == 0 && label == "*";
        let is_letter = |(at, letter): (usize, char)| {
            letter.is_ascii_alphanumeric() || letter == '_' || (letter == '-' && at > 0)
        };
        is_wildcard || (!label.is_empty() && label.char_indices().all(is_letter))
    };
    !matches!(name, "" | "*") && name.split('.').enumerate().all(is_label)
}

/// Does every authority of a chain, whose first is the server's certificate, allow the names below it?
pub fn are_allowed(chain: &[&Certificate]) -> bool {
    chain.iter().enumerate().all(|(at, authority)| {
        let Some(constraints) = &authority.constraints else { return true };
        chain.iter().take(at).filter(|below| below.has_names).all(|below| allows(constraints, &below.names))
    })
}

fn allows(constraints: &Constraints, names: &Names) -> bool {
    let Constraints { permitted, excluded } = constraints;
    let is_allowed = |permitted: Option<bool>, excluded: bool| permitted.unwrap_or(true) && !excluded;
    let addresses = names.addresses.iter().all(|address| {
        let fits =
            |trees: &Subtrees| trees.addresses.iter().any(|(start, mask)| is_within(*address, start, mask));
        is_allowed((!permitted.addresses.is_empty()).then(|| fits(permitted)), fits(excluded))
    });
    let domain = |name: &str, permitted: &[String], excluded: &[String]| {
        let is_permitted = (!permitted.is_empty()).then(|| permitted.iter().any(|tree| is_below(tree, name)));
        let is_excluded = excluded.iter().any(|tree| is_below(tree, name) || may_be_below(tree, name));
        is_domain(name, false) && is_allowed(is_permitted, is_excluded)
    };
    let dns = names.dns.iter().all(|name| domain(name, &permitted.dns, &excluded.dns));
    let uris = names.uris.iter().all(|uri| {
        let host = GoUrl::parse(uri).map(|url| (url.host.clone(), url.hostname().to_lowercase()));
        host.is_ok_and(|(host, name)| {
            // Neither an empty host nor an address can be compared.
            let is_name = !name.is_empty() && !host.starts_with('[') && address(&name).is_none();
            is_name && domain(&name, &permitted.uris, &excluded.uris)
        })
    });
    let mails = names.mails.iter().all(|mail| {
        let Some((_, name)) = mail.rsplit_once('@') else { return false };
        let split =
            |trees: &[String]| trees.iter().cloned().partition::<Vec<_>, _>(|tree| tree.contains('@'));
        let (whole, domains) = split(&permitted.mails);
        let (not_whole, not_domains) = split(&excluded.mails);
        let is_permitted = permitted.mails.is_empty()
            || whole.contains(mail)
            || domains.iter().any(|tree| is_below(tree, name));
        is_permitted && !not_whole.contains(mail) && domain(name, &[], &not_domains)
    });
    addresses && dns && uris && mails
}

fn is_within(address: IpAddr, start: &[u8], mask: &[u8]) -> bool {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.len() == start.len()
        && bytes.iter().zip(start).zip(mask).all(|((byte, start), mask)| byte & mask == start & mask)
}

/// The domain itself and all below it; behind a dot only what is below. Nothing is every domain.
fn is_below(tree: &str, name: &str) -> bool {
    let (tree, name) = (tree.to_ascii_lowercase(), name.to_ascii_lowercase());
    let rest = name.strip_suffix(&*tree);
    rest.is_some_and(|rest| {
        tree.is_empty() || tree.starts_with('.') || rest.is_empty() || rest.ends_with('.')
    })
}

/// `*.example.com` may stand for `a.example.com`, if that is excluded.
fn may_be_below(tree: &str, name: &str) -> bool {
    let (tree, name) = (tree.to_ascii_lowercase(), name.to_ascii_lowercase());
    let below_first = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    name.starts_with('*') && below_first(&name).is_some_and(|rest| below_first(&tree) == Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_its_names_alone() {
        let certificate = |dns: &[&str], addresses: &[&str]| Certificate {
            names: Names {
                dns: dns.iter().map(|name| (*name).to_owned()).collect(),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                ..Names::default()
            },
            ..Certificate::default()
        };
        for (dns, addresses, host, wanted) in [
            (vec!["api.example"], vec![], "api.example", true),
            (vec!["API.example"], vec![], "api.EXAMPLE", true),
            (vec!["api.example"], vec![], "api.example.", true),
            (vec!["*.example"], vec![], "api.example", true),
            (vec!["*.example"], vec![], "a.api.example", false),
            (vec!["*.example"], vec![], "example", false),
            (vec!["a*.example"], vec![], "api.example", false),
            (vec!["*"], vec![], "localhost", false),
            (vec!["10.0.0.1"], vec![], "10.0.0.1", false),
            (vec![], vec!["10.0.0.1"], "10.0.0.1", true),
            (vec![], vec!["::1"], "[::1]", true),
            (vec![], vec!["::ffff:10.0.0.1"], "10.0.0.1", true),
            (vec![], vec![], "api.example", false),
        ] {
            assert_eq!(is_for(&certificate(&dns, &addresses), host), wanted, "{dns:?} {addresses:?} {host}");
        }
    }

    #[test]
    fn domains_are_below_their_trees() {
        for (tree, name, wanted) in [
            ("example.com", "api.example.com", true),
            ("example.com", "example.com", true),
            (".example.com", "example.com", false),
            (".example.com", "api.example.com", true),
            ("example.com", "badexample.com", false),
            ("", "anything", true),
        ] {
            assert_eq!(is_below(tree, name), wanted, "{tree} {name}");
        }
    }
}
