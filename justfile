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

# The whole kill and zombie sweep: every boundary, many seeds.
sweep SEEDS="20":
    HOLDFAST_SWEEP_SEEDS={{ SEEDS }} cargo nextest run -p integration-tests --test kill_sweep --no-capture

# Two regions in containers; builds the images first.
containers:
    cargo nextest run -p integration-tests --test containers --no-capture
