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
    cargo build --workspace --bins --features holdfast/failpoints
    HOLDFAST_SWEEP_SEED={{ SEED }} HOLDFAST_SWEEP_ROUNDS={{ ROUNDS }} cargo nextest run --workspace --features holdfast/failpoints -E 'binary(kill_sweep)' --no-capture

# Two regions in containers; builds the images first.
containers:
    cargo build --workspace --bins --features holdfast/failpoints
    cargo nextest run --workspace --features holdfast/failpoints -E 'binary(containers)' --no-capture
