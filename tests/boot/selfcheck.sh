#!/bin/bash
# limit: 300
# What `make run` does without a terminal: the guest checks disk, network, entropy and console from inside.
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
PIPIT_CHECK_SECONDS=240 exec "$root/tools/run.sh"
