# `just check` is what CI runs.

check:
    tests/run

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings

test *ARGS:
    cargo test --workspace {{ARGS}}

demo *ARGS:
    cargo demo -- {{ARGS}}

bench *ARGS:
    tests/bench/run {{ARGS}}
