//! Which records a list of releases asks for, and where. Pure: `commands/list.rs` asks.

use std::collections::{BTreeMap, BTreeSet};

use super::list_entry::Sighting;
use crate::{lock::table::Row, release::stored_record::Driver};

/// Names in one selector: the API server takes URLs of 8 KiB, and a release's name has up to 53 bytes.
const NAMES: usize = 50;
/// So many places are looked at each by itself. A list of one namespace takes the API server a tenth of the time that a
/// list of all takes it, which goes through each Secret there is.
const PLACES: usize = 16;

/// Which records are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Those of releases of these names; `None` is any.
    pub names: Option<Vec<String>>,
    /// None of these statuses.
    pub without: &'static [&'static str],
}

/// Records that may need somebody: all that is not settled.
pub const UNSETTLED: Which = Which { names: None, without: &["deployed", "superseded", "uninstalled"] };

impl Which {
    /// For the API server.
    pub fn selector(&self) -> String {
        let names = self.names.as_ref().map(|names| format!(",name in ({})", names.join(",")));
        let without = Some(self.without).filter(|without| !without.is_empty());
        let without = without.map(|without| format!(",status notin ({})", without.join(",")));
        format!("owner=helm{}{}", names.unwrap_or_default(), without.unwrap_or_default())
    }
}

/// A list that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where the records are.
    pub storage: Driver,
    /// `None` is wherever the list looks.
    pub namespace: Option<String>,
    /// Of which releases.
    pub which: Which,
}

/// What brings all records of the releases that are in question, by what was seen or because somebody holds their lock,
/// which may be for records in any of the `storages`: an unsettled record may be below one that works.
pub fn the_rest(seen: &[Sighting], locks: &[Row], storages: &[Driver]) -> Vec<Question> {
    let mut places: BTreeMap<(Driver, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for sighting in seen.iter().filter(|sighting| is_label(&sighting.release)) {
        places.entry((sighting.storage, Some(&sighting.namespace))).or_default().insert(&sighting.release);
    }
    for lock in locks {
        for name in lock.release.split(", ").filter(|name| is_label(name)) {
            for &storage in storages {
                places.entry((storage, Some(&lock.namespace))).or_default().insert(name);
            }
        }
    }
    if places.len() > PLACES {
        let mut everywhere: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
        for ((storage, _), names) in places {
            everywhere.entry((storage, None)).or_default().extend(names);
        }
        places = everywhere;
    }
    let questions = places.into_iter().flat_map(|((storage, namespace), names)| {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let question = |names: &[String]| Question {
            storage,
            namespace: namespace.map(str::to_owned),
            which: Which { names: Some(names.to_vec()), without: &[] },
        };
        names.chunks(NAMES).map(question).collect::<Vec<_>>()
    });
    questions.collect()
}

/// Names in Leases are anybody's, and one that is no label's value has no record.
fn is_label(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        lock::{LeaseView, Life, holder::Holder},
        release::Status,
    };

    fn seen(storage: Driver, namespace: &str, release: &str) -> Sighting {
        Sighting {
            namespace: namespace.into(),
            release: release.into(),
            storage,
            revision: 1,
            status: Status::PendingUpgrade,
            since: None,
        }
    }

    fn lock(namespace: &str, releases: &str) -> Row {
        let holder = Holder { release: releases.into(), ..Holder::default() };
        let duration = Duration::from_secs(15);
        let view = LeaseView { holder: Some(holder), renewed: String::new(), duration, members: Vec::new() };
        Row::new(namespace, "lease", &view, Life::Unknown, None)
    }

    /// `secrets shop web,api`, a question each.
    fn asked(seen: &[Sighting], locks: &[Row]) -> Vec<String> {
        let questions = the_rest(seen, locks, &[Driver::Secrets, Driver::ConfigMaps]);
        let words = questions.iter().map(|Question { storage, namespace, which }| {
            let namespace = namespace.as_deref().unwrap_or("*");
            format!("{} {namespace} {}", storage.resource(), which.names.as_ref().unwrap().join(","))
        });
        words.collect()
    }

    #[test]
    fn which_records_as_the_api_server_is_asked() {
        assert_eq!(Which::default().selector(), "owner=helm");
        assert_eq!(UNSETTLED.selector(), "owner=helm,status notin (deployed,superseded,uninstalled)");
        let named = Which { names: Some(vec!["api".into(), "web".into()]), without: &[] };
        assert_eq!(named.selector(), "owner=helm,name in (api,web)");
    }

    #[test]
    fn a_release_is_looked_for_only_where_it_may_be() {
        assert_eq!(asked(&[], &[]), Vec::<String>::new());
        let here = [
            seen(Driver::Secrets, "shop", "web"),
            seen(Driver::Secrets, "shop", "api"),
            seen(Driver::ConfigMaps, "bank", "web"),
        ];
        assert_eq!(asked(&here, &[]), ["secrets shop api,web", "configmaps bank web"]);
        assert_eq!(
            asked(&here[..1], &[lock("mail", "a, no label!, b"), lock("shop", "web")]),
            ["secrets mail a,b", "secrets shop web", "configmaps mail a,b", "configmaps shop web"]
        );
    }

    #[test]
    fn many_places_are_asked_about_at_once() {
        let many: Vec<Sighting> =
            (0..=PLACES).map(|n| seen(Driver::Secrets, &format!("shop-{n}"), "web")).collect();
        assert_eq!(asked(&many, &[]), ["secrets * web"]);
        assert_eq!(asked(&many[1..], &[]).len(), PLACES);
    }

    #[test]
    fn no_selector_is_too_long_for_a_url() {
        let name = |number: usize| format!("{number:0>53}");
        let many: Vec<Sighting> = (0..=NAMES).map(|n| seen(Driver::Secrets, "shop", &name(n))).collect();
        let questions = the_rest(&many, &[], &[Driver::Secrets]);
        assert_eq!(questions.len(), 2);
        assert!(questions.iter().all(|question| question.which.selector().len() < 4096));
    }
}
