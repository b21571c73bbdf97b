#!/usr/bin/env bash
# Without an argument, runs every check of the repository: format, lints, documentation, all tests, a
# small benchmark of the whole system, every fuzz target for a few seconds. Installs what a Debian machine
# with Rust lacks for that, and says what and why.
#
# `check.sh quick` is for the daily loop: format, lints, the tests of every crate and the fast ones of
# whole clusters. It needs no root, no browser and no release build, and installs no package.
set -euo pipefail

fuzz_seconds=${FUZZ_SECONDS:-3}

# The tests of whole clusters that take a few seconds, and need nothing but the binary.
quick_tests=(batches command_line delivery except history membership modules order position repeats resume)

cd "$(dirname "${BASH_SOURCE[0]}")/.."
step=preparation
log=$(mktemp)
builds= builds_log=
finish() {
    local status=$?
    if [[ -n $builds ]]; then
        kill -- "-$builds" 2>/dev/null || true
    fi
    rm -f "$log" $builds_log
    if ((status != 0)); then
        printf '\ncheck.sh: failed at: %s\n' "$step" >&2
    fi
}
trap finish EXIT

heading() {
    step=$1
    printf '\n=== %s\n' "$step"
}

give_up() {
    printf 'check.sh: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null
}

packages=()
need_package() { # COMMAND, PACKAGE, what for
    if ! has "$1"; then
        printf 'missing %s, so I install %s: %s\n' "$1" "$2" "$3"
        packages+=("$2")
    fi
}

need_component() { # SUBCOMMAND, COMPONENT
    if ! cargo "$1" --version >/dev/null 2>&1; then
        printf 'missing cargo %s, so I add %s to the toolchain\n' "$1" "$2"
        has rustup || give_up "there is no rustup here; install $2 by other means"
        rustup component add "$2"
    fi
}

install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get) root=() policy=/usr/sbin/policy-rc.d
    has apt-get || give_up "there is no apt-get here; install by other means: ${packages[*]}"
    if ((EUID != 0)); then
        if ! has sudo || ! sudo -n true 2>/dev/null; then
            give_up "I may not install; as root, run: apt-get install ${packages[*]}"
        fi
        root=(sudo -n)
        apt=("${root[@]}" "${apt[@]}")
    fi
    "${apt[@]}" update -qq
    # Prometheus comes with a service, which is not wanted.
    local may_start=
    if [[ " ${packages[*]} " == *' prometheus '* && ! -e $policy ]]; then
        may_start=yes
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" install -m 755 /dev/stdin "$policy"
    fi
    local status=0
    "${apt[@]}" install -y -qq --no-install-recommends "${packages[@]}" || status=$?
    if [[ -n $may_start ]]; then
        "${root[@]}" rm "$policy"
    fi
    if [[ " ${packages[*]} " == *' prometheus '* ]]; then
        "${root[@]}" deb-systemd-helper disable prometheus.service >/dev/null 2>&1 || true
    fi
    return "$status"
}

one_crypto_provider() {
    heading 'one implementation of cryptography'
    for other in ring openssl-sys mbedtls boring-sys; do
        if cargo tree --workspace --target all --edges all --invert "$other" 2>/dev/null | grep -q .; then
            cargo tree --workspace --target all --edges all --invert "$other"
            give_up "$other is a second one beside aws-lc-rs: turn the feature off that brings it in"
        fi
    done
}

