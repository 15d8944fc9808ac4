//! What a command can fail with, and the exit code of each.

use std::io;
use std::path::PathBuf;

use job_model::JobId;

use crate::exit::Exit;

/// A boxed cause from another crate.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line is wrong in a way that its grammar cannot say.
    #[error("{message}")]
    Usage {
        /// What is wrong and the mend.
        message: String,
    },
    /// A file named on the command line cannot be read.
    #[error("cannot read `{}`", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file named on the command line has the wrong content.
    #[error("`{}`: {problem}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        problem: String,
    },
    /// Something named does not exist.
    #[error("there is no {what} `{name}`; `{look}` shows what there is")]
    NotFound {
        /// `vault`, `plan`, …
        what: &'static str,
        /// As it was given.
        name: String,
        /// The command that lists them.
        look: &'static str,
    },
    /// A name fits more than one thing.
    #[error("more than one {what} is called `{name}`: {candidates}; give the full ARN or id")]
    Ambiguous {
        /// `vault`, `plan`, …
        what: &'static str,
        /// As it was given.
        name: String,
        /// What it may mean.
        candidates: String,
    },
    /// A service refused.
    #[error("refused ({code}){}: {message}", if field.is_empty() { String::new() } else { format!(" because of `{field}`") })]
    Refused {
        /// AWS's error name.
        code: String,
        /// The field that is wrong.
        field: String,
        /// What is wrong and the mend.
        message: String,
    },
    /// Nothing says where the bus is.
    #[error(
        "no Holdfast runs with the state directory `{}`; start one with `holdfast up --state {}`, or name another bus with `--url`",
        state.display(), state.display()
    )]
    NoConnection {
        /// The state directory.
        state: PathBuf,
    },
    /// The description of a running `holdfast up` is there but cannot be used.
    #[error("the description of the running Holdfast in `{}` cannot be used; start `holdfast up` again", path.display())]
    BadEndpoint {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The bus cannot be reached.
    #[error("the bus at `{url}` cannot be used; look whether `holdfast up` runs, or correct `--url`")]
    Unreachable {
        /// Its address.
        url: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The gateway cannot be reached.
    #[error("the gateway at `{url}` cannot be used; look whether it runs, or correct `--url`")]
    ApiUnreachable {
        /// Its address.
        url: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The bus did not take or bring a message.
    #[error("could not {step}; look whether `holdfast up` runs and at its logs")]
    Bus {
        /// What was tried.
        step: &'static str,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// A service did not answer in time.
    #[error(
        "the {service} did not answer within {seconds} s; look at its log. A request that was sent may still be carried out: `holdfast job list` shows it"
    )]
    NoAnswer {
        /// The service.
        service: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// An answer does not make sense.
    #[error("the {service} gave an answer this version does not understand; use one version of Holdfast everywhere")]
    BadAnswer {
        /// The service.
        service: &'static str,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// A job that was waited for ended badly.
    #[error("job {job} ended {state}: {message}")]
    JobFailed {
        /// The job.
        job: JobId,
        /// Its state.
        state: String,
        /// Its status message.
        message: String,
    },
    /// A restore test, a check or the demo did not prove what it is for.
    #[error("{message}")]
    NotProven {
        /// What is not proven and where to look.
        message: String,
    },
    /// A vault cannot be opened or read from here.
    #[error("cannot read the vault `{vault}` from here")]
    Vault {
        /// Its ARN.
        vault: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// Something the process tree needs cannot be had.
    #[error("{step}")]
    Start {
        /// What was tried, and the mend.
        step: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// Another `up` works in the directory.
    #[error("another `holdfast up` (process {pid}) works in `{}`; stop it, or choose another `--state`", state.display())]
    AlreadyRunning {
        /// The state directory.
        state: PathBuf,
        /// The other's process id, as its lock file says.
        pid: String,
    },
    /// A program this needs is not installed.
    #[error("`{program}` is needed and cannot be found; {mend}")]
    ProgramMissing {
        /// The program.
        program: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The operating system refused something that should work.
    #[error("{step}")]
    Io {
        /// What was tried, with the path.
        step: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// An operating system error with what was tried.
    pub(crate) fn io(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into() }
    }

    /// The exit code.
    #[must_use]
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::ReadFile { .. } | Self::BadFile { .. } | Self::Ambiguous { .. } => Exit::Usage,
            Self::NotFound { .. } | Self::Refused { .. } | Self::AlreadyRunning { .. } => Exit::Refused,
            Self::NoConnection { .. }
            | Self::BadEndpoint { .. }
            | Self::Unreachable { .. }
            | Self::ApiUnreachable { .. }
            | Self::Bus { .. }
            | Self::NoAnswer { .. } => Exit::Unreachable,
            Self::JobFailed { .. } | Self::NotProven { .. } | Self::Interrupted => Exit::Failed,
            Self::BadAnswer { .. }
            | Self::Vault { .. }
            | Self::Start { .. }
            | Self::ProgramMissing { .. }
            | Self::Io { .. } => Exit::Internal,
        }
    }

    /// The message with its chain of causes, on one line.
    #[must_use]
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

/// An error with its causes, `: ` between them.
#[must_use]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
