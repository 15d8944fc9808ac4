//! Turns a resource into a recovery point.
