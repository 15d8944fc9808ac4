//! A recovery point in memory: about a hundred bytes of fixed size, and numbers of what it shares with others.

use std::sync::Arc;

use jiff::Timestamp;
use job_model::{Arn, CreatedBy, Lifecycle, PlanId, RecoveryPointId, RecoveryPointStatus, ResourceType};

use super::super::dictionary::{Dictionary, Number};
use super::super::index::Place;
use super::super::listed::ListedPoint;

/// Values that recovery points can be filtered by, in the order of their marks.
pub(super) mod mark {
    pub(crate) const VAULT: usize = 0;
    pub(crate) const RESOURCE: usize = 1;
    pub(crate) const TYPE: usize = 2;
    /// None for what no plan made.
    pub(crate) const PLAN: usize = 3;
    pub(crate) const COUNT: usize = 4;
}

/// What stands for the values that can be filtered by: numbers of the dictionaries, and of the type its own.
pub(super) type Marks = [Option<Number>; mark::COUNT];

/// What is not in the marks and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    arn: PackedArn,
    status_message: Option<Number>,
    created_by: Option<Number>,
    iam_role: Option<Number>,
    completed_ms: i64,
    cold_ms: Instant,
    delete_ms: Instant,
    last_restored_ms: Instant,
    size_bytes: u64,
    /// Days; 0 for never, which no lifecycle says.
    delete_after_days: u32,
    move_to_cold_after_days: u32,
    status: RecoveryPointStatus,
}

/// An ARN of a recovery point ends with its id: what is before it is that of all others of its account and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PackedArn {
    BeforeId(Number),
    Whole(Number),
}

/// Milliseconds since the epoch, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instant(i64);

impl Instant {
    const NEVER: Self = Self(i64::MIN);

    fn pack(at: Option<Timestamp>) -> Self {
        at.map_or(Self::NEVER, |at| Self(at.as_millisecond()))
    }

    fn unpack(self) -> Option<Timestamp> {
        (self != Self::NEVER).then(|| timestamp(self.0))
    }
}

fn timestamp(at_ms: i64) -> Timestamp {
    // It was a timestamp's before.
    Timestamp::from_millisecond(at_ms).unwrap_or_default()
}

/// What recovery points share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Vaults, resources.
    arns: Dictionary<Arn>,
    plans: Dictionary<PlanId>,
    origins: Dictionary<CreatedBy>,
    texts: Dictionary<String>,
}

/// A type's number: its place among all of them, from 1.
pub(super) fn type_number(resource_type: ResourceType) -> Option<Number> {
    let at = ResourceType::ALL.iter().position(|one| *one == resource_type)?;
    u32::try_from(at + 1).ok().and_then(Number::new)
}

fn type_of(number: Option<Number>) -> ResourceType {
    let at = number.map_or(0, |number| number.get() as usize - 1);
    ResourceType::ALL.get(at).copied().unwrap_or(ResourceType::Files)
}

impl Shared {
    /// The number of a vault or a resource that some recovery point has.
    pub(super) fn find_arn(&self, arn: &Arn) -> Option<Number> {
        self.arns.find(arn)
    }

    /// The number of a plan that made some recovery point.
    pub(super) fn find_plan(&self, plan: PlanId) -> Option<Number> {
        self.plans.find(&plan)
    }

    /// The vault or resource of a number.
    pub(super) fn arn(&self, number: Number) -> &Arc<Arn> {
        self.arns.get(number)
    }

    /// Takes a recovery point in; its values stay until [`Self::release`].
    pub(super) fn pack(&mut self, point: &ListedPoint) -> (Marks, Packed) {
        let mut marks = Marks::default();
        marks[mark::VAULT] = Some(self.arns.take(&point.vault));
        marks[mark::RESOURCE] = Some(self.arns.take(&point.resource));
        marks[mark::TYPE] = type_number(point.resource_type);
        marks[mark::PLAN] = point.created_by.as_ref().map(|by| self.plans.take(&by.plan_id));
        let mut text = |text: &String| self.texts.take(text);
        let arn = match point.arn.as_str().strip_suffix(&point.id.to_string()) {
            Some(before) => PackedArn::BeforeId(text(&before.to_owned())),
            None => PackedArn::Whole(text(&point.arn.as_str().to_owned())),
        };
        let packed = Packed {
            arn,
            status_message: point.status_message.as_ref().map(&mut text),
            iam_role: point.iam_role.as_ref().map(&mut text),
            created_by: point.created_by.as_ref().map(|by| self.origins.take(by)),
            completed_ms: point.completed_at.as_millisecond(),
            cold_ms: Instant::pack(point.cold_at),
            delete_ms: Instant::pack(point.delete_at),
            last_restored_ms: Instant::pack(point.last_restored_at),
            size_bytes: point.size_bytes,
            delete_after_days: point.lifecycle.delete_after_days.unwrap_or(0),
            move_to_cold_after_days: point.lifecycle.move_to_cold_after_days.unwrap_or(0),
            status: point.status,
        };
        (marks, packed)
    }

