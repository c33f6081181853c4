# The official libraries of Standard Webhooks, for the test in crates/app_kernel/tests/it/webhooks/official.rs; sourced by ./test.
#
# They come from the npm registry, PyPI and crates.io, at the versions and hashes that scripts/webhooks holds, into target/tools/webhooks.

# Installs the libraries, unless these very versions are there.
webhook_libraries() {
    local tools=target/tools/webhooks from=scripts/webhooks command
    for command in node npm python3; do
        command -v $command >/dev/null || { complain "$command is not there; on Debian: apt-get install nodejs npm python3 python3-venv"; return 1; }
    done
    mkdir -p $tools/npm $tools/rust/src
    local wanted installed
    wanted=$(cat $from/* | cksum)
    installed=$(cat $tools/installed 2>/dev/null)
    [ "$wanted" != "$installed" ] || return 0
    say "installing the official libraries into $tools, once"
    cp $from/package.json $from/package-lock.json $from/verify.mjs $tools/npm/ &&
        (cd $tools/npm && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) &&
        python3 -m venv $tools/python &&
        $tools/python/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $from/requirements.txt &&
        cp $from/verify.py $tools/ &&
        cp $from/verify.toml $tools/rust/Cargo.toml && cp $from/verify.lock $tools/rust/Cargo.lock && cp $from/verify.rs $tools/rust/src/main.rs &&
        cargo build --quiet --locked --manifest-path $tools/rust/Cargo.toml --target-dir $tools/rust/target &&
        echo "$wanted" >$tools/installed
}

webhooks() {
    webhook_libraries && TEST_WEBHOOK_TOOLS=$PWD/target/tools/webhooks cargo test --locked -p app_kernel --all-features --test it -- webhooks::official --nocapture
}
