# Daily recipes. `./run` does the same without just installed.

# What CI runs.
test *ARGS:
    ./run test {{ ARGS }}

# Protect a directory, copy it, prove the copy.
demo *ARGS:
    ./run demo {{ ARGS }}

# Tests of one crate.
crate NAME *ARGS:
    cargo nextest run -p {{ NAME }} {{ ARGS }}

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features holdfast/failpoints -- -D warnings

# Licences, sources, linkage, and the advisories (which need the network).
deny:
    cargo deny check

# Write the generated reference pages again.
gen:
    HOLDFAST_GENERATE=1 cargo nextest run --workspace -E 'test(fresh)'

# The whole kill and zombie sweep: every boundary of every service, from one seed.
sweep SEED="1" ROUNDS="32":
    HOLDFAST_SWEEP_SEED={{ SEED }} HOLDFAST_SWEEP_ROUNDS={{ ROUNDS }} cargo nextest run --workspace --features holdfast/failpoints -E 'binary(kill_sweep)' --no-capture

# Twenty random seconds of a busy minute with kills, and a quiet minute, restored into servers of their own.
pitr SEED="1":
    HOLDFAST_SEED={{ SEED }} HOLDFAST_PITR_TARGETS=20 HOLDFAST_PITR_SECONDS=60 HOLDFAST_QUIET_SECONDS=60 cargo nextest run -p driver-postgres -E 'binary(follow)' --no-capture

# Fifty different recovery points of a server that lives, each restored and proven, and four kinds of damage, each named.
prove-points SEED="1" POINTS="50":
    HOLDFAST_SEED={{ SEED }} HOLDFAST_GOOD_POINTS={{ POINTS }} cargo nextest run -p driver-postgres -E 'test(every_good_point)' --no-capture

# PostgreSQL beside pgBackRest and pg_basebackup: backups, restores, and what pgbench loses meanwhile (fails below nine
# tenths beside one capture). Needs root. For a part of it: `just bench-postgres --rows pg-restore --scale 20 --least-percent 0`.
bench-postgres *ARGS:
    cargo build --release -p benchmarks -p driver-postgres
    HOLDFAST_BENCH_LEAST_PERCENT=${HOLDFAST_BENCH_LEAST_PERCENT:-90} ./target/release/benchmarks postgres {{ ARGS }}

# Two regions in containers; builds the images first.
containers:
    cargo nextest run --workspace --features holdfast/failpoints -E 'binary(containers)' --no-capture

# Engine and drivers beside restic, rustic and borg, with a table at the end; see docs/benchmarks.md. For a part of it:
# `just bench --rows volume-full,check --rounds 1`.
bench *ARGS:
    cargo build --release -p benchmarks
    ./target/release/benchmarks run {{ ARGS }}

# Random histories of vaults beside a model, thousands of them; restic's word after every single fault; a prune between any
# two calls of everything else.
vault-histories SEED="1" HISTORIES="2000":
    HOLDFAST_MODEL_SEED={{ SEED }} HOLDFAST_MODEL_HISTORIES={{ HISTORIES }} HOLDFAST_SWEEP_RESTIC=1 HOLDFAST_SWEEP_EVERY=1 cargo nextest run -p vault-engine --lib -E 'test(sweeps)' --no-capture

# Processes that capture, copy, prune and read two vaults at once, and are killed at random instants.
vault-kills SEED="1" SECONDS="200":
    HOLDFAST_KILLS_SEED={{ SEED }} HOLDFAST_KILLS_SECONDS={{ SECONDS }} cargo nextest run -p vault-engine -E 'test(processes_that_are_killed)' --no-capture

# A worker that is killed at random instants while it captures trees and volumes on XFS and btrfs by what changed.
tracked-kills SEED="1" ROUNDS="100":
    HOLDFAST_TRACKED_KILLS_SEED={{ SEED }} HOLDFAST_TRACKED_KILLS={{ ROUNDS }} cargo nextest run -p snapshot-worker -E 'binary(kills)' --no-capture

# Pages of 1,000 out of a million recovery points, with every filter, while facts arrive: a table of times, and the peak of
# memory. Fails above 50 ms at the 99th percentile.
bench-lists POINTS="1000000" PAGES="200":
    HOLDFAST_LIST_POINTS={{ POINTS }} HOLDFAST_LIST_PAGES={{ PAGES }} cargo nextest run --release -p gateway --lib -E 'test(pages_of_a_large_vault)' --no-capture

# Changed files into every decoder of a vault: no panic, and memory that is bounded by the file.
fuzz-decoders SEED="1" ROUNDS="10000":
    HOLDFAST_FUZZ_SEED={{ SEED }} HOLDFAST_FUZZ_ROUNDS={{ ROUNDS }} cargo nextest run -p vault-engine --lib -E 'test(no_changed_file)' --no-capture
