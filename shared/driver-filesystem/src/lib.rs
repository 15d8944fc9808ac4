//! Captures and restores file trees with all their metadata.
