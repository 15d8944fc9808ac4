//! What a request can say about a restore and its check: AWS's restore metadata for RDS, and our own keys beside it.

use std::collections::BTreeMap;

use driver_api::DriverError;
use job_model::FailureCode;

/// Keys of AWS that describe machines, networks and prices, which a restore here does not make.
const WITHOUT_MEANING: &[&str] = &[
    "AllocatedStorage",
    "AutoMinorVersionUpgrade",
    "AvailabilityZone",
    "BackupRetentionPeriod",
    "CACertificateIdentifier",
    "CopyTagsToSnapshot",
    "DBInstanceClass",
    "DBInstanceIdentifier",
    "DBName",
    "DBParameterGroupName",
    "DBSubnetGroupName",
    "DedicatedLogVolume",
    "DeletionProtection",
    "Domain",
    "EnableCloudwatchLogsExports",
    "EnableCustomerOwnedIp",
    "EnableIAMDatabaseAuthentication",
    "Iops",
    "LicenseModel",
    "MultiAZ",
    "OptionGroupName",
    "PubliclyAccessible",
    "StorageThroughput",
    "StorageType",
    "UseDefaultProcessorFeatures",
    "VpcSecurityGroupIds",
    "aws:backup:request-id",
];

/// Keys that decide where a restore goes and what it may touch there; they were heard before it came here.
const HEARD: &[&str] = &["TargetLocation", "OverwritePolicy", "ItemsToRestore"];

/// Keys that say until when a continuous recovery point is rolled forward; whoever restores one reads them.
const OF_CONTINUOUS: &[&str] =
    &[job_model::RESTORE_TIME, job_model::RESTORE_LSN, job_model::RESTORE_POINT, job_model::USE_LATEST_RESTORABLE_TIME];

/// An assertion of the user's: SQL that must give `true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The database it runs in.
    pub database: String,
    /// Its name, for findings.
    pub name: String,
    /// A query that gives one value.
    pub sql: String,
}

/// Understood options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a server is started on what was restored, and "completed" means that it answers.
    pub start_server: bool,
    /// The port it listens at.
    pub port: Option<u16>,
    /// The directory of its socket.
    pub socket_directory: Option<String>,
    /// The addresses it listens at; none but the socket unless given.
    pub listen_addresses: Option<String>,
    /// For a dump: the database to make of it, as a location.
    pub restore_into: Option<String>,
    /// For a dump: objects belong to whoever restores, and nobody else gets rights.
    pub without_owners: bool,
    /// For a dump: the sections to restore; empty for all.
    pub sections: Vec<String>,
    /// Tables to restore; empty for all.
    pub tables: Vec<String>,
    /// The database the tables are in, where a recovery point has several.
    pub database: Option<String>,
    /// What the user wants to be true of what was restored.
    pub assertions: Vec<Assertion>,
    /// Keys that were understood and have no meaning here.
    pub without_meaning: Vec<String>,
}

