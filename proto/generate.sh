#!/usr/bin/env bash
# Generates src/latentry from the .proto files, with a pinned generator in an environment of its own: latentry/v1 from
# latentry/v1, and latentry/open_inference from third_party/open_inference.
#
# The generator is older than the oldest runtime that proto/pyproject.toml allows, so that the generated code runs on all
# of them. Usage: proto/generate.sh [FOLDER]; FOLDER (default: src) receives latentry/*/*_pb2*.py(i).
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

compile() { # FOLDER OPTION... FILE...: writes what it makes of the files into the folder
  local to=$1
  PATH=$environment/bin:$PATH "$environment/bin/python" -m grpc_tools.protoc \
    --python_out="$to" --mypy_out="quiet:$to" --grpc_python_out="$to" --mypy_grpc_out="quiet:$to" "${@:2}"
}

mkdir -p "$out/latentry/v1" "$out/latentry/open_inference"
find "$out/latentry" -name '*_pb2*' -delete
compile "$out" --proto_path=. --proto_path=../third_party/googleapis latentry/v1/*.proto

# The protocol's files are registered without a folder, as in all who speak it; the modules live in a package.
third_party=../third_party/open_inference
compile "$out/latentry/open_inference" --proto_path=$third_party $third_party/*.proto
sed -i -E 's/^import (grpc_service_pb2|model_config_pb2)/from latentry.open_inference import \1/' \
  "$out"/latentry/open_inference/*_pb2*
cp $third_party/LICENSE "$out/latentry/open_inference/LICENSE"

# A file without a service gets a stub file without content.
grep --files-without-match '^service ' latentry/v1/*.proto $third_party/*.proto | sed "s|^$third_party|latentry/open_inference|" |
  while read -r file; do rm -f "$out/${file%.proto}"_pb2_grpc.py*; done
