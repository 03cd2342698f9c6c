#!/bin/sh
# Speak every line of a file twice; the second run finds nothing left to do.
set -eu
printf '%s\n' "Chapter one." "It was a bright cold day." "The clocks were striking." > lines.txt
voxkit batch lines.txt -o chapter --seed 7
voxkit batch lines.txt -o chapter --seed 7 --json
