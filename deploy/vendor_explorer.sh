#!/bin/sh
# Fetches the explorer page's libraries from npm into service/web/vendor, unchanged; needs npm.
# To take newer ones: change the versions below, run it with --update, look at the page, commit.
set -eu
cd "$(dirname "$0")/../service/web/vendor"
vendor=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

take() { # PACKAGE@VERSION FILE NAME: one file of the package, and its license
    folder="$work/$3"
    mkdir "$folder"
    (cd "$folder" && tar xzf "$(npm pack --silent "$1")")
    cp "$folder/package/$2" "$vendor/$3"
    { printf '%s\n\n' "$3 is $2 of $1:"; cat "$folder/package/LICENSE"; echo; } >> "$work/LICENSES.txt"
}

take preact@11.2.0 dist/preact.mjs preact.mjs
take preact@11.2.0 hooks/dist/hooks.mjs hooks.mjs
take htm@3.1.1 dist/htm.mjs htm.mjs
take @preact/signals@2.11.4 dist/signals.mjs signals.mjs
take @preact/signals-core@1.14.5 dist/signals-core.mjs signals-core.mjs
cp "$work/LICENSES.txt" "$vendor/LICENSES.txt"

if [ "${1:-}" = --update ]; then sha256sum -- *.mjs LICENSES.txt > SHA256SUMS; fi
sha256sum --check SHA256SUMS
