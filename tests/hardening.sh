#!/bin/bash
# Are the programs built so that a mistake in them is hard to use? Asked of the programs
# themselves: what the build files say may have been lost on the way.
#
#   hardening.sh BUILD-FOLDER
set -u
command -v readelf > /dev/null || { echo "there is no readelf here"; exit 77; }
passed=0
failed=0

# has PROGRAM WHAT PATTERN TEXT: is PATTERN there? With ! before it: is it not?
has() {
    local want=0 pattern=$3
    case $pattern in !*) want=1 pattern=${pattern#!} ;; esac
    grep -qE -- "$pattern" <<< "$4"
    if [ $? = $want ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$1: $2: see the flags in CMakeLists.txt"
    fi
}

for program in "$1/node/vagtd" "$1/cli/vagtctl"; do
    [ -x "$program" ] || { echo "$program is not built"; exit 1; }
    elf=$(readelf -hldW "$program") || exit 1
    symbols=$(readelf -W --dyn-syms "$program") || exit 1
    has "$program" "is not loaded at a random address (PIE)" '\(FLAGS_1\).* PIE' "$elf"
    has "$program" "its tables stay writable (RELRO)" '^ *GNU_RELRO ' "$elf"
    has "$program" "binds its symbols late (BIND_NOW)" '\(FLAGS(_1)?\).*(BIND_NOW|NOW)' "$elf"
    has "$program" "says nothing about its stack" '^ *GNU_STACK ' "$elf"
    has "$program" "has an executable stack" '!^ *GNU_STACK .* RWE ' "$elf"
    has "$program" "has a segment to write and execute" '!^ *LOAD .* RWE ' "$elf"
    has "$program" "has relocations in its code" '!\(TEXTREL\)' "$elf"
    has "$program" "its stack is not guarded" '__stack_chk_fail' "$symbols"
    # In a build with sanitizers these see to it.
    grep -qE '__(asan|tsan)_init' <<< "$symbols" ||
        has "$program" "its copies are not checked (_FORTIFY_SOURCE)" '__[a-z]+_chk@' "$symbols"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
