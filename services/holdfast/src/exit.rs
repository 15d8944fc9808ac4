//! Exit codes: what scripts go by. The numbers from 64 up are those of BSD's sysexits.h.

use std::process::ExitCode;

/// How the binary ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done as asked.
    Ok,
    /// It was done, and the outcome is bad: a job failed, a vault is damaged, a restore is not proven.
    Failed,
    /// The command line or a file named on it is wrong.
    Usage,
    /// What was named does not exist, or the request was refused; nothing changed.
    Refused,
    /// The bus or a service did not answer.
    Unreachable,
    /// A bug or a broken machine.
    Internal,
}

impl Exit {
    /// All of them, in the order of the reference page.
    pub const ALL: [Self; 6] = [Self::Ok, Self::Failed, Self::Usage, Self::Refused, Self::Unreachable, Self::Internal];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Refused => 66,
            Self::Unreachable => 69,
            Self::Internal => 70,
        }
    }

    /// What it means, for `--help` and the reference page.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => {
                "done, but the outcome is bad: the job failed, the vault is damaged, the restore is not proven"
            }
            Self::Usage => "the command line, or a file named on it, is wrong; nothing was sent",
            Self::Refused => "not found, or refused by the service; nothing changed",
            Self::Unreachable => "the bus or a service did not answer; look whether `holdfast up` runs",
            Self::Internal => "a bug, or the machine is broken; the message has the chain of causes",
        }
    }

    /// The section of `--help` about exit codes.
    #[must_use]
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            text.push_str(&format!("  {:>2}  {}\n", exit.code(), exit.meaning()));
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_reference_page_lists_every_code_with_its_meaning() {
        let page = include_str!("../../../docs/reference/cli-exit-codes.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(page.contains(&row), "docs/reference/cli-exit-codes.md lacks the row\n{row}");
        }
    }
}
