"""Running a plan on BuildKit."""
