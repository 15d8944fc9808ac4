//! Durable state of one service: the only crate that links sled.
