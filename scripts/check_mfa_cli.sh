#!/bin/sh
# Holds eele's `mfa` command lines against Montreal Forced Aligner's real argument parser, and records its options
# for the ordinary tests (tests/fixtures/mfa_cli.json). Run by hand after a change of src/eele/align/mfa.py or of
# MFA's version. Needs pip's index and 1.5 GB in build/mfa-cli; MFA itself (conda-forge) is not needed.
set -eu
cd "$(dirname "$0")/.."
version=3.4.3 kalpy=0.10.5
folder=$PWD/build/mfa-cli
python=${PYTHON:-.venv/bin/python}
if [ ! -e "$folder/ready-$version" ]; then
    "$python" -m venv "$folder/venv"
    # pgvector and jinja2 are imported by MFA but not declared; the last three serve kalpy's sdist, whose version
    # only setuptools_scm knows.
    "$folder/venv/bin/pip" install --quiet montreal-forced-aligner==$version pynini pgvector jinja2 \
        setuptools wheel setuptools_scm
    "$folder/venv/bin/pip" download --quiet --no-deps --no-binary :all: --no-build-isolation \
        --dest "$folder" kalpy-kaldi==$kalpy
    tar -xzf "$folder/kalpy_kaldi-$kalpy.tar.gz" -C "$folder"
    touch "$folder/ready-$version"
fi
rm -rf "$folder/run" && mkdir -p "$folder/run/root"
"$python" tests/tools/mfa_arguments.py "$folder/run" > "$folder/run/argv.json"
export MFA_ROOT_DIR="$folder/run/root" PYTHONPATH="$folder/kalpy_kaldi-$kalpy"
"$folder/venv/bin/python" tests/tools/mfa_parser.py check "$folder/run/argv.json"
"$folder/venv/bin/python" tests/tools/mfa_parser.py record tests/fixtures/mfa_cli.json
