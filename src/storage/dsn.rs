//! The way to the database that holds Helm's records: `HELM_DRIVER_SQL_CONNECTION_STRING`, read as Helm's own client for
//! Postgres (lib/pq) reads it, and the variables beside it.
//! Pure: the database is connected to in `store/line.rs`.

use std::{collections::BTreeMap, fmt, time::Duration};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::env::Env;

/// The variable that holds the connection string.
pub const CONNECTION: &str = "HELM_DRIVER_SQL_CONNECTION_STRING";

/// Settings that are heeded, each with the variable that says the same where the connection string does not.
const SETTINGS: [(&str, &str); 19] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", "PGSSLSNI"),
    ("service", "PGSERVICE"),
    ("sslinline", ""),
];

/// Settings of Helm's client that make no difference to a look at its tables.
const IDLE: [&str; 12] = [
    "fallback_application_name",
    "krbsrvname",
    "krbspn",
    "binary_parameters",
    "disable_prepared_binary_result",
    "client_encoding",
    "datestyle",
    "load_balance_hosts",
    "min_protocol_version",
    "max_protocol_version",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
];

/// Which database, and as whom. Holds the password: it is shown by its [`Database::place`] alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    settings: BTreeMap<String, String>,
    /// The user's home directory, where certificates and a password file may be.
    home: Option<String>,
    /// The connection string, which Helm may quote.
    given: String,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// A server that may be the one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name, an address, or the directory of a socket.
    pub name: String,
    /// Where it is, if no name need be looked up.
    pub address: Option<String>,
    /// Port.
    pub port: u16,
}

impl Host {
    /// Is it reached by a socket in a directory?
    pub fn is_local(&self) -> bool {
        self.address.is_none() && self.name.starts_with('/')
    }
}

/// `sslmode`: is there TLS, and what of the server's certificate is looked at?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Off,
    /// If the server can; its certificate may be anybody's. (`allow` is that too: Helm's client would first try without.)
    Prefer,
    /// Always; the certificate may be anybody's, unless there is a root to hold it against. Helm's default.
    Require,
    /// By an authority that is known.
    VerifyCa,
    /// And for this host.
    VerifyFull,
}

