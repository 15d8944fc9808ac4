//! What can go wrong with a server, in the words of the person who must mend it.

use std::io;

use driver_api::DriverError;
use job_model::FailureCode;

/// What a server said.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{severity} {code}: {message}{}{}", or_empty(": ", detail.as_deref()), or_empty("; ", hint.as_deref()))]
pub struct ServerError {
    /// `ERROR` or `FATAL`.
    pub severity: String,
    /// Five characters: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub code: String,
    /// The message.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What the server would try.
    pub hint: Option<String>,
}

fn or_empty(prefix: &str, text: Option<&str>) -> String {
    text.map(|text| format!("{prefix}{text}")).unwrap_or_default()
}

/// Why a server could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// No credential profile of that name, or one that cannot be used.
    #[error("credential profile `{name}`: {problem}")]
    Profile {
        /// Its name in the worker's configuration.
        name: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Nobody answers.
    #[error("server `{server}` cannot be reached; start it, or correct the resource's location")]
    Unreachable {
        /// Host and port, or socket.
        server: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The server cannot be trusted, or has no TLS.
    #[error("TLS: {problem}")]
    Tls {
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The server asks for something this client cannot give.
    #[error("log in: {problem}")]
    Login {
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The connection broke, or what came over it made no sense.
    #[error("the connection to the server broke")]
    Broken(#[source] io::Error),
    /// The server refused.
    #[error("the server refused")]
    Server(#[from] ServerError),
    /// The server is set up in a way that does not allow it.
    #[error("{problem}")]
    NotReady {
        /// What is missing and how to mend it.
        problem: String,
    },
    /// An answer that was not expected.
    #[error("unexpected answer of the server: {problem}")]
    Unexpected {
        /// What.
        problem: String,
    },
    /// A tool of PostgreSQL is missing or failed.
    #[error("`{tool}`: {problem}")]
    Tool {
        /// Its name.
        tool: String,
        /// What it said, or how to get it.
        problem: String,
    },
}

impl PgError {
    /// The server's five-character code, where it spoke.
    #[must_use]
    pub fn sql_state(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            _ => None,
        }
    }

    /// The code for facts, scripts and alerts.
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        match self {
            Self::Profile { .. } => FailureCode::CredentialProfileUnknown,
            Self::Unreachable { .. } | Self::Broken(_) => FailureCode::ServerUnreachable,
            Self::Tls { .. } | Self::Login { .. } => FailureCode::CredentialsRefused,
            Self::NotReady { .. } => FailureCode::ServerNotReady,
            Self::Unexpected { .. } | Self::Tool { .. } => FailureCode::SourceReadFailed,
            // 28: authorization; 42501: privilege; 3D000: database; 53300 and 53400: slots; 55000: wal_level; 57: going down.
            Self::Server(error) => match error.code.as_str() {
                code if code.starts_with("28") => FailureCode::CredentialsRefused,
                "42501" => FailureCode::CredentialsRefused,
                "3D000" => FailureCode::ResourceNotFound,
                "53100" => FailureCode::NoSpace,
                "53300" | "53400" | "55000" | "55006" | "58P01" => FailureCode::ServerNotReady,
                code if code.starts_with("57") || code.starts_with("08") => FailureCode::ServerUnreachable,
                _ => FailureCode::SourceReadFailed,
            },
        }
    }
}

impl From<PgError> for DriverError {
    fn from(error: PgError) -> Self {
        let code = error.failure_code();
        // The server's own words stand in the source; the sentence above it must say what to do.
        let problem = match &error {
            PgError::Server(server) => format!("{}{}", error, mend(server)),
            _ => error.to_string(),
        };
        Self::Service { code, problem, source: Some(Box::new(error)) }
    }
}

/// What to do about an answer of the server.
fn mend(error: &ServerError) -> &'static str {
    match error.code.as_str() {
        "28P01" => "; correct the password of the credential profile",
        "28000" if error.message.contains("pg_hba.conf") => {
            "; add a line for this host, user and database (or `replication`) to the server's pg_hba.conf"
        }
        "28000" => "; give the role of the credential profile LOGIN and the rights it needs",
        "42501" => "; give the role of the credential profile REPLICATION, and membership in `pg_read_all_data`",
        "53300" => "; raise `max_wal_senders` or `max_connections` at the server, or close connections",
        "53400" => "; raise `max_replication_slots` at the server, or drop a slot that nobody uses",
        "53100" => "; free space at the server",
        "55000" => "; set `wal_level = replica` at the server and restart it",
        "57P03" => "; wait until the server is up",
        "58P01" => "; a file or directory of the server is missing, for example a tablespace's: bring it back",
        "3D000" => "; correct the database in the resource's location",
        _ => "",
    }
}
