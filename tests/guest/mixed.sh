#!/bin/bash
# limit: 900
# The same programs with tiers that change at random (TIER_SEED, default: the day).
PIPIT_OPTIONS="--jit mixed=${TIER_SEED:-$(date +%Y%m%d)}" exec "$(dirname "$0")/run.sh" "$@"