impl Database {
    /// Reads a connection string, a URL or `key=value` pairs, and the variables for what it leaves out.
    ///
    /// # Errors
    /// With a sentence that quotes no value.
    pub fn parse(text: &str, env: &Env) -> Result<Self, String> {
        let given = match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            Some(rest) => from_url(rest),
            None => from_pairs(text),
        };
        let mut settings = given.map_err(|why| format!("{CONNECTION}: {why}"))?;
        if let Some(name) = settings.remove("database") {
            settings.insert("dbname".into(), name);
        }
        for (name, variable) in SETTINGS {
            if let Some(value) = env.get(variable).filter(|_| !settings.contains_key(name)) {
                settings.insert(name.into(), value.clone());
            }
        }
        settings.retain(|name, value| !value.is_empty() && !IDLE.contains(&name.as_str()));
        let home = env.get("HOME").filter(|home| !home.is_empty()).cloned();
        let database = Self { settings, home, given: text.to_owned() };
        database.check().map_err(|why| format!("{CONNECTION}: {why}"))?;
        Ok(database)
    }

    fn check(&self) -> Result<(), String> {
        if self.get("service").is_some() {
            return Err("service files are not read; name host, port, dbname and user".into());
        }
        self.all_hosts()?;
        self.tls_mode()?;
        if self.get("sslrootcert") == Some("system") && self.tls() != Tls::VerifyFull {
            return Err("sslrootcert=system needs sslmode=verify-full".into());
        }
        match self.get("connect_timeout").map(str::parse::<i64>) {
            Some(Err(_)) => Err("connect_timeout is not a number of seconds".into()),
            _ => Ok(()),
        }
    }

    /// A setting that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A file that is named by a setting, or has this name in the home directory; and whether it must be there.
    pub fn file(&self, name: &str, at_home: &str) -> Option<(String, bool)> {
        let named = self.get(name).map(|file| (file.to_owned(), true));
        named.or_else(|| Some((format!("{}/{at_home}", self.home.as_deref()?), false)))
    }

    /// Servers, in the order in which they are to be tried.
    pub fn hosts(&self) -> Vec<Host> {
        self.all_hosts().unwrap_or_default()
    }

    fn all_hosts(&self) -> Result<Vec<Host>, String> {
        let list = |name: &str| -> Vec<&str> {
            self.get(name).map(|list| list.split(',').collect()).unwrap_or_default()
        };
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = names.len().max(addresses.len()).max(1);
        let fits = |list: &[&str]| list.is_empty() || list.len() == count;
        if !fits(&names) || !fits(&addresses) || !(fits(&ports) || ports.len() == 1) {
            return Err("host, hostaddr and port have lists of different length".into());
        }
        let host = |index: usize| {
            let address = addresses.get(index).filter(|address| !address.is_empty());
            let address = address.map(|address| (*address).to_owned());
            let port = match ports.get(index).or(ports.first()) {
                None | Some(&"") => 5432,
                Some(port) => port.parse().map_err(|_| "port is not a number".to_owned())?,
            };
            let name = names.get(index).filter(|name| !name.is_empty()).map_or("localhost", |name| name);
            if name.starts_with('@') {
                return Err("abstract sockets are not known".to_owned());
            }
            Ok(Host { name: name.to_owned(), address, port })
        };
        (0..count).map(host).collect()
    }

    /// What is wanted of TLS.
    pub fn tls(&self) -> Tls {
        self.tls_mode().unwrap_or(Tls::VerifyFull)
    }

    fn tls_mode(&self) -> Result<Tls, String> {
        match self.get("sslmode") {
            None if self.get("sslrootcert") == Some("system") => Ok(Tls::VerifyFull),
            None | Some("require") => Ok(Tls::Require),
            Some("disable") => Ok(Tls::Off),
            Some("allow" | "prefer") => Ok(Tls::Prefer),
            Some("verify-ca") => Ok(Tls::VerifyCa),
            Some("verify-full") => Ok(Tls::VerifyFull),
            Some(_) => Err("sslmode is disable, allow, prefer, require, verify-ca or verify-full".into()),
        }
    }

    /// How long a connection to one server may take.
    pub fn patience(&self) -> Option<Duration> {
        let seconds = self.get("connect_timeout")?.parse::<u64>().ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// `options` of the session: those that are given, and every setting that is not one of the client but of the server,
    /// such as `search_path`.
    pub fn options(&self) -> String {
        let of_server = |name: &str| !SETTINGS.iter().any(|(known, _)| *known == name);
        let given = self.get("options").map(str::to_owned);
        let more = self.settings.iter().filter(|(name, _)| of_server(name)).map(|(name, value)| {
            let value: String = value
                .chars()
                .flat_map(|c| (c == '\\' || c.is_whitespace()).then_some('\\').into_iter().chain([c]))
                .collect();
            format!("-c {name}={value}")
        });
        given.into_iter().chain(more).collect::<Vec<_>>().join(" ")
    }

    /// `host:port/dbname`, of the first server: what may be shown.
    pub fn place(&self) -> String {
        let Some(host) = self.hosts().into_iter().next() else { return String::new() };
        let name = self.get("dbname").or(self.get("user")).unwrap_or_default();
        format!("{}:{}/{name}", host.name, host.port)
    }

    /// What must be shown nowhere.
    pub fn secrets(&self) -> Vec<String> {
        let settings = ["password", "sslkey"].into_iter().filter_map(|name| self.get(name));
        settings.chain([self.given.as_str()]).map(str::to_owned).collect()
    }
}

/// The rest of a URL, behind its scheme: `user:password@host:port/dbname?name=value`.
fn from_url(rest: &str) -> Result<BTreeMap<String, String>, String> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| "it is not UTF-8".to_owned())
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (who, at) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let (host, port) = match at.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (at, ""),
    };
    if !port.chars().all(|digit| digit.is_ascii_digit()) {
        return Err("the port in the URL is not a number".into());
    }
    let mut settings = BTreeMap::new();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let parts = [("user", user), ("password", password), ("host", host), ("port", port), ("dbname", path)];
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    for (name, value) in parts.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())) {
        settings.insert(name, decoded(&value)?);
    }
    for (name, value) in pairs {
        let value = decoded(&value.replace('+', " "))?;
        if !value.is_empty() {
            settings.insert(decoded(name)?, value);
        }
    }
    settings.retain(|_, value| !value.is_empty());
    Ok(settings)
}

