//! Captures and restores raw volumes: image files and block devices.
