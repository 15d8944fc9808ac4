//! Where a server is and who logs in there: locations of resources and credential profiles of the worker.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use driver_api::DriverError;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::PgError;

/// The port servers listen at where nothing else is said.
const DEFAULT_PORT: u16 = 5432;

/// How a connection is encrypted and the server's identity checked; the meaning is libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// In the clear. For the own machine and networks that are trusted.
    Disable,
    /// Encrypted; anybody could be the server.
    Require,
    /// Encrypted; the certificate is signed by a trusted authority.
    VerifyCa,
    /// Encrypted; the certificate is signed by a trusted authority for the host's name.
    #[default]
    VerifyFull,
}

/// `[postgres.NAME]` in a worker's configuration: who logs in. Messages only name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialProfile {
    /// The role. It needs LOGIN, REPLICATION and membership in `pg_read_all_data`.
    pub user: String,
    /// A file with the password; white space around it is not part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// An environment variable of the worker's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// How connections over TCP are encrypted and checked.
    pub ssl_mode: SslMode,
    /// Authorities to trust in place of the system's, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_certificate: Option<PathBuf>,
    /// Where the server's `archive_command` puts its log, for locations with `log=archive`. Of one server alone; files are
    /// removed there once they are in the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_dir: Option<PathBuf>,
}

/// A profile with its secret read.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The role.
    pub user: String,
    /// The password; none where the server trusts the socket.
    pub password: Option<SecretString>,
    /// How connections over TCP are encrypted and checked.
    pub ssl_mode: SslMode,
    /// Authorities to trust in place of the system's.
    pub root_certificate: Option<PathBuf>,
}

impl CredentialProfile {
    /// Whether it can be used at all; the field and what is wrong with it.
    ///
    /// # Errors
    /// Names the key and the mend.
    pub fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        if self.user.trim().is_empty() {
            return Err(("user", "name the role that logs in"));
        }
        if self.password_file.is_some() && self.password_env.is_some() {
            return Err(("password_file", "set only one of `password_file` and `password_env`"));
        }
        if self.archive_dir.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            return Err(("archive_dir", "name an absolute directory"));
        }
        Ok(())
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// [`PgError::Profile`] when it cannot be read.
    pub fn credentials(&self, name: &str) -> Result<Credentials, PgError> {
        let failed = |problem: String| PgError::Profile { name: name.to_owned(), problem };
        let password = match (&self.password_file, &self.password_env) {
            (Some(path), _) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| failed(format!("`password_file` `{}` cannot be read: {e}", path.display())))?,
            ),
            (None, Some(variable)) => Some(std::env::var(variable).map_err(|_| {
                failed(format!("the variable `{variable}` of `password_env` is not set in the worker's environment"))
            })?),
            (None, None) => None,
        };
        Ok(Credentials {
            user: self.user.clone(),
            password: password.map(|text| SecretString::from(text.trim().to_owned())),
            ssl_mode: self.ssl_mode,
            root_certificate: self.root_certificate.clone(),
        })
    }
}

/// The credentials of a profile.
///
/// # Errors
/// [`PgError::Profile`] when there is none of that name, or its secret cannot be read.
pub fn credentials(profiles: &BTreeMap<String, CredentialProfile>, name: &str) -> Result<Credentials, PgError> {
    let profile = profiles.get(name).ok_or_else(|| PgError::Profile {
        name: name.to_owned(),
        problem: format!("it is not in this worker's configuration; add `[postgres.profiles.{name}]`"),
    })?;
    profile.credentials(name)
}

/// A host or the directory of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Name(String),
    /// The directory in which the server's socket lies.
    Socket(PathBuf),
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host or socket.
    pub host: Host,
    /// The port; part of the socket's name too.
    pub port: u16,
}

impl ServerAddress {
    /// Whether it is for certain that it listens on this machine.
    #[must_use]
    pub fn is_here(&self) -> bool {
        match &self.host {
            Host::Socket(_) => true,
            Host::Name(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Socket(directory) => write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port),
        }
    }
}

/// How a server is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Files where the server's data directory can be read here, else the stream.
    #[default]
    Auto,
    /// A base backup over the replication protocol.
    Stream,
    /// The server's files, read in parallel by this worker on the server's machine.
    Files,
    /// Dumps of databases or tables, made with `pg_dump`.
    Logical,
}

/// Where the log of a server that is followed comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFrom {
    /// The server sends it over a replication slot.
    #[default]
    Slot,
    /// The server's `archive_command` puts it into the directory that the credential profile names.
    Archive,
}

/// A location: `postgresql://db1.example:5432/?profile=main`, or `postgresql:///?host=/var/run/postgresql&profile=main`.
///
/// | part | meaning |
/// |---|---|
/// | host, port | where the server listens; or the query's `host` with the directory of its socket, and `port` |
/// | path | a database; with `method=logical` the one that is dumped, else the one queries begin in (`postgres`) |
/// | `profile` | credential profile of the worker's configuration |
/// | `method` | `auto`, `stream`, `files`, `logical` |
/// | `log` | where the log comes from when the server is followed: `slot`, or `archive` for one that cannot be streamed from |
/// | `table` | with `method=logical`: a table to dump, as patterns of `pg_dump --table`; may be repeated |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The server.
    pub server: ServerAddress,
    /// A database.
    pub database: Option<String>,
    /// Credential profile.
    pub profile: String,
    /// How it is captured.
    pub method: Method,
    /// Where the log comes from.
    pub log: LogFrom,
    /// Tables of a logical capture; empty for all.
    pub tables: Vec<String>,
}

