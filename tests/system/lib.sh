# What the system tests share. To be sourced.
set -uo pipefail

passed=0
failed=0

# check NAME COMMAND...: counts it as passed if the command succeeds; else shows
# what it printed.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    printf 'ok    %s\n' "$name"
  else
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$name"
    printf '        %s\n' "\$ $*"
    [ -z "$output" ] || printf '%s\n' "$output" | sed 's/^/        /' | head -n 40
  fi
}

# Succeeds if the command fails.
not() { ! "$@"; }

# within SECONDS COMMAND...: tries again until the command succeeds. The time is
# ten times and more what an idle machine needs.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      "$@"
      return
    fi
    sleep 0.1
  done
}

# has PATTERN COMMAND...: what the command prints has a match.
has() {
  local pattern=$1 output
  shift
  output=$("$@" 2>&1)
  if ! grep -qE -- "$pattern" <<<"$output"; then
    printf 'no match of %s in:\n%s\n' "$pattern" "$output"
    return 1
  fi
}

# same A B: two texts are equal.
same() {
  if [ "$1" != "$2" ]; then
    printf 'found    %s\nexpected %s\n' "$1" "$2"
    return 1
  fi
}

# needs PROGRAM...: fails at once, with the reason, if one is missing.
needs() {
  local program
  for program; do
    check "$program is installed" command -v "$program"
  done
  if [ "$failed" -gt 0 ]; then
    echo "install what is missing, see .ci/run"
    finish "$(basename "$0" .sh)"
    exit 1
  fi
}

# The closing line, and the exit status.
finish() {
  printf '%s: %d passed, %d failed\n' "$1" "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# echoes PORT [TEXT]: a connection to the port says back what it is told.
echoes() {
  local text=${2:-hello} answer=
  exec {probe}<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf '%s\n' "$text" >&"$probe"
  IFS= read -r -t 20 -u "$probe" answer
  exec {probe}>&-
  same "$answer" "$text"
}

# says PORT TEXT: a connection to the port is greeted with the text.
says() {
  local answer=
  exec {probe}<>"/dev/tcp/127.0.0.1/$1" || return 1
  IFS= read -r -t 20 -u "$probe" answer
  exec {probe}>&-
  same "$answer" "$2"
}

# A TCP port that is free now.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
