//! What the engine takes from the world: the time, randomness, and who it says it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngCore;

/// Tells the time.
type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Fills a buffer with unpredictable bytes.
type Fill = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Given to [`crate::Vault::open`] and [`crate::Vault::create`]. Cheap to clone.
#[derive(Clone)]
pub struct Surroundings {
    now: Now,
    random: Fill,
    /// Name of this machine in locks and snapshots.
    pub hostname: String,
    /// Name of the user in locks and snapshots.
    pub username: String,
    /// This process, in locks.
    pub pid: u32,
    /// How long it may take on this machine to open a vault with a secret that is added; zero for the least that restic
    /// uses.
    pub kdf_time: Duration,
}

impl Surroundings {
    /// The real machine with the caller's clock. Randomness is the operating system's, through a ChaCha generator per
    /// thread.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let username = std::env::var("USER").unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string());
        Self {
            now: Arc::new(now),
            random: Arc::new(|bytes| rand::rng().fill_bytes(bytes)),
            hostname,
            username,
            pid: std::process::id(),
            kdf_time: Duration::ZERO,
        }
    }

    /// The same with another source of randomness, for simulations. Nonces come from it: never use a predictable one
    /// with a vault that matters.
    #[must_use]
    pub fn with_random(mut self, random: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// The same with time for secrets that are added.
    #[must_use]
    pub const fn with_kdf_time(mut self, time: Duration) -> Self {
        self.kdf_time = time;
        self
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Unpredictable bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("hostname", &self.hostname).field("pid", &self.pid).finish_non_exhaustive()
    }
}