impl Location {
    /// Understands a location.
    ///
    /// # Errors
    /// [`DriverError::BadLocation`] with what is wrong and how to mend it.
    pub fn parse(location: &str) -> Result<Self, DriverError> {
        let bad = |problem: String| DriverError::BadLocation { location: location.to_owned(), problem };
        let url = Url::parse(location)
            .map_err(|e| bad(format!("{e}; write it as `postgresql://host:5432/?profile=main`")))?;
        if url.scheme() != "postgresql" {
            return Err(bad("only `postgresql://host:port/?profile=name` is understood here".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let mend = "put them into a credential profile of the worker's configuration and name it with `profile=`";
            return Err(bad(format!("user and password do not belong into a location; {mend}")));
        }
        let mut host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .map(|host| Host::Name(host.trim_matches(['[', ']']).to_owned()));
        let mut port = url.port().unwrap_or(DEFAULT_PORT);
        let (mut profile, mut method, mut log, mut tables) = (None, Method::Auto, LogFrom::Slot, Vec::new());
        for (key, value) in url.query_pairs() {
            match &*key {
                "host" if value.starts_with('/') => host = Some(Host::Socket(PathBuf::from(&*value))),
                "host" => host = Some(Host::Name(value.into_owned())),
                "port" => port = value.parse().map_err(|_| bad(format!("`port={value}` is no port number")))?,
                "profile" => profile = Some(value.into_owned()),
                "table" => tables.push(value.into_owned()),
                "method" => {
                    method = match &*value {
                        "auto" => Method::Auto,
                        "stream" => Method::Stream,
                        "files" => Method::Files,
                        "logical" => Method::Logical,
                        _ => {
                            let known = "`auto`, `stream`, `files` and `logical`";
                            return Err(bad(format!("`method={value}` is not known; there are {known}")));
                        }
                    }
                }
                "log" => {
                    log = match &*value {
                        "slot" => LogFrom::Slot,
                        "archive" => LogFrom::Archive,
                        _ => return Err(bad(format!("`log={value}` is not known; there are `slot` and `archive`"))),
                    }
                }
                _ => {
                    return Err(bad(format!(
                        "`{key}=` is not known; there are host, port, profile, method, log, table"
                    )));
                }
            }
        }
        let host = host.ok_or_else(|| {
            bad("it names no host; write `postgresql://host:5432/…` or `?host=/directory/of/the/socket`".to_owned())
        })?;
        let profile = profile.ok_or_else(|| bad("name the credential profile: `?profile=main`".to_owned()))?;
        let database = url.path().trim_matches('/');
        let database = percent_decoded(database).map_err(bad)?;
        if !tables.is_empty() && method != Method::Logical {
            return Err(bad("`table=` needs `method=logical`: physical captures take the whole server".to_owned()));
        }
        if method == Method::Logical && database.is_empty() {
            return Err(bad("a logical capture needs a database: `postgresql://host:5432/shop?…`".to_owned()));
        }
        if method == Method::Logical && log == LogFrom::Archive {
            return Err(bad(
                "`log=archive` needs a physical capture: a dump has no log; leave one of both out".to_owned()
            ));
        }
        let database = (!database.is_empty()).then_some(database);
        Ok(Self { server: ServerAddress { host, port }, database, profile, method, log, tables })
    }

    /// The database queries begin in.
    #[must_use]
    pub fn first_database(&self) -> &str {
        self.database.as_deref().unwrap_or("postgres")
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                bytes.push(byte.ok_or_else(|| "`%` must be followed by two hexadecimal digits".to_owned())?);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "the database's name is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_name_hosts_and_sockets() {
        let tcp = Location::parse("postgresql://db1.example:5433/shop?profile=main&method=stream").unwrap();
        assert_eq!(tcp.server.to_string(), "db1.example:5433");
        assert_eq!((tcp.database.as_deref(), tcp.method), (Some("shop"), Method::Stream));
        let unix = Location::parse("postgresql:///?host=/tmp/pg%20x&port=5440&profile=p").unwrap();
        assert_eq!(unix.server.to_string(), "/tmp/pg x/.s.PGSQL.5440");
        assert_eq!(unix.first_database(), "postgres");
        assert_eq!((tcp.log, unix.log), (LogFrom::Slot, LogFrom::Slot));
        assert_eq!(Location::parse("postgresql://h/?profile=p&log=archive").unwrap().log, LogFrom::Archive);
        assert_eq!(Location::parse("postgresql://h/gr%C3%B6%C3%9Fe?profile=p").unwrap().database.unwrap(), "größe");
    }

    #[test]
    fn what_is_missing_or_does_not_belong_is_said() {
        for (location, problem) in [
            ("postgresql://user:secret@host/?profile=p", "user and password"),
            ("postgresql://host/", "profile"),
            ("postgresql:///?profile=p", "host"),
            ("postgresql://host/?profile=p&metod=files", "metod"),
            ("postgresql://host/?profile=p&table=x", "method=logical"),
            ("postgresql://host/?profile=p&method=logical", "database"),
            ("postgresql://host/?profile=p&log=/srv/wal", "`slot` and `archive`"),
            ("postgresql://host/db?profile=p&method=logical&log=archive", "physical"),
            ("s3://bucket", "postgresql://"),
        ] {
            let Err(DriverError::BadLocation { problem: found, .. }) = Location::parse(location) else {
                panic!("{location}");
            };
            assert!(found.contains(problem), "{location}: {found}");
        }
    }
}