/// `name=value` pairs; quotes hold blanks, and a backslash takes the next character as it is.
fn from_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    let mut letters = text.trim_start().chars().peekable();
    while letters.peek().is_some() {
        let mut name = String::new();
        while let Some(letter) = letters.next_if(|letter| *letter != '=' && !letter.is_whitespace()) {
            name.push(letter);
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        if letters.next() != Some('=') {
            // What stands there may be a part of a password.
            return Err("a part of it has no =".into());
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let is_quoted = letters.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match letters.next() {
                Some('\'') if is_quoted => break,
                Some('\\') => value.push(letters.next().ok_or("it ends with a backslash")?),
                Some(letter) if !is_quoted && letter.is_whitespace() => break,
                Some(letter) => value.push(letter),
                None if is_quoted => return Err("a quote in it is not closed".into()),
                None => break,
            }
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        settings.insert(name, value);
    }
    Ok(settings)
}

/// The password that a password file has for who asks: `host:port:dbname:user:password`, a line each, `*` for any.
pub fn password_in(file: &str, host: &Host, dbname: &str, user: &str) -> Option<String> {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let [at, port, name, who, password] = <[String; 5]>::try_from(fields).ok()?;
        let fits = |wanted: &str, is: &str| wanted == "*" || wanted == is;
        let fits_host = fits(&at, &host.name) || (at == "localhost" && host.is_local());
        let fits_all =
            fits_host && fits(&port, &host.port.to_string()) && fits(&name, dbname) && fits(&who, user);
        fits_all.then_some(password)
    })
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => letters.next(),
            letter => Some(letter),
        };
        if let Some(field) = fields.last_mut() {
            field.extend(letter);
        }
    }
    fields
}

/// Why the database did not do what was asked. The texts of the server have no password in them.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Nobody is there, or nobody answers, or TLS fails.
    #[error("the database of Helm's records at {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// There is a server, but it does not take this user, password or database.
    #[error("the database of Helm's records at {0} refuses the connection: {1}")]
    Denied(String, String),
    /// The user may not.
    #[error("no permission for Helm's records in the database at {0}: {1}")]
    Forbidden(String, String),
    /// It refused in another way.
    #[error("the database of Helm's records at {0}: {1}")]
    Refused(String, String),
}

impl DatabaseError {
    /// By the server's code and words.
    pub fn of_server(place: &str, code: &str, message: &str) -> Self {
        let (place, message) = (place.to_owned(), format!("{message} (SQLSTATE {code})"));
        match code {
            // Wrong password, no such role, no line for it in pg_hba.conf; no such database.
            "3D000" => Self::Denied(place, message),
            code if code.starts_with("28") => Self::Denied(place, message),
            "42501" => Self::Forbidden(place, message),
            // It starts, shuts down, or has too many connections.
            "57P01" | "57P02" | "57P03" | "53300" => Self::Unreachable(place, message),
            _ => Self::Refused(place, message),
        }
    }

    /// What to do about it.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => {
                "is it up? try: psql \"$HELM_DRIVER_SQL_CONNECTION_STRING\" -c 'SELECT 1'"
            }
            Self::Denied(..) => {
                "check user, password and dbname in HELM_DRIVER_SQL_CONNECTION_STRING, and PGPASSWORD"
            }
            Self::Forbidden(..) => {
                "let the role own Helm's tables, or be a member of the role that does: GRANT OWNER TO ROLE; Helm sets row level \
                 security, so GRANT SELECT alone shows no row"
            }
            Self::Refused(..) => "try: helm list -A, with the same HELM_DRIVER_SQL_CONNECTION_STRING",
        }
    }
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