    /// Lets go what a recovery point shared.
    pub(super) fn release(&mut self, marks: Marks, packed: Packed) {
        for arn in [marks[mark::VAULT], marks[mark::RESOURCE]].into_iter().flatten() {
            self.arns.release(arn);
        }
        if let Some(plan) = marks[mark::PLAN] {
            self.plans.release(plan);
        }
        if let Some(origin) = packed.created_by {
            self.origins.release(origin);
        }
        let (PackedArn::BeforeId(arn) | PackedArn::Whole(arn)) = packed.arn;
        for text in [Some(arn), packed.status_message, packed.iam_role].into_iter().flatten() {
            self.texts.release(text);
        }
    }

    /// The recovery point, with instants to the millisecond.
    ///
    /// None for what is no recovery point that was packed here.
    pub(super) fn unpack(&self, place: Place, marks: Marks, packed: &Packed) -> Option<ListedPoint> {
        let text = |number: Number| self.texts.get(number).as_ref().clone();
        let days = |days: u32| (days != 0).then_some(days);
        let id = RecoveryPointId::new(place.id);
        let arn = match packed.arn {
            PackedArn::BeforeId(before) => format!("{}{id}", self.texts.get(before)),
            PackedArn::Whole(whole) => text(whole),
        };
        Some(ListedPoint {
            id,
            arn: Arn::try_from(arn).ok()?,
            vault: self.arns.get(marks[mark::VAULT]?).as_ref().clone(),
            resource: self.arns.get(marks[mark::RESOURCE]?).as_ref().clone(),
            resource_type: type_of(marks[mark::TYPE]),
            status: packed.status,
            status_message: packed.status_message.map(text),
            created_by: packed.created_by.map(|number| self.origins.get(number).as_ref().clone()),
            created_at: timestamp(place.at_ms),
            completed_at: timestamp(packed.completed_ms),
            size_bytes: packed.size_bytes,
            lifecycle: Lifecycle {
                delete_after_days: days(packed.delete_after_days),
                move_to_cold_after_days: days(packed.move_to_cold_after_days),
            },
            cold_at: packed.cold_ms.unpack(),
            delete_at: packed.delete_ms.unpack(),
            iam_role: packed.iam_role.map(text),
            last_restored_at: packed.last_restored_ms.unpack(),
        })
    }

    /// How many values are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.arns.len() + self.plans.len() + self.origins.len() + self.texts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene;

    fn to_ms(at: Timestamp) -> Timestamp {
        timestamp(at.as_millisecond())
    }

    #[test]
    fn what_is_packed_comes_out_and_leaves_nothing_behind() {
        let plain = ListedPoint::from(&scene::point(3));
        let full = ListedPoint {
            arn: "arn:aws:rds:eu-central-1:000000000000:snapshot:by-hand".parse().unwrap(),
            resource_type: ResourceType::Rds,
            status: RecoveryPointStatus::Expired,
            status_message: Some("the vault is locked".to_owned()),
            last_restored_at: Some("2025-06-01T00:00:00.123Z".parse().unwrap()),
            lifecycle: Lifecycle { delete_after_days: Some(36_500), move_to_cold_after_days: Some(1) },
            cold_at: Some("2025-06-02T00:00:00Z".parse().unwrap()),
            ..plain.clone()
        };
        let bare = ListedPoint {
            created_by: None,
            iam_role: None,
            lifecycle: Lifecycle::default(),
            delete_at: None,
            completed_at: to_ms("1969-12-31T23:59:59.999Z".parse().unwrap()),
            ..plain.clone()
        };
        let mut shared = Shared::default();
        let points = [plain, full, bare];
        let packed: Vec<_> = points.iter().map(|point| shared.pack(point)).collect();
        for (point, (marks, packed)) in points.iter().zip(&packed) {
            let place = Place { at_ms: point.created_at.as_millisecond(), id: point.id.as_uuid() };
            assert_eq!(shared.unpack(place, *marks, packed).as_ref(), Some(point));
        }
        assert!(shared.len() > 0);
        packed.into_iter().for_each(|(marks, packed)| shared.release(marks, packed));
        assert_eq!(shared.len(), 0);
    }

    #[test]
    fn a_row_takes_what_the_record_of_decisions_says() {
        assert!(size_of::<Packed>() <= 80, "{}", size_of::<Packed>());
        assert_eq!(size_of::<Marks>(), 16);
        assert_eq!(size_of::<Place>(), 24);
    }
}
