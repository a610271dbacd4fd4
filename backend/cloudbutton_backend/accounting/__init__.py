"""What jobs cost and take: per job, per day, and as history for the next estimate."""
