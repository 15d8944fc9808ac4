//! What every message type says of itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The families of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Somebody wants something.
    Request,
    /// The planner tells a worker.
    Order,
    /// What the planner wants of whichever worker holds the lease, until it says otherwise.
    Assignment,
    /// Something happened.
    Fact,
}

impl Family {
    /// As it stands in types and subjects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Order => "order",
            Self::Assignment => "assignment",
            Self::Fact => "fact",
        }
    }
}

/// One message type, one version.
pub trait Message: Serialize + DeserializeOwned {
    /// Its family.
    const FAMILY: Family;
    /// Kebab-case name, for example `start-backup`.
    const NAME: &'static str;
    /// Version of its shape; a changed meaning gets a new one, and the old stays readable.
    const VERSION: u32;

    /// The CloudEvents `type`: `holdfast.<family>.<name>.v<version>`.
    #[must_use]
    fn event_type() -> String {
        format!("holdfast.{}.{}.v{}", Self::FAMILY.as_str(), Self::NAME, Self::VERSION)
    }
}

/// Declares the closed set of messages of one family: an enum, its names, and its decoding by CloudEvents type.
macro_rules! message_family {
    ($(#[$doc:meta])* $enum:ident, $family:expr, { $($variant:ident => $name:literal),+ $(,)? }) => {
        $(impl crate::Message for $variant {
            const FAMILY: crate::Family = $family;
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
        })+

        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is documented at the type it holds")]
        pub enum $enum {
            $($variant($variant)),+
        }

        impl $enum {
            /// The names of all members, as in the subject and the CloudEvents type.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name of this one.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            /// The CloudEvents type of this one.
            #[must_use]
            pub fn event_type(&self) -> String {
                match self { $(Self::$variant(_) => <$variant as crate::Message>::event_type()),+ }
            }

            /// The payload as JSON.
            ///
            /// # Errors
            /// Never for the types of this crate; serialisation of a map with non-text keys would fail.
            pub fn to_value(&self) -> Result<serde_json::Value, serde_json::Error> {
                match self { $(Self::$variant(body) => serde_json::to_value(body)),+ }
            }

            /// Reads a payload of the given CloudEvents type.
            ///
            /// # Errors
            /// When the type is unknown or the payload does not fit it; the error names the field.
            pub fn decode(event_type: &str, data: serde_json::Value) -> Result<Self, crate::DecodeError> {
                $(if event_type == <$variant as crate::Message>::event_type() {
                    return serde_path_to_error::deserialize(data)
                        .map($enum::$variant)
                        .map_err(|e| crate::DecodeError::field(e.path().to_string(), e.inner()));
                })+
                Err(crate::DecodeError::UnknownType { event_type: event_type.to_owned() })
            }

            /// The JSON Schemas of all members, by name.
            #[must_use]
            pub fn schemas() -> Vec<(&'static str, String, schemars::Schema)> {
                vec![$((
                    $name,
                    <$variant as crate::Message>::event_type(),
                    schemars::schema_for!($variant),
                )),+]
            }
        }

        $(impl From<$variant> for $enum {
            fn from(body: $variant) -> Self {
                Self::$variant(body)
            }
        })+
    };
}
pub(crate) use message_family;
