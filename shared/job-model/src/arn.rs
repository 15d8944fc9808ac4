//! Amazon resource names, regions and accounts.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an ARN, a region or an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}")]
pub struct InvalidArn {
    /// What was given.
    pub value: String,
    /// What was expected, with its shape.
    pub expected: &'static str,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidArn;

            fn try_from(value: String) -> Result<Self, Self::Error> {
                let check: fn(&str) -> bool = $check;
                if check(&value) { Ok(Self(value)) } else { Err(InvalidArn { value, expected: $expected }) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidArn;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// A region as AWS names it, for example `ap-northeast-1`.
    Region,
    "a region such as `ap-northeast-1`: lower-case letters, digits and hyphens",
    |text| {
        (2..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.contains('-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    }
);

checked_text!(
    /// A twelve-digit account number.
    AccountId,
    "an account id: twelve digits",
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
);

checked_text!(
    /// `arn:partition:service:region:account:resource`. Region and account may be empty, the resource may hold colons.
    Arn,
    "an ARN: `arn:aws:<service>:<region>:<account>:<resource>`",
    |text| {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        text.len() <= 1024
            && parts.len() == 6
            && parts[0] == "arn"
            && !parts[1].is_empty()
            && !parts[2].is_empty()
            && !parts[5].is_empty()
            && text.chars().all(|c| !c.is_control() && c != ' ')
    }
);

impl Arn {
    fn part(&self, index: usize) -> &str {
        self.0.splitn(6, ':').nth(index).unwrap_or_default()
    }

    /// The service part, for example `backup`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// The region part; empty for services without regions.
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// The account part.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// All after the account.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    /// The ARN of a vault: `arn:aws:backup:R:A:backup-vault:<name>`.
    ///
    /// # Errors
    /// When the name makes no valid ARN.
    pub fn vault(region: &Region, account: &AccountId, name: &str) -> Result<Self, InvalidArn> {
        format!("arn:aws:backup:{region}:{account}:backup-vault:{name}").parse()
    }

    /// The ARN of a recovery point: `arn:aws:backup:R:A:recovery-point:<uuid>`.
    ///
    /// # Errors
    /// Never for a region and account that were checked; the signature says so because an ARN has a length limit.
    pub fn recovery_point(
        region: &Region,
        account: &AccountId,
        id: crate::RecoveryPointId,
    ) -> Result<Self, InvalidArn> {
        format!("arn:aws:backup:{region}:{account}:recovery-point:{id}").parse()
    }
}

/// The namespace of resource keys, drawn once at random.
const RESOURCE_KEY_NAMESPACE: Uuid = Uuid::from_u128(0x6f2d_6b0c_93a5_4c53_9a59_0a6e_2f0d_41b7);

/// The key that stands for an ARN where `:` and `/` may not stand: in subjects, lease names and store keys. 32 lower-case
/// hexadecimal digits, the same for the same ARN for ever (UUID version 5 of the text).
#[must_use]
pub fn resource_key(arn: &Arn) -> String {
    Uuid::new_v5(&RESOURCE_KEY_NAMESPACE, arn.as_str().as_bytes()).simple().to_string()
}
