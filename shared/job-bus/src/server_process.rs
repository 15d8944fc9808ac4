//! A nats-server child process.
