#!/usr/bin/env bash
# What became of a Slurm job: prints success, running or failed. A controller that does not answer now is no failure.
set -u
answer=$(scontrol show job --oneliner "$1" 2>&1)
case $answer in
*JobState=*)
  state=${answer##*JobState=}
  ;;
*"Invalid job id"*) # forgotten by the controller: the accounting database, if there is one, knows
  state=$(sacct --jobs "$1" --allocations --noheader --parsable2 --format State 2>/dev/null | head -n 1)
  ;;
*) state=RUNNING ;;
esac
case ${state%% *} in
COMPLETED) echo success ;;
PENDING | RUNNING | COMPLETING | CONFIGURING | REQUEUED | REQUEUE_HOLD | REQUEUE_FED | RESIZING | SIGNALING | \
  STAGE_OUT | STOPPED | SUSPENDED) echo running ;;
*) echo failed ;;
esac
