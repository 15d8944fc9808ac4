//! Materialises a recovery point in a target.
