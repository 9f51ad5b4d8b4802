#!/usr/bin/env bash
# Runs each fuzz target of the project for a while ($1, as in 30s), one after
# the other, and goes on after a failure: go test keeps what failed in the
# package's testdata/fuzz, where it is a test from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()
while IFS=: read -r file name; do
  echo "fuzz: $name in $(dirname "$file")"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" "./$(dirname "$file")" || failed+=("$name")
done < <(find . -name '*_test.go' -not -path './.*' -exec grep -HoE '^func Fuzz[A-Za-z0-9_]*' {} + |
  sed -e 's|^\./||' -e 's|:func |:|' | sort)

[ ${#failed[@]} -eq 0 ] || { echo "fuzz: failed: ${failed[*]}"; exit 1; }
