#!/bin/bash
# limit: 900
# The same programs by interpreter and translator, block by block: pipit ends where they do not agree.
PIPIT_OPTIONS='--jit lockstep' exec "$(dirname "$0")/run.sh" "$@"
