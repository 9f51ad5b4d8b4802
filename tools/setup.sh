#!/usr/bin/env bash
# Checks that the machine has what the project is built with: Go, and with the
# argument "race" the C compiler that the race detector links with, which it
# installs where it may. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
  echo "maru: $*" >&2
  exit 1
}

want=$(awk '$1 == "go" { print $2; exit }' go.mod)
command -v go >/dev/null || die "Go is missing: install Go $want or newer from https://go.dev/dl/ and put its bin folder into PATH"

# A go command that is newer than 1.20 fetches the toolchain that go.mod asks
# for, unless GOTOOLCHAIN=local forbids it.
have=$(go env GOVERSION 2>/dev/null || GOTOOLCHAIN=local go version | awk '{ print $3 }')
have=${have#go}
have=${have%% *}
oldest=$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)
[ "$oldest" = "$want" ] || die "Go $have is too old: install Go $want or newer from https://go.dev/dl/"

[ "${1:-}" = race ] || exit 0
cc=$(go env CC)
# CC may carry arguments.
command -v "${cc%% *}" >/dev/null && echo 'int main(void) { return 0; }' | $cc -x c -o /dev/null - 2>/dev/null && exit 0

hint="the race detector needs a C compiler: install gcc and the C library's headers (Debian: apt-get install gcc libc6-dev)"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "maru: installing gcc and libc6-dev for the race detector" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev; } >&2 || die "$hint"
  exit 0
fi
die "$hint"
