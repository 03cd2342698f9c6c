#!/bin/sh
# Clone a voice from a recording (here one that voxkit made), use it, and remove it again.
set -eu
text="Please call Stella and ask her to bring these things from the store."
voxkit speak "$text" -o reference.wav --seed 7 --force
voxkit clone reference.wav --name guest --text "$text" --force
voxkit voices show guest
voxkit speak "Now in the new voice." -v guest -o guest.wav --seed 7 --force
voxkit voices rm guest --yes
