#!/bin/bash
# limit: 900
# The same programs on the interpreter. Two of them look at what only translated code and several threads bring about,
# order of memory accesses and ABA; they must hold here too.
PIPIT_OPTIONS='--jit interp' exec "$(dirname "$0")/run.sh" "$@"
