use super::*;
use crate::release::{Record, stored_record::Stored};
use proptest::prelude::*;

/// Records as real Helm left them; `tests/golden.rs` writes them.
const GOLDEN: [(&str, &str); 4] = [
    ("helm 3, deployed", include_str!("../../tests/golden/helm-3.22.0-deployed.json")),
    ("helm 3, killed", include_str!("../../tests/golden/helm-3.22.0-pending-upgrade.json")),
    ("helm 4, deployed", include_str!("../../tests/golden/helm-4.3.1-deployed.json")),
    ("helm 4, killed", include_str!("../../tests/golden/helm-4.3.1-pending-upgrade.json")),
];

fn record(secret: &str) -> Record {
    Stored::Secret(serde_json::from_str(secret).unwrap()).record()
}

fn body(secret: &str) -> String {
    String::from_utf8(decode(record(secret).stored.payload()).unwrap()).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn real_records_say_what_decisions_need() {
    for ((what, secret), (revision, status, description, hooks, apply_method)) in GOLDEN.into_iter().zip([
        (1, Status::Deployed, "Install complete", vec![], ""),
        (2, Status::PendingUpgrade, "Preparing upgrade", vec!["ConfigMap/hook"], ""),
        (1, Status::Deployed, "Install complete", vec![], "ssa"),
        (2, Status::PendingUpgrade, "Preparing upgrade", vec!["ConfigMap/hook"], "ssa"),
    ]) {
        let record = record(secret);
        let body = record.body.as_ref().unwrap();
        assert_eq!((record.revision, record.label, body.status), (revision, status, status), "{what}");
        assert_eq!((&*body.description, &*body.apply_method), (description, apply_method), "{what}");
        assert_eq!((&*body.chart, &*body.app_version), ("golden-0.1.0", "1.0"), "{what}");
        assert!(body.last_deployed.starts_with("2026-"), "{what}: {}", body.last_deployed);
        assert_eq!(record.unfinished_install_hooks(), hooks, "{what}");
        assert_eq!(record.completed(), status == Status::Deployed, "{what}");
    }
}

#[test]
fn real_records_give_their_manifest_and_values() {
    for (what, secret) in GOLDEN {
        let json = body(secret);
        let objects = crate::manifest::Manifest::parse(&manifest(json.as_bytes()).unwrap(), "ns").unwrap();
        let names: Vec<String> = objects.keys().map(ToString::to_string).collect();
        let killed = what.ends_with("killed");
        let wanted = if killed {
            vec!["ConfigMap/golden", "PersistentVolumeClaim/golden"]
        } else {
            vec!["ConfigMap/golden"]
        };
        assert_eq!(names, wanted, "{what}");
        assert_eq!(objects.objects[0].1["data"]["text"], "<ü> & 'quoted'", "{what}");
        // Helm's own reuse rounds the number, in both versions.
        let large = if killed {
            "\"claim\":true,\"float\":1e+25,\"large\":9007199254740992"
        } else {
            "\"float\":1e+25,\"large\":9007199254740993"
        };
        assert_eq!(config(json.as_bytes()).unwrap(), format!("{{{large},\"nothing\":null}}"), "{what}");
    }
}

#[test]
fn an_edit_of_nothing_keeps_every_byte() {
    for (what, secret) in GOLDEN {
        let json = body(secret);
        assert_eq!(text(edit(json.as_bytes(), &Edit::default()).unwrap()), json, "{what}");
    }
}

#[test]
fn an_edit_changes_what_it_names_and_keeps_every_other_byte() {
    for (what, secret) in GOLDEN {
        let json = body(secret);
        let essentials = essentials(json.as_bytes()).unwrap();
        let changes = Edit {
            status: Some(Status::Failed),
            description: Some("died; \"so\" <it> was".into()),
            manifest: Some("---\nnew: \"ü\"\n".into()),
            ..Edit::default()
        };
        let edited = edit(json.as_bytes(), &changes).unwrap();
        let after = super::essentials(&edited).unwrap();
        assert_eq!((after.status, &*after.description), (Status::Failed, "died; \"so\" <it> was"), "{what}");
        assert_eq!(manifest(&edited).unwrap(), "---\nnew: \"ü\"\n", "{what}");
        // Back again, in the bytes that Go writes: all else was never touched.
        let back = Edit {
            status: Some(essentials.status),
            description: Some(essentials.description),
            ..Edit::default()
        };
        let back = text(edit(&edited, &back).unwrap());
        let (of_go, of_rust) = (raw(&json, "manifest"), raw(&back, "manifest"));
        assert_eq!(back.replace(&of_rust, &of_go), json, "{what}");
    }
}

/// A top-level part, as it stands.
fn raw(json: &str, part: &str) -> String {
    parse(json.as_bytes()).unwrap()[part].get().to_owned()
}

#[test]
fn lent_values_are_the_lenders_chart_and_values_and_nothing_else() {
    let (deployed, killed) = (body(GOLDEN[0].1), body(GOLDEN[1].1));
    let lent = Edit { values_of: Some(deployed.clone().into_bytes()), ..Edit::default() };
    let lent = text(edit(killed.as_bytes(), &lent).unwrap());
    for part in ["chart", "config"] {
        assert_eq!(raw(&lent, part), raw(&deployed, part), "{part}");
    }
    for part in ["name", "info", "manifest", "hooks", "version", "namespace"] {
        assert_eq!(raw(&lent, part), raw(&killed, part), "{part}");
    }
    let none = Edit { values_of: Some(br#"{"info":{"status":"deployed"}}"#.to_vec()), ..Edit::default() };
    let lent = text(edit(killed.as_bytes(), &none).unwrap());
    assert!(!parse(lent.as_bytes()).unwrap().contains_key("config"));
}

#[test]
fn parts_that_nobody_knows_yet_survive_as_they_are() {
    let json = r#"{"future":[1e400,123456789012345678901234567890,-0.0,1.50],"info":{"later":{"b":1,"a":2},"status":"x","description":""},"config":null}"#;
    let changes = Edit { status: Some(Status::Deployed), ..Edit::default() };
    let edited = text(edit(json.as_bytes(), &changes).unwrap());
    assert_eq!(edited, json.replace("\"x\"", "\"deployed\""));
    assert_eq!(essentials(json.as_bytes()).unwrap().status, Status::Unknown);
    assert_eq!(config(json.as_bytes()).unwrap(), "{}");
}

#[test]
fn what_is_encoded_is_decoded_and_old_records_without_gzip_are_too() {
    for (what, secret) in GOLDEN {
        let json = body(secret);
        let payload = encode(json.as_bytes(), MAX_STORED).unwrap();
        assert_eq!(text(decode(&payload).unwrap()), json, "{what}");
        // A record near the limit must not grow by being written anew.
        assert!(payload.len() <= record(secret).stored.payload().len() + 16, "{what}");
        assert_eq!(text(decode(STANDARD.encode(&json).as_bytes()).unwrap()), json, "{what}");
    }
}

#[test]
fn sizes_are_bounded() {
    let zeros = vec![b' '; MAX_DECODED as usize + 1];
    let bomb = encode(&zeros, MAX_STORED).unwrap();
    assert!(bomb.len() < 1 << 20);
    assert_eq!(decode(&bomb).unwrap_err().to_string(), "more than the 64 MiB that helm-guard reads");
    assert_eq!(decode(&encode(&zeros[1..], MAX_STORED).unwrap()).unwrap().len() as u64, MAX_DECODED);

    let mut seed = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(MAX_STORED)
    .collect();
    let error = encode(&noise, MAX_STORED).unwrap_err().to_string();
    assert!(
        error.starts_with("the edited record has 1") && error.ends_with("a Secret holds 1 MiB"),
        "{error}"
    );
}

/// Each value of a body takes memory when it is read, however few bytes it has.
#[test]
fn values_are_counted_where_they_are_values() {
    for (json, count) in [
        ("{}", 1),
        (r#"{"a":1,"b":[{},{}]}"#, 6),
        (r#"{"a":"[,{,\"\\"}"#, 1),
        (r#"["\\",1]"#, 2),
        ("[[[[", 4),
        ("", 0),
    ] {
        assert_eq!(values(json.as_bytes()), count, "{json}");
    }
    let of = |hooks: usize| {
        let json =
            format!("{{\"info\":{{\"status\":\"deployed\"}},\"hooks\":[{}{{}}]}}", "{},".repeat(hooks));
        decode(&encode(json.as_bytes(), MAX_STORED).unwrap())
            .map(|json| essentials(&json).unwrap().hooks.len())
    };
    assert_eq!(of(MAX_VALUES / 2 - 3).unwrap(), MAX_VALUES / 2 - 2);
    assert_eq!(of(MAX_VALUES).unwrap_err().to_string(), "more than the 1048576 values that helm-guard reads");
}

#[test]
fn what_is_no_record_says_why() {
    let cut = {
        let payload = encode(body(GOLDEN[0].1).as_bytes(), MAX_STORED).unwrap();
        let packed = STANDARD.decode(payload).unwrap();
        STANDARD.encode(&packed[..packed.len() / 2]).into_bytes()
    };
    let plain = |json: &str| STANDARD.encode(json).into_bytes();
    for (what, payload, expected) in [
        ("not base64", b"%%%".to_vec(), "not base64"),
        ("cut off", cut, "not gzip, or cut off"),
        ("only gzip's magic", STANDARD.encode([0x1f, 0x8b]).into_bytes(), "not gzip, or cut off"),
        ("nothing", Vec::new(), "not the JSON of a Helm release: it is cut off"),
        ("not JSON", plain("sec-ret"), "not the JSON of a Helm release: it is not JSON, line 1 column 1"),
        ("no info", plain("{}"), "not the JSON of a Helm release: missing field `info`"),
        ("no status", plain(r#"{"info":{}}"#), "not the JSON of a Helm release: missing field `status`"),
        ("a list", plain("[]"), "not the JSON of a Helm release: "),
        (
            "another kind",
            plain(r#"{"info":"sec-ret"}"#),
            "not the JSON of a Helm release: a part is of another kind, line 1",
        ),
    ] {
        let error = decode(&payload).and_then(|json| essentials(&json)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{what}: {error}");
        assert!(!error.contains("sec-ret"), "{what}: {error}");
    }
}

/// Go takes `null` for an empty text or list, and base64 with line breaks; Helm reads such records.
#[test]
fn what_go_reads_is_no_damage() {
    let json = r#"{"info":{"status":"failed","description":null},"chart":{"metadata":{"name":null}},"hooks":[{"name":"a","kind":null,"events":null,"last_run":null}],"manifest":null,"apply_method":null}"#;
    let read = essentials(json.as_bytes()).unwrap();
    assert_eq!((read.status, read.hooks.len()), (Status::Failed, 1));
    assert_eq!(manifest(json.as_bytes()).unwrap(), "");
    assert_eq!(texts(json.as_bytes()).unwrap().manifest, "");
    let payload = encode(json.as_bytes(), MAX_STORED).unwrap();
    let folded: Vec<u8> = payload.chunks(64).flat_map(|line| [line, b"\r\n"].concat()).collect();
    assert_eq!(text(decode(&folded).unwrap()), json);
}

/// Records that Helm reads are read, however large they are.
#[test]
fn a_record_beyond_our_limits_is_not_damaged() {
    let body = |manifest: &str| {
        format!(
            "{{\"info\":{{\"status\":\"pending-upgrade\",\"description\":\"x\"}},\"manifest\":\"{manifest}\"}}"
        )
    };
    let large = body(&" ".repeat(MAX_DECODED as usize));
    let mut object = k8s_openapi::api::core::v1::Secret::default();
    object.metadata.name = Some("sh.helm.release.v1.web.v3".into());
    let mut stored = Stored::Secret(Box::new(object));
    stored.set_payload(encode(large.as_bytes(), MAX_STORED).unwrap());
    let record = stored.record();
    assert_eq!((record.revision, record.status(), record.is_large()), (3, Status::PendingUpgrade, true));
    let edit = Edit { status: Some(Status::Failed), ..Edit::default() };
    let edited = super::super::large::edit(record.stored.payload(), &edit, MAX_STORED).unwrap();
    assert_eq!(super::super::large::essentials(&edited).unwrap().status, Status::Failed);
}

#[test]
fn no_error_quotes_what_is_in_a_record() {
    // A value of the wrong kind, where the parser likes to say what it found.
    for json in [
        r#"{"info":{"status":"deployed","description":{"hunter2":1}}}"#,
        r#"{"info":"hunter2"}"#,
        r#"{"info":{"status":["hunter2"]}}"#,
        r#"{"info":{"status":"deployed"},"hooks":"hunter2"}"#,
        r#"{"info":{"status":"deployed"},"manifest":{"hunter2":1}}"#,
    ] {
        let errors = [
            essentials(json.as_bytes()).map(drop),
            manifest(json.as_bytes()).map(drop),
            edit(json.as_bytes(), &Edit::default()).map(drop),
        ];
        for error in errors.into_iter().filter_map(Result::err) {
            assert!(!error.to_string().contains("hunter2"), "{json}: {error}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\":,a-z0-9 ]{0,60}") {
        let mut gzip = vec![0x1f, 0x8b, 8, 0];
        gzip.extend(&bytes);
        for payload in [bytes.clone(), STANDARD.encode(&bytes).into_bytes(), STANDARD.encode(&gzip).into_bytes(), STANDARD.encode(&json).into_bytes()] {
            if let Ok(json) = decode(&payload) {
                let _ = (essentials(&json), manifest(&json), config(&json), edit(&json, &Edit::default()));
            }
        }
    }

    #[test]
    fn a_record_with_a_flaw_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        for (_, secret) in GOLDEN {
            let mut payload = record(secret).stored.payload().to_vec();
            let at = at.index(payload.len());
            if cut { payload.truncate(at) } else { payload[at] = byte }
            if let Ok(json) = decode(&payload) {
                let _ = (essentials(&json), manifest(&json), config(&json), edit(&json, &Edit::default()));
            }
        }
    }
}

#[test]
fn the_manifests_of_hooks_are_changed_or_the_hooks_taken_out_and_all_else_is_kept() {
    let json = r#"{"info":{"status":"deployed","x":1.0},"hooks":[{"name":"a","manifest":"old","x":1e2},{"name":"b","manifest":"gone"},{"name":"c","manifest":"kept"}],"z":1}"#;
    let hooks = Some(vec![Some("new".to_owned()), None, Some("kept".to_owned())]);
    let edited = edit(json.as_bytes(), &Edit { hooks, ..Edit::default() }).unwrap();
    let expected = r#"{"info":{"status":"deployed","x":1.0},"hooks":[{"name":"a","manifest":"new","x":1e2},{"name":"c","manifest":"kept"}],"z":1}"#;
    assert_eq!(String::from_utf8(edited).unwrap(), expected);
    let none = r#"{"info":{"status":"deployed"}}"#;
    assert_eq!(
        edit(none.as_bytes(), &Edit { hooks: Some(Vec::new()), ..Edit::default() }).unwrap(),
        none.as_bytes()
    );
}
