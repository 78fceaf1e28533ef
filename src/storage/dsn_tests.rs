//! Connection strings as Helm's client reads them.

use super::*;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Hosts, user, password, database, what of TLS, options: all that a connection is made of.
fn described(text: &str, more: &[(&str, &str)]) -> String {
    let database = match Database::parse(text, &env(more)) {
        Ok(database) => database,
        Err(why) => return why,
    };
    let hosts: Vec<String> = database
        .hosts()
        .iter()
        .map(|host| {
            let address = host.address.as_ref().map(|address| format!("({address})")).unwrap_or_default();
            format!("{}{address}:{}", host.name, host.port)
        })
        .collect();
    let get = |name| database.get(name).unwrap_or("-");
    format!(
        "{} {} {} {} {:?} {}",
        hosts.join(","),
        get("user"),
        get("password"),
        get("dbname"),
        database.tls(),
        database.options()
    )
    .trim_end()
    .to_owned()
}

#[test]
fn connection_strings_are_read_as_helms_client_reads_them() {
    for (text, expected) in [
        ("", "localhost:5432 - - - Require"),
        ("postgres://ada:p%40ss%2Fw@db.example/helm", "db.example:5432 ada p@ss/w helm Require"),
        ("postgresql://ada@[::1]:6000/helm?sslmode=disable", "::1:6000 ada - helm Off"),
        ("postgres://db/helm?user=ada&password=a+b&sslmode=verify-full", "db:5432 ada a b helm VerifyFull"),
        ("postgres://one,two/helm?port=5432,6543", "one:5432,two:6543 - - helm Require"),
        ("host=db user=ada password='it\\'s a \\\\' dbname=helm", "db:5432 ada it's a \\ helm Require"),
        ("user = ada  password = a\\ b host=/run/postgresql", "/run/postgresql:5432 ada a b - Require"),
        ("host=db hostaddr=10.0.0.1 sslmode=verify-ca", "db(10.0.0.1):5432 - - - VerifyCa"),
        ("host=db sslrootcert=system", "db:5432 - - - VerifyFull"),
        ("host=db database=old password=''", "db:5432 - - old Require"),
        (
            "host=db search_path='helm, public' options='-c geqo=off' sslmode=prefer",
            "db:5432 - - - Prefer -c geqo=off -c search_path=helm,\\ public",
        ),
        (
            "host=db connect_timeout=x",
            "HELM_DRIVER_SQL_CONNECTION_STRING: connect_timeout is not a number of seconds",
        ),
        ("host=db port=http", "HELM_DRIVER_SQL_CONNECTION_STRING: port is not a number"),
        (
            "host=a,b port=1,2,3",
            "HELM_DRIVER_SQL_CONNECTION_STRING: host, hostaddr and port have lists of different length",
        ),
        (
            "host=db sslmode=always",
            "HELM_DRIVER_SQL_CONNECTION_STRING: sslmode is disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "host=db sslmode=require sslrootcert=system",
            "HELM_DRIVER_SQL_CONNECTION_STRING: sslrootcert=system needs sslmode=verify-full",
        ),
        (
            "service=prod",
            "HELM_DRIVER_SQL_CONNECTION_STRING: service files are not read; name host, port, dbname and user",
        ),
    ] {
        assert_eq!(described(text, &[]), expected, "{text}");
    }
}

#[test]
fn variables_say_what_the_connection_string_leaves_out() {
    let variables = [
        ("PGHOST", "env"),
        ("PGUSER", "eve"),
        ("PGPASSWORD", "hunter2"),
        ("PGSSLMODE", "disable"),
        ("PGPORT", "1"),
    ];
    assert_eq!(described("", &variables), "env:1 eve hunter2 - Off");
    assert_eq!(described("postgres://ada:x@db:2/helm", &variables), "db:2 ada x helm Off");
}

#[test]
fn no_error_and_no_description_has_a_password_in_it() {
    for text in [
        "host=db password=hunter2 with blanks",
        "password='hunter2",
        "password=hunter2\\",
        "postgres://ada:hunter2@db:hunter2/helm",
        "postgres://ada:%ff@db/hunter2%ff",
        "host=db password=hunter2 port=hunter2",
        "host=db password=hunter2 sslmode=hunter2",
    ] {
        let why = Database::parse(text, &Env::new()).unwrap_err();
        assert!(!why.contains("hunter2"), "{why}");
    }
    let database = Database::parse("postgres://ada:hunter2@db/helm", &Env::new()).unwrap();
    assert_eq!(format!("{database:?} {}", database.place()), "db:5432/helm db:5432/helm");
    assert_eq!(database.secrets(), ["hunter2", "postgres://ada:hunter2@db/helm"]);
}

#[test]
fn a_password_file_is_read_line_by_line() {
    let file = "# all of it\n*:*:other:*:no\nnot a line\ndb:5432:helm:ada:it\\:s\\\\\nlocalhost:*:*:*:local\n*:*:*:*:any\n";
    let host = |name: &str, port| Host { name: name.to_owned(), address: None, port };
    for (host, user, expected) in [
        (host("db", 5432), "ada", "it:s\\"),
        (host("db", 5433), "ada", "any"),
        (host("/run/postgresql", 5432), "eve", "local"),
        (host("localhost", 1), "eve", "local"),
    ] {
        assert_eq!(password_in(file, &host, "helm", user).as_deref(), Some(expected), "{host:?} {user}");
    }
    assert_eq!(password_in("db:1:a:b:c", &host("db", 2), "a", "b"), None);
}

#[test]
fn what_the_server_says_is_sorted_by_what_to_do() {
    for (code, expected) in [
        ("28P01", "refuses the connection"),
        ("3D000", "refuses the connection"),
        ("42501", "no permission"),
        ("57P03", "cannot be reached"),
        ("25006", "db:5432/helm: no (SQLSTATE 25006)"),
    ] {
        let said = DatabaseError::of_server("db:5432/helm", code, "no");
        assert!(said.to_string().contains(expected), "{said}");
    }
}
