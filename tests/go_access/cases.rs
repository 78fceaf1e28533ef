//! Draws kubeconfigs, variables and flags, most of them sensible, with what people and scripts do to them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use helm_guard::yaml;
use serde_json::{Map, Value, json};

const AUTHORITY: &str = include_str!("authority.pem");
const CLIENT: &str = include_str!("client.pem");
const CLIENT_KEY: &str = include_str!("client-key.pem");
const OTHER_KEY: &str = include_str!("other-key.pem");

/// A question for both sides.
pub struct Case {
    /// Working directory, with the files.
    pub folder: PathBuf,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// Flags of Helm.
    pub arguments: Vec<String>,
    seed: u64,
}

impl Case {
    /// What was drawn.
    pub fn story(&self) -> String {
        let mut story = format!("case {}: {:?} {:?}", self.seed, self.environment, self.arguments);
        for file in ["a", "sub/b", "home/.kube/config"] {
            if let Ok(text) = fs::read(self.folder.join(file)) {
                story += &format!("\n--- {file}\n{}", String::from_utf8_lossy(&text));
            }
        }
        story
    }
}

/// Numbers that a seed leads to (`xorshift`).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| {
            random.next();
        });
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const SERVERS: [&str; 22] = [
    "https://api.example:6443",
    "https://api.example:6443",
    "https://api.example",
    "https://10.1.2.3:6443",
    "https://10.1.2.3",
    "10.1.2.3:6443",
    "api.example",
    "http://plain.example:8080",
    "https://h.example/k8s/",
    "https://h.example/k8s?x=1#f",
    "https://h.example?x=1",
    "localhost:8080",
    "https://me:pa%20ss@h.example",
    "https://[fd00::1]:6443",
    "",
    " https://h.example",
    "https://h.example:x",
    "https://127.0.0.1:6443",
    "https://localhost",
    "HTTPS://Api.Example",
    "https://h.example/a//b/../c",
    "ftp://h.example",
];
const PROXIES: [&str; 12] = [
    "http://p:3128",
    "http://p",
    "socks5://p:1080",
    "socks5h://p:1080",
    "https://me:pw@p",
    "p:3128",
    "p",
    "ftp://p:1",
    "::",
    "http://me@p",
    "",
    "http://[::1]:3128",
];
const NO_PROXY: [&str; 20] = [
    "*",
    "api.example",
    ".example",
    "example",
    "*.example",
    "10.0.0.0/8",
    "10.1.2.3",
    "10.1.2.3:6443",
    "10.1.2.3:443",
    "api.example:6443",
    "api.example:443",
    "fd00::/8",
    "[fd00::1]:6443",
    "fd00::1",
    "",
    "010.0.0.0/8",
    "x",
    ":6443",
    "::ffff:10.0.0.0/104",
    "API.EXAMPLE",
];
const WORDS: [&str; 8] = ["", "a", "two words", "x\n", "1", "true", "ü", "me"];

