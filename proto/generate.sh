#!/usr/bin/env bash
# Generates src/latentry/v1 from latentry/v1/*.proto, with a pinned generator in an environment of its own.
#
# The generator is older than the oldest runtime that proto/pyproject.toml allows, so that the generated code runs on all
# of them. Usage: proto/generate.sh [FOLDER]; FOLDER (default: src) receives latentry/v1/*_pb2*.py(i).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
out=$(realpath -m "${1:-$here/src}")
cd "$here"
environment=../.cache/protoc
requirements=(grpcio-tools==1.76.0 mypy-protobuf==4.0.0 protobuf==6.33.0)

if ! [[ -e $environment/ready-${requirements[0]} ]]; then
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]}"
  touch "$environment/ready-${requirements[0]}"
fi

mkdir -p "$out/latentry/v1"
find "$out/latentry/v1" -name '*_pb2*' -delete
PATH=$environment/bin:$PATH "$environment/bin/python" -m grpc_tools.protoc \
  --proto_path=. --proto_path=../third_party/googleapis \
  --python_out="$out" --mypy_out="quiet:$out" --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" latentry/v1/*.proto

# A file without a service gets a stub file without content.
for file in latentry/v1/*.proto; do
  grep -q '^service ' "$file" || rm -f "$out/${file%.proto}"_pb2_grpc.py*
done
