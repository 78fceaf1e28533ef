//! One kubeconfig file, as client-go reads it: `tools/clientcmd` on `sigs.k8s.io/yaml` and Go's JSON.
//! Pure: bytes in, values out. No text of the file is in an error: a token may be in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use crate::yaml;

/// The extension of a cluster that is for the plugin that logs in there.
const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// A kubeconfig, or several that were merged. It has secrets, so it is not shown.
#[derive(Clone, Default, PartialEq)]
pub struct Kubeconfig {
    /// `clusters`, by name.
    pub clusters: BTreeMap<String, Cluster>,
    /// `users`, by name.
    pub users: BTreeMap<String, User>,
    /// `contexts`, by name.
    pub contexts: BTreeMap<String, Context>,
    /// `current-context`; empty if there is none.
    pub current_context: String,
}

/// An entry of `clusters`. Empty is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// `server`.
    pub server: String,
    /// `tls-server-name`.
    pub tls_server_name: String,
    /// `insecure-skip-tls-verify`.
    pub insecure: bool,
    /// `certificate-authority`.
    pub ca_file: PathBuf,
    /// `certificate-authority-data`, decoded.
    pub ca_data: Vec<u8>,
    /// `proxy-url`.
    pub proxy_url: String,
    /// `disable-compression`.
    pub disable_compression: bool,
    /// What a plugin is told with `provideClusterInfo`.
    pub exec_config: Option<Value>,
}

/// An entry of `contexts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// `cluster`.
    pub cluster: String,
    /// `user`.
    pub user: String,
    /// `namespace`.
    pub namespace: String,
}

/// An entry of `users`. Empty is absent.
#[derive(Clone, Default, PartialEq)]
pub struct User {
    /// `client-certificate`.
    pub cert_file: PathBuf,
    /// `client-certificate-data`, decoded.
    pub cert_data: Vec<u8>,
    /// `client-key`.
    pub key_file: PathBuf,
    /// `client-key-data`, decoded.
    pub key_data: Vec<u8>,
    /// `token`.
    pub token: String,
    /// `tokenFile`.
    pub token_file: PathBuf,
    /// `as`, `as-uid`, `as-groups`, `as-user-extra`.
    pub impersonate: Impersonate,
    /// `username`.
    pub username: String,
    /// `password`.
    pub password: String,
    /// `auth-provider`.
    pub auth_provider: Option<AuthProvider>,
    /// `exec`.
    pub exec: Option<Exec>,
}

/// Whose rights requests are to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonate {
    /// `as`.
    pub user: String,
    /// `as-uid`.
    pub uid: String,
    /// `as-groups`.
    pub groups: Vec<String>,
    /// `as-user-extra`.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// `auth-provider`, a way to log in that client-go knows no more but for one name.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthProvider {
    /// `name`.
    pub name: String,
    /// `config`, with secrets.
    pub config: BTreeMap<String, String>,
}

/// `exec`: a program that logs in.
#[derive(Clone, Default, PartialEq)]
pub struct Exec {
    /// `command`.
    pub command: String,
    /// `args`.
    pub args: Vec<String>,
    /// `env`, names and values.
    pub env: Vec<(String, String)>,
    /// `apiVersion`.
    pub api_version: String,
    /// `installHint`.
    pub install_hint: String,
    /// `provideClusterInfo`.
    pub provide_cluster_info: bool,
    /// `interactiveMode`.
    pub interactive_mode: String,
}

