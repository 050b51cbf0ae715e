"""What `glat check-data` finds in recordings before training: decoded whole, judged by rules, reported."""
