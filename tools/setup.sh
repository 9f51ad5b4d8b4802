#!/usr/bin/env bash
# Checks that the machine has what the project is built with: Go, and with the
# argument "race" what the tests need: the C compiler that the race detector links
# with; openssl, which verifies a checkpoint as an auditor would; hledger, ledger and
# beancount, which judge the journals that the wallet writes; and PostgreSQL, of which tests start
# servers of their own. It installs these where it may. Says nothing when all is there.
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

# install asks Debian for packages, if this is root's to do.
install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "maru: installing $*" >&2
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } >&2
}

links() {
  local cc
  cc=$(go env CC)
  # CC may carry arguments.
  command -v "${cc%% *}" >/dev/null && echo 'int main(void) { return 0; }' | $cc -x c -o /dev/null - 2>/dev/null
}
links || install gcc libc6-dev ||
  die "the race detector needs a C compiler: install gcc and the C library's headers (Debian: apt-get install gcc libc6-dev)"

command -v openssl >/dev/null || install openssl ||
  echo "maru: a test of checkpoints will be skipped: it needs openssl (Debian: apt-get install openssl)" >&2

journals() { command -v hledger && command -v ledger && command -v bean-report; } >/dev/null
journals || install hledger ledger beancount ||
  echo "maru: some tests of journals will be skipped: they need hledger, ledger and beancount 2 (Debian: apt-get install hledger ledger beancount)" >&2

# Debian would make a server of its own, and start it, unless it is told not to.
postgresql() { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1
install_postgresql() {
  install postgresql-common &&
    sed -i -E 's/^#?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf &&
    install postgresql
}
postgresql || install_postgresql ||
  echo "maru: tests on PostgreSQL will be skipped: they need its server (Debian: apt-get install postgresql)" >&2
