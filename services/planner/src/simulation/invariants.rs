//! Whatever happens, in whatever order: a job that ended stays as it ended, no two orders for one subject are out, and
//! the planner comes to rest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use job_events::{AttemptHeader, AttemptStarted, AttemptStopped, Disposition, Fact, StartCopy, StopJob};
use job_model::{Arn, JobId, JobState, Lifecycle, Progress};
use proptest::prelude::*;

use super::Mischief;
use super::scene::{Scene, scene_with, start_backup};
use crate::decide::{Out, lost};

#[derive(Clone, Debug)]
enum Op {
    Backup,
    Copy,
    Stop(usize),
    Wait(i64),
    Stuck(usize),
    Lost(usize),
    Failing(bool),
    Absent(bool),
    Stray { job: usize, attempt: u32, epoch: u64, fact: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Backup),
        2 => Just(Op::Copy),
        1 => any::<usize>().prop_map(Op::Stop),
        5 => (1_i64..7200).prop_map(Op::Wait),
        1 => any::<usize>().prop_map(Op::Stuck),
        1 => any::<usize>().prop_map(Op::Lost),
        1 => any::<bool>().prop_map(Op::Failing),
        1 => any::<bool>().prop_map(Op::Absent),
        3 => (any::<usize>(), 1_u32..4, 0_u64..8, 0_u8..4)
            .prop_map(|(job, attempt, epoch, fact)| Op::Stray { job, attempt, epoch, fact }),
    ]
}

fn some_job(s: &Scene, index: usize) -> Option<JobId> {
    let jobs: Vec<JobId> = s.world.state.jobs().map(|row| row.job.id).collect();
    (!jobs.is_empty()).then(|| jobs[index % jobs.len()])
}

fn act(s: &mut Scene, op: &Op) {
    match op {
        Op::Backup => {
            s.backup();
        }
        Op::Copy => {
            let point =
                s.world.state.points.values().find(|row| row.point.vault == s.near).map(|row| row.point.arn.clone());
            if let Some(recovery_point) = point {
                let destination_vault = s.far.clone();
                s.world.request(StartCopy {
                    recovery_point,
                    destination_vault,
                    lifecycle: Lifecycle::default(),
                    iam_role: None,
                });
            }
        }
        Op::Stop(index) => {
            if let Some(job_id) = some_job(s, *index) {
                s.world.request(StopJob { job_id });
            }
        }
        Op::Wait(seconds) => s.world.run_for(SignedDuration::from_secs(*seconds)),
        Op::Stuck(index) => {
            if let Some(job) = some_job(s, *index) {
                s.world.step(|step| lost::order_stuck(step, job, 25));
            }
        }
        Op::Lost(index) => {
            if let Some(job) = some_job(s, *index) {
                s.world.step(|step| lost::order_lost(step, job));
            }
        }
        Op::Failing(on) => {
            s.world.workers.temper(&s.home).fails = on.then_some((1, Disposition::Retry));
        }
        Op::Absent(on) => s.world.workers.temper(&s.home).absent = *on,
        Op::Stray { job, attempt, epoch, fact } => {
            let Some(job_id) = some_job(s, *job) else { return };
            let header = AttemptHeader {
                job_id,
                attempt: *attempt,
                epoch: *epoch,
                worker: "stray/1".to_owned(),
                at: s.world.now,
            };
            let fact: Fact = match fact {
                0 => AttemptStarted { attempt: header }.into(),
                1 => AttemptStopped { attempt: header, progress: Progress::default() }.into(),
                2 => job_events::AttemptProgressed { attempt: header, progress: Progress::default() }.into(),
                _ => job_events::AttemptFailed {
                    attempt: header,
                    code: "INTERNAL".to_owned(),
                    message: "stray".to_owned(),
                    disposition: Disposition::Retry,
                    progress: Progress::default(),
                }
                .into(),
            };
            s.world.hear(fact);
        }
    }
}

/// Follows what was said: which orders are out, and that nothing ended moves.
#[derive(Default)]
struct Watcher {
    heard: usize,
    ended: BTreeMap<JobId, JobState>,
    out: BTreeMap<(&'static str, String, Arn), JobId>,
    catalogued: BTreeSet<Arn>,
}

impl Watcher {
    fn watch(&mut self, s: &Scene) {
        for said in &s.world.said[self.heard..] {
            match said {
                Out::Order { body, .. } => {
                    let header = body.header();
                    let subject = (body.queue().as_str(), header.region.to_string(), header.resource.clone());
                    let before = self.out.insert(subject, header.job_id);
                    assert!(before.is_none_or(|job| job == header.job_id), "two orders for one subject");
                    assert!(!self.ended.contains_key(&header.job_id), "an order for a job that ended");
                }
                Out::Confirm(job) => self.out.retain(|_, of| of != job),
                Out::Fact { fact, .. } => match fact.as_ref() {
                    Fact::JobChanged(changed) => {
                        let job = &changed.job;
                        assert!(!self.ended.contains_key(&job.id), "{} moved after its end", job.id);
                        assert_ne!(changed.from, Some(job.state), "a change that is none");
                        if job.state.is_terminal() {
                            self.ended.insert(job.id, job.state);
                        }
                    }
                    Fact::RecoveryPointCreated(created) => {
                        assert!(self.catalogued.insert(created.recovery_point.arn.clone()), "catalogued twice");
                    }
                    _ => {}
                },
                Out::Stop { .. } | Out::Assignment { .. } => {}
            }
        }
        self.heard = s.world.said.len();
        for (job, state) in &self.ended {
            assert_eq!(s.world.job(*job).state, *state);
        }
        let points = &s.world.state.points;
        for resource in [&s.home, &s.near] {
            let mut all: Vec<_> = points.values().map(|row| &row.point).filter(|p| p.resource == *resource).collect();
            all.sort_by_key(|point| (point.created_at, point.id));
            let found: Vec<_> = s.world.state.points_of(resource).map(|row| &row.point).collect();
            assert_eq!(found, all, "the points of a resource, by its index and by looking at all");
            assert_eq!(points.resources().any(|known| known == resource), !all.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_only_moves_forward_and_comes_to_rest(ops in prop::collection::vec(op(), 1..40)) {
        let mut s = scene_with(Mischief::None);
        let mut watcher = Watcher::default();
        for op in &ops {
            act(&mut s, op);
            watcher.watch(&s);
        }
        // With workers that work again, every job comes to its end within its windows.
        s.world.workers.temper(&s.home).absent = false;
        s.world.workers.temper(&s.home).fails = None;
        // A worker that was absent never saw the orders of then; the windows end those jobs.
        s.world.run_for(SignedDuration::from_hours(8 * 24));
        watcher.watch(&s);
        let open: Vec<_> = s.world.state.open_jobs().into_iter().filter(|row| row.job.complete_by.is_some()).collect();
        prop_assert!(open.is_empty(), "{open:?}");
        let request = start_backup(&s.home, &s.near);
        let job = s.world.accepted(request).0.unwrap();
        s.world.run_for(SignedDuration::from_hours(1));
        prop_assert_eq!(s.world.job(job).state, JobState::Completed);
    }
}
