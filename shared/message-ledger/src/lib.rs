//! Outbox and inbox: the durable intent to publish, and the memory of what was handled.
