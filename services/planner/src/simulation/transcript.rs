//! Decisions as a table a person can read.

use std::fmt::Write as _;

use jiff::Timestamp;
use job_events::Fact;
use job_model::{Arn, Job, JobDetail, JobState};

use crate::decide::{Out, retire};
use crate::retention::Fate;
use crate::state::State;

/// What was decided so far, one line each.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    lines: String,
}

impl Transcript {
    /// The table.
    pub(crate) fn text(&self) -> &str {
        &self.lines
    }

    /// A line about the simulation itself.
    pub(crate) fn remark(&mut self, at: Timestamp, text: &str) {
        self.line(at, "", "", text);
    }

    fn line(&mut self, at: Timestamp, what: &str, whom: &str, text: &str) {
        let at = at.strftime("%a %m-%d %H:%M:%S");
        let line = format!("{at}  {what:<16}{whom:<22}{text}");
        writeln!(self.lines, "{}", line.trim_end()).unwrap();
    }

    /// Notes what a step said, without what says nothing new.
    pub(crate) fn note(&mut self, now: Timestamp, state: &State, out: &Out) {
        match out {
            Out::Order { body, .. } => {
                let header = body.header();
                let deadline = header.deadline.map(|at| format!(", until {}", short(at))).unwrap_or_default();
                let parent = match body.as_ref() {
                    job_events::OrderBody::CaptureSnapshot(order) if order.parent.is_some() => ", incremental",
                    job_events::OrderBody::CaptureSnapshot(_) => ", full",
                    _ => "",
                };
                let text = format!("{}, attempt {}{parent}{deadline}", body.name(), header.attempt);
                let job = state.job(header.job_id).map(|row| &row.job);
                self.line(now, "order", &job.map(whom).unwrap_or_default(), &text);
            }
            Out::Stop { job, reason, .. } => {
                let job = state.job(*job).map(|row| &row.job);
                self.line(now, "stop", &job.map(whom).unwrap_or_default(), reason);
            }
            Out::Fact { fact, .. } => self.fact(now, fact),
            Out::Assignment { body } => {
                let job_events::Assignment::FollowResource(follow) = body.as_ref();
                let keep = follow.keep_days.map(|days| format!(", {days} days")).unwrap_or_default();
                self.line(now, "assignment", follow.resource.resource(), &format!("{:?}{keep}", follow.task));
            }
            Out::Confirm(_) => {}
        }
    }

    fn fact(&mut self, now: Timestamp, fact: &Fact) {
        match fact {
            Fact::JobChanged(changed) => self.job(now, &changed.job, changed.from),
            Fact::RecoveryPointCreated(created) => {
                let point = &created.recovery_point;
                let text = format!("{:?} in {}", point.status, name(&point.vault));
                self.line(now, "point created", name(&point.resource), &text);
            }
            Fact::RecoveryPointDeleted(deleted) => {
                let text = format!("from {}: {}", name(&deleted.vault), deleted.reason);
                self.line(now, "point deleted", name(&deleted.resource), &text);
            }
            Fact::RunMissed(missed) => {
                let at = missed.caught_up.map(short).unwrap_or_default();
                let text = format!("{} missed, {at} caught up: {}", missed.missed, missed.reason);
                self.line(now, "run missed", name(&missed.resource), &text);
            }
            Fact::RequestRejected(rejected) => {
                self.line(now, "refused", &rejected.field, &format!("{}: {}", rejected.code, rejected.message));
            }
            _ => {}
        }
    }

    fn job(&mut self, now: Timestamp, job: &Job, from: Option<JobState>) {
        // Orders are noted themselves; a worker's start is no decision.
        if matches!(job.state, JobState::Pending | JobState::Running) {
            return;
        }
        let message = job.status_message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let text = match from {
            None if job.state == JobState::Created => match job.start_by {
                Some(start_by) => format!("scheduled {}, start by {}", short(job.scheduled_at), short(start_by)),
                None => String::new(),
            },
            _ => format!("attempt {}{message}", job.attempt),
        };
        self.line(now, job.state.as_str(), &whom(job), &text);
    }

    /// Why each recovery point is kept at the end.
    pub(crate) fn kept(&mut self, state: &State, now: Timestamp) {
        writeln!(self.lines, "\nkept at the end").unwrap();
        let resources: std::collections::BTreeSet<&Arn> =
            state.points.values().map(|row| &row.point.resource).collect();
        for resource in resources {
            for decision in retire::decisions(state, &own(), resource, now) {
                let point = &state.points.get(&decision.recovery_point).unwrap().point;
                let why = match decision.fate {
                    Fate::Keep(reasons) => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    Fate::Delete { reason } => format!("goes: {reason}"),
                };
                let vault = name(&point.vault);
                let line = format!("{:<10}{:<10}{}  {why}", name(resource), vault, short(point.created_at));
                writeln!(self.lines, "{line}").unwrap();
            }
        }
    }
}

fn own() -> job_model::AccountId {
    "000000000000".parse().unwrap()
}

fn short(at: Timestamp) -> String {
    at.strftime("%m-%d %H:%M").to_string()
}

/// The last part of an ARN.
fn name(arn: &Arn) -> &str {
    arn.resource().rsplit(['/', ':']).next().unwrap_or_default()
}

fn whom(job: &Job) -> String {
    let kind = match &job.detail {
        JobDetail::Backup { .. } => "backup",
        JobDetail::Copy { .. } => "copy",
        JobDetail::Restore { .. } => "restore",
        JobDetail::Verification { .. } => "verify",
        JobDetail::Maintenance { task, .. } => match task.as_str() {
            "delete-recovery-point" => "delete in",
            "create-vault" => "create vault",
            "check-vault" => "check vault",
            "prune-vault" => "prune vault",
            other => other,
        },
    };
    format!("{kind} {}", name(&job.resource))
}
