# Real OAuth servers and a browser, for the tests in crates/app_kernel/tests/it/oauth/real.rs; sourced by ./test.
#
# The servers come from the npm registry, at the versions of scripts/oauth/package-lock.json, into target/tools/oauth; the browser is Debian's.

# Prints what is missing, by the names of Debian's packages.
oauth_missing() {
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
    command -v chromium >/dev/null || echo chromium
    command -v chromedriver >/dev/null || echo chromium-driver
}

# Installs what is missing where that is possible, else says what to install.
oauth_packages() {
    local missing sudo=""
    missing=$(oauth_missing | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if command -v apt-get >/dev/null && $sudo true 2>/dev/null; then
        say "installing $missing"
        local apt="env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
        # shellcheck disable=SC2086
        { $sudo $apt update && $sudo $apt install -y --no-install-recommends $missing; } </dev/null >/dev/null
        missing=$(oauth_missing | tr '\n' ' ')
    fi
    [ -z "$missing" ] || { complain "not there: $missing; on Debian: apt-get install $missing"; return 1; }
}

# Installs the npm packages of scripts/NAME into target/tools/NAME, unless these very versions are there.
npm_packages() {
    local name=$1 what=$2 tools=target/tools/$1
    mkdir -p "$tools"
    cmp -s "scripts/$name/package-lock.json" "$tools/installed.json" && return 0
    say "installing $what into $tools, once"
    cp "scripts/$name/package.json" "scripts/$name/package-lock.json" "$tools/" &&
        (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) &&
        cp "scripts/$name/package-lock.json" "$tools/installed.json"
}

oauth() {
    oauth_packages && npm_packages oauth "the OAuth servers" &&
        TEST_OAUTH_TOOLS=$PWD/target/tools/oauth cargo test --locked -p app_kernel --all-features --test it -- oauth::real --test-threads 1
}