/// Draws a case and writes its files.
pub fn draw(seed: u64, base: &Path) -> Case {
    let mut random = Random::new(seed);
    let folder = base.join(format!("c{seed}"));
    let home = folder.join("home");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::create_dir_all(home.join(".kube")).unwrap();
    for (name, text) in [
        ("ca.pem", AUTHORITY.to_owned()),
        ("sub/ca.pem", format!("# a bundle\r\n{AUTHORITY}\n{CLIENT}")),
        ("junk.pem", "no certificate".to_owned()),
        ("empty", String::new()),
        ("client.pem", CLIENT.to_owned()),
        ("client-key.pem", CLIENT_KEY.to_owned()),
        ("other-key.pem", OTHER_KEY.to_owned()),
        ("token", " of-file\n\n".to_owned()),
        ("blank", " \n".to_owned()),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let login = folder.join("login");
    fs::write(&login, "#!/bin/sh\nprintf '%s' \"$1\"\n").unwrap();
    fs::set_permissions(&login, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, of) in [("a", 8), ("sub/b", 4), ("home/.kube/config", 2)] {
        if name == "a" || !random.one_in(of) {
            fs::write(folder.join(name), kubeconfig(&mut random)).unwrap();
        }
    }
    let environment = environment(&mut random, &home);
    let arguments = arguments(&mut random);
    Case { folder, environment, arguments, seed }
}

fn environment(random: &mut Random, home: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("HOME".to_owned(), home.display().to_string()),
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
    ]);
    let lists = [
        "a",
        "a",
        "a",
        "a:sub/b",
        "sub/b:a",
        ":a",
        "missing:a",
        "missing",
        "a:a",
        ":",
        "sub/b:missing:home/.kube/config",
        "sub",
    ];
    let mut set = |random: &mut Random, of: usize, name: &str, values: &[&str]| {
        if random.one_in(of) {
            all.insert(name.to_owned(), random.pick(values).to_owned());
        }
    };
    if !random.one_in(6) {
        set(random, 1, "KUBECONFIG", &lists);
    }
    set(random, 12, "HELM_KUBECONTEXT", &["one", "two", "none", ""]);
    set(random, 12, "HELM_KUBEAPISERVER", &SERVERS);
    set(random, 12, "HELM_KUBETOKEN", &["of-env", "", "two\nlines"]);
    set(random, 20, "HELM_KUBECAFILE", &["ca.pem", "missing", "junk.pem", "empty", ""]);
    set(random, 12, "HELM_KUBEASUSER", &WORDS);
    set(random, 16, "HELM_KUBEASGROUPS", &["a,b", ", a,", "", ","]);
    set(random, 12, "HELM_KUBEINSECURE_SKIP_TLS_VERIFY", &["true", "1", "T", "yes", "", "false", "tRue"]);
    set(random, 20, "HELM_KUBETLS_SERVER_NAME", &["other.example", "", "10.0.0.1"]);
    set(random, 12, "HELM_NAMESPACE", &["shop", ""]);
    set(random, 12, "HELM_MAX_HISTORY", &["5", "+7", "-1", "0x5", "many", ""]);
    set(random, 20, "KUBERNETES_MASTER", &SERVERS);
    set(random, 30, "REQUEST_METHOD", &["GET", ""]);
    set(random, 3, "HTTPS_PROXY", &PROXIES);
    set(random, 8, "https_proxy", &PROXIES);
    set(random, 6, "HTTP_PROXY", &PROXIES);
    set(random, 8, "http_proxy", &PROXIES);
    let none: Vec<&str> = (0..=random.below(3)).map(|_| random.pick(&NO_PROXY)).collect();
    let between = random.pick(&[",", ", ", " ,"]);
    let name = random.pick(&["NO_PROXY", "no_proxy"]);
    set(random, 3, name, &[&none.join(between)]);
    all
}

fn arguments(random: &mut Random) -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |random: &mut Random, of: usize, name: &str, values: &[&str]| {
        if random.one_in(of) {
            all.push(format!("--{name}={}", random.pick(values)));
        }
    };
    add(random, 12, "kubeconfig", &["a", "sub/b", "missing", "", "home/.kube/config"]);
    add(random, 12, "kube-context", &["one", "two", "none", ""]);
    add(random, 16, "kube-apiserver", &SERVERS);
    add(random, 16, "kube-token", &["of-flag", ""]);
    add(random, 20, "kube-ca-file", &["ca.pem", "missing", ""]);
    add(random, 16, "kube-as-user", &["root", ""]);
    add(random, 20, "kube-as-group", &["g", "a,b", ""]);
    add(random, 20, "kube-as-group", &["h"]);
    add(random, 16, "kube-insecure-skip-tls-verify", &["true", "false", "1", "maybe"]);
    add(random, 20, "kube-tls-server-name", &["flag.example", ""]);
    add(random, 12, "namespace", &["from-flag", ""]);
    all
}

