//! Typed identifiers: UUIDs that cannot be swapped for one another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID made by the caller (version 7 for new things, version 5 for derived ones).
            #[must_use]
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// An id derived from `self` and a label: the same inputs always give the same id, so that a step that is
            /// repeated after a crash finds what it made before. UUID version 5, RFC 9562 section 5.5.
            #[must_use]
            pub fn derive(&self, label: &str) -> Uuid {
                Uuid::new_v5(&self.0, label.as_bytes())
            }

            /// The plain UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// One backup, copy, restore, verification or maintenance job.
    JobId
);
id!(
    /// A backup plan; its versions share the id.
    PlanId
);
id!(
    /// One rule of a backup plan.
    RuleId
);
id!(
    /// A selection of resources that a plan protects.
    SelectionId
);
id!(
    /// A recovery point; a copy of it in another vault has an id of its own.
    RecoveryPointId
);
id!(
    /// A request as its sender named it; the answer carries it back.
    RequestId
);
id!(
    /// One run of a restore testing plan.
    TestRunId
);
id!(
    /// A legal hold.
    LegalHoldId
);
id!(
    /// One writing of a report.
    ReportJobId
);