impl Options {
    /// Understands options.
    ///
    /// | key | meaning |
    /// |---|---|
    /// | `StartServer` | `true`: start a server on the restored directory and wait until it is promoted and answers |
    /// | `Port` | the port of that server |
    /// | `SocketDirectory` | the directory of its socket |
    /// | `ListenAddresses` | the addresses it listens at, `listen_addresses` of PostgreSQL; none unless given |
    /// | `RestoreInto` | of a dump: a database that is made of it, `postgresql://host:5432/name?profile=main` |
    /// | `Owners` | with `RestoreInto`: `keep`, or `drop` where the roles are not there |
    /// | `Sections` | with `RestoreInto`: some of `pre-data`, `data`, `post-data`, separated by commas |
    /// | `Tables` | tables, separated by commas, as patterns of `pg_dump --table`; out of a server's files they become a dump |
    /// | `Database` | with `Tables` out of a server's files: where they are |
    /// | `Assert.<database>.<name>` | SQL that must give `true` in a restore test |
    ///
    /// # Errors
    /// For a key or a value that is not understood: nothing that is asked for is passed over.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, DriverError> {
        let mut parsed = Self::default();
        let bad = |key: &str, problem: &str| DriverError::Service {
            code: FailureCode::TargetInvalid,
            problem: format!("restore metadata `{key}`: {problem}"),
            source: None,
        };
        for (key, value) in options {
            match key.as_str() {
                "StartServer" => {
                    parsed.start_server = value.parse().map_err(|_| bad(key, "write `true` or `false`"))?;
                }
                "Port" => {
                    let port: u16 = value.parse().map_err(|_| bad(key, "write a port number"))?;
                    if port == 0 {
                        return Err(bad(key, "write a port number from 1"));
                    }
                    parsed.port = Some(port);
                }
                "SocketDirectory" if value.starts_with('/') && !value.contains(['\'', '\n', '\\', ',']) => {
                    parsed.socket_directory = Some(value.clone());
                }
                "SocketDirectory" => return Err(bad(key, "write an absolute directory without quotes and commas")),
                "ListenAddresses" => {
                    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | ',' | ' ' | '*');
                    if !value.chars().all(plain) {
                        return Err(bad(key, "write host names and addresses, separated by commas"));
                    }
                    parsed.listen_addresses = Some(value.clone());
                }
                "RestoreInto" => parsed.restore_into = Some(value.clone()),
                "Owners" if matches!(value.as_str(), "keep" | "drop") => parsed.without_owners = value == "drop",
                "Owners" => return Err(bad(key, "write `keep` or `drop`")),
                "Sections" => {
                    parsed.sections = list(value);
                    let known = ["pre-data", "data", "post-data"];
                    if !parsed.sections.iter().all(|section| known.contains(&section.as_str())) {
                        return Err(bad(key, "write some of `pre-data`, `data` and `post-data`"));
                    }
                }
                "Tables" => parsed.tables = list(value),
                "Database" => parsed.database = Some(value.clone()),
                "Engine" if matches!(value.as_str(), "postgres" | "postgresql") => {}
                "Engine" => return Err(bad(key, "this recovery point is of `postgres`")),
                key if key.starts_with("Assert.") => {
                    let (database, name) = key["Assert.".len()..]
                        .split_once('.')
                        .ok_or_else(|| bad(key, "write `Assert.<database>.<name>`"))?;
                    parsed.assertions.push(Assertion {
                        database: database.to_owned(),
                        name: name.to_owned(),
                        sql: value.clone(),
                    });
                }
                key if HEARD.iter().any(|heard| heard.eq_ignore_ascii_case(key)) => {}
                key if OF_CONTINUOUS.iter().any(|known| known.eq_ignore_ascii_case(key)) => {}
                key if WITHOUT_MEANING.contains(&key) => parsed.without_meaning.push(key.to_owned()),
                key => return Err(bad(key, "it is not known; leave it out")),
            }
        }
        let alone = [parsed.socket_directory.is_some(), parsed.listen_addresses.is_some()].contains(&true);
        if alone && !parsed.start_server {
            return Err(bad("StartServer", "`SocketDirectory` and `ListenAddresses` need `StartServer` = `true`"));
        }
        let into = parsed.without_owners || !parsed.sections.is_empty();
        if into && parsed.restore_into.is_none() {
            return Err(bad("RestoreInto", "`Owners` and `Sections` need it"));
        }
        Ok(parsed)
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, DriverError> {
        Options::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn aws_keys_are_taken_and_ours_understood() {
        let options = parse(&[
            ("DBInstanceIdentifier", "x"),
            ("MultiAZ", "false"),
            ("Port", "5440"),
            ("StartServer", "true"),
            ("Assert.shop.orders", "SELECT true"),
        ])
        .unwrap();
        assert_eq!((options.port, options.start_server), (Some(5440), true));
        assert_eq!(options.assertions[0].database, "shop");
        assert_eq!(options.without_meaning, ["DBInstanceIdentifier", "MultiAZ"]);
    }

    #[test]
    fn what_would_not_be_applied_is_refused() {
        for pairs in [
            &[("Prot", "5440")][..],
            &[("Port", "x")],
            &[("Port", "0")],
            &[("Engine", "mysql")],
            &[("SocketDirectory", "/a'b"), ("StartServer", "true")],
            &[("ListenAddresses", "*")],
            &[("ListenAddresses", "'; x"), ("StartServer", "true")],
            &[("Assert.shop", "SELECT true")],
        ] {
            assert!(parse(pairs).is_err(), "{pairs:?}");
        }
    }
}
