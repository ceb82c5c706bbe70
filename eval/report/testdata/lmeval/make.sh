#!/bin/sh
# Makes the files of before/ and after/ with lm-evaluation-harness 0.4.13 (pip install lm-eval==0.4.13; its dummy model
# answers at random and needs no torch). Run it in this folder. The rows are ours.
set -e
for run in before after; do
	seed=0
	[ $run = before ] || seed=7
	lm-eval run --model dummy --tasks toy,toy_gen,toy_roll --include_path tasks --log_samples --output_path $run --limit 4 --seed $seed,1234,1234,1234
done
