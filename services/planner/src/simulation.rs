//! The planner's decisions under simulated time, with workers that answer as told.
//!
//! The same functions run here as in the service, against the same store (in memory), one step at a time. What is
//! decided is written as a table a person can read, and compared with a golden file. The same story is also told with
//! the state dropped and loaded again between any two steps, and with every step lost once before it is committed:
//! nothing may differ.

mod api;
mod catalogue;
mod cold;
mod continuous;
mod cycle;
mod faults;
mod fortnight;
mod invariants;
mod keeping;
mod scene;
mod scrubbing;
mod transcript;
mod workers;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use job_events::{Fact, Request};
use job_model::{Arn, JobId, Region};
use state_store::{StateStore, StoreError};
use uuid::Uuid;

use crate::decide::{Out, Settings, Step, lost, runs, upkeep};
use crate::handlers::{self, Incoming};
use crate::state::State;
use crate::store;
use transcript::Transcript;
use workers::Workers;

/// What is done to the planner between steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// Nothing.
    None,
    /// The process dies after each step: its state is loaded from the store again.
    DiesAfterEachStep,
    /// The process dies in each step, before it is committed, and does the step again after its restart.
    DiesInEachStep,
}

/// The planner, its store, its workers, and the time.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) state: State,
    pub(crate) settings: Settings,
    pub(crate) workers: Workers,
    pub(crate) transcript: Transcript,
    pub(crate) said: Vec<Out>,
    store: StateStore,
    runtime: tokio::runtime::Runtime,
    mischief: Mischief,
    draws: u128,
}

