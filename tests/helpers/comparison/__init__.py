"""What the tests of comparisons share."""
