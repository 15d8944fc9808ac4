//! Runs restore tests, checks what came back, judges, and keeps the verdicts.
