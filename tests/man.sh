#!/bin/sh
# Builds every manual page and lints it. Warnings count, too, but for one that no
# source can avoid: scdoc writes a paragraph macro after each heading and block.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
passed=0
failed=0

fail()
{
    echo "FAILED $1: $2"
    sed 's/^/    /' "$out/said"
    failed=$((failed + 1))
}

# True if nothing is left to say.
lint()
{
    mandoc -Tlint -Wwarning "$1" 2>&1 |
        awk '!/WARNING: skipping paragraph macro: PP (empty|after SH)$/ { print; n++ }
             END { exit n > 0 }'
}

for source in "$root"/docs/man/*.scd; do
    page=$(basename "$source" .scd)
    if ! scdoc < "$source" > "$out/$page" 2> "$out/said"; then
        fail "$page" "scdoc"
    elif ! lint "$out/$page" > "$out/said" 2>&1; then
        fail "$page" "mandoc"
    elif ! mandoc -Tutf8 "$out/$page" > "$out/text" 2> "$out/said" || [ ! -s "$out/text" ]; then
        fail "$page" "does not render"
    else
        passed=$((passed + 1))
    fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
