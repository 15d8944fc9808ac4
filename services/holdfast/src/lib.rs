//! The operator's binary: CLI, all services in one process tree, and the demo.
