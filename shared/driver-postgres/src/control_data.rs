//! What `pg_controldata` says of a data directory.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::PgError;
use crate::tool;

/// The control file of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlData {
    fields: BTreeMap<String, String>,
}

impl ControlData {
    /// Asks the program of the right version.
    ///
    /// # Errors
    /// [`PgError::Tool`] when it fails.
    pub(crate) fn read(bin_dir: &Path, data: &Path) -> Result<Self, PgError> {
        let mut command = tool::command(&bin_dir.join("pg_controldata"), None);
        command.arg("-D").arg(data);
        let output = tool::run(command, "pg_controldata")?;
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (key, value) = line.split_once(':')?;
            Some((key.trim().to_owned(), value.trim().to_owned()))
        };
        Self { fields: text.lines().filter_map(pair).collect() }
    }

    fn text(&self, key: &str) -> Result<&str, PgError> {
        self.fields.get(key).map(String::as_str).ok_or_else(|| PgError::Tool {
            tool: "pg_controldata".to_owned(),
            problem: format!("it does not say `{key}`"),
        })
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, PgError> {
        let text = self.text(key)?;
        text.parse()
            .map_err(|_| PgError::Tool { tool: "pg_controldata".to_owned(), problem: format!("`{key}` is `{text}`") })
    }

    /// Whether the server was shut down and not killed, so that the files alone are consistent.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn is_shut_down(&self) -> Result<bool, PgError> {
        Ok(matches!(self.state()?, "shut down" | "shut down in recovery"))
    }

    /// The state in the program's words.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn state(&self) -> Result<&str, PgError> {
        self.text("Database cluster state")
    }

    /// Stands for the cluster for ever.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn system_identifier(&self) -> Result<&str, PgError> {
        self.text("Database system identifier")
    }

    /// The timeline of the last checkpoint.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn timeline(&self) -> Result<u32, PgError> {
        self.number("Latest checkpoint's TimeLineID")
    }

    /// The segment recovery begins in.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn first_segment(&self) -> Result<&str, PgError> {
        self.text("Latest checkpoint's REDO WAL file")
    }

    /// Bytes of a segment of the log.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn segment_bytes(&self) -> Result<u64, PgError> {
        self.number("Bytes per WAL segment")
    }

    /// Whether pages have checksums.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn has_checksums(&self) -> Result<bool, PgError> {
        Ok(self.number::<u32>("Data page checksum version")? > 0)
    }

    /// Bytes of a page.
    ///
    /// # Errors
    /// When the program did not say.
    pub(crate) fn page_bytes(&self) -> Result<u64, PgError> {
        self.number("Database block size")
    }
}