/// A kubeconfig, most often as tools write it.
fn kubeconfig(random: &mut Random) -> Vec<u8> {
    let names = ["one", "two", "three", ""];
    let list = |random: &mut Random, content: &str, of: fn(&mut Random) -> Value| {
        let count = 1 + random.below(3);
        let items = (0..count).map(|at| {
            // Twice the same is refused.
            let name = if random.one_in(100) { random.pick(&names) } else { names[at] };
            if random.one_in(150) { Value::Null } else { json!({"name": name, content: of(random)}) }
        });
        Value::Array(items.collect())
    };
    let mut root = Map::new();
    root.insert("clusters".into(), list(random, "cluster", cluster));
    root.insert("users".into(), list(random, "user", user));
    root.insert("contexts".into(), list(random, "context", context));
    if !random.one_in(8) {
        root.insert("current-context".into(), random.pick(&["one", "one", "one", "two", "none", ""]).into());
    }
    for (name, values) in [("kind", ["Config", "Config", "Pod", ""]), ("apiVersion", ["v1", "v1", "v2", ""])]
    {
        if !random.one_in(3) {
            let last = if random.one_in(10) { 4 } else { 2 };
            root.insert(name.into(), values[random.below(last)].into());
        }
    }
    if random.one_in(6) {
        root.insert(
            "preferences".into(),
            random.pick(&[&json!({}), &json!(null), &json!({"colors": true, "x": 1})]).clone(),
        );
        root.insert("surprise".into(), json!([1, {"a": null}]));
    }
    let value = Value::Object(root);
    let mut text = if random.one_in(4) {
        if random.one_in(2) { value.to_string() } else { serde_json::to_string_pretty(&value).unwrap() }
    } else {
        let mut text = String::new();
        yaml::write(&value, &mut text);
        text
    };
    match random.below(24) {
        0 => text = text.replace('\n', "\r\n"),
        1 => text.insert(0, '\u{feff}'),
        2 => return [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect(),
        3 => text = format!("# written by a script\n---\n{text}\n...\n"),
        4 => text += "\n---\nkind: Config\n",
        5 => {
            let at = (0..text.len())
                .cycle()
                .skip(random.below(text.len()))
                .find(|at| text.is_char_boundary(*at))
                .unwrap();
            text.insert_str(at, random.pick(&[" ", "\n", ":", "#", "x", "\t", "\""]));
        }
        _ => {}
    }
    text.into_bytes()
}

/// Adds a field now and then, with the right type most times.
fn field(random: &mut Random, of: usize, object: &mut Map<String, Value>, name: &str, values: &[&str]) {
    if random.one_in(of) {
        let value = match random.below(150) {
            0 => json!(12),
            1 => json!(true),
            2 => Value::Null,
            _ => random.pick(values).into(),
        };
        object.insert(name.into(), value);
    }
}

fn data(random: &mut Random, text: &str) -> String {
    let encoded = STANDARD.encode(text);
    match random.below(8) {
        0 => encoded.as_bytes().chunks(60).map(|line| String::from_utf8_lossy(line) + "\n").collect(),
        1 => format!("{encoded}\r\n"),
        2 if random.one_in(4) => format!(" {encoded}"),
        3 if random.one_in(4) => encoded.trim_end_matches('=').to_owned() + "!",
        _ => encoded,
    }
}

fn cluster(random: &mut Random) -> Value {
    let mut cluster = Map::new();
    field(random, 1, &mut cluster, "server", &SERVERS);
    match random.below(4) {
        0 => field(
            random,
            1,
            &mut cluster,
            "certificate-authority",
            &["ca.pem", "ca.pem", "../ca.pem", "missing", "", "empty", "junk.pem"],
        ),
        1 => {
            let text = random.pick(&[AUTHORITY, AUTHORITY, AUTHORITY, "junk"]);
            cluster.insert("certificate-authority-data".into(), data(random, text).into());
        }
        _ => {}
    }
    if random.one_in(20) {
        cluster.insert("certificate-authority".into(), "ca.pem".into());
    }
    if random.one_in(6) {
        let value = random.pick(&[&json!(true), &json!(false), &json!("true"), &json!(null)]).clone();
        cluster.insert("insecure-skip-tls-verify".into(), value);
    }
    field(random, 8, &mut cluster, "tls-server-name", &["name.example", ""]);
    field(random, 8, &mut cluster, "proxy-url", &PROXIES);
    if random.one_in(10) {
        let of = |name: &str| json!({"name": name, "extension": {"audience": "x"}});
        let name = random.pick(&["client.authentication.k8s.io/exec", "other"]);
        cluster.insert("extensions".into(), json!([of(name), of(random.pick(&["other", "third"]))]));
    }
    Value::Object(cluster)
}

fn context(random: &mut Random) -> Value {
    let mut context = Map::new();
    field(random, 1, &mut context, "cluster", &["one", "one", "two", "three", "gone", ""]);
    field(random, 1, &mut context, "user", &["one", "one", "two", "three", "gone", ""]);
    field(random, 2, &mut context, "namespace", &["shop", "", "default"]);
    Value::Object(context)
}

fn user(random: &mut Random) -> Value {
    let mut user = Map::new();
    match random.below(8) {
        0 | 1 => {
            field(random, 1, &mut user, "token", &["of-kubeconfig", "of-kubeconfig", "", "two\nlines", "x "])
        }
        2 => field(random, 1, &mut user, "tokenFile", &["token", "../token", "blank", "missing", ""]),
        3 => {
            field(random, 1, &mut user, "username", &WORDS);
            field(random, 1, &mut user, "password", &WORDS);
        }
        4 => {
            field(
                random,
                1,
                &mut user,
                "client-certificate",
                &["client.pem", "../client.pem", "client.pem", "missing", "junk.pem"],
            );
            field(
                random,
                1,
                &mut user,
                "client-key",
                &["client-key.pem", "../client-key.pem", "client-key.pem", "other-key.pem", "junk.pem"],
            );
        }
        5 => {
            user.insert("client-certificate-data".into(), data(random, CLIENT).into());
            let key = random.pick(&[CLIENT_KEY, CLIENT_KEY, CLIENT_KEY, OTHER_KEY, CLIENT]);
            user.insert("client-key-data".into(), data(random, key).into());
        }
        6 => drop(user.insert("exec".into(), exec(random))),
        _ => {}
    }
    if random.one_in(12) {
        field(random, 1, &mut user, "token", &["second"]);
    }
    if random.one_in(24) {
        field(random, 1, &mut user, "tokenFile", &["token", "missing", "blank"]);
    }
    if random.one_in(24) {
        let name = random.pick(&["gcp", "azure", "oidc", "none"]);
        user.insert("auth-provider".into(), json!({"name": name, "config": {"id-token": "x"}}));
    }
    field(random, 8, &mut user, "as", &WORDS);
    if random.one_in(8) {
        field(random, 2, &mut user, "as-uid", &["u1", ""]);
        if random.one_in(2) {
            user.insert(
                "as-groups".into(),
                random.pick(&[&json!(["g", "h"]), &json!([]), &json!([null]), &json!("g")]).clone(),
            );
        }
        if random.one_in(2) {
            user.insert(
                "as-user-extra".into(),
                json!({"a/b c%": ["1", "2"], "Reason": [random.pick(&WORDS)], "none": null}),
            );
        }
    }
    Value::Object(user)
}

fn exec(random: &mut Random) -> Value {
    let v1 = "client.authentication.k8s.io/v1";
    let version = random.pick(&[
        v1,
        v1,
        v1,
        "client.authentication.k8s.io/v1beta1",
        "client.authentication.k8s.io/v1alpha1",
        "",
    ]);
    let said = if random.one_in(8) { "client.authentication.k8s.io/v1beta1" } else { version };
    let status = match random.below(8) {
        0 => json!({"clientCertificateData": CLIENT, "clientKeyData": CLIENT_KEY}),
        1 => json!({"clientCertificateData": CLIENT, "clientKeyData": random.pick(&[OTHER_KEY, ""])}),
        2 => json!({"token": random.pick(&["", "two\nlines"])}),
        3 => {
            json!({"token": "t", "expirationTimestamp": random.pick(&["2999-01-01T00:00:00Z", "2999-01-01T00:00:00+02:00", "soon", "2999-01-01"])})
        }
        4 => random
            .pick(&[&json!(null), &json!("x"), &json!({"token": 1}), &json!({"token": "t", "more": 1})])
            .clone(),
        _ => json!({"token": "of-plugin"}),
    };
    let mut output = json!({"kind": "ExecCredential", "apiVersion": said, "status": status}).to_string();
    match random.below(16) {
        0 => output = format!("kind: ExecCredential\napiVersion: {said}\nstatus:\n  token: of-yaml\n"),
        1 => output = random.pick(&["", "{", "hello", "null", "[]"]).to_owned(),
        _ => {}
    }
    let mut exec = Map::new();
    let mut command = ["./login", "../login", "login", "./missing", "sh"]
        [if random.one_in(4) { random.below(5) } else { random.below(2) }];
    let mut arguments = vec![output];
    if random.one_in(8) {
        (command, arguments) = ("sh", vec!["-c".to_owned(), "printf '%s' \"$SAID\"".to_owned()]);
        let said = json!({"kind": "ExecCredential", "apiVersion": said, "status": {"token": "of-variable"}})
            .to_string();
        exec.insert("env".into(), json!([{"name": "SAID", "value": said}]));
    }
    if random.one_in(8) {
        // What it is told, as its token, without what cannot be in one.
        let script = format!(
            "printf '{{\"kind\":\"ExecCredential\",\"apiVersion\":\"{said}\",\"status\":{{\"token\":\"'; printf '%s' \"$KUBERNETES_EXEC_INFO\" | grep -o '\"[a-z-]*\":[^,{{}}]*' | LC_ALL=C sort | tr -d '\"\\n '; printf '\"}}}}'"
        );
        (command, arguments) = ("sh", vec!["-c".to_owned(), script]);
        exec.insert("provideClusterInfo".into(), true.into());
    }
    if random.one_in(20) {
        (command, arguments) = ("sh", vec!["-c".to_owned(), "exit 3".to_owned()]);
    }
    exec.insert("command".into(), command.into());
    exec.insert("args".into(), json!(arguments));
    exec.insert("apiVersion".into(), version.into());
    if !random.one_in(6) {
        exec.insert(
            "interactiveMode".into(),
            random.pick(&["Never", "Never", "IfAvailable", "Always", "never", ""]).into(),
        );
    }
    if random.one_in(6) {
        exec.insert("provideClusterInfo".into(), true.into());
    }
    exec.insert("installHint".into(), random.pick(&["", "get it"]).into());
    Value::Object(exec)
}

/// Draws words for flags and variables.
pub fn words(seed: u64, count: u64) -> Vec<String> {
    const PARTS: [&str; 34] = [
        "0",
        "1",
        "7",
        "9",
        "10",
        "-",
        "+",
        "_",
        ".",
        "0x",
        "0X",
        "0b",
        "0o",
        "0O",
        "f",
        "t",
        "true",
        "True",
        "false",
        "FALSE",
        "h",
        "m",
        "s",
        "ms",
        "us",
        "µs",
        "ns",
        "1h",
        "30m",
        "1.5",
        " ",
        "9223372036854775807",
        "08",
        "e",
    ];
    let mut random = Random::new(seed);
    (0..count).map(|_| (0..=random.below(4)).map(|_| random.pick(&PARTS)).collect()).collect()
}
