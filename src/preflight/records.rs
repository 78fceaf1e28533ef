//! Findings about Helm's records: whether the next one fits its object, and whether the history limit deletes the last good one.
//! Pure.

use super::{
    Finding,
    certainty::{self, Ground, Situation},
};
use crate::release::{History, Record, Status, codec};

/// From this part of the limit on a record is told of, percent: what Helm adds to it later, a status, a description with an
/// error, notes of hooks, needs room too.
const NEAR: usize = 90;

/// Revisions that Helm removes before it writes the next one, oldest first (`removeLeastRecent` in its storage.go): as many
/// as are too many, but never the latest that is labelled `deployed`. `max` of 0 keeps all.
pub fn pruned(history: &History, max: u32) -> Vec<u32> {
    let readable: Vec<&Record> = history.records.iter().filter(|record| record.body.is_ok()).collect();
    let room = usize::try_from(max).unwrap_or(usize::MAX);
    if room == 0 || readable.len() < room {
        return Vec::new();
    }
    let kept = readable.iter().rev().find(|record| record.label == Status::Deployed).map(|one| one.revision);
    let goes = readable.iter().map(|record| record.revision).filter(|revision| Some(*revision) != kept);
    goes.take(readable.len() - (room - 1)).collect()
}

/// The last revision that ever completed is about to go for good, which is so only where none is `deployed`.
pub fn last_good_goes(history: &History, max: u32) -> Option<Finding> {
    let good = history.last_good()?.revision;
    let gone = pruned(history, max);
    if !gone.contains(&good) {
        return None;
    }
    let newer = history.records.iter().filter(|record| record.revision > good).count();
    Some(Finding {
        id: "history-pruned",
        object: format!("revision {good}"),
        field: "--history-max".to_owned(),
        live: max.to_string(),
        wanted: format!("at least {}", newer + 2),
        cause: "it is the last one that completed, and helm removes its record to make room: nothing is left to roll back to"
            .to_owned(),
        remedy: vec![
            format!("--history-max {} for this deploy", newer + 2),
            "the backup of this run has its record: helm-guard restore puts it back".to_owned(),
        ],
        ..Finding::default()
    })
}

/// A new record that is too large for its object, or nearly so. `payload`: bytes, as they are stored; `json`: the record.
pub fn size(object: &str, payload: usize, json: &[u8]) -> Option<Finding> {
    if payload.saturating_mul(100) < codec::MAX_STORED.saturating_mul(NEAR) {
        return None;
    }
    let is_too_large = payload > codec::MAX_STORED;
    let ground = if is_too_large { Ground::Size } else { Ground::Advice };
    let parts = codec::sizes(json).unwrap_or_default();
    let all: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    let share = |(what, bytes): &(&str, usize)| format!("{what} {} %", bytes * 100 / all.max(1));
    let most: Vec<String> = parts.iter().take(2).map(share).collect();
    let most = if most.is_empty() { String::new() } else { format!("; most of it: {}", most.join(", ")) };
    let what = if is_too_large {
        "the API server takes no object with more than 1024 KiB of data"
    } else {
        "an object holds 1024 KiB, and helm adds its status, and an error if there is one"
    };
    Some(Finding {
        id: "record-too-large",
        weight: certainty::of(&ground, &Situation::default()),
        object: object.to_owned(),
        field: "data.release".to_owned(),
        wanted: format!("{} KiB", payload.div_ceil(1024)),
        cause: format!(
            "helm keeps the chart, its values and what it renders in each record, packed; {what}{most}"
        ),
        remedy: vec![
            "keep files that the templates do not read out of the chart: list them in its .helmignore"
                .to_owned(),
            "move large files, dashboards and CRDs to a chart of their own".to_owned(),
            "or HELM_DRIVER=sql, which has no such limit".to_owned(),
        ],
        ..Finding::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{codec::Essentials, stored_record::Stored};

    fn history(rows: &[(u32, Status, &str)]) -> History {
        let record = |(revision, status, description): &(u32, Status, &str)| Record {
            revision: *revision,
            label: *status,
            stored: Stored::Secret(Box::default()),
            body: Ok(Essentials {
                status: *status,
                description: (*description).to_owned(),
                ..Essentials::default()
            }),
        };
        History::new(rows.iter().map(record).collect())
    }

    const DONE: &str = "Upgrade complete";
    const BROKEN: &str = "Rollback \"web\" failed: timed out";

    #[test]
    fn helm_removes_the_oldest_and_never_what_is_deployed() {
        use Status::{Deployed, Failed, Superseded};
        let three = history(&[(1, Superseded, DONE), (2, Deployed, DONE), (3, Failed, "")]);
        for (max, gone) in [(0, &[][..]), (1, &[1, 3]), (2, &[1, 3]), (3, &[1]), (4, &[])] {
            assert_eq!(pruned(&three, max), gone, "{max}");
        }
        let none_deployed = history(&[(1, Superseded, DONE), (2, Superseded, DONE), (3, Failed, BROKEN)]);
        assert_eq!(pruned(&none_deployed, 2), [1, 2]);
    }

    #[test]
    fn the_last_good_revision_goes_only_where_none_is_deployed() {
        use Status::{Deployed, Failed, Superseded};
        for (what, rows, max, goes) in [
            ("it is deployed", &[(1, Superseded, DONE), (2, Deployed, DONE), (3, Failed, "")][..], 1, None),
            ("there is room", &[(2, Superseded, DONE), (3, Failed, BROKEN)][..], 3, None),
            ("all are kept", &[(2, Superseded, DONE), (3, Failed, BROKEN)][..], 0, None),
            (
                "a failed rollback",
                &[(1, Superseded, DONE), (2, Superseded, DONE), (3, Failed, BROKEN)][..],
                2,
                Some("at least 3"),
            ),
            ("nothing was ever good", &[(1, Failed, ""), (2, Failed, "")][..], 1, None),
        ] {
            let found = last_good_goes(&history(rows), max);
            assert_eq!(found.map(|finding| finding.wanted).as_deref(), goes, "{what}");
        }
    }

    #[test]
    fn a_record_is_told_of_when_it_nearly_fills_its_object() {
        let json = br#"{"chart":{"files":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","templates":"bbbbbbbbbb"},"manifest":"cc"}"#;
        let size = |payload: usize| size("Secret/sh.helm.release.v1.web.v2", payload, json);
        let limit = codec::MAX_STORED;
        assert_eq!(size(limit / 10 * 9 - 10), None);
        let near = size(limit).unwrap();
        assert!(!near.is_certain());
        insta::assert_snapshot!(near.sentence());
        assert!(size(limit + 1).unwrap().is_certain());
    }
}
