//! restic and rustic: what we write must be theirs too.

use std::path::Path;
use std::process::{Command, Output};

use crate::workshop::Workshop;

/// A tool that reads vaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Referee {
    Restic,
    Rustic,
}

/// A program that knows a vault by its own means.
pub(crate) struct Reading<'a> {
    pub(crate) referee: Referee,
    /// In the referee's words: a path, or `s3:http://…`.
    pub(crate) repository: String,
    /// A file in the workshop.
    pub(crate) key: &'a str,
    /// For S3: key id and secret.
    pub(crate) credentials: Option<(&'a str, &'a str)>,
}

impl Referee {
    /// restic must be there; without rustic a line says what was left out.
    #[expect(clippy::print_stdout, reason = "what a test left out must be seen")]
    pub(crate) fn present() -> Vec<Self> {
        let rustic = Command::new("rustic").arg("--version").output().is_ok_and(|output| output.status.success());
        if rustic {
            vec![Self::Restic, Self::Rustic]
        } else {
            println!("rustic is not on the PATH: only restic reads these vaults");
            vec![Self::Restic]
        }
    }

    /// Reads a vault in a directory of the workshop.
    pub(crate) fn reading<'a>(self, workshop: &Workshop, vault: &str, key: &'a str) -> Reading<'a> {
        let repository = workshop.path(vault).display().to_string();
        Reading { referee: self, repository, key, credentials: None }
    }
}

impl Reading<'_> {
    fn run(&self, workshop: &Workshop, arguments: &[&str]) -> Output {
        let program = match self.referee {
            Referee::Restic => "restic",
            Referee::Rustic => "rustic",
        };
        let mut command = Command::new(program);
        command.args(["--repo", &self.repository, "--no-cache", "--password-file"]).arg(workshop.path(self.key));
        if self.referee == Referee::Rustic {
            command.arg("--no-progress");
        }
        // Whatever the machine has for them must not be used.
        command.args(arguments).env("HOME", workshop.path("")).env("LC_ALL", "C").env_remove("RESTIC_REPOSITORY");
        if let Some((id, secret)) = self.credentials {
            command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        }
        command.output().unwrap_or_else(|error| panic!("these tests need {program} on the PATH: {error}"))
    }

    fn succeed(&self, workshop: &Workshop, arguments: &[&str]) -> String {
        let output = self.run(workshop, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{:?} {arguments:?}\n{stdout}\n{stderr}", self.referee);
        stdout + &stderr
    }

    /// Reads every byte of the vault.
    pub(crate) fn agrees(&self, workshop: &Workshop) {
        let printed = self.succeed(workshop, &["check", "--read-data"]);
        let bad = printed.lines().find(|line| line.contains("[WARN]") || line.contains("[ERROR]"));
        assert_eq!(bad, None, "{printed}");
    }

    /// Makes a repository of its own and a backup in it, but for files of one name.
    pub(crate) fn back_up(&self, workshop: &Workshop, source: &Path, without: &str) {
        let source = source.to_str().unwrap();
        self.succeed(workshop, &["init"]);
        let glob = format!("!**/{without}");
        let exclude = match self.referee {
            Referee::Restic => ["--exclude", without],
            Referee::Rustic => ["--glob", &glob],
        };
        self.succeed(workshop, &[&["backup"], &exclude[..], &[source]].concat());
    }

    /// Restores a whole snapshot, but for files of one name.
    pub(crate) fn restore(&self, workshop: &Workshop, snapshot: &str, target: &Path, without: Option<&str>) {
        let target = target.to_str().unwrap();
        let glob;
        let arguments = match (self.referee, without) {
            (Referee::Restic, None) => vec!["restore", snapshot, "--target", target],
            (Referee::Restic, Some(name)) => vec!["restore", snapshot, "--target", target, "--exclude", name],
            (Referee::Rustic, None) => vec!["restore", snapshot, target],
            (Referee::Rustic, Some(name)) => {
                glob = format!("!**/{name}");
                vec!["restore", "--glob", &glob, snapshot, target]
            }
        };
        self.succeed(workshop, &arguments);
    }
}
