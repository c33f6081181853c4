# OpenFeature's own client, for the test in crates/app_kernel/tests/it/flags/real.rs; sourced by ./test after scripts/oauth.sh.
#
# It comes from the npm registry, at the versions of scripts/flags/package-lock.json, into target/tools/flags.

flags() {
    oauth_packages && npm_packages flags "OpenFeature's client" &&
        TEST_FLAG_TOOLS=$PWD/target/tools/flags cargo test --locked -p app_kernel --all-features --test it -- flags::real
}
