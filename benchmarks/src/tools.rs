//! How each tool is told to do the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::BenchError;
use crate::settings::{Tool, name};
use crate::step::{Kind, OTHER_PASSWORD, PASSWORD};

/// A tool, and the directory where it works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) tool: Tool,
    pub(crate) dir: &'a Path,
}

/// The first line of its version; none where it is not installed.
pub(crate) fn version(tool: Tool) -> Option<String> {
    match tool {
        Tool::Holdfast => Some(format!("holdfast {}", env!("CARGO_PKG_VERSION"))),
        Tool::Restic => said("restic", "version"),
        Tool::Rustic => said("rustic", "--version"),
        Tool::Borg => said("borg", "--version"),
    }
}

/// The first line a program says.
pub(crate) fn said(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

/// Names of repositories; the one that copies go to has another key.
pub(crate) const OTHER: &str = "other";

impl Bench<'_> {
    /// Where a repository lies.
    pub(crate) fn repository(&self, name_of: &str) -> PathBuf {
        self.dir.join(format!("{}-{name_of}", name(self.tool)))
    }

    /// Where restores go.
    fn targets(&self) -> PathBuf {
        self.dir.join(format!("{}-restored", name(self.tool)))
    }

    /// Where the next restore goes: a place that does not exist.
    pub(crate) fn target(&self) -> Result<PathBuf, BenchError> {
        let targets = self.targets();
        fs::create_dir_all(&targets).map_err(BenchError::io("create", &targets))?;
        let count = fs::read_dir(&targets).map_err(BenchError::io("list", &targets))?.count();
        Ok(targets.join(count.to_string()))
    }

    /// Removes what was restored.
    pub(crate) fn remove_targets(&self) -> Result<(), BenchError> {
        remove(&self.targets())
    }

    /// Removes a repository and what is kept beside it.
    pub(crate) fn remove(&self, name_of: &str) -> Result<(), BenchError> {
        let repository = self.repository(name_of);
        remove(&repository)?;
        remove(&repository.with_extension("last.json"))
    }

    pub(crate) fn init(&self, name_of: &str) -> Result<Command, BenchError> {
        let repository = self.repository(name_of);
        Ok(match self.tool {
            Tool::Holdfast => step(&["init"], &[&repository])?,
            Tool::Restic => {
                let mut command = self.restic(name_of);
                command.arg("init");
                command
            }
            Tool::Rustic => {
                let mut command = self.rustic(name_of);
                command.arg("init");
                command
            }
            Tool::Borg => {
                let mut command = self.borg();
                command.args(["init", "--encryption=repokey-blake2"]).arg(&repository);
                command
            }
        })
    }

    pub(crate) fn backup(&self, name_of: &str, kind: Kind, source: &Path) -> Result<Command, BenchError> {
        let repository = self.repository(name_of);
        Ok(match self.tool {
            Tool::Holdfast => step(&["backup"], &[&repository, Path::new(&name(kind)), source])?,
            Tool::Restic => {
                let mut command = self.restic(name_of);
                command.arg("backup").arg(source);
                command
            }
            Tool::Rustic => {
                let mut command = self.rustic(name_of);
                command.arg("backup").arg(source);
                command
            }
            Tool::Borg => {
                let mut command = self.borg();
                let archive = format!("{}::{{utcnow:%s}}-{{now:%f}}", repository.display());
                command.args(["create", "--compression=lz4"]).arg(archive).arg(source);
                command
            }
        })
    }

    /// With change tracking; the other tools have none.
    pub(crate) fn backup_tracked(&self, name_of: &str, kind: Kind, source: &Path) -> Result<Command, BenchError> {
        match self.tool {
            Tool::Holdfast => {
                step(&["backup", "--tracked"], &[&self.repository(name_of), Path::new(&name(kind)), source])
            }
            _ => self.backup(name_of, kind, source),
        }
    }

    /// None where the tool does it in another way than the others.
    pub(crate) fn restore(&self, name_of: &str, kind: Kind, source: &Path) -> Result<Option<Command>, BenchError> {
        let (repository, target) = (self.repository(name_of), self.target()?);
        Ok(match self.tool {
            Tool::Holdfast => Some(step(&["restore"], &[&repository, Path::new(&name(kind)), &target])?),
            Tool::Restic => {
                let mut command = self.restic(name_of);
                command.args(["restore", "latest", "--target"]).arg(&target);
                Some(command)
            }
            Tool::Rustic => {
                let mut command = self.rustic(name_of);
                command.arg("restore").arg(format!("latest:{}", source.display())).arg(&target);
                Some(command)
            }
            Tool::Borg => None,
        })
    }

    pub(crate) fn check(&self, name_of: &str) -> Result<Command, BenchError> {
        let repository = self.repository(name_of);
        Ok(match self.tool {
            Tool::Holdfast => step(&["check"], &[&repository])?,
            Tool::Restic => {
                let mut command = self.restic(name_of);
                command.args(["check", "--read-data"]);
                command
            }
            Tool::Rustic => {
                let mut command = self.rustic(name_of);
                command.args(["check", "--read-data"]);
                command
            }
            Tool::Borg => {
                let mut command = self.borg();
                command.args(["check", "--verify-data"]).arg(&repository);
                command
            }
        })
    }

    /// From a repository to [`OTHER`]; none where the tool has no such thing on its command line.
    pub(crate) fn copy(&self, name_of: &str) -> Result<Option<Command>, BenchError> {
        Ok(match self.tool {
            Tool::Holdfast => Some(step(&["copy"], &[&self.repository(name_of), &self.repository(OTHER)])?),
            Tool::Restic => {
                let mut command = self.restic(OTHER);
                command.arg("copy").arg("--from-repo").arg(self.repository(name_of)).arg("latest");
                command.env("RESTIC_FROM_PASSWORD", PASSWORD);
                Some(command)
            }
            Tool::Rustic | Tool::Borg => None,
        })
    }

    fn restic(&self, name_of: &str) -> Command {
        let mut command = Command::new("restic");
        command.arg("--repo").arg(self.repository(name_of)).arg("--cache-dir").arg(self.dir.join("restic-cache"));
        command.env("RESTIC_PASSWORD", password(name_of));
        command
    }

    fn rustic(&self, name_of: &str) -> Command {
        let mut command = Command::new("rustic");
        command.arg("--repository").arg(self.repository(name_of));
        command.arg("--cache-dir").arg(self.dir.join("rustic-cache")).arg("--no-progress");
        command.env("RUSTIC_PASSWORD", password(name_of));
        command
    }

    fn borg(&self) -> Command {
        let mut command = Command::new("borg");
        command.env("BORG_BASE_DIR", self.dir.join("borg-base")).env("BORG_PASSPHRASE", PASSWORD);
        // The repository is removed and made again between rounds.
        command.env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes").env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command
    }
}

fn password(name_of: &str) -> &'static str {
    if name_of == OTHER { OTHER_PASSWORD } else { PASSWORD }
}

/// This program again, for one operation.
pub(crate) fn step(words: &[&str], paths: &[&Path]) -> Result<Command, BenchError> {
    let this = std::env::current_exe().map_err(BenchError::io("find", "this program"))?;
    let mut command = Command::new(this);
    command.arg("step").args(words).args(paths);
    Ok(command)
}

/// Removes a file or a tree, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), BenchError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BenchError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
