#!/bin/sh
# Text in from one program, sound out to another, no file in between.
set -eu
echo "Speech without a file." | voxkit speak -o - --seed 7 | wc -c
voxkit speak "The same as raw samples." -o - --raw --seed 7 > speech.s16le
