//! Random histories beside a simple model: what was acknowledged and not deleted is there, and nothing else.

use std::thread;

use driver_api::NoControl;
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::Failure;
use super::invariants::{Expected, assert_nothing_is_left_over, prune, restic_agrees};
use super::scene::{Content, Scene, capture, copy, tag};
use crate::Committed;

/// Histories of a run; `HOLDFAST_MODEL_HISTORIES` asks for more.
const HISTORIES: u64 = 12;
/// Steps of a history.
const STEPS: u64 = 14;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn random_histories_of_backups_deletions_prunes_copies_and_crashes_lose_nothing() {
    let first = number("HOLDFAST_MODEL_SEED", 1);
    let histories = number("HOLDFAST_MODEL_HISTORIES", HISTORIES);
    println!("{histories} histories from HOLDFAST_MODEL_SEED={first}");
    for seed in first..first + histories {
        History::new(seed).live();
    }
}

/// Two vaults; the second one takes copies only.
struct History {
    random: StdRng,
    seed: u64,
    vaults: [Scene; 2],
    expected: [Expected; 2],
    next: u64,
    content: Content,
    told: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            seed,
            vaults: [Scene::new(seed), Scene::new(seed + 1_000_000)],
            expected: Default::default(),
            next: 1,
            content: Content::new(),
            told: Vec::new(),
        }
    }

    fn live(mut self) {
        for _ in 0..STEPS {
            self.change_the_source();
            match self.random.random_range(0..10) {
                0..3 => self.back_up(),
                3 => self.delete(),
                4 => self.prune(),
                5..7 => self.copy(),
                7 => self.work_at_the_same_time(),
                _ => self.crash(),
            }
            // Long enough for a dead client's lock to be stale, sometimes for the grace period to be over.
            let hours = if self.random.random_ratio(1, 4) { 30 } else { 1 };
            for side in 0..2 {
                self.vaults[side].wait(SignedDuration::from_hours(hours));
                self.settle(side);
                self.expected[side].hold(&self.vaults[side], &self.context());
            }
        }
        for side in 0..2 {
            assert_nothing_is_left_over(&self.vaults[side], &self.context());
            self.expected[side].hold(&self.vaults[side], &self.context());
        }
        if self.seed.is_multiple_of(10) {
            restic_agrees(&self.vaults[0], &self.context());
            restic_agrees(&self.vaults[1], &self.context());
        }
    }

    fn context(&self) -> String {
        format!("HOLDFAST_MODEL_SEED={}: {}", self.seed, self.told.join(", "))
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// A few files come, go or get other blocks; many blocks were there before.
    fn change_the_source(&mut self) {
        for _ in 0..self.random.random_range(1..4) {
            let path = format!("d{}/f{}", self.random.random_range(0..3), self.random.random_range(0..3));
            if self.random.random_ratio(1, 4) {
                self.content.remove(&path);
            } else {
                let (from, length) = (self.random.random_range(0..60), self.random.random_range(0..40));
                self.content.insert(path, (from..from + length).collect());
            }
        }
    }

    fn back_up(&mut self) {
        let number = self.take_number();
        self.tell(format!("back up {number}"));
        capture(&self.vaults[0].open(), number, &self.content).unwrap();
        self.expected[0].certain.insert(number, self.content.clone());
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn any_point(&mut self, side: usize) -> Option<u64> {
        let count = self.expected[side].certain.len();
        let at = (count > 0).then(|| self.random.random_range(0..count))?;
        self.expected[side].certain.keys().nth(at).copied()
    }

    fn committed(&self, side: usize, number: u64) -> Committed {
        let found = self.vaults[side].open().find_snapshot_by_tag(&tag(number)).unwrap().unwrap();
        Committed { snapshot_id: found.id, tree_id: found.tree, stats: Default::default(), damage: None }
    }

    fn delete(&mut self) {
        let side = self.random.random_range(0..2);
        let Some(number) = self.any_point(side) else { return };
        self.tell(format!("delete {number} of {side}"));
        let id = self.committed(side, number).snapshot_id;
        self.vaults[side].open().forget(id).unwrap();
        self.expected[side].certain.remove(&number);
    }

    fn prune(&mut self) {
        let side = self.random.random_range(0..2);
        self.tell(format!("prune {side}"));
        let context = self.context();
        prune(&self.vaults[side].open()).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    }

    fn copy(&mut self) {
        let Some(number) = self.any_point(0) else { return };
        self.tell(format!("copy {number}"));
        let committed = self.committed(0, number);
        copy(&self.vaults[0].open(), &self.vaults[1].open(), number, &committed).unwrap();
        let content = self.expected[0].certain[&number].clone();
        self.expected[1].certain.insert(number, content);
    }

    /// Two backups, a prune and a copy, each in a process of its own; what they do then depends on the machine, not only on
    /// the seed.
    fn work_at_the_same_time(&mut self) {
        let (one, two) = (self.take_number(), self.take_number());
        let copied = self.any_point(0);
        self.tell(format!("back up {one} and {two} beside a prune, copy {copied:?}"));
        let context = self.context();
        let committed = copied.map(|number| (number, self.committed(0, number)));
        let (vaults, content) = (&self.vaults, &self.content);
        thread::scope(|scope| {
            let backups = [one, two].map(|number| scope.spawn(move || capture(&vaults[0].open(), number, content)));
            let prunes = [0, 1].map(|side: usize| scope.spawn(move || prune(&vaults[side].open())));
            let copies = committed.map(|(number, committed)| {
                scope.spawn(move || copy(&vaults[0].open(), &vaults[1].open(), number, &committed))
            });
            for backup in backups {
                backup.join().unwrap().unwrap_or_else(|error| panic!("{context}: {error:?}"));
            }
            for prune in prunes {
                // What it cannot know for what goes on beside it, it leaves to the next one.
                let _ = prune.join().unwrap();
            }
            if let Some(copy) = copies {
                copy.join().unwrap().unwrap_or_else(|error| panic!("{context}: {error:?}"));
            }
        });
        self.expected[0].certain.extend([one, two].map(|number| (number, content.clone())));
        if let Some(number) = copied {
            let content = self.expected[0].certain[&number].clone();
            self.expected[1].certain.insert(number, content);
        }
    }

    /// A process dies at some call of what it does; sometimes the machine of the disk does with it.
    fn crash(&mut self) {
        let at = self.random.random_range(3..60);
        let action = self.random.random_range(0..4);
        let target = usize::from(action == 3);
        let client = self.vaults[target].client(Some((at, Failure::Dead)));
        let vault = self.vaults[target].open_as(client).ok();
        let Some(vault) = vault else { return };
        match action {
            0 | 1 => {
                let number = self.take_number();
                self.tell(format!("die at call {at} of back up {number}"));
                let doubtful = match capture(&vault, number, &self.content) {
                    Ok(_) => &mut self.expected[0].certain,
                    Err(_) => &mut self.expected[0].doubtful,
                };
                doubtful.insert(number, self.content.clone());
            }
            2 => {
                self.tell(format!("die at call {at} of a prune"));
                let _ = prune(&vault);
            }
            _ => {
                let Some(number) = self.any_point(0) else { return };
                if self.expected[1].certain.contains_key(&number) {
                    return;
                }
                self.tell(format!("die at call {at} of copy {number}"));
                let committed = self.committed(0, number);
                let content = self.expected[0].certain[&number].clone();
                match copy(&self.vaults[0].open(), &vault, number, &committed) {
                    Ok(_) => self.expected[1].certain.insert(number, content),
                    Err(_) => self.expected[1].doubtful.insert(number, content),
                };
            }
        }
        drop(vault);
        if self.random.random_bool(0.5) {
            self.tell("cut the power");
            self.vaults[target].disk.cut_power(&mut self.random);
        }
    }

    /// What was in doubt restores if it is there. The next attempt looks for it: from then on it is there or it is not.
    fn settle(&mut self, side: usize) {
        let context = self.context();
        if self.expected[side].doubtful.is_empty() {
            return;
        }
        let vault = self.vaults[side].open();
        self.expected[side].restore_all(&vault, &context);
        let doubtful = std::mem::take(&mut self.expected[side].doubtful);
        for (number, content) in doubtful {
            let found = vault.find_whole_snapshot_by_tag(&tag(number), &NoControl);
            if found.unwrap_or_else(|error| panic!("{context}: {error:?}")).is_some() {
                self.expected[side].certain.insert(number, content);
            }
        }
    }
}
