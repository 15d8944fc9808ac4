//! AWS's own limits, where ours are wider: applied when the operator sets `aws_strict`, so that what works here works there.

use job_model::{BackupRule, Lifecycle};
use schedule::Schedule;

use crate::decide::{Refusal, Settings};

/// AWS's shortest window, in minutes.
const WINDOW_MINUTES_MIN: u32 = 60;
/// AWS's shortest time in cold storage, in days.
const COLD_DAYS_MIN: u32 = 90;

/// A rule that AWS would take: windows of an hour or more, at most one run an hour, six fields of cron.
pub(crate) fn rule(settings: &Settings, path: &str, rule: &BackupRule) -> Result<(), Refusal> {
    if !settings.aws_strict {
        return Ok(());
    }
    windows(settings, path, rule.start_window_minutes, rule.completion_window_minutes)?;
    lifecycle(settings, &format!("{path}.lifecycle"), &rule.lifecycle)?;
    let field = format!("{path}.schedule");
    let fields = rule.schedule.trim().trim_start_matches("cron(").trim_end_matches(')').split_whitespace().count();
    if fields != 6 {
        let text = format!("`{}` has {fields} fields; AWS's cron has six (`aws_strict` is set)", rule.schedule);
        return Err(Refusal::invalid(&field, text));
    }
    if let Ok(schedule) = Schedule::parse(&rule.schedule, &rule.time_zone) {
        let runs = schedule.upcoming(jiff::Timestamp::UNIX_EPOCH, 50);
        let too_often =
            runs.windows(2).any(|pair| pair[1].duration_since(pair[0]) < jiff::SignedDuration::from_hours(1));
        if too_often {
            let text = format!("`{}` runs more often than hourly, AWS's finest (`aws_strict` is set)", rule.schedule);
            return Err(Refusal::invalid(&field, text));
        }
    }
    Ok(())
}

/// Windows that AWS would take.
pub(crate) fn windows(settings: &Settings, path: &str, start: u32, completion: u32) -> Result<(), Refusal> {
    for (name, minutes) in [("start_window_minutes", start), ("completion_window_minutes", completion)] {
        if settings.aws_strict && minutes < WINDOW_MINUTES_MIN {
            let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let text = format!("`{minutes}` is less than {WINDOW_MINUTES_MIN} minutes (`aws_strict` is set)");
            return Err(Refusal::invalid(&field, text));
        }
    }
    Ok(())
}

/// A lifecycle that AWS would take: 90 days or more in cold storage.
pub(crate) fn lifecycle(settings: &Settings, field: &str, lifecycle: &Lifecycle) -> Result<(), Refusal> {
    let (Some(cold), Some(delete)) = (lifecycle.move_to_cold_after_days, lifecycle.delete_after_days) else {
        return Ok(());
    };
    if settings.aws_strict && delete < cold.saturating_add(COLD_DAYS_MIN) {
        let text = format!(
            "`{delete}` is less than {COLD_DAYS_MIN} days after the move to cold storage (`aws_strict` is set)"
        );
        return Err(Refusal::invalid(&format!("{field}.delete_after_days"), text));
    }
    Ok(())
}