/// Why a file is no kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is not YAML, or too much of it.
    #[error("it is {0}")]
    NotYaml(yaml::Unread),
    /// Its text has no encoding that Go knows.
    #[error("it is neither UTF-8 nor UTF-16")]
    Encoding,
    /// It says that it is something else.
    #[error("it says that it is something else than a kubeconfig of version v1 (kind, apiVersion)")]
    Kind,
    /// A value has another type than it must have.
    #[error("{0} has a value of the wrong type")]
    Type(&'static str),
    /// Two entries have one name.
    #[error("two entries of {0} have the same name")]
    Twice(&'static str),
}

impl Kubeconfig {
    /// Reads the content of a file. Nothing in it is an empty kubeconfig.
    ///
    /// # Errors
    /// When client-go does not read it either.
    pub fn read(content: &[u8]) -> Result<Self, Unread> {
        let text = decoded(content)?;
        let value = yaml::document(&text).map_err(Unread::NotYaml)?;
        let root = object(Some(&value), "the file")?;
        let (kind, version) = (string(root, "kind")?, string(root, "apiVersion")?);
        if !matches!(&*kind, "" | "Config") || !matches!(&*version, "" | "v1" | "/v1") {
            return Err(Unread::Kind);
        }
        let preferences = object(root.get("preferences"), "preferences")?;
        boolean(preferences, "colors")?;
        extension(preferences)?;
        extension(root)?;
        Ok(Self {
            clusters: named(root, "clusters", "cluster", cluster)?,
            users: named(root, "users", "user", user)?,
            contexts: named(root, "contexts", "context", context)?,
            current_context: string(root, "current-context")?,
        })
    }

    /// Makes relative paths absolute: they are relative to the folder of the file that names them.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        self.clusters.values_mut().for_each(|cluster| resolve(&mut cluster.ca_file));
        for user in self.users.values_mut() {
            resolve(&mut user.cert_file);
            resolve(&mut user.key_file);
            resolve(&mut user.token_file);
            // A command without a slash is looked for in PATH.
            if let Some(exec) = user.exec.as_mut().filter(|exec| exec.command.contains('/')) {
                let mut command = PathBuf::from(&exec.command);
                resolve(&mut command);
                exec.command = command.display().to_string();
            }
        }
    }

    /// Adds what another file says, where this one says nothing: of two entries with one name the first counts as a whole.
    pub fn merge(&mut self, other: Self) {
        fn add<T>(into: &mut BTreeMap<String, T>, from: BTreeMap<String, T>) {
            for (name, value) in from {
                into.entry(name).or_insert(value);
            }
        }
        add(&mut self.clusters, other.clusters);
        add(&mut self.users, other.users);
        add(&mut self.contexts, other.contexts);
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
    }
}

/// The text of a file, by its byte order mark.
fn decoded(content: &[u8]) -> Result<String, Unread> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).map(unit));
        let units: Vec<u16> = units.collect::<Result<_, _>>().map_err(|_| Unread::Encoding)?;
        String::from_utf16(&units).map_err(|_| Unread::Encoding)
    };
    match content {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        other => utf8(other),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Unread> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Unread::Encoding)
}

type Object = Map<String, Value>;

/// Nothing and null are an object without fields.
fn object<'a>(value: Option<&'a Value>, name: &'static str) -> Result<&'a Object, Unread> {
    static EMPTY: std::sync::LazyLock<Object> = std::sync::LazyLock::new(Object::new);
    match value {
        None | Some(Value::Null) => Ok(&EMPTY),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(Unread::Type(name)),
    }
}

fn text(value: Option<&Value>, name: &'static str) -> Result<String, Unread> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Unread::Type(name)),
    }
}

fn string(object: &Object, name: &'static str) -> Result<String, Unread> {
    text(object.get(name), name)
}

fn path(object: &Object, name: &'static str) -> Result<PathBuf, Unread> {
    string(object, name).map(PathBuf::from)
}

fn boolean(object: &Object, name: &'static str) -> Result<bool, Unread> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is)) => Ok(*is),
        Some(_) => Err(Unread::Type(name)),
    }
}

fn list<'a>(value: Option<&'a Value>, name: &'static str) -> Result<&'a [Value], Unread> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(Unread::Type(name)),
    }
}

fn strings(value: Option<&Value>, name: &'static str) -> Result<Vec<String>, Unread> {
    list(value, name)?.iter().map(|item| text(Some(item), name)).collect()
}

