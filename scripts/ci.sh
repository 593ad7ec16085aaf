#!/usr/bin/env bash
# What CI runs, here or there.
set -euo pipefail
cd "$(dirname "$0")/.."
export CI=true
exec scripts/test
