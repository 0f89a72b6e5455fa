#!/bin/bash
# limit: 600
# The same self-check with the address and undefined-behaviour sanitizers looking on.
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
PIPIT=${PIPIT_ASAN:-$root/build/asan/pipit} PIPIT_CHECK_SECONDS=540 exec "$root/tools/run.sh"
