//! A service that does nothing: the smallest one there can be, and what the tests of the process life run.

use std::process::ExitCode;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use service_host::{CommonConfig, ConfigProblem, HasCommon, Host, Service, ServiceError};

/// How the service behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    /// Ends when it is asked to.
    #[default]
    Good,
    /// Ends by itself.
    Deserter,
    /// Ends only at the hard stop.
    Stubborn,
    /// Panics.
    Panicking,
    /// Misses something it needs.
    Lonely,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    common: CommonConfig,
    behaviour: Behaviour,
    nats_password: String,
    limit: u32,
}

impl HasCommon for Config {
    fn common(&self) -> &CommonConfig {
        &self.common
    }
}

struct Idle;

#[async_trait]
impl Service for Idle {
    const NAME: &'static str = "idle-service";
    type Config = Config;

    fn validate(config: &Config) -> Result<(), ConfigProblem> {
        if config.limit > 100 {
            return Err(ConfigProblem::new("limit", config.limit, "write a number from 0 to 100"));
        }
        Ok(())
    }

    async fn run(config: Config, host: Host) -> Result<(), ServiceError> {
        match config.behaviour {
            Behaviour::Good => host.stop.cancelled().await,
            Behaviour::Deserter => {}
            Behaviour::Stubborn => host.hard_stop.cancelled().await,
            Behaviour::Panicking => panic!("the sky falls"),
            Behaviour::Lonely => {
                return Err(ServiceError::dependency("reach the bus", "nobody answers at `nats://x`; start it"));
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    service_host::main::<Idle>()
}