quick() {
    heading 'format'
    cargo fmt --all --check
    (cd fuzz && cargo fmt --check)

    heading 'lints'
    cargo clippy --workspace --all-targets -- -D warnings

    one_crypto_provider

    heading 'tests of the client and the page in JavaScript'
    if has node; then
        node --test --test-reporter dot gateway/page/*.test.mjs integration/console/page/*.test.mjs
    else
        printf 'left out: there is no node here\n'
    fi

    heading 'tests of the crates'
    cargo test --quiet --workspace --exclude campanile
    cargo test --quiet --package campanile --lib

    heading 'fast tests of whole clusters'
    # shellcheck disable=SC2046 # one word for each flag and each name
    cargo test --quiet --package campanile $(printf -- '--test %s ' "${quick_tests[@]}")

    printf '\n=== the quick checks passed, in %s min %s s; integration/check.sh runs all\n' \
        $((SECONDS / 60)) $((SECONDS % 60))
}

(($# == 0)) || [[ $# == 1 && $1 == quick ]] ||
    give_up "unknown arguments: $*; accepted is nothing, for every check, or the word quick"

heading 'what is needed'
if ! has cargo && [[ -r ~/.cargo/env ]]; then
    # shellcheck disable=SC1090 # where rustup puts it
    . ~/.cargo/env
fi
has cargo || give_up 'there is no cargo here; install Rust as https://rustup.rs says'
if [[ ${1-} == quick ]]; then
    for command in cc make; do
        has $command || give_up "there is no $command here; on Debian it is in build-essential"
    done
    need_component fmt rustfmt
    need_component clippy clippy
    printf 'all there\n'
    quick
    exit
fi
need_package cc build-essential 'Rust links with it'
need_package make build-essential 'the allocator is built with it'
need_package g++ build-essential 'libFuzzer is C++'
need_package chromium chromium 'the test of the page drives a browser'
need_package chromedriver chromium-driver 'the test of the page drives a browser'
need_package curl curl 'a test listens to an event stream with it'
need_package python3 python3 'a test talks to it over TLS with it'
need_package node nodejs 'the client in JavaScript is tested with it, too'
need_package certutil libnss3-tools 'a browser gets to trust the authority of a test with it'
need_package promtool prometheus 'the alerts and the dashboard are tested with it'
node_path=/usr/share/nodejs:/usr/lib/nodejs:/usr/share/node_modules
for module in ws eventsource; do
    if ! NODE_PATH=$node_path node -e "require('$module')" 2>/dev/null; then
        printf 'missing %s for Node, so I install node-%s: a test listens with it\n' $module $module
        packages+=("node-$module")
    fi
done
if ! python3 -c 'import websockets' 2>/dev/null && ! /usr/bin/python3 -c 'import websockets' 2>/dev/null; then
    printf 'missing websockets for Python, so I install python3-websockets: a test listens with it\n'
    packages+=(python3-websockets)
fi
if ((${#packages[@]} > 0)); then
    install_packages
fi
need_component fmt rustfmt
need_component clippy clippy
if ! cargo fuzz --version >/dev/null 2>&1; then
    printf 'missing cargo-fuzz, so I install it: it runs the fuzz targets\n'
    cargo install cargo-fuzz --locked
fi
printf 'all there\n'

heading 'format'
cargo fmt --all --check
(cd fuzz && cargo fmt --check)

heading 'lints'
cargo clippy --workspace --all-targets -- -D warnings

heading 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

one_crypto_provider

heading 'tests of the client and the page in JavaScript'
node --test --test-reporter spec gateway/page/*.test.mjs integration/console/page/*.test.mjs

heading 'tests'
cargo test --workspace --no-run
# Many tests wait more than they compute. What they leave over goes into the builds for the benchmark and
# the fuzz targets.
build_later() {
    nice -n 19 cargo build --release && cd fuzz && nice -n 19 cargo fuzz build --sanitizer none
}
builds_log=$(mktemp)
set -m # so that the builds are a process group
build_later >"$builds_log" 2>&1 &
builds=$!
set +m
cargo test --workspace 2>&1 | tee "$log"
tests=$(awk '/^test result: ok\./ { sum += $4 } END { print sum }' "$log")

heading 'builds for the benchmark and the fuzz targets'
wait "$builds" || {
    cat "$builds_log"
    exit 1
}
builds=

heading 'watchdog'
# With what makes each part of a service hang or panic; the release must be without it.
cargo test -p campanile --features sabotage --test watchdog

heading 'benchmark'
if grep -aq CAMPANILE_SABOTAGE target/release/campanile; then
    give_up 'the release binary has the feature sabotage'
fi
target/release/campanile bench --quick --only idle,broadcasts,burst --check 1.3

heading 'fuzz targets'
cd fuzz
mapfile -t targets < <(cargo fuzz list)
for target in "${targets[@]}"; do
    step="fuzz target $target"
    printf '%s: ' "$target"
    if ! cargo fuzz run "$target" --sanitizer none -- -max_total_time="$fuzz_seconds" \
        >"$log" 2>&1; then
        tail -n 50 "$log"
        exit 1
    fi
    grep '^Done' "$log"
done

cat <<END

=== all passed, in $((SECONDS / 60)) min $((SECONDS % 60)) s
format, lints and documentation without a warning
the client in JavaScript by itself
$tests tests, the page in a browser among them
CPU per delivery and memory per connection within 1.3 times their gates
${#targets[@]} fuzz targets, $fuzz_seconds s each: ${targets[*]}
END
