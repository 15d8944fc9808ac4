//! What the processes of a test say that they did: one line for each deed, appended in one call, so that a kill leaves
//! whole lines.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// One of the two vaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Where captures go.
    Here,
    /// Where copies go.
    There,
}

/// What was done with a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A capture or a copy was acknowledged.
    Committed,
    /// It is about to be forgotten.
    Forgetting,
    /// That was acknowledged.
    Forgotten,
}

/// What is known of a recovery point in one vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) committed: bool,
    pub(crate) forgetting: bool,
    pub(crate) forgotten: bool,
}

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) points: BTreeMap<(Side, u64), Known>,
    /// What should not have gone wrong.
    pub(crate) failures: Vec<String>,
}

pub(crate) struct Journal(PathBuf);

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::There => "there",
        }
    }
}

impl Journal {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.join("journal"))
    }

    fn append(&self, line: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes()).unwrap();
    }

    /// A process has opened its vaults and begins; `first` is its number.
    pub(crate) fn begin(&self, first: u64) {
        fs::write(self.0.with_extension(first.to_string()), "").unwrap();
    }

    pub(crate) fn is_at_work(&self, first: u64) -> bool {
        self.0.with_extension(first.to_string()).exists()
    }

    pub(crate) fn note(&self, side: Side, deed: Deed, number: u64) {
        self.append(&format!("{} {deed:?} {number}", side.name()));
    }

    pub(crate) fn fail(&self, problem: &str) {
        self.append(&format!("! {problem}"));
    }

    pub(crate) fn read(&self) -> Deeds {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let mut deeds = Deeds::default();
        for line in text.lines() {
            if let Some(problem) = line.strip_prefix("! ") {
                deeds.failures.push(problem.to_owned());
                continue;
            }
            let mut words = line.split(' ');
            let side = if words.next() == Some("here") { Side::Here } else { Side::There };
            let deed = words.next().unwrap().to_owned();
            let known = deeds.points.entry((side, words.next().unwrap().parse().unwrap())).or_default();
            match deed.as_str() {
                "Committed" => known.committed = true,
                "Forgetting" => known.forgetting = true,
                _ => known.forgotten = true,
            }
        }
        deeds
    }
}

impl Deeds {
    /// How many recovery points of a vault were acknowledged, forgotten ones included.
    pub(crate) fn acknowledged(&self, side: Side) -> usize {
        self.points.iter().filter(|((at, _), known)| *at == side && known.committed).count()
    }

    /// Numbers of the recovery points of a vault that were acknowledged and that nobody has begun to forget.
    pub(crate) fn certain(&self, side: Side) -> Vec<u64> {
        let of_side = self.points.iter().filter(|((at, _), _)| *at == side);
        of_side.filter(|(_, known)| known.committed && !known.forgetting).map(|((_, number), _)| *number).collect()
    }

    pub(crate) fn known(&self, side: Side, number: u64) -> Known {
        self.points.get(&(side, number)).copied().unwrap_or_default()
    }
}
