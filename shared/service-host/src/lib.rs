//! How a process lives: configuration, signals, health, clock, exit codes.
