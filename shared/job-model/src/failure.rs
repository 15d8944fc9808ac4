//! Codes of failures: what scripts, alerts and the pages of `docs/reference/failures.md` go by.

use std::fmt;

macro_rules! failure_codes {
    ($(#[doc = $meaning:literal] $variant:ident = $code:literal, $retry:literal, $mend:literal;)+) => {
        /// Why an attempt failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FailureCode {
            $(#[doc = $meaning] $variant),+
        }

        impl FailureCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it stands in facts and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// Whether the cause may go away by itself.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retry),+ }
            }

            /// What it means, one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning.trim_ascii()),+ }
            }

            /// What the operator does about it.
            #[must_use]
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend),+ }
            }
        }

        impl fmt::Display for FailureCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

failure_codes! {
    /// The resource is not where the registry says.
    ResourceNotFound = "RESOURCE_NOT_FOUND", true, "bring the resource back, or register it again with its new location";
    /// The location is not one the driver can use.
    ResourceLocationInvalid = "RESOURCE_LOCATION_INVALID", false, "register the resource again with a location its driver understands";
    /// The source could not be read.
    SourceReadFailed = "SOURCE_READ_FAILED", true, "look at the device and its file system; the message names the path";
    /// No credential profile of that name in the worker's configuration, or one that cannot be read.
    CredentialProfileUnknown = "CREDENTIAL_PROFILE_UNKNOWN", false, "add the credential profile to the worker's configuration";
    /// The server does not let the credential profile in, or not that far.
    CredentialsRefused = "CREDENTIALS_REFUSED", false, "correct user, password, certificate or rights; the message says which";
    /// The server does not answer.
    ServerUnreachable = "SERVER_UNREACHABLE", true, "start the server, or correct the resource's location";
    /// The server is set up in a way that does not allow it.
    ServerNotReady = "SERVER_NOT_READY", true, "change the server's setting that the message names";
    /// The recovery point is of another version than the server it is to run on.
    VersionMismatch = "VERSION_MISMATCH", false, "install the version that the message names on the restore-worker's machine";
    /// A quiesce hook failed and its policy is to fail.
    HookFailed = "HOOK_FAILED", true, "run the hook by hand as the worker's user; it is named in the worker's configuration";
    /// No hook set of that name in the worker's configuration.
    HookUnknown = "HOOK_UNKNOWN", false, "add the hook set to the worker's configuration, or register the resource without it";
    /// There is no repository at the vault's location.
    VaultNotFound = "VAULT_NOT_FOUND", true, "mount the store, or correct the vault's location; a new repository is never made in its place";
    /// The store did not answer.
    VaultUnreachable = "VAULT_UNREACHABLE", true, "check the store, the network and the credentials of the profile";
    /// The key does not open the vault.
    VaultWrongKey = "VAULT_WRONG_KEY", false, "correct the key profile in the worker's configuration";
    /// Another repository than the vault's is at its location.
    VaultNotTheSame = "VAULT_NOT_THE_SAME", false, "put the vault's own repository back in place, or make a new vault for this one";
    /// Something else is at the location a new vault is to be made in.
    VaultLocationTaken = "VAULT_LOCATION_TAKEN", false, "choose an empty location for the new vault";
    /// A file of the vault is damaged.
    VaultDamaged = "VAULT_DAMAGED", false, "run `holdfast check` on the vault; restore from a copy meanwhile";
    /// No key of that name in the worker's configuration.
    KeyProfileUnknown = "KEY_PROFILE_UNKNOWN", false, "add the key profile to the worker's configuration";
    /// The key's secret could not be read.
    KeyUnreadable = "KEY_UNREADABLE", true, "make the key's file, variable or command available to the worker";
    /// The recovery point's snapshot is not in the vault.
    SnapshotMissing = "SNAPSHOT_MISSING", false, "choose another recovery point; somebody removed this snapshot from the repository";
    /// A lock, a hold or a minimum retention in the vault keeps the recovery point.
    RecoveryPointProtected = "RECOVERY_POINT_PROTECTED", false, "wait until the time the message names, or release the hold; the vault's own documents decide, not the order";
    /// The snapshot is not the one that was captured.
    SnapshotDiffers = "SNAPSHOT_DIFFERS", false, "treat the vault as tampered with; choose a recovery point of another vault";
    /// No space left at the target or the store.
    NoSpace = "NO_SPACE", true, "free space; the job goes on by itself";
    /// The operating system or the store refused.
    PermissionDenied = "PERMISSION_DENIED", true, "give the worker's user the right; the message names the path";
    /// The target has something already.
    TargetExists = "TARGET_EXISTS", false, "choose another target, or an overwrite policy";
    /// The target cannot be used.
    TargetInvalid = "TARGET_INVALID", false, "choose a target the worker can reach and may write to";
    /// The target failed while it was written.
    TargetWriteFailed = "TARGET_WRITE_FAILED", true, "look at the target's device and file system; the message names the path";
    /// An entry of the recovery point would leave the target.
    TargetEscape = "TARGET_ESCAPE", false, "do not use this recovery point: its tree was made to write outside the target";
    /// The worker lost its lease and stopped itself.
    LeaseLost = "LEASE_LOST", true, "nothing; another attempt follows";
    /// The order's deadline passed.
    DeadlinePassed = "DEADLINE_PASSED", false, "widen the rule's completion window, or make the job faster";
    /// The order makes no sense to this worker.
    OrderInvalid = "ORDER_INVALID", false, "run planner and workers of versions that fit together";
    /// A bug.
    Internal = "INTERNAL", true, "report it with the worker's log; the message has the chain of causes";
}
