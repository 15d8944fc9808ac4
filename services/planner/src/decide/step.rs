//! One step of the planner: the state it changes and what it says.

use jiff::Timestamp;
use job_events::{Assignment, Fact, JobChanged, OrderBody};
use job_model::{Effect, Job, JobEvent, JobId, JobState, MessageCategory, Region};
use uuid::Uuid;

use crate::decide::Settings;
use crate::decide::announce::announce;
use crate::decide::scope::Caller;
use crate::state::{JobRow, State};

/// What a step says. The shell makes messages of it and commits them with the changed rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Out {
    /// A fact.
    Fact {
        /// Where it is published.
        region: Region,
        /// The job, or a name that may stand in a subject.
        about: String,
        /// Its number in this installation.
        number: u64,
        /// It.
        fact: Box<Fact>,
        /// Its trace.
        traceparent: Option<String>,
    },
    /// An order.
    Order {
        /// It.
        body: Box<OrderBody>,
        /// Its trace.
        traceparent: Option<String>,
    },
    /// What workers do until they are told otherwise.
    Assignment {
        /// It.
        body: Box<Assignment>,
    },
    /// A job is to stop.
    Stop {
        /// Where its worker runs.
        region: Region,
        /// The job.
        job: JobId,
        /// Why, for the worker's log.
        reason: String,
        /// Its trace.
        traceparent: Option<String>,
    },
    /// The job's effect is known: its order needs no keeping any more.
    Confirm(JobId),
}

/// One step: everything it may look at, and what it did.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// What the planner knows; changed in place.
    pub(crate) state: &'a mut State,
    /// What the operator set.
    pub(crate) settings: &'a Settings,
    /// The instant of the step.
    pub(crate) now: Timestamp,
    /// A fresh id: the only source of new ids in a step, others are derived from it or from what exists.
    pub(crate) draw: Uuid,
    /// The span in which the step runs.
    pub(crate) traceparent: Option<String>,
    /// On whose behalf it is taken.
    pub(crate) caller: Caller,
    /// What it said, in order.
    pub(crate) out: Vec<Out>,
}

impl<'a> Step<'a> {
    /// A step that has done nothing yet.
    pub(crate) fn new(
        state: &'a mut State,
        settings: &'a Settings,
        now: Timestamp,
        draw: Uuid,
        traceparent: Option<String>,
    ) -> Self {
        Self { state, settings, now, draw, traceparent, caller: Caller::default(), out: Vec::new() }
    }

    /// Ends the step: tells what changed and was not told yet, and returns everything that was said.
    pub(crate) fn finish(mut self) -> Vec<Out> {
        announce(&mut self);
        self.out
    }

    /// Tells a fact.
    pub(crate) fn tell(&mut self, region: &Region, about: String, fact: impl Into<Fact>, trace: Option<String>) {
        let mut meta = self.state.meta();
        meta.facts += 1;
        let number = meta.facts;
        self.state.meta.put((), meta);
        let traceparent = trace.or_else(|| self.traceparent.clone());
        self.out.push(Out::Fact { region: region.clone(), about, number, fact: Box::new(fact.into()), traceparent });
    }

    /// Puts a new job into the ledger and tells of it.
    pub(crate) fn create(&mut self, row: JobRow) -> JobId {
        let job = row.job.clone();
        self.state.put_job(row);
        self.tell_job(job, None)
    }

    /// Puts a job that may have moved; tells of it if its state is another one now.
    pub(crate) fn keep(&mut self, row: JobRow) {
        let from = self.state.job(row.job.id).map(|before| before.job.state);
        let job = row.job.clone();
        self.state.put_job(row);
        if from != Some(job.state) {
            self.tell_job(job, from);
        }
    }

    fn tell_job(&mut self, job: Job, from: Option<JobState>) -> JobId {
        let id = job.id;
        let region = job.region.clone();
        let trace = job.traceparent.clone();
        if job.state.is_terminal() {
            self.out.push(Out::Confirm(id));
        }
        self.tell(&region, id.to_string(), JobChanged { job, from }, trace);
        id
    }

    /// Moves a job by an event of its state machine and does what the machine says, except the order itself, which
    /// only the queue makes. An event that is not legal in the job's state is not an error here: messages arrive late,
    /// twice and out of order, and the ledger only moves forward.
    ///
    /// Returns whether the event was legal.
    pub(crate) fn advance(&mut self, row: &mut JobRow, event: JobEvent) -> bool {
        let Ok(next) = job_model::step(row.job.state, event, self.now) else { return false };
        row.job.state = next.next;
        for effect in next.effects {
            match effect {
                Effect::WithdrawOrder => row.withdraw = true,
                Effect::PublishStop => self.stop(&row.job, &event.to_string()),
                Effect::RecordStart { at } => row.job.started_at = row.job.started_at.or(Some(at)),
                Effect::ScheduleRetry { at } => {
                    row.job.attempt += 1;
                    row.job.not_before = Some(at);
                    row.issued_at = None;
                    row.epoch = 0;
                    self.out.push(Out::Confirm(row.job.id));
                }
                Effect::RecordEnd { at } => {
                    row.job.ended_at = Some(at);
                    row.job.not_before = None;
                }
                // The order, the counts and the result are the caller's; a changed job is told by `keep`, and the
                // queue looks at who waits after every step.
                Effect::IssueOrder
                | Effect::RecordProgress
                | Effect::RecordResult
                | Effect::ReleaseResource
                | Effect::Announce => {}
            }
        }
        true
    }

    /// Asks the worker of a job to stop.
    fn stop(&mut self, job: &Job, reason: &str) {
        self.out.push(Out::Stop {
            region: job.region.clone(),
            job: job.id,
            reason: reason.to_owned(),
            traceparent: job.traceparent.clone(),
        });
    }
}

/// Sets why a job is where it is.
pub(crate) fn explain(job: &mut Job, category: MessageCategory, message: impl Into<String>) {
    job.message_category = category;
    job.status_message = Some(message.into());
}
