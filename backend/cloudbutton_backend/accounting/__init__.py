"""Cost and duration of jobs: per job, per day, and as history for the next estimate."""