/// Bytes: base64, in which line ends do not count. Go takes a list of numbers too.
fn data(object: &Object, name: &'static str) -> Result<Vec<u8>, Unread> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let refused = |_| Unread::Type(name);
    if let Some(Value::Array(numbers)) = object.get(name) {
        let byte = |number: &Value| match number {
            Value::Null => Some(0),
            number => number.as_u64().and_then(|number| u8::try_from(number).ok()),
        };
        return numbers.iter().map(byte).collect::<Option<_>>().ok_or(Unread::Type(name));
    }
    let text = string(object, name)?.replace(['\r', '\n'], "");
    GeneralPurpose::new(&STANDARD, CONFIG).decode(text).map_err(refused)
}

/// A list of entries with a name and a content.
fn named<T>(
    root: &Object,
    name: &'static str,
    content: &'static str,
    read: fn(&Object) -> Result<T, Unread>,
) -> Result<BTreeMap<String, T>, Unread> {
    let mut all = BTreeMap::new();
    for item in list(root.get(name), name)? {
        let item = object(Some(item), name)?;
        let value = read(object(item.get(content), content)?)?;
        if all.insert(string(item, "name")?, value).is_some() {
            return Err(Unread::Twice(name));
        }
    }
    Ok(all)
}

/// The extension for plugins. The others must have names.
fn extension(of: &Object) -> Result<Option<Value>, Unread> {
    let mut all = BTreeMap::new();
    for item in list(of.get("extensions"), "extensions")? {
        let item = object(Some(item), "extensions")?;
        let value = item.get("extension").filter(|value| !value.is_null()).cloned();
        if all.insert(string(item, "name")?, value).flatten().is_some() {
            return Err(Unread::Twice("extensions"));
        }
    }
    Ok(all.remove(EXEC_EXTENSION).flatten())
}

fn cluster(from: &Object) -> Result<Cluster, Unread> {
    Ok(Cluster {
        server: string(from, "server")?,
        tls_server_name: string(from, "tls-server-name")?,
        insecure: boolean(from, "insecure-skip-tls-verify")?,
        ca_file: path(from, "certificate-authority")?,
        ca_data: data(from, "certificate-authority-data")?,
        proxy_url: string(from, "proxy-url")?,
        disable_compression: boolean(from, "disable-compression")?,
        exec_config: extension(from)?,
    })
}

fn context(from: &Object) -> Result<Context, Unread> {
    extension(from)?;
    Ok(Context {
        cluster: string(from, "cluster")?,
        user: string(from, "user")?,
        namespace: string(from, "namespace")?,
    })
}

fn user(from: &Object) -> Result<User, Unread> {
    extension(from)?;
    let extra = object(from.get("as-user-extra"), "as-user-extra")?;
    let extra =
        extra.iter().map(|(name, values)| Ok((name.clone(), strings(Some(values), "as-user-extra")?)));
    let present = |name| from.get(name).filter(|value| !value.is_null());
    Ok(User {
        cert_file: path(from, "client-certificate")?,
        cert_data: data(from, "client-certificate-data")?,
        key_file: path(from, "client-key")?,
        key_data: data(from, "client-key-data")?,
        token: string(from, "token")?,
        token_file: path(from, "tokenFile")?,
        impersonate: Impersonate {
            user: string(from, "as")?,
            uid: string(from, "as-uid")?,
            groups: strings(from.get("as-groups"), "as-groups")?,
            extra: extra.collect::<Result<_, _>>()?,
        },
        username: string(from, "username")?,
        password: string(from, "password")?,
        auth_provider: present("auth-provider").map(auth_provider).transpose()?,
        exec: present("exec").map(exec).transpose()?,
    })
}

fn auth_provider(value: &Value) -> Result<AuthProvider, Unread> {
    let from = object(Some(value), "auth-provider")?;
    let config = object(from.get("config"), "config")?;
    let config = config.iter().map(|(name, value)| Ok((name.clone(), text(Some(value), "config")?)));
    Ok(AuthProvider { name: string(from, "name")?, config: config.collect::<Result<_, _>>()? })
}

