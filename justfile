# Every chore of the project. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

export NO_UPDATE_NOTIFIER := "1"

kernel_scenarios := "vm-tests/kernel-scenarios.txt"

_list:
    @just --list --unsorted

# Start the dashboard
run *args:
    cargo run --release -- {{ args }}

# All tests, cheap ones first; stops at the first that fails
test: setup lint test-unit build bytecode-check test-live test-api test-metrics test-otlp test-deploy test-deb test-web reliability test-kernels bench-quick
    @echo "all tests passed"

# Install what is missing: Debian packages (as root), npm development packages, cargo-deny
setup:
    scripts/setup.sh

# Build the release binary
build:
    cargo build --release --locked

# Build the release binary without shared libraries, for hosts with another C library and for containers
build-static:
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target x86_64-unknown-linux-gnu

# Formatting, clippy, dependency policy, types of the page's modules
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo deny --offline --log-level error check bans licenses sources
    npm --prefix web run --silent check

# Format all Rust sources
fmt:
    cargo fmt --all

# Tests that need neither root nor a particular kernel
test-unit:
    cargo test --workspace --locked --lib --bins --examples
    cargo test --workspace --locked --doc
    cargo test --locked -p synscope-ebpf --tests
    cargo test --locked -p synscope --test docs --test terminal
    cargo test --locked -p synscope-tracer --test dependencies --test public_api
    npm --prefix web run --silent test:unit

# Scenarios on the running kernel, through the real binary (root)
test-live *args: build
    cargo test --locked -p vm-tests --test live -- {{ args }}
    cargo test --locked -p vm-tests --test asyncapi
    cargo test --locked -p synscope-tracer --test netlink
    cargo test --locked -p synscope --test readme

# Whatever the OpenAPI document allows and does not, asked of the real server by schemathesis (root)
test-api *args: build
    scripts/test-api.sh {{ args }}

# What a real Prometheus makes of /metrics, of the alert rules and the dashboard (root)
test-metrics: build
    scripts/test-metrics.sh

# What a real OpenTelemetry collector takes of the export (root)
test-otlp: build
    scripts/test-otlp.sh

# The page in headless Chromium, against the real server (root)
test-web: build
    npm --prefix web run --silent test:browser

# Scenarios on kernels booted in QEMU: all of vm-tests/kernels.toml; `--kernel SERIES`, `--arch arm64`, `--help` for more
test-vm *args:
    cargo run --locked -p vm-tests -- run {{ args }}

# Build the release twice, each time from nothing, and compare the bytes (long)
reproducible:
    scripts/reproducible.sh

# Make the Debian package, the static binary's archive and the bill of materials; package the crates, and install from a copy of a registry
package: build build-static
    scripts/package.sh
    scripts/sbom.sh target/package/synscope.cdx.json
    scripts/test-install.sh

# Whether container file, Kubernetes manifests and systemd unit are what their tools expect
test-deploy:
    scripts/test-deploy.sh

# Make the Debian package, install it, trace through its service, remove it (root, where no Synscope is installed)
test-deb: build
    scripts/package.sh --deb
    scripts/test-deb.sh

# What CI runs of it: what depends on the kernel, on all of amd64 and on three of arm64
test-kernels: (test-vm "--scenario-list" kernel_scenarios) (test-vm "--arch" "arm64" "--scenario-list" kernel_scenarios "--kernel" "6.1" "--kernel" "6.12" "--kernel" "7.3")

# Resolve every series to its newest patch release and write vm-tests/kernels.lock
kernels-update:
    cargo run --locked -p vm-tests -- update

# Run all kernels of both architectures and write docs/kernels.md
kernels-docs:
    cargo run --locked -p vm-tests -- run --arch amd64 --json target/vm/amd64.json
    cargo run --locked -p vm-tests -- run --arch arm64 --json target/vm/arm64.json
    cargo run --locked -p vm-tests -- document target/vm/amd64.json target/vm/arm64.json

# Build the BPF object anew; sets up its own tools
bytecode:
    ebpf/programs/build.sh

# Build the BPF object beside the committed one and compare their bytes
bytecode-check:
    ebpf/programs/build.sh --check

# Break the object in so many ways, and count the mistakes that its tests notice
bytecode-mutants count="400":
    MUTANTS={{ count }} cargo test --locked -p synscope-ebpf --test mutants -- --nocapture

# Feed rubbish to whatever reads bytes from outside, so many seconds each (needs a nightly toolchain)
fuzz seconds="60" *targets:
    scripts/fuzz.sh {{ seconds }} {{ targets }}

# Whether it may run for a month: bounded, or `long`
reliability scale="bounded": build
    RELIABILITY={{ scale }} cargo test --locked -p vm-tests --test reliability -- --nocapture

# Whether it may run for hours: 1,000 failures a second, two readers, history
soak minutes="120": build
    SOAK_MINUTES={{ minutes }} cargo test --locked -p vm-tests --test reliability -- --nocapture hours

# Measure what it costs, beside its peers where they are installed (bpftrace, libbpf-tools); `--quick`, `--markdown FILE`
bench *args: build
    cargo bench --locked -p vm-tests --bench performance -- {{ args }}

# Every part of the bench for a moment: that it works, not what it costs (root)
bench-quick: build
    cargo test --locked -p vm-tests --bench performance -- --quick

# Measure the page with a recording of 100,000 attempts and with 5,000 events a second, beside vis-timeline
bench-page: build
    npm --prefix web run --silent bench

# Run other tools beside Synscope, and write what each tells into docs/comparison.md (root); `--kernel SERIES` for QEMU
compare *args: build
    cargo run --locked -p vm-tests -- compare {{ args }}

# Accept what has changed of synscope-tracer's public items
public-api:
    UPDATE_PUBLIC_API=1 cargo test --locked -p synscope-tracer --test public_api

# Take the screenshots of README and docs anew
screenshots: build
    UPDATE_SCREENSHOTS=1 npm --prefix web run --silent test:browser
