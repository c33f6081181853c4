#!/usr/bin/env bash
# Builds the guide, with all documents that it leads to, as a book in target/guide/book. `scripts/guide.sh --open` shows it.
set -euo pipefail
cd "$(dirname "$0")/.."

MDBOOK_VERSION=0.5.4

tool=target/tools/bin/mdbook
if [ "$("$tool" --version 2>/dev/null)" != "mdbook v$MDBOOK_VERSION" ]; then
    echo "    installing mdbook $MDBOOK_VERSION into target/tools, once (some minutes on two cores)"
    CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
        cargo install --quiet --locked --debug --root target/tools mdbook --version "$MDBOOK_VERSION" --no-default-features --features search
fi

# The book's pages lie as they do here, so that their links lead to each other.
book=target/guide
rm -rf "$book"
mkdir -p "$book/pages/docs" "$book/pages/bench"
cp README.md CHANGELOG.md ARCHITECTURE.md CONTRIBUTING.md LICENSE-MIT LICENSE-APACHE "$book/pages/"
cp bench/README.md "$book/pages/bench/"
cp docs/*.md "$book/pages/docs/"
cp -R docs/decisions docs/guide docs/performance "$book/pages/docs/"
rm -rf "$book/pages/docs/guide/src" "$book/pages/docs/guide/Cargo.toml" "$book/pages/docs/guide/book.toml"

# The summary is the book's list of pages and none of them: what leads there leads to the first one.
for page in "$book"/pages/*.md; do
    sed 's#](docs/guide/SUMMARY\.md)#](docs/guide/first-service.md)#g' "$page" >"$page.new"
    mv "$page.new" "$page"
done

# SUMMARY.md leads from docs/guide; the book's is at the root, and has each decision besides.
sed -e 's#](\.\./\.\./#](#; t' -e 's#](\.\./#](docs/#; t' -e 's#](#](docs/guide/#' docs/guide/SUMMARY.md >"$book/pages/SUMMARY.md"
rm "$book/pages/docs/guide/SUMMARY.md"
for note in docs/decisions/[0-9]*.md; do
    printf '  - [%s](%s)\n' "$(sed -n '1s/^# *//p' "$note")" "$note"
done >>"$book/pages/SUMMARY.md"
cp docs/guide/book.toml "$book/"

"$tool" build "$book" "$@"
echo "    $book/book/index.html"