impl World {
    pub(crate) fn new(start: &str, regions: &[&str], mischief: Mischief) -> Self {
        let regions: BTreeSet<Region> = regions.iter().map(|r| r.parse().unwrap()).collect();
        Self {
            now: start.parse().unwrap(),
            state: State::default(),
            settings: Settings {
                scrub_every: SignedDuration::ZERO,
                ..Settings::new("000000000000".parse().unwrap(), regions)
            },
            workers: Workers::default(),
            transcript: Transcript::default(),
            said: Vec::new(),
            store: StateStore::in_memory(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            mischief,
            draws: 0,
        }
    }

    /// One step: decided, committed, then told to the workers.
    pub(crate) fn step<T>(&mut self, decide: impl Fn(&mut Step<'_>) -> T) -> T {
        self.draws += 1;
        let draw = Uuid::from_u128(0x5eed_0000_0000_7000_8000_0000_0000_0000 + self.draws);
        if self.mischief == Mischief::DiesInEachStep {
            let mut lost = self.state.clone();
            decide(&mut Step::new(&mut lost, &self.settings, self.now, draw, trace(self.draws)));
            self.reload();
        }
        let mut step = Step::new(&mut self.state, &self.settings, self.now, draw, trace(self.draws));
        let answer = decide(&mut step);
        let out = step.finish();
        self.commit();
        if self.mischief != Mischief::None {
            self.reload();
        }
        for said in &out {
            self.transcript.note(self.now, &self.state, said);
            self.workers.hear(self.now, said);
        }
        self.said.extend(out);
        answer
    }

    fn commit(&mut self) {
        let mut state = std::mem::take(&mut self.state);
        self.state = self
            .runtime
            .block_on(self.store.transact(move |tx| {
                store::save(tx, &mut state)?;
                Ok::<State, StoreError>(state)
            }))
            .unwrap();
    }

    fn reload(&mut self) {
        self.state = self.runtime.block_on(self.store.read(store::load)).unwrap();
    }

    /// Sends a request; its answer is the last fact about it.
    pub(crate) fn request(&mut self, request: impl Into<Request>) -> Fact {
        let request = request.into();
        let id = format!("request-{}", self.draws);
        let region = self.settings.regions.first().unwrap().clone();
        let incoming = Incoming {
            region,
            key: format!("sim#{id}"),
            request_id: id,
            request: Ok(request),
            expiry_time: None,
            caller: crate::decide::Caller::default(),
        };
        let before = self.said.len();
        self.step(|step| handlers::request(step, &incoming));
        self.said[before..]
            .iter()
            .rev()
            .find_map(|out| match out {
                Out::Fact { fact, .. } if matches!(**fact, Fact::RequestAccepted(_) | Fact::RequestRejected(_)) => {
                    Some((**fact).clone())
                }
                _ => None,
            })
            .expect("every request is answered")
    }

    /// Sends a request that must be accepted; returns the job or the name it made.
    pub(crate) fn accepted(&mut self, request: impl Into<Request>) -> (Option<JobId>, Option<String>) {
        match self.request(request) {
            Fact::RequestAccepted(accepted) => (accepted.job_id, accepted.result),
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Sends a request that must be refused; returns code, field and message.
    pub(crate) fn refused(&mut self, request: impl Into<Request>) -> (String, String, String) {
        match self.request(request) {
            Fact::RequestRejected(rejected) => (rejected.code, rejected.field, rejected.message),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Lets time pass: timers and workers act at their instants.
    pub(crate) fn run_until(&mut self, end: Timestamp) {
        loop {
            let wake = upkeep::next_wake(&self.state, &self.settings).map(|at| at.max(self.now));
            let told = self.workers.next_at().map(|at| at.max(self.now));
            let Some(next) = [wake, told].into_iter().flatten().min().filter(|at| *at < end) else { break };
            self.now = next;
            self.act();
        }
        self.now = end;
    }

    pub(crate) fn run_for(&mut self, duration: SignedDuration) {
        self.run_until(self.now.checked_add(duration).unwrap());
    }

    /// The planner does not run until then; workers go on, and their facts wait on the bus.
    pub(crate) fn down_until(&mut self, end: Timestamp) {
        self.transcript.remark(self.now, "the planner stops");
        self.now = end;
        self.transcript.remark(self.now, "the planner starts");
    }

    /// Everything that is due now.
    fn act(&mut self) {
        while let Some(fact) = self.workers.take_due(self.now) {
            self.step(|step| handlers::fact(step, &fact));
        }
        for firing in runs::due(&self.state, self.now) {
            self.step(|step| {
                runs::fire(step, &firing);
                crate::decide::issue(step);
            });
        }
        // The reconciler takes the orders of jobs that were given up from the bus at once.
        let given_up: Vec<JobId> = self.state.to_withdraw().into_iter().map(|row| row.job.id).collect();
        for job in given_up {
            self.workers.forget(job);
            self.step(|step| lost::withdrawn(step, job));
        }
        if upkeep::is_due(&self.state, &self.settings, self.now) {
            self.step(upkeep::tick);
        }
    }

    /// A job of the ledger.
    pub(crate) fn job(&self, id: JobId) -> &job_model::Job {
        &self.state.job(id).expect("a job of the ledger").job
    }

    /// A recovery point of the catalogue.
    pub(crate) fn point(&self, arn: &Arn) -> &job_model::RecoveryPoint {
        &self.state.points.get(arn).expect("a recovery point of the catalogue").point
    }

    /// A fact of a worker, out of its turn.
    pub(crate) fn hear(&mut self, fact: impl Into<Fact>) {
        let fact = fact.into();
        self.step(|step| handlers::fact(step, &fact));
    }

    /// The only point of a resource in a vault, or the newest one.
    pub(crate) fn newest_point(&self, resource: &Arn, vault: &Arn) -> Arn {
        let points = self.state.points_of(resource);
        points.rev().find(|row| row.point.vault == *vault).expect("a recovery point").point.arn.clone()
    }
}

/// The trace of a step: its number.
fn trace(number: u128) -> Option<String> {
    Some(format!("00-{number:032x}-{number:016x}-01"))
}

/// An ARN that is one.
pub(crate) fn arn(text: &str) -> Arn {
    text.parse().unwrap()
}
