//! Arguments of `holdfast bus`.

use clap::Subcommand;

/// The bus: set up its streams, look at what nobody could handle.
#[derive(Debug, Subcommand)]
pub enum BusCommand {
    /// Make the streams of a region, or say what is wrong with those that are there; needs the user `provisioner`
    Provision,
    /// Messages that no service could handle, with the reason
    DeadLetters {
        /// At most this many, the oldest first
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
}