fn exec(value: &Value) -> Result<Exec, Unread> {
    let from = object(Some(value), "exec")?;
    let variable = |item: &Value| {
        let item = object(Some(item), "env")?;
        Ok((string(item, "name")?, string(item, "value")?))
    };
    let api_version = string(from, "apiVersion")?;
    let mut interactive_mode = string(from, "interactiveMode")?;
    // Newer versions must say it.
    let is_old = matches!(
        &*api_version,
        "client.authentication.k8s.io/v1beta1" | "client.authentication.k8s.io/v1alpha1"
    );
    if interactive_mode.is_empty() && is_old {
        interactive_mode = "IfAvailable".to_owned();
    }
    Ok(Exec {
        command: string(from, "command")?,
        args: strings(from.get("args"), "args")?,
        env: list(from.get("env"), "env")?.iter().map(variable).collect::<Result<_, _>>()?,
        api_version,
        install_hint: string(from, "installHint")?,
        provide_cluster_info: boolean(from, "provideClusterInfo")?,
        interactive_mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_client_go_reads_is_read() {
        let wide: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain("current-context: a".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        for (content, wanted) in [
            (b"".as_slice(), Ok("")),
            (b"# nothing\n", Ok("")),
            (b"\xef\xbb\xbfcurrent-context: a\n", Ok("a")),
            (&wide, Ok("a")),
            (b"{\"current-context\": \"a\", \"clusters\": null}", Ok("a")),
            (b"current-context: a\nkind: Config\napiVersion: v1\nsurprise: {x: [1]}\n", Ok("a")),
            (b"current-context: a\nclusters: [null]\n", Ok("a")),
            (b"current-context: a\nclusters:\n- name: x\n  cluster: {certificate-authority-data: \"aGk=\\r\\n\"}\n", Ok("a")),
            (b"current-context: 1\n", Err(Unread::Type("current-context"))),
            (b"Current-Context: a\n", Ok("")),
            (b"kind: Pod\n", Err(Unread::Kind)),
            (b"apiVersion: v2\n", Err(Unread::Kind)),
            (b"- a\n", Err(Unread::Type("the file"))),
            (b"users:\n- name: a\n- name: a\n", Err(Unread::Twice("users"))),
            (b"users:\n- name: a\n  user: {token: 12}\n", Err(Unread::Type("token"))),
            (b"clusters:\n- cluster: {insecure-skip-tls-verify: 'true'}\n", Err(Unread::Type("insecure-skip-tls-verify"))),
            (
                b"clusters:\n- cluster: {certificate-authority-data: a b}\n",
                Err(Unread::Type("certificate-authority-data")),
            ),
            (b"\xff\xff", Err(Unread::Encoding)),
        ] {
            let read = Kubeconfig::read(content).map(|read| read.current_context);
            assert_eq!(read.as_deref(), wanted.as_ref().copied(), "{:?}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_read_is_not_quoted() {
        for text in [
            "users:\n- name: a\n  user: {token: canary-token-5e1f\n  x: [canary-token-5e1f\n",
            "users: canary-token-5e1f\n",
            "users:\n- name: [canary-token-5e1f]\n",
        ] {
            let error = Kubeconfig::read(text.as_bytes()).err().unwrap().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_first_file_counts_and_each_has_its_own_folder() {
        let read = |text: &str, folder: &str| {
            let mut read = Kubeconfig::read(text.as_bytes()).unwrap();
            read.resolve_paths(Path::new(folder));
            read
        };
        let mut all = read("users:\n- {name: u, user: {token: first, tokenFile: t}}\n", "/one");
        all.merge(read(
            "current-context: c\nusers:\n- {name: u, user: {password: second}}\n- {name: v, user: {exec: {command: bin/x}, tokenFile: ../t}}\n",
            "/two",
        ));
        all.merge(read("current-context: d\n", "/three"));
        assert_eq!(all.current_context, "c");
        let (u, v) = (&all.users["u"], &all.users["v"]);
        assert_eq!((&*u.token, &*u.password, u.token_file.to_str()), ("first", "", Some("/one/t")));
        assert_eq!(v.exec.as_ref().unwrap().command, "/two/bin/x");
        assert_eq!(v.token_file.to_str(), Some("/two/../t"));
    }
}
